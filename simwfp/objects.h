// What the Base Filtering Engine keeps: objects, sessions, transactions, filters, callouts; and the service itself.
#ifndef SIM_OBJECTS_H
#define SIM_OBJECTS_H

#include "sim.h"

// ---- objects.c: what the Base Filtering Engine keeps, who refers to whom, and how it is found ----

// What refers stands behind what it refers to.
typedef enum sim_kind { SIM_PROVIDER, SIM_CONTEXT, SIM_SUBLAYER, SIM_CALLOUT, SIM_FILTER, SIM_KINDS } sim_kind;
typedef enum sim_lifetime {
    SIM_DYNAMIC,
    SIM_STATIC,
    SIM_PERSISTENT,
    SIM_BOOT_TIME,
    SIM_BUILTIN,
} sim_lifetime;

typedef struct sim_condition {
    uint32_t field;
    FWP_MATCH_TYPE match;
    FWP_DATA_TYPE type;
    int is_integer;                // of a range: its ends are integers
    uint64_t low, high;            // integers, masks (low: address, high: mask)
    uint8_t low16[16], high16[16]; // byte arrays; prefix length in `high`
    uint8_t* blob;                 // blob, SID or security descriptor
    uint32_t blob_size;
} sim_condition;

typedef struct sim_session sim_session;

typedef struct sim_object {
    sim_kind kind;
    sim_lifetime lifetime;
    GUID key;
    sim_session* session;    // the one that added it, if dynamic
    sim_session* added_by;   // in an open transaction; NULL: committed
    sim_session* deleted_by; // in an open transaction
    uint32_t references;     // of objects that the writer of this moment sees
    int disabled;
    struct sim_object* provider;
    struct sim_object* sublayer;
    struct sim_object* callout;
    struct sim_object* context; // provider context of a filter
    void* original;             // FWPM_*0 as it was added, in a block of its own
    void* original_block;
    uint8_t* dacl; // its own entries, before the inherited ones; NULL: none
    int dacl_protected;
    uint16_t* service; // of a provider
    uint16_t layer;    // callout, filter
    uint16_t weight;   // sublayer
    uint64_t order;    // of adding
    uint64_t tie;      // among equal weights: lower first
    uint64_t id;       // filter, callout, provider context
    uint64_t filter_weight;
    uint32_t flags;
    FWP_ACTION_TYPE action;
    uint32_t condition_count;
    sim_condition* conditions;
    FWPS_FILTER2 run_time; // what callouts get
    // index.c
    int indexed;
    int leaving;
    uint32_t index_first, index_count; // the run of conditions it is found by; count 0: always tried
    // objects.c
    struct sim_object *next, *previous;                 // of all
    struct sim_object *session_next, *session_previous; // of a dynamic session
    struct sim_object *key_next, *id_next;              // of a hash bucket
} sim_object;

extern sim_object* sim_objects; // all, newest first
extern uint32_t sim_object_counts[SIM_KINDS];

int sim_is_equal_guid(const GUID* a, const GUID* b);
sim_object* sim_object_find(sim_kind kind, const GUID* key, const sim_session* session);
sim_object* sim_object_find_id(sim_kind kind, uint64_t id, const sim_session* session); // NULL: as nobody in particular
int sim_object_is_visible(const sim_object* object, const sim_session* session);
void sim_object_link(sim_object* object);
void sim_object_unlink(sim_object* object); // and frees it
void sim_object_free(sim_object* object);   // never linked, or unlinked
void sim_object_refer(const sim_object* object, int by); // +1 or -1 on everything it refers to
void sim_key_choose(sim_object* object); // BFE picks one, if the caller left it zero
int sim_object_is_live(const sim_object* filter);        // committed, enabled, and BFE in the state for it

// ---- sessions.c, transactions.c, subscriptions.c; bfe.c: the service ----

#define SIM_SUBSCRIPTIONS 8u

struct sim_session {
    uint32_t pid; // 0: kernel
    GUID key;
    sim_token token;
    int aborted; // by the end of the service
    int dynamic;
    int in_transaction;
    int read_only;
    int was_aborted; // the transaction was held too long
    uint64_t began;
    sim_object* objects;  // of a dynamic session
    sim_object** changed; // in the open transaction
    uint32_t changed_count, changed_room;
    struct {
        FWPM_FILTER_CHANGE_CALLBACK0 callback;
        void* context;
    } subscriptions[SIM_SUBSCRIPTIONS];
    struct sim_session* next;
};

typedef enum sim_bfe_phase { SIM_BFE_STOPPED, SIM_BFE_BOOT, SIM_BFE_RUNNING } sim_bfe_phase;
extern sim_bfe_phase sim_phase;
extern sim_session* sim_sessions;
extern sim_session* sim_writer; // that holds the write transaction

NTSTATUS sim_session_open(uint32_t pid, const FWPM_SESSION0* from, HANDLE* engine);
sim_session* sim_session_of(HANDLE engine);
void sim_session_close(sim_session* session);
NTSTATUS sim_session_status(sim_session* session); // is it there, and alive?
void sim_transaction_note(sim_session* session, sim_object* object); // a change in the open transaction
void sim_transaction_end(sim_session* session, int commit);
NTSTATUS sim_transaction_begin(sim_session* session, uint32_t flags);
NTSTATUS sim_transaction_finish(sim_session* session, int commit);
NTSTATUS sim_session_may_read(sim_session* session);  // what every enumeration and get asks first
NTSTATUS sim_session_may_write(sim_session* session); // what every write asks first
void sim_tell_subscribers(const sim_session* author, const sim_object* filter, FWPM_CHANGE_TYPE type);
NTSTATUS sim_session_subscribe(
    sim_session* session, FWPM_FILTER_CHANGE_CALLBACK0 callback, void* context, HANDLE* change);
NTSTATUS sim_session_unsubscribe(sim_session* session, HANDLE change);
void sim_session_added(sim_session* session, sim_object* object);
NTSTATUS sim_session_delete(sim_session* session, sim_object* object, NTSTATUS not_found);
void sim_engine_process_exited(uint32_t pid);
void sim_sessions_abort_all(void);
void sim_sessions_close_all(void);
int sim_sessions_of_kernel(void); // how many the driver has open
void sim_engine_reset(void);
void sim_engine_end(void);
void sim_engine_check_unloaded(void);

// ---- access.c: what a user-mode caller may do ----

// NULL: the engine itself, or the container of objects.
int sim_may(const sim_session* session, const sim_object* object, uint32_t rights);
NTSTATUS sim_access_set(sim_object* object, PSECURITY_DESCRIPTOR descriptor); // at adding; NULL: inherited entries only
NTSTATUS sim_access_change(sim_session* session, sim_object* object, SECURITY_INFORMATION information, const ACL* dacl);

// ---- copies.c: FWPM_* structures with everything they point at, in one block ----

void* sim_copy(sim_kind kind, const void* from, void** block);
void** sim_copy_all(sim_kind kind, void* const* from, uint32_t count, void** block);

// ---- results.c: memory that callers get, and give back by FwpmFreeMemory0 ----

void sim_result_give(uint32_t pid, void* pointer, void* block);
void sim_results_of_process_exited(uint32_t pid);
void sim_results_check_unloaded(void); // none of the kernel's may be left
void sim_results_reset(void);

// ---- enumeration.c ----

typedef int sim_template_matches(const sim_object* object, const void* enum_template);

NTSTATUS sim_enumeration_open(
    sim_session* session, sim_kind kind, sim_template_matches* matches, const void* enum_template, uint32_t flags,
    HANDLE* handle);
NTSTATUS sim_enumeration_next(
    sim_session* session, sim_kind kind, HANDLE handle, uint32_t wanted, void*** entries, uint32_t* returned);
NTSTATUS sim_enumeration_close(sim_session* session, sim_kind kind, HANDLE handle);
uint32_t sim_enumerations_of(const sim_session* session);
void sim_enumerations_end(const sim_session* session);
NTSTATUS sim_object_get(sim_session* session, const sim_object* object, NTSTATUS not_found, void** copy);

// ---- filters.c, auto_weight.c ----

NTSTATUS sim_refer(
    sim_kind kind, const GUID* key, const sim_session* session, const sim_object* from, NTSTATUS not_found,
    sim_object** target);
NTSTATUS sim_filter_add(sim_session* session, const FWPM_FILTER0* filter, PSECURITY_DESCRIPTOR sd, uint64_t* id);
uint64_t sim_auto_weight(const sim_object* filter);

// ---- callouts.c: functions, notifications, flow contexts ----

typedef struct sim_callout_function {
    int used;
    FWPS_CALLOUT2 callout;
    uint32_t id;
    const void* device; // of the driver that registered it
    uint32_t flows;  // contexts associated
    uint32_t pended; // classifies that wait for its completion
} sim_callout_function;

sim_callout_function* sim_callout_of(const GUID* key);
NTSTATUS sim_notify_added(sim_object* filter);
void sim_notify_committed(sim_object* filter);
void sim_notify_deleted(sim_object* filter);
void sim_callouts_reset(void);
void sim_callouts_check_unloaded(void);
uint64_t sim_flow_context_of(uint64_t flow, uint16_t layer, uint32_t callout);
void sim_flow_contexts_delete(uint64_t flow); // the flow ends: every flowDeleteFn is called

#endif
