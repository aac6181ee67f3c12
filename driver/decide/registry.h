// Who is registered, who is active: a pure state machine over at most four registrations, newest first.
//
// Its rules, in full (ABI.md draws them):
//   - a process has at most one registration; registering again changes its values, never its age;
//   - the active one is the newest whose lease is not over;
//   - only its owner can renew or withdraw a registration; owner exit and close of its file object remove it;
//   - a fifth registration drops the oldest whose lease is over, or else the oldest.
#ifndef PM_REGISTRY_H
#define PM_REGISTRY_H

#include "decide.h"

typedef struct pm_registration {
    uint32_t number;
    uint32_t pid;
    uint32_t lease_ms;
    uint32_t reserved;
    uint64_t process_start;
    uint64_t lease_end; // 100 ns, the caller's clock
    const void* owner;  // identity of the process, never dereferenced here
    const void* file;   // identity of the file object
    pm_endpoints endpoints;
} pm_registration;

typedef struct pm_registry {
    uint32_t count;
    uint32_t last_number;
    uint64_t generation; // of the table: every change counts
    pm_registration entries[PM_MAX_REGISTRATIONS];
} pm_registry;

typedef enum pm_registry_result {
    PM_REGISTRY_DONE,
    PM_REGISTRY_NOT_FOUND, // no registration of that number
    PM_REGISTRY_NOT_OWNER,
} pm_registry_result;

// Adds or updates; sets candidate->number.  `dropped` gets the owner of an entry that had to go, or NULL;
// `added` whether the owner is new here.
void pm_registry_register(
    pm_registry* registry, pm_registration* candidate, uint64_t now, const void** dropped, int* added);
pm_registry_result pm_registry_renew(pm_registry* registry, uint32_t number, const void* owner, uint64_t now);
pm_registry_result pm_registry_withdraw(
    pm_registry* registry, uint32_t number, const void* owner, pm_registration* removed);
// 1 and the entry of that process or that file object in `removed`, or 0.  No object is both.
int pm_registry_remove(pm_registry* registry, const void* owner_or_file, pm_registration* removed);

void pm_registry_snapshot(const pm_registry* registry, uint64_t now, pm_snapshot* snapshot);
uint32_t pm_registry_lease_left_ms(const pm_registration* registration, uint64_t now);

// The request of user space, byte by byte.  1: in order.
int pm_register_request_valid(const pm_register_request* request, uint32_t caller_pid);

#endif
