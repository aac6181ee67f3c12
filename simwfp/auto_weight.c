// The weight that BFE gives a filter which asks for none: documented only as "how specific the filter is".
//
// Measured effective weights (wfp-engine.md 2.3) fit one reading: every field owns fixed bits of a 60-bit word, bits of
// different fields are added, a range over the whole type adds nothing, every proper range the same however wide, and an
// exact address more.  The measured fields have their measured bits here; the others bits of their own below the
// addresses.  Nothing may depend on any of it: policy sets its weights itself, and two other modes exist to prove that.
#include "classify.h"

#include <string.h>

typedef struct sim_weight_slot {
    const GUID* key;
    uint64_t exact_v4, exact_v6;
    uint64_t range;
} sim_weight_slot;

#define MASK_EXACT 0x0400000000000000ull // an address given as a /32 mask, on another build than the rest
static const sim_weight_slot sim_slots[] = {
    {&FWPM_CONDITION_IP_REMOTE_ADDRESS, 0x0200000000000000, 0x0200000000000000, 0x0080000000000000},
    {&FWPM_CONDITION_ALE_PACKAGE_ID, 0x0000004000000000, 0x0000001000000000, 0},
    {&FWPM_CONDITION_ALE_USER_ID, 0x0000002000000000, 0x0000000800000000, 0},
    {&FWPM_CONDITION_ORIGINAL_PROFILE_ID, 0x0000000000001E00, 0x0000000000000E00, 0},
    {&FWPM_CONDITION_CURRENT_PROFILE_ID, 0x00000000000001C0, 0x00000000000001C0, 0},
    {&FWPM_CONDITION_IP_LOCAL_ADDRESS, 0x0020000000000000, 0x0020000000000000, 0x0010000000000000},
    {&FWPM_CONDITION_IP_REMOTE_PORT, 0x0008000000000000, 0x0008000000000000, 0x0004000000000000},
    {&FWPM_CONDITION_IP_LOCAL_PORT, 0x0002000000000000, 0x0002000000000000, 0x0001000000000000},
    {&FWPM_CONDITION_ALE_APP_ID, 0x0000800000000000, 0x0000800000000000, 0},
    {&FWPM_CONDITION_ALE_ORIGINAL_APP_ID, 0x0000400000000000, 0x0000400000000000, 0},
    {&FWPM_CONDITION_IP_PROTOCOL, 0x0000200000000000, 0x0000200000000000, 0},
    {&FWPM_CONDITION_INTERFACE_INDEX, 0x0000100000000000, 0x0000100000000000, 0},
    {&FWPM_CONDITION_FLAGS, 0x0000000000000020, 0x0000000000000020, 0},
};

static int
is_whole_range(const sim_condition* condition)
{
    static const uint8_t zeros[16];
    uint8_t ones[16];

    memset(ones, 0xFF, sizeof(ones));
    if (condition->type == FWP_V4_ADDR_MASK || condition->type == FWP_V6_ADDR_MASK) {
        return condition->high == 0;
    }
    return condition->match == FWP_MATCH_RANGE
           && ((condition->low == 0 && condition->high == UINT32_MAX)
               || (memcmp(condition->low16, zeros, 16) == 0 && memcmp(condition->high16, ones, 16) == 0));
}

static int
is_exact_mask(const sim_condition* condition)
{
    return (condition->type == FWP_V4_ADDR_MASK && condition->high == UINT32_MAX)
           || (condition->type == FWP_V6_ADDR_MASK && condition->high == 128);
}

static uint64_t
slot_weight(const sim_object* filter, const sim_condition* condition)
{
    int mask = condition->type == FWP_V4_ADDR_MASK || condition->type == FWP_V6_ADDR_MASK;

    for (size_t i = 0; i < sizeof(sim_slots) / sizeof(sim_slots[0]); i++) {
        uint32_t field;
        sim_field_kind kind;

        if (!sim_field_of_key(filter->layer, sim_slots[i].key, &field, &kind) || field != condition->field) {
            continue;
        }
        if (is_whole_range(condition)) {
            return 0;
        }
        if (is_exact_mask(condition)) {
            return i == 0 ? MASK_EXACT : sim_slots[i].exact_v4;
        }
        if (condition->match == FWP_MATCH_RANGE || mask) {
            return sim_slots[i].range;
        }
        return sim_layer_is_v6(filter->layer) ? sim_slots[i].exact_v6 : sim_slots[i].exact_v4;
    }
    return 1;
}

uint64_t
sim_auto_weight(const sim_object* filter)
{
    uint64_t weight = 0;

    if (sim_settings.auto_weight == 1) {
        return 0;
    }
    if (sim_settings.auto_weight == 2) {
        return (filter->order + sim_settings.tie_seed + 1) * 0x9E3779B97F4A7C15ull >> 4;
    }
    for (uint32_t i = 0; i < filter->condition_count; i++) {
        weight |= slot_weight(filter, &filter->conditions[i]); // a run of one field counts once
    }
    return weight;
}
