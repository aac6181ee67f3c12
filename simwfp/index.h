// The inside of the index: shared by what fills it (index.c) and what reads it (candidates.c).
#ifndef SIM_INDEX_H
#define SIM_INDEX_H

#include "classify.h"

typedef enum sim_key_kind { SIM_KEY_APP = 1, SIM_KEY_PORT, SIM_KEY_V4, SIM_KEY_V6 } sim_key_kind;

typedef struct sim_slot {
    uint64_t hash; // 0: free
    sim_bucket* bucket;
} sim_slot;

struct sim_index {
    sim_object* sublayer;
    uint32_t filters;
    sim_bucket residual;
    sim_slot* slots;
    uint32_t slot_count, slots_used;
    uint32_t v4_lengths[33], v6_lengths[129]; // prefixes of each length
};

typedef struct sim_layer_view {
    sim_index** indexes; // heaviest sublayer first
    uint32_t count;
    uint64_t generation;
} sim_layer_view;

extern sim_layer_view sim_views[SIM_LAYERS];

uint64_t sim_hash_bytes(sim_key_kind kind, uint64_t extra, const uint8_t* bytes, size_t size);
uint64_t sim_hash_v4(uint32_t bits, uint32_t address);
uint64_t sim_hash_v6(uint32_t bits, const uint8_t* address);
uint32_t sim_field_of(uint16_t layer, const GUID* key); // UINT32_MAX: not at this layer
// The key of one condition, or 0: it cannot be looked up.  `bits` gets the length of an address prefix.
uint64_t sim_key_of(uint16_t layer, const sim_condition* condition, sim_key_kind* kind, uint32_t* bits);
sim_bucket* sim_bucket_of(const sim_index* index, uint64_t hash); // NULL: nothing has that key
int sim_compare_filters(const void* left, const void* right);    // for qsort

#endif
