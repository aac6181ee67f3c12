// How a classification is made: layers and their fields, the index of filters, votes and their arbitration.
#ifndef SIM_CLASSIFY_H
#define SIM_CLASSIFY_H

#include "objects.h"

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

#endif
