// The locks that simwfp asks for, on Wine's kernel.  Wine runs one dispatch thread and our watcher, and its spin locks
// spin at IRQL 0, so a reader-writer lock that lets one reader in at a time is right and costs nothing.
#ifndef SIM_WINE_PTHREAD_H
#define SIM_WINE_PTHREAD_H

#include "ntddk.h"

typedef KSPIN_LOCK pthread_mutex_t;
typedef KSPIN_LOCK pthread_rwlock_t;
#define PTHREAD_MUTEX_INITIALIZER 0
#define PTHREAD_RWLOCK_INITIALIZER 0

static inline int
pthread_mutex_lock(pthread_mutex_t* lock)
{
    (void)KeAcquireSpinLockRaiseToDpc(lock);
    return 0;
}

static inline int
pthread_mutex_unlock(pthread_mutex_t* lock)
{
    KeReleaseSpinLock(lock, PASSIVE_LEVEL);
    return 0;
}

#define pthread_rwlock_rdlock(lock) pthread_mutex_lock(lock)
#define pthread_rwlock_wrlock(lock) pthread_mutex_lock(lock)
#define pthread_rwlock_unlock(lock) pthread_mutex_unlock(lock)

#endif
