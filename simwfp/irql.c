// The level that a thread runs at, spin locks, and calls that are forbidden while an exit path runs.
#define _GNU_SOURCE
#include "sim.h"

#include <string.h>
#include <sys/mman.h>

static _Thread_local KIRQL sim_irql;
static _Thread_local void* sim_paged; // what the callback that runs was given in pageable memory
static _Thread_local size_t sim_paged_size;
static _Thread_local const char* sim_forbidden; // where allocations and waits may not happen

void
sim_require_irql(KIRQL highest, const char* call)
{
    sim_now_in(call);
    if (sim_irql > highest) {
        sim_misuse("%s called at IRQL %d, at most %d is allowed", call, sim_irql, highest);
    }
}

// Pageable memory is always paged out when it hurts: at DISPATCH_LEVEL a page fault cannot be served.
static void
set_irql(KIRQL level)
{
    sim_irql = level;
    if (sim_paged != NULL && mprotect(sim_paged, sim_paged_size, level < DISPATCH_LEVEL ? PROT_READ : PROT_NONE) != 0) {
        sim_misuse("mprotect of pageable memory");
    }
}

KIRQL
sim_raise_irql(KIRQL level)
{
    KIRQL old = sim_irql;

    set_irql(level > old ? level : old);
    return old;
}

void
sim_lower_irql(KIRQL level)
{
    set_irql(level);
}

const void*
sim_paged_give(const void* bytes, size_t size)
{
    sim_paged_take();
    if (bytes != NULL && size != 0) {
        sim_paged = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (sim_paged == MAP_FAILED) {
            sim_paged = NULL;
            sim_misuse("no memory for a callback's arguments");
            return NULL;
        }
        sim_paged_size = size;
        memcpy(sim_paged, bytes, size);
        set_irql(sim_irql);
    }
    return sim_paged;
}

void
sim_paged_take(void)
{
    if (sim_paged != NULL) {
        (void)munmap(sim_paged, sim_paged_size);
        sim_paged = NULL;
    }
}

KIRQL
KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK lock)
{
    KIRQL old = sim_irql;
    uintptr_t me = (uintptr_t)&sim_irql;
    uintptr_t free = 0;

    sim_require_irql(DISPATCH_LEVEL, "KeAcquireSpinLock");
    if (__atomic_load_n(lock, __ATOMIC_RELAXED) == me) {
        sim_misuse("KeAcquireSpinLock: this thread holds the lock already (deadlock)");
    }
    while (!__atomic_compare_exchange_n(lock, &free, me, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        free = 0;
    }
    set_irql(DISPATCH_LEVEL);
    return old;
}

VOID
KeReleaseSpinLock(PKSPIN_LOCK lock, KIRQL old)
{
    if (__atomic_load_n(lock, __ATOMIC_RELAXED) != (uintptr_t)&sim_irql) {
        sim_misuse("KeReleaseSpinLock: this thread does not hold the lock");
    }
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
    set_irql(old);
}

// ---- exit paths ----

void
sim_forbid_slow_calls(const char* where)
{
    sim_forbidden = where;
}

void
sim_slow_call(const char* call)
{
    sim_now_in(call);
    if (sim_forbidden != NULL) {
        sim_misuse("%s in %s, which must be short: no allocation, no wait, no call of the filter engine", call,
                   sim_forbidden);
    }
}

// ---- life ----

void
sim_irql_reset(void)
{
    sim_irql = PASSIVE_LEVEL;
}

void
sim_irql_check_unloaded(void)
{
    if (sim_irql != PASSIVE_LEVEL) {
        sim_misuse("IRQL is %d after unload", sim_irql);
    }
}
