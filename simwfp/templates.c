// Which objects an enumeration template selects.  Of filters: those whose conditions contain the template's, or overlap with them
// (FWP_FILTER_ENUM_TYPE); a field that either side says nothing about is everything.
#define _GNU_SOURCE
#include "templates.h"

#include <string.h>

static int
is_owned_by(const sim_object* object, const GUID* provider)
{
    return provider == NULL || (object->provider != NULL && sim_is_equal_guid(&object->provider->key, provider));
}

int
sim_provider_matches(const sim_object* object, const void* enum_template)
{
    (void)object;
    (void)enum_template; // it has nothing to say
    return 1;
}

int
sim_context_matches(const sim_object* object, const void* enum_template)
{
    const FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0* wanted = enum_template;
    const FWPM_PROVIDER_CONTEXT0* context = object->original;

    return is_owned_by(object, wanted->providerKey) && context->type == wanted->providerContextType;
}

int
sim_sublayer_matches(const sim_object* object, const void* enum_template)
{
    return is_owned_by(object, ((const FWPM_SUBLAYER_ENUM_TEMPLATE0*)enum_template)->providerKey);
}

int
sim_callout_matches(const sim_object* object, const void* enum_template)
{
    const FWPM_CALLOUT_ENUM_TEMPLATE0* wanted = enum_template;
    static const GUID any;
    uint16_t layer;

    return is_owned_by(object, wanted->providerKey)
           && (sim_is_equal_guid(&wanted->layerKey, &any)
               || (sim_layer_of_key(&wanted->layerKey, &layer) && layer == object->layer));
}

// ---- filters: conditions as intervals ----

typedef struct sim_interval {
    uint8_t low[16], high[16]; // both ends in; big-endian
} sim_interval;

static void
put_integer(uint8_t at[16], uint64_t value)
{
    memset(at, 0, 16);
    for (uint32_t i = 0; i < 8; i++) {
        at[15 - i] = (uint8_t)(value >> 8 * i);
    }
}

static void
prefix_interval(const sim_condition* condition, sim_interval* interval)
{
    for (uint32_t bit = 0; bit < 128; bit++) {
        uint8_t mask = (uint8_t)(0x80u >> bit % 8);

        if (bit >= condition->high) {
            interval->low[bit / 8] &= (uint8_t)~mask;
            interval->high[bit / 8] |= mask;
        }
    }
}

// The next (by 1) or the previous (by -1) value; 0: there is none.
static int
step(uint8_t value[16], int by)
{
    for (uint32_t i = 16; i-- > 0;) {
        value[i] = (uint8_t)(value[i] + by);
        if (value[i] != (by > 0 ? 0x00 : 0xFF)) {
            return 1;
        }
    }
    return 0;
}

// 0: its values are no interval, or there are none.
static int
interval_of(const sim_condition* condition, sim_interval* interval)
{
    int integer = condition->type == FWP_UINT8 || condition->type == FWP_UINT16 || condition->type == FWP_UINT32
                  || condition->type == FWP_UINT64 || condition->type == FWP_V4_ADDR_MASK
                  || (condition->type == FWP_RANGE_TYPE && condition->is_integer);

    if (!integer && condition->type != FWP_BYTE_ARRAY16_TYPE && condition->type != FWP_V6_ADDR_MASK
        && condition->type != FWP_RANGE_TYPE) {
        return 0;
    }
    memcpy(interval->low, condition->low16, 16);
    memcpy(interval->high, condition->type == FWP_RANGE_TYPE ? condition->high16 : condition->low16, 16);
    if (condition->type == FWP_V6_ADDR_MASK) {
        prefix_interval(condition, interval);
    } else if (condition->type == FWP_V4_ADDR_MASK) {
        put_integer(interval->low, condition->low & condition->high);
        put_integer(interval->high, condition->low | (~condition->high & 0xFFFFFFFFu));
    } else if (integer) {
        put_integer(interval->low, condition->low);
        put_integer(interval->high, condition->type == FWP_RANGE_TYPE ? condition->high : condition->low);
    }
    switch (condition->match) {
    case FWP_MATCH_EQUAL:
    case FWP_MATCH_RANGE:
        return 1;
    case FWP_MATCH_GREATER:
    case FWP_MATCH_GREATER_OR_EQUAL:
        memset(interval->high, 0xFF, 16);
        return condition->match == FWP_MATCH_GREATER_OR_EQUAL || step(interval->low, 1);
    case FWP_MATCH_LESS:
    case FWP_MATCH_LESS_OR_EQUAL:
        memset(interval->low, 0, 16);
        return condition->match == FWP_MATCH_LESS_OR_EQUAL || step(interval->high, -1);
    default:
        return 0;
    }
}

static int
is_same(const sim_condition* a, const sim_condition* b)
{
    return a->type == b->type && a->low == b->low && a->high == b->high && memcmp(a->low16, b->low16, 16) == 0
           && memcmp(a->high16, b->high16, 16) == 0 && a->blob_size == b->blob_size
           && (a->blob_size == 0 || memcmp(a->blob, b->blob, a->blob_size) == 0);
}

// What is no interval: blobs, SIDs, descriptors, flags, inequalities.  Equal values contain each other, an inequality contains
// every other value, and of the rest one cannot tell, so they overlap.
static int
relates_as_values(const sim_condition* has, const sim_condition* wanted, int contain)
{
    if (has->match == FWP_MATCH_EQUAL && wanted->match == FWP_MATCH_EQUAL) {
        return is_same(has, wanted);
    }
    if (has->match == FWP_MATCH_NOT_EQUAL && wanted->match == FWP_MATCH_EQUAL) {
        return !is_same(has, wanted);
    }
    return !contain || (has->match == wanted->match && is_same(has, wanted));
}

// The filter's conditions from `first` on are an OR of one field.
static int
run_relates(const sim_object* filter, uint32_t first, const sim_condition* wanted, int contain)
{
    sim_interval left, has;
    int as_interval = interval_of(wanted, &left);

    for (uint32_t i = first; i < filter->condition_count && filter->conditions[i].field == wanted->field; i++) {
        const sim_condition* condition = &filter->conditions[i];

        if (!as_interval || !interval_of(condition, &has)) {
            if (relates_as_values(condition, wanted, contain)) {
                return 1;
            }
            continue;
        }
        if (memcmp(has.low, left.low, 16) > 0 || memcmp(has.high, left.low, 16) < 0) {
            if (!contain && memcmp(has.low, left.high, 16) <= 0 && memcmp(has.high, left.low, 16) >= 0) {
                return 1;
            }
            continue;
        }
        if (!contain || memcmp(has.high, left.high, 16) >= 0) {
            return 1;
        }
        memcpy(left.low, has.high, 16); // the rest must be in the others: look again from the start
        if (!step(left.low, 1)) {
            return 1;
        }
        i = first - 1;
    }
    return 0;
}

static int
conditions_relate(const sim_object* filter, const sim_filter_template* wanted)
{
    int contain = wanted->from->enumType == FWP_FILTER_ENUM_FULLY_CONTAINED;

    for (uint32_t i = 0; i < wanted->condition_count; i++) {
        uint32_t at = 0;

        while (at < filter->condition_count && filter->conditions[at].field != wanted->conditions[i].field) {
            at++;
        }
        if (at < filter->condition_count && !run_relates(filter, at, &wanted->conditions[i], contain)) {
            return 0;
        }
    }
    return 1;
}

static int
lifetime_is_wanted(const sim_object* filter, uint32_t flags)
{
    if ((flags & FWP_FILTER_ENUM_FLAG_BOOTTIME_ONLY) != 0) {
        return filter->lifetime == SIM_BOOT_TIME;
    }
    return (filter->lifetime != SIM_BOOT_TIME || (flags & FWP_FILTER_ENUM_FLAG_INCLUDE_BOOTTIME) != 0)
           && (!filter->disabled || (flags & FWP_FILTER_ENUM_FLAG_INCLUDE_DISABLED) != 0);
}

int
sim_filter_matches_template(const sim_object* filter, const void* enum_template)
{
    const sim_filter_template* wanted = enum_template;
    const FWPM_FILTER_ENUM_TEMPLATE0* from = wanted->from;

    return is_owned_by(filter, from->providerKey) && filter->layer == wanted->layer
           && lifetime_is_wanted(filter, from->flags) && (filter->action & from->actionMask) != 0
           && (from->calloutKey == NULL
               || (filter->callout != NULL && sim_is_equal_guid(&filter->callout->key, from->calloutKey)))
           && (from->providerContextTemplate == NULL
               || (filter->context != NULL && sim_context_matches(filter->context, from->providerContextTemplate)))
           && conditions_relate(filter, wanted);
}

// ---- building ----

NTSTATUS
sim_filter_template_build(const FWPM_FILTER_ENUM_TEMPLATE0* from, sim_filter_template* built)
{
    NTSTATUS status = STATUS_SUCCESS;

    *built = (sim_filter_template){.from = from};
    if (from->enumType >= FWP_FILTER_ENUM_TYPE_MAX) {
        return STATUS_FWP_INVALID_ENUMERATOR;
    }
    if ((from->flags & ~0x1Fu) != 0) {
        return STATUS_FWP_INVALID_FLAGS;
    }
    if (!sim_layer_of_key(&from->layerKey, &built->layer)) {
        return STATUS_FWP_LAYER_NOT_FOUND;
    }
    if (from->actionMask == FWP_ACTION_FLAG_CALLOUT && from->calloutKey == NULL) {
        return STATUS_FWP_NULL_POINTER;
    }
    if (from->numFilterConditions > SIM_TEMPLATE_CONDITIONS) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (uint32_t i = 0; i < from->numFilterConditions && NT_SUCCESS(status); i++) {
        status = sim_condition_build(built->layer, &from->filterCondition[i], &built->conditions[i]);
        for (uint32_t j = 0; j < i && NT_SUCCESS(status); j++) {
            if (built->conditions[j].field == built->conditions[i].field) {
                sim_condition_free(&built->conditions[i]);
                status = STATUS_FWP_DUPLICATE_CONDITION; // "distinct filter conditions"
            }
        }
        built->condition_count += NT_SUCCESS(status);
    }
    if (!NT_SUCCESS(status)) {
        sim_filter_template_free(built);
    }
    return status;
}

void
sim_filter_template_free(sim_filter_template* built)
{
    for (uint32_t i = 0; i < built->condition_count; i++) {
        sim_condition_free(&built->conditions[i]);
    }
    built->condition_count = 0;
}
