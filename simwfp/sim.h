// What the parts of simwfp share.  Knows Windows names only: no pm_ name may ever appear in this folder.
#ifndef SIM_H
#define SIM_H

#include "simwfp.h"

// ---- faults.c: misuse, violations, failing the nth call ----

// Ends the program (or calls the test's handler): the driver did what would crash or corrupt a real kernel.
void sim_misuse(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Notes a breach of a contract that a real kernel would survive.
void sim_violation(const char* format, ...) __attribute__((format(printf, 1, 2)));
int sim_fails_now(void); // asked by every call that can fail
void sim_faults_reset(void);
void* sim_allocate(size_t size); // of the simulator itself: zeroed, never NULL

// ---- kernel.c ----

struct _EPROCESS {
    uint32_t pid;
    uint32_t driver_references;
    int alive;
    uint64_t start;
    PEPROCESS next;
};

extern sim_knobs sim_settings;

PEPROCESS sim_process_find(uint32_t pid); // alive ones
PEPROCESS sim_enter_process(PEPROCESS process); // makes it current; returns the one before
void sim_require_irql(KIRQL highest, const char* call);
KIRQL sim_raise_irql(KIRQL level); // returns the old one
void sim_lower_irql(KIRQL level);
void sim_kernel_reset(void);
void sim_kernel_check_unloaded(void);
// Takes a pool block out of the driver's books, since WFP owns it from now on.  0: not a live block of that size.
int sim_pool_give_to_wfp(void* block, SIZE_T size);
void sim_pool_free_by_wfp(void* block);

// ---- device.c ----

void sim_device_reset(void);
void sim_device_check_unloaded(void);

// ---- engine.c: management objects; snapshot for classify ----

typedef enum sim_kind { SIM_PROVIDER, SIM_SUBLAYER, SIM_CALLOUT, SIM_FILTER } sim_kind;

typedef struct sim_condition {
    uint32_t field;
    FWP_MATCH_TYPE match;
    FWP_DATA_TYPE type;
    uint64_t low, high;      // integers, masks (low: address, high: mask)
    uint8_t low16[16], high16[16]; // byte arrays; prefix length in `high`
    uint8_t* blob;
    uint32_t blob_size;
} sim_condition;

typedef struct sim_session sim_session;

typedef struct sim_object {
    sim_kind kind;
    GUID key;
    sim_session* dynamic; // the session it dies with; NULL: static
    sim_session* added_by; // in an open transaction; NULL: committed
    sim_session* deleted_by;
    int builtin;
    struct sim_object* provider;
    struct sim_object* sublayer;
    struct sim_object* callout;
    uint16_t layer;   // callout, filter
    uint16_t weight;  // sublayer
    uint64_t id;      // filter
    uint64_t order;   // of adding
    uint64_t filter_weight;
    uint32_t flags;
    FWP_ACTION_TYPE action;
    uint32_t condition_count;
    sim_condition* conditions;
    FWPS_FILTER2 run_time; // what callouts get
    struct sim_object* next;
} sim_object;

typedef struct sim_callout_function {
    int used;
    FWPS_CALLOUT2 callout;
    uint32_t id;
} sim_callout_function;

void sim_engine_reset(void);
void sim_engine_check_unloaded(void);
void sim_engine_process_exited(uint32_t pid);
int sim_is_equal_guid(const GUID* a, const GUID* b);

// Run-time view of one layer: filters sorted by sublayer weight, sublayer, filter weight.  Read under the read lock.
typedef struct sim_layer_view {
    sim_object** filters;
    uint32_t count;
} sim_layer_view;

void sim_engine_lock_shared(void);
void sim_engine_unlock(void);
const sim_layer_view* sim_engine_view(uint16_t layer);
const sim_callout_function* sim_engine_callout(const GUID* key);

// ---- fields.c: the fields of each layer ----

typedef enum sim_field_kind {
    SIM_FIELD_UINT8,
    SIM_FIELD_UINT16,
    SIM_FIELD_UINT32,
    SIM_FIELD_ADDRESS, // UINT32 at V4, BYTE_ARRAY16 at V6
    SIM_FIELD_BLOB,
} sim_field_kind;

int sim_layer_of_key(const GUID* key, uint16_t* layer);
int sim_layer_is_v6(uint16_t layer);
int sim_layer_is_redirect(uint16_t layer);
uint32_t sim_layer_field_count(uint16_t layer);
int sim_field_of_key(uint16_t layer, const GUID* key, uint32_t* field, sim_field_kind* kind);
NTSTATUS sim_condition_build(
    uint16_t layer, const FWPM_FILTER_CONDITION0* from, sim_condition* condition); // validates and copies
void sim_condition_free(sim_condition* condition);
int sim_filter_matches(const sim_object* filter, const FWPS_INCOMING_VALUES0* values);

// ---- classify.c ----

void sim_classify(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* classify_context,
    sim_classify_result* result);

// ---- connect.c: writable layer data ----

void sim_connect_reset(void);
void sim_connect_check_unloaded(void);
void sim_callout_returned(void* classify_context); // nothing acquired may be left

#endif
