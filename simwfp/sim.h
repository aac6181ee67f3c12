// The kernel under the filter engine, as its parts share it: faults, knobs, levels, pool, processes, the device, who is who.
// Above it: objects.h (what the Base Filtering Engine keeps), classify.h, connection.h.  Windows names only: no pm_ name may
// ever appear in this folder.
#ifndef SIM_H
#define SIM_H

#include "simwfp.h"

// ---- faults.c: misuse, violations, failing the nth call ----

// Ends the program (or calls the test's handler): the driver did what would crash or corrupt a real kernel.
void sim_misuse(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Notes a breach of a contract that a real kernel would survive.
void sim_violation(const char* format, ...) __attribute__((format(printf, 1, 2)));
int sim_transaction_fails(int abort);
void sim_now_in(const char* call); // which call of Windows this thread has made; for the list of those that a test made fail
int sim_fails_now(void);           // asked by every call that can fail
int sim_unregister_answer(NTSTATUS* status); // 1: a test has said what the call returns
void sim_faults_reset(void);
void* sim_allocate(size_t size); // of the simulator itself: zeroed, never NULL

// ---- knobs.c ----

extern sim_knobs sim_settings;
void sim_knobs_set(const sim_knobs* knobs);

// ---- irql.c ----

void sim_require_irql(KIRQL highest, const char* call);
KIRQL sim_raise_irql(KIRQL level); // returns the old one
void sim_lower_irql(KIRQL level);
// Forbids, in this thread, what an exit path must not do: allocate, wait, call the filter engine.
void sim_forbid_slow_calls(const char* where); // NULL: allowed again
void sim_slow_call(const char* call);          // asked by each such call
// A copy of a callback's argument in pageable memory, for this thread: touching it at DISPATCH_LEVEL ends the program.
const void* sim_paged_give(const void* bytes, size_t size);
void sim_paged_take(void);
void sim_irql_reset(void);
void sim_irql_check_unloaded(void);

// ---- pool.c ----

// Takes a pool block out of the driver's books, since WFP owns it from now on.  0: not a live block of that size.
int sim_pool_give_to_wfp(void* block, SIZE_T size);
void sim_pool_free_by_wfp(void* block);
void sim_pool_check_unloaded(void);

// ---- clock.c ----

void sim_clock_reset(void);

// ---- processes.c ----

#define SIM_SID_SIZE 68u // SECURITY_MAX_SID_SIZE
#define SIM_GROUPS 4u

// Who somebody is.
typedef struct sim_token {
    uint8_t user_sid[SIM_SID_SIZE];
    uint8_t package_sid[SIM_SID_SIZE]; // S-1-0-0: none
    uint8_t groups[SIM_GROUPS][SIM_SID_SIZE];
    uint32_t group_count;
} sim_token;

struct _EPROCESS {
    uint32_t pid;
    uint32_t driver_references;
    int alive;
    uint64_t start;
    sim_token token;
    PEPROCESS next;
};

sim_token sim_token_of(uint32_t pid); // of nobody, if there is no such process
PEPROCESS sim_process_find(uint32_t pid); // alive ones
PEPROCESS sim_enter_process(PEPROCESS process); // makes it current; returns the one before
void sim_processes_reset(void);
void sim_processes_check_unloaded(void);

// ---- device.c, device_security.c ----

const void* sim_driver_device(void); // of the driver that is loaded, or was
int sim_is_device(const void* object);
void sim_device_initialized(void); // DriverEntry has returned: it may be opened
int sim_device_open_files(void);
int sim_device_is_protected(void); // it has a security descriptor with entries
void sim_device_unprotect(void);
void sim_device_check_unloaded(void);
void sim_device_security_check_unloaded(void);

// ---- machine.c ----

void sim_require_no_driver(const char* call);

// ---- security.c: SIDs, and who gets what from a list of access control entries ----

uint32_t sim_sid_size(const void* sid);
void sim_sid_copy(uint8_t to[SIM_SID_SIZE], const void* from);
int sim_sids_equal(const void* a, const void* b);
int sim_acl_valid(const uint8_t* acl, uint32_t size);
// Walks entry by entry: a denied right of those wanted ends it, granted ones leave `wanted`.  1: denied.
int sim_acl_walk(const uint8_t* acl, const sim_token* token, uint32_t* wanted);
int sim_descriptor_valid(const uint8_t* descriptor, uint32_t size);
const uint8_t* sim_descriptor_dacl(const void* descriptor, int* is_protected); // absolute or self-relative; NULL: none
// Is FWP_ACTRL_MATCH_FILTER granted?  No DACL: to everybody.
int sim_descriptor_grants(const uint8_t* descriptor, const sim_token* token);

#endif
