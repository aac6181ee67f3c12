// Which filters a classification must try: the keys that its values hash to, and the buckets behind them.
#include "index.h"

#include <stdlib.h>
#include <string.h>

static int sim_brute_force;

// ---- keys ----

uint64_t
sim_hash_bytes(sim_key_kind kind, uint64_t extra, const uint8_t* bytes, size_t size)
{
    uint64_t hash = 0xCBF29CE484222325ull ^ (uint64_t)kind << 56 ^ extra << 40;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001B3ull;
    }
    hash ^= hash >> 32;
    return hash == 0 ? 1 : hash; // two keys with one hash share a bucket: the match decides anyway
}

uint64_t
sim_hash_v4(uint32_t bits, uint32_t address)
{
    uint32_t kept = bits == 0 ? 0 : address & ~(uint32_t)((1ull << (32u - bits)) - 1u);

    return sim_hash_bytes(SIM_KEY_V4, bits, (const uint8_t*)&kept, sizeof(kept));
}

uint64_t
sim_hash_v6(uint32_t bits, const uint8_t* address)
{
    uint8_t kept[16] = {0};

    memcpy(kept, address, bits / 8);
    if (bits % 8 != 0) {
        kept[bits / 8] = (uint8_t)(address[bits / 8] & 0xFF00u >> bits % 8);
    }
    return sim_hash_bytes(SIM_KEY_V6, bits, kept, sizeof(kept));
}

uint32_t
sim_field_of(uint16_t layer, const GUID* key)
{
    uint32_t field = UINT32_MAX;
    sim_field_kind kind;

    (void)sim_field_of_key(layer, key, &field, &kind);
    return field;
}

// The key of one condition, or 0: it cannot be looked up.  `bits` gets the length of an address prefix.
uint64_t
sim_key_of(uint16_t layer, const sim_condition* condition, sim_key_kind* kind, uint32_t* bits)
{
    *bits = 0;
    if (condition->match != FWP_MATCH_EQUAL) {
        return 0;
    }
    if (condition->type == FWP_BYTE_BLOB_TYPE && condition->field == sim_field_of(layer, &FWPM_CONDITION_ALE_APP_ID)) {
        *kind = SIM_KEY_APP;
        return sim_hash_bytes(SIM_KEY_APP, 0, condition->blob, condition->blob_size);
    }
    if (condition->type == FWP_UINT16 && condition->field == sim_field_of(layer, &FWPM_CONDITION_IP_REMOTE_PORT)) {
        *kind = SIM_KEY_PORT;
        return sim_hash_bytes(SIM_KEY_PORT, condition->low, NULL, 0);
    }
    if (condition->field != sim_field_of(layer, &FWPM_CONDITION_IP_REMOTE_ADDRESS)) {
        return 0;
    }
    if (condition->type == FWP_UINT32 || condition->type == FWP_V4_ADDR_MASK) {
        uint32_t mask = condition->type == FWP_UINT32 ? UINT32_MAX : (uint32_t)condition->high;

        *kind = SIM_KEY_V4;
        *bits = (uint32_t)__builtin_popcount(mask);
        return mask == 0 ? 0 : sim_hash_v4(*bits, (uint32_t)condition->low);
    }
    if (condition->type == FWP_BYTE_ARRAY16_TYPE || condition->type == FWP_V6_ADDR_MASK) {
        *kind = SIM_KEY_V6;
        *bits = condition->type == FWP_BYTE_ARRAY16_TYPE ? 128u : (uint32_t)condition->high;
        return *bits == 0 ? 0 : sim_hash_v6(*bits, condition->low16);
    }
    return 0;
}

// ---- reading ----

uint32_t
sim_index_sublayers(uint16_t layer)
{
    return sim_views[sim_layer_position(layer)].count;
}

const sim_object*
sim_index_sublayer(uint16_t layer, uint32_t position)
{
    return sim_views[sim_layer_position(layer)].indexes[position]->sublayer;
}

uint64_t
sim_index_generation(uint16_t layer)
{
    return sim_views[sim_layer_position(layer)].generation;
}

static void
add_cursor(sim_candidates* candidates, const sim_bucket* bucket)
{
    if (bucket != NULL && bucket->count != 0) {
        candidates->cursors[candidates->count].at = bucket->filters;
        candidates->cursors[candidates->count++].end = bucket->filters + bucket->count;
    }
}

static const FWP_VALUE0*
value_at(const FWPS_INCOMING_VALUES0* values, const GUID* key)
{
    uint32_t field = sim_field_of(values->layerId, key);

    return field < values->valueCount ? &values->incomingValue[field].value : NULL;
}

static void
add_address_cursors(sim_candidates* candidates, const sim_index* index, const FWP_VALUE0* address)
{
    if (address != NULL && address->type == FWP_UINT32) {
        for (uint32_t bits = 1; bits <= 32; bits++) {
            if (index->v4_lengths[bits] != 0) {
                add_cursor(candidates, sim_bucket_of(index, sim_hash_v4(bits, address->uint32)));
            }
        }
    }
    if (address != NULL && address->type == FWP_BYTE_ARRAY16_TYPE) {
        for (uint32_t bits = 1; bits <= 128; bits++) {
            if (index->v6_lengths[bits] != 0) {
                add_cursor(candidates, sim_bucket_of(index, sim_hash_v6(bits, address->byteArray16->byteArray16)));
            }
        }
    }
}

static void
all_candidates(sim_candidates* candidates, uint16_t layer, const sim_object* sublayer)
{
    uint32_t count = 0;

    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) {
            candidates->all = sim_allocate((count + 1) * sizeof(*candidates->all));
            count = 0;
        }
        for (sim_object* object = sim_objects; object != NULL; object = object->next) {
            if (object->kind == SIM_FILTER && object->layer == layer && object->sublayer == sublayer
                && sim_object_is_live(object)) {
                if (pass == 1) {
                    candidates->all[count] = object;
                }
                count++;
            }
        }
    }
    qsort(candidates->all, count, sizeof(*candidates->all), sim_compare_filters);
    candidates->cursors[0].at = candidates->all;
    candidates->cursors[0].end = candidates->all + count;
    candidates->count = 1;
}

void
sim_candidates_start(
    sim_candidates* candidates, uint16_t layer, uint32_t position, const FWPS_INCOMING_VALUES0* values)
{
    const sim_index* index = sim_views[sim_layer_position(layer)].indexes[position];
    const FWP_VALUE0* app = value_at(values, &FWPM_CONDITION_ALE_APP_ID);
    const FWP_VALUE0* port = value_at(values, &FWPM_CONDITION_IP_REMOTE_PORT);

    candidates->count = 0;
    candidates->last = NULL;
    candidates->all = NULL;
    if (sim_brute_force) {
        all_candidates(candidates, layer, index->sublayer);
        return;
    }
    add_cursor(candidates, &index->residual);
    if (index->slot_count == 0) {
        return;
    }
    if (app != NULL && app->type == FWP_BYTE_BLOB_TYPE) {
        add_cursor(candidates, sim_bucket_of(index, sim_hash_bytes(SIM_KEY_APP, 0, app->byteBlob->data, app->byteBlob->size)));
    }
    if (port != NULL && port->type == FWP_UINT16) {
        add_cursor(candidates, sim_bucket_of(index, sim_hash_bytes(SIM_KEY_PORT, port->uint16, NULL, 0)));
    }
    add_address_cursors(candidates, index, value_at(values, &FWPM_CONDITION_IP_REMOTE_ADDRESS));
}

// The heaviest head of all cursors; one filter may stand in several buckets, and is tried once.
sim_object*
sim_candidates_next(sim_candidates* candidates)
{
    for (;;) {
        uint32_t best = UINT32_MAX;
        sim_object* filter;

        for (uint32_t i = 0; i < candidates->count; i++) {
            if (candidates->cursors[i].at != candidates->cursors[i].end
                && (best == UINT32_MAX
                    || sim_by_weight(*candidates->cursors[i].at, *candidates->cursors[best].at) < 0)) {
                best = i;
            }
        }
        if (best == UINT32_MAX) {
            return NULL;
        }
        filter = *candidates->cursors[best].at++;
        if (filter != candidates->last) {
            candidates->last = filter;
            return filter;
        }
    }
}

void
sim_candidates_end(sim_candidates* candidates)
{
    free(candidates->all);
}

void
sim_classify_by_brute_force(int on)
{
    sim_brute_force = on;
}
