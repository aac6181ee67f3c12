// What the parts of simwfp share.  Knows Windows names only: no pm_ name may ever appear in this folder.
#ifndef SIM_H
#define SIM_H

#include "simwfp.h"

// ---- faults.c: misuse, violations, failing the nth call ----

// Ends the program (or calls the test's handler): the driver did what would crash or corrupt a real kernel.
void sim_misuse(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Notes a breach of a contract that a real kernel would survive.
void sim_violation(const char* format, ...) __attribute__((format(printf, 1, 2)));
int sim_transaction_fails(int abort);
int sim_fails_now(void); // asked by every call that can fail
void sim_faults_reset(void);
void* sim_allocate(size_t size); // of the simulator itself: zeroed, never NULL

// ---- knobs.c ----

extern sim_knobs sim_settings;
void sim_knobs_set(const sim_knobs* knobs);

// ---- kernel.c ----

struct _EPROCESS {
    uint32_t pid;
    uint32_t driver_references;
    int alive;
    uint64_t start;
    uint8_t user_sid[68]; // SECURITY_MAX_SID_SIZE
    uint8_t package_sid[68];
    PEPROCESS next;
};

PEPROCESS sim_process_find(uint32_t pid); // alive ones
PEPROCESS sim_enter_process(PEPROCESS process); // makes it current; returns the one before
void sim_require_irql(KIRQL highest, const char* call);
KIRQL sim_raise_irql(KIRQL level); // returns the old one
void sim_lower_irql(KIRQL level);
void sim_kernel_reset(void);
void sim_kernel_check_unloaded(void);
// Forbids, in this thread, what an exit path must not do: allocate, wait, call the filter engine.
void sim_forbid_slow_calls(const char* where); // NULL: allowed again
void sim_slow_call(const char* call);          // asked by each such call
// Takes a pool block out of the driver's books, since WFP owns it from now on.  0: not a live block of that size.
int sim_pool_give_to_wfp(void* block, SIZE_T size);
void sim_pool_free_by_wfp(void* block);

// ---- device.c ----

const void* sim_driver_device(void); // of the driver that is loaded, or was
void sim_device_reset(void);
void sim_device_check_unloaded(void);

// ---- security.c: SIDs, tokens and security descriptors, as far as filter conditions need them ----

uint32_t sim_sid_size(const void* sid);
void sim_sid_copy(uint8_t to[68], const void* from);
int sim_sids_equal(const void* a, const void* b);
int sim_descriptor_valid(const uint8_t* descriptor, uint32_t size);
// Is FWP_ACTRL_MATCH_FILTER granted to any of the token's SIDs?
int sim_descriptor_grants(const uint8_t* descriptor, const uint8_t user_sid[68], const uint8_t package_sid[68]);

// ---- objects.c: what the Base Filtering Engine keeps, who refers to whom, and how it is found ----

typedef enum sim_kind { SIM_PROVIDER, SIM_SUBLAYER, SIM_CALLOUT, SIM_FILTER, SIM_KINDS } sim_kind;
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
    uint16_t* service; // of a provider
    uint16_t layer;    // callout, filter
    uint16_t weight;   // sublayer
    uint64_t order;    // of adding
    uint64_t tie;      // among equal weights: lower first
    uint64_t id;       // filter
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

int sim_is_equal_guid(const GUID* a, const GUID* b);
sim_object* sim_object_find(sim_kind kind, const GUID* key, const sim_session* session);
sim_object* sim_object_find_filter(uint64_t id, const sim_session* session);
void sim_object_link(sim_object* object);
void sim_object_unlink(sim_object* object); // and frees it
void sim_object_free(sim_object* object);   // never linked, or unlinked
void sim_object_refer(const sim_object* object, int by); // +1 or -1 on everything it refers to
int sim_object_is_live(const sim_object* filter);        // committed, enabled, and BFE in the state for it

// ---- sessions.c: sessions, transactions; bfe.c: the service ----

#define SIM_SUBSCRIPTIONS 8u

struct sim_session {
    uint32_t pid; // 0: kernel
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

NTSTATUS sim_session_open(uint32_t pid, const FWPM_SESSION0* from, HANDLE* engine);
sim_session* sim_session_of(HANDLE engine);
void sim_session_close(sim_session* session);
NTSTATUS sim_transaction_begin(sim_session* session, uint32_t flags);
NTSTATUS sim_transaction_finish(sim_session* session, int commit);
NTSTATUS sim_session_may_write(sim_session* session); // what every write asks first
NTSTATUS sim_session_subscribe(
    sim_session* session, FWPM_FILTER_CHANGE_CALLBACK0 callback, void* context, HANDLE* change);
NTSTATUS sim_session_unsubscribe(sim_session* session, HANDLE change);
void sim_session_added(sim_session* session, sim_object* object);
NTSTATUS sim_session_delete(sim_session* session, sim_object* object, NTSTATUS not_found);
void sim_engine_process_exited(uint32_t pid);
void sim_sessions_close_all(void);
int sim_sessions_of_kernel(void); // how many the driver has open
void sim_engine_reset(void);
void sim_engine_end(void);
void sim_engine_check_unloaded(void);

// ---- filters.c, auto_weight.c ----

NTSTATUS sim_refer(
    sim_kind kind, const GUID* key, const sim_session* session, const sim_object* from, NTSTATUS not_found,
    sim_object** target);
NTSTATUS sim_filter_add(sim_session* session, const FWPM_FILTER0* filter, uint64_t* id);
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

// ---- index.c: the filters of each layer and sublayer as classify reads them ----

typedef struct sim_bucket {
    sim_object** filters; // heaviest first
    uint32_t count, room, sorted;
    int dirty;
} sim_bucket;

typedef struct sim_index sim_index;

#define SIM_MAX_CURSORS 168u // residual, app, port, 33 IPv4 and 129 IPv6 prefix lengths, and some

typedef struct sim_candidates {
    struct {
        sim_object* const* at;
        sim_object* const* end;
    } cursors[SIM_MAX_CURSORS];
    uint32_t count;
    const sim_object* last;
    sim_object** all; // by brute force
} sim_candidates;

void sim_index_lock_shared(void);
void sim_index_lock_exclusive(void); // waits for every classify in flight
void sim_index_unlock(void);
void sim_index_add(sim_object* filter);
void sim_index_remove(sim_object* filter);
void sim_index_publish(void); // sorts what was added, drops what was removed
void sim_index_reset(void);
uint32_t sim_index_sublayers(uint16_t layer);
const sim_object* sim_index_sublayer(uint16_t layer, uint32_t position);
uint64_t sim_index_generation(uint16_t layer); // counts changes of a layer's filters
int sim_by_weight(const sim_object* a, const sim_object* b); // < 0: a is tried first
// Every filter that can match, in order; superset of the matching ones.
void sim_candidates_start(
    sim_candidates* candidates, uint16_t layer, uint32_t position, const FWPS_INCOMING_VALUES0* values);
sim_object* sim_candidates_next(sim_candidates* candidates); // NULL: no more
void sim_candidates_end(sim_candidates* candidates);

// ---- layers.c: layers and their fields; conditions.c: building and matching ----

typedef enum sim_field_kind {
    SIM_FIELD_UINT8,
    SIM_FIELD_UINT16,
    SIM_FIELD_UINT32,
    SIM_FIELD_UINT64,
    SIM_FIELD_ADDRESS, // UINT32 at V4, BYTE_ARRAY16 at V6
    SIM_FIELD_BLOB,
    SIM_FIELD_SID,
    SIM_FIELD_TOKEN, // conditions on it are security descriptors
} sim_field_kind;

#define SIM_LAYERS 10u

uint32_t sim_layer_position(uint16_t layer); // 0 to SIM_LAYERS - 1
int sim_layer_of_key(const GUID* key, uint16_t* layer);
int sim_layer_is_v6(uint16_t layer);
int sim_layer_is_redirect(uint16_t layer);
uint32_t sim_layer_field_count(uint16_t layer);
int sim_field_of_key(uint16_t layer, const GUID* key, uint32_t* field, sim_field_kind* kind);
NTSTATUS sim_condition_build(
    uint16_t layer, const FWPM_FILTER_CONDITION0* from, sim_condition* condition); // validates and copies
void sim_condition_free(sim_condition* condition);
int sim_filter_matches(const sim_object* filter, const FWPS_INCOMING_VALUES0* values);

// ---- classify.c, ties.c ----

typedef struct sim_vote {
    FWP_ACTION_TYPE action; // NONE: no decision
    int hard;
    int veto;
} sim_vote;

// What one sublayer had to say, and could have said with its equal weights in another order.
typedef struct sim_ballot {
    uint16_t weight;
    uint32_t count; // of votes; the first is what counted
    int unknown;    // an equal filter is a callout that was not asked
    sim_vote votes[4];
} sim_ballot;

#define SIM_MAX_BALLOTS 16u

// A classification that may be interrupted by a pending callout, and continued.
typedef struct sim_classification {
    const FWPS_INCOMING_VALUES0* values;
    const FWPS_INCOMING_METADATA_VALUES0* metadata;
    void* context; // classifyContext
    uint64_t flow;
    FWP_ACTION_TYPE action; // NONE, PERMIT, BLOCK
    int right;              // FWPS_RIGHT_ACTION_WRITE is there
    uint64_t permit_by, block_by;
    uint32_t ballot_count;
    sim_ballot ballots[SIM_MAX_BALLOTS];
    int pended;                // stopped at `pended_by`, whose verdict the completion gives
    const GUID* pended_callout;
    uint64_t pended_filter;
    sim_object* resume_sublayer;
    sim_object* resume_filter;
    sim_vote resume_vote;
    sim_classify_result* result;
} sim_classification;

int sim_classification_merge(FWP_ACTION_TYPE* action, int* right, sim_vote vote); // 1: a veto
void sim_classify(sim_classification* run);
void sim_classify_forget(sim_classification* run);
void sim_classify_resume(sim_classification* run, const FWPS_CLASSIFY_OUT0* out);
int sim_tie_dependent(const sim_classification* run);
void sim_trace_add(const sim_classification* run);
void sim_trace_reset(void);

// ---- layer_data.c: redirect handles, records, writable layer data, pending ----

#define SIM_MAX_RECORDS 8u
#define SIM_MAX_VERSIONS 8u

// Who redirected a connection, newest last.  Contexts belong to the flow that made them.
typedef struct sim_records {
    uint32_t count;
    struct {
        HANDLE handle;
        void* context;
        SIZE_T size;
    } entries[SIM_MAX_RECORDS];
} sim_records;

// What classifyContext points at.
typedef struct sim_pending {
    uint32_t magic;
    uint16_t layer;
    int reauthorization;
    FWPS_CONNECT_REQUEST0* versions[SIM_MAX_VERSIONS]; // applied ones, oldest first; [0] is what the app asked
    uint32_t version_count;
    FWPS_CONNECT_REQUEST0* acquired;
    uint32_t handles;
    int pended; // FwpsPendClassify0 or FwpsPendOperation0
    int completed;
    int has_out;
    FWPS_CLASSIFY_OUT0 out; // of the completion
} sim_pending;

void sim_pending_start(sim_pending* pending, uint16_t layer);
void sim_pending_end(sim_pending* pending);
void sim_callout_returned(void* classify_context); // nothing acquired may be left
void sim_layer_data_check_unloaded(void);

// ---- values.c: incoming values and metadata ----

#define SIM_MAX_FIELDS 64u

typedef struct sim_endpoint {
    uint8_t family;
    uint8_t address[16];
    uint16_t port;
} sim_endpoint;

typedef struct sim_values {
    FWPS_INCOMING_VALUES0 values;
    FWPS_INCOMING_VALUE0 fields[SIM_MAX_FIELDS];
    FWPS_INCOMING_METADATA_VALUES0 metadata;
    FWP_BYTE_BLOB app_id;
    FWP_BYTE_BLOB token;
    struct _EPROCESS identity; // what `token` points at
    FWP_BYTE_ARRAY16 local;
    FWP_BYTE_ARRAY16 remote;
    SOCKADDR_STORAGE original;
} sim_values;

int sim_is_mapped(const uint8_t* address);
int sim_is_loopback(uint8_t family, const uint8_t* address);
void sim_put_sockaddr(SOCKADDR_STORAGE* to, uint8_t family, const uint8_t* address, uint16_t port);
void sim_get_sockaddr(const SOCKADDR_STORAGE* from, sim_endpoint* to);
void sim_values_fill(
    sim_values* v, uint16_t layer, const sim_connect_request* from, const sim_endpoint* remote, uint32_t flags);
void sim_values_put(sim_values* v, uint16_t layer, const GUID* key, FWP_VALUE0 value);
void sim_values_original(sim_values* v, const sim_endpoint* original, uint32_t target_pid);

// ---- flows.c ----

uint64_t sim_flow_new(const sim_pending* pending, const sim_records* inherited);
void sim_flow_records(uint64_t flow, sim_records* records);
void sim_flows_reset(void);

// ---- connect.c: the ALE layers in their order, for one connect ----

typedef enum sim_stage {
    SIM_STAGE_REDIRECT,
    SIM_STAGE_HONOR, // the authorization of the original destination, if there is one
    SIM_STAGE_AUTHORIZE,
    SIM_STAGE_DONE,
} sim_stage;

typedef struct sim_connection {
    sim_connect_request request;
    uint8_t* app_id; // owned copy
    sim_stage stage;
    sim_endpoint original, remote;
    sim_records records;
    sim_pending pending; // of the redirect layer, then of each authorization
    sim_values* values;
    sim_classification run;
    int running; // a classification is under way (pended)
    int redirected;
    uint32_t target_pid;
    uint64_t redirect_flow; // records and contexts; 0: none
    uint64_t handle;        // flow handle
    sim_connect_result result;
} sim_connection;

void sim_connection_start(sim_connection* connection, const sim_connect_request* request, uint64_t handle);
int sim_connection_run(sim_connection* connection); // 1: done, `result` says how; 0: pended
void sim_connection_redirect_only(sim_connection* connection);
void sim_connection_end(sim_connection* connection);
// Runs one authorization; 0: blocked.
int sim_authorize_once(
    const sim_connect_request* request, uint16_t layer, const sim_endpoint* remote, uint32_t flags, uint32_t reason,
    uint64_t handle, sim_classify_result* result);
uint16_t sim_auth_layer(sim_endpoint* remote, uint16_t v4, uint16_t v6); // unmaps if the knob says so

// ---- sockets.c ----

void sim_sockets_reset(void);

#endif
