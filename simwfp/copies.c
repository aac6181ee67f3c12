// Deep copies of FWPM_* structures: the structure and everything it points at, in one block that one free() gives back.
//
// Each is made twice by the same code, first without memory to learn its size.
#define _GNU_SOURCE
#include "objects.h"

#include <string.h>

#define SIM_ALIGNMENT 16u

typedef struct sim_arena {
    uint8_t* base; // NULL: measuring
    size_t used;
} sim_arena;

static void*
put(sim_arena* arena, const void* from, size_t size)
{
    size_t at = (arena->used + SIM_ALIGNMENT - 1) & ~(size_t)(SIM_ALIGNMENT - 1);

    if (from == NULL || size == 0) {
        return NULL;
    }
    arena->used = at + size;
    if (arena->base == NULL) {
        return NULL;
    }
    memcpy(arena->base + at, from, size);
    return arena->base + at;
}

static PWSTR
put_string(sim_arena* arena, PCWSTR from)
{
    size_t length = 0;

    while (from != NULL && from[length] != 0) {
        length++;
    }
    return put(arena, from, (length + 1) * sizeof(*from));
}

static FWPM_DISPLAY_DATA0
put_display(sim_arena* arena, FWPM_DISPLAY_DATA0 from)
{
    return (FWPM_DISPLAY_DATA0){put_string(arena, from.name), put_string(arena, from.description)};
}

static FWP_BYTE_BLOB
put_bytes(sim_arena* arena, FWP_BYTE_BLOB from)
{
    return (FWP_BYTE_BLOB){from.size, put(arena, from.data, from.size)};
}

static FWP_BYTE_BLOB*
put_blob(sim_arena* arena, const FWP_BYTE_BLOB* from)
{
    FWP_BYTE_BLOB to;

    if (from == NULL) {
        return NULL;
    }
    to = put_bytes(arena, *from);
    return put(arena, &to, sizeof(to));
}

static FWP_VALUE0
put_value(sim_arena* arena, FWP_VALUE0 value)
{
    switch (value.type) {
    case FWP_UINT64:
        value.uint64 = put(arena, value.uint64, sizeof(*value.uint64));
        break;
    case FWP_BYTE_ARRAY16_TYPE:
        value.byteArray16 = put(arena, value.byteArray16, sizeof(*value.byteArray16));
        break;
    case FWP_BYTE_BLOB_TYPE:
    case FWP_SECURITY_DESCRIPTOR_TYPE:
        value.byteBlob = put_blob(arena, value.byteBlob);
        break;
    case FWP_SID:
        value.sid = put(arena, value.sid, sim_sid_size(value.sid));
        break;
    default:
        break; // the value is in the structure itself
    }
    return value;
}

static FWP_CONDITION_VALUE0
put_condition_value(sim_arena* arena, FWP_CONDITION_VALUE0 value)
{
    FWP_VALUE0 plain = {.type = value.type};
    FWP_RANGE0 range;

    switch (value.type) {
    case FWP_V4_ADDR_MASK:
        value.v4AddrMask = put(arena, value.v4AddrMask, sizeof(*value.v4AddrMask));
        break;
    case FWP_V6_ADDR_MASK:
        value.v6AddrMask = put(arena, value.v6AddrMask, sizeof(*value.v6AddrMask));
        break;
    case FWP_RANGE_TYPE:
        range.valueLow = put_value(arena, value.rangeValue->valueLow);
        range.valueHigh = put_value(arena, value.rangeValue->valueHigh);
        value.rangeValue = put(arena, &range, sizeof(range));
        break;
    default:
        plain.uint64 = value.uint64;
        value.uint64 = put_value(arena, plain).uint64;
    }
    return value;
}

static FWPM_FILTER_CONDITION0*
put_conditions(sim_arena* arena, const FWPM_FILTER_CONDITION0* from, uint32_t count)
{
    FWPM_FILTER_CONDITION0* to = put(arena, from, count * sizeof(*from));

    for (uint32_t i = 0; i < count; i++) {
        FWP_CONDITION_VALUE0 value = put_condition_value(arena, from[i].conditionValue);

        if (to != NULL) {
            to[i].conditionValue = value;
        }
    }
    return to;
}

static void*
put_object(sim_arena* arena, sim_kind kind, const void* from)
{
    union {
        FWPM_PROVIDER0 provider;
        FWPM_PROVIDER_CONTEXT0 context;
        FWPM_SUBLAYER0 sublayer;
        FWPM_CALLOUT0 callout;
        FWPM_FILTER0 filter;
    } to;

#define SIM_PUT_COMMON(member)                                                                                        \
    memcpy(&to.member, from, sizeof(to.member));                                                                      \
    to.member.displayData = put_display(arena, to.member.displayData);                                                \
    to.member.providerData = put_bytes(arena, to.member.providerData)
#define SIM_PUT_OWNED(member)                                                                                         \
    SIM_PUT_COMMON(member);                                                                                           \
    to.member.providerKey = put(arena, to.member.providerKey, sizeof(GUID))

    switch (kind) {
    case SIM_PROVIDER:
        SIM_PUT_COMMON(provider);
        to.provider.serviceName = put_string(arena, to.provider.serviceName);
        return put(arena, &to.provider, sizeof(to.provider));
    case SIM_CONTEXT:
        SIM_PUT_OWNED(context);
        to.context.dataBuffer = put_blob(arena, to.context.dataBuffer);
        return put(arena, &to.context, sizeof(to.context));
    case SIM_SUBLAYER:
        SIM_PUT_OWNED(sublayer);
        return put(arena, &to.sublayer, sizeof(to.sublayer));
    case SIM_CALLOUT:
        SIM_PUT_OWNED(callout);
        return put(arena, &to.callout, sizeof(to.callout));
    case SIM_FILTER:
        SIM_PUT_OWNED(filter);
        to.filter.weight = put_value(arena, to.filter.weight);
        to.filter.effectiveWeight = put_value(arena, to.filter.effectiveWeight);
        to.filter.filterCondition = put_conditions(arena, to.filter.filterCondition, to.filter.numFilterConditions);
        to.filter.reserved = NULL;
        return put(arena, &to.filter, sizeof(to.filter));
    case SIM_KINDS:
        break;
    }
    return NULL;
}

void*
sim_copy(sim_kind kind, const void* from, void** block)
{
    sim_arena arena = {NULL, 0};

    (void)put_object(&arena, kind, from);
    arena.base = sim_allocate(arena.used);
    arena.used = 0;
    *block = arena.base;
    return put_object(&arena, kind, from);
}

static void**
put_all(sim_arena* arena, sim_kind kind, void* const* from, uint32_t count)
{
    void** array = put(arena, from, count * sizeof(*from));

    for (uint32_t i = 0; i < count; i++) {
        void* copy = put_object(arena, kind, from[i]);

        if (array != NULL) {
            array[i] = copy;
        }
    }
    return array;
}

// An array of `count`, and what it points at.
void**
sim_copy_all(sim_kind kind, void* const* from, uint32_t count, void** block)
{
    sim_arena arena = {NULL, 0};

    (void)put_all(&arena, kind, from, count);
    arena.base = sim_allocate(arena.used + 1);
    arena.used = 0;
    *block = arena.base;
    return put_all(&arena, kind, from, count);
}
