#include "filter_parts.h"

#define SIM_MAX_CONDITIONS 128u

// Follows one pointer.  Returns the address of what it points at in the block, NULL on an error or a null pointer.
static void*
visit(sim_parts* parts, void* pointer_field, size_t size)
{
    void* pointer;
    size_t at;

    memcpy(&pointer, pointer_field, sizeof(pointer));
    if (pointer == NULL || parts->error != 0) {
        return NULL;
    }
    at = parts->flatten ? (parts->used + 7u) & ~(size_t)7u : (size_t)(uintptr_t)pointer;
    if (size == 0 || at < sizeof(FWPM_FILTER0) || at % 8u != 0 || at > parts->size || size > parts->size - at) {
        parts->error = FWP_E_INVALID_PARAMETER;
        return NULL;
    }
    if (parts->flatten) {
        memcpy(parts->bytes + at, pointer, size);
        parts->used = at + size;
        pointer = (void*)(uintptr_t)at;
    } else {
        pointer = parts->bytes + at;
    }
    memcpy(pointer_field, &pointer, sizeof(pointer));
    return parts->bytes + at;
}

// A name: with its terminator, which the engine's side looks for itself.
static void
visit_string(sim_parts* parts, PWSTR* string)
{
    size_t length = 0;
    const WCHAR* at;

    while (parts->flatten && *string != NULL && (*string)[length] != 0) {
        length++;
    }
    at = visit(parts, string, (length + 1) * sizeof(WCHAR));
    if (at == NULL || parts->flatten) {
        return;
    }
    while ((const uint8_t*)(at + length) < parts->bytes + (parts->size & ~(size_t)1) && at[length] != 0) {
        length++;
    }
    if ((const uint8_t*)(at + length) >= parts->bytes + (parts->size & ~(size_t)1)) {
        parts->error = FWP_E_INVALID_PARAMETER; // it would be read past the end
    }
}

static void
visit_value(sim_parts* parts, FWP_VALUE0* value)
{
    FWP_BYTE_BLOB* blob;

    switch (value->type) {
    case FWP_EMPTY:
    case FWP_UINT8:
    case FWP_UINT16:
    case FWP_UINT32:
        break;
    case FWP_UINT64:
        (void)visit(parts, &value->uint64, sizeof(UINT64));
        break;
    case FWP_BYTE_ARRAY16_TYPE:
        (void)visit(parts, &value->byteArray16, 16);
        break;
    case FWP_BYTE_BLOB_TYPE:
        blob = visit(parts, &value->byteBlob, sizeof(*blob));
        if (blob != NULL) {
            (void)visit(parts, &blob->data, blob->size);
        }
        break;
    default:
        parts->error = FWP_E_INVALID_PARAMETER;
    }
}

static void
visit_condition(sim_parts* parts, FWP_CONDITION_VALUE0* value)
{
    FWP_RANGE0* range;

    switch (value->type) {
    case FWP_V4_ADDR_MASK:
        (void)visit(parts, &value->v4AddrMask, sizeof(*value->v4AddrMask));
        break;
    case FWP_V6_ADDR_MASK:
        (void)visit(parts, &value->v6AddrMask, sizeof(*value->v6AddrMask));
        break;
    case FWP_RANGE_TYPE:
        range = visit(parts, &value->rangeValue, sizeof(*range));
        if (range != NULL) {
            visit_value(parts, &range->valueLow);
            visit_value(parts, &range->valueHigh);
        }
        break;
    default:
        visit_value(parts, (FWP_VALUE0*)value);
    }
}

static void
visit_filter(sim_parts* parts)
{
    FWPM_FILTER0* filter = (FWPM_FILTER0*)(void*)parts->bytes;
    FWPM_FILTER_CONDITION0* conditions;

    filter->displayData.description = NULL;
    filter->providerData.data = NULL;
    filter->providerData.size = 0;
    visit_string(parts, &filter->displayData.name);
    (void)visit(parts, &filter->providerKey, sizeof(GUID));
    visit_value(parts, &filter->weight);
    if (filter->numFilterConditions > SIM_MAX_CONDITIONS
        || (filter->numFilterConditions != 0 && filter->filterCondition == NULL)) {
        parts->error = FWP_E_INVALID_PARAMETER;
        return;
    }
    conditions = filter->numFilterConditions == 0
                     ? NULL
                     : visit(parts, &filter->filterCondition, filter->numFilterConditions * sizeof(*conditions));
    for (UINT32 i = 0; conditions != NULL && i < filter->numFilterConditions; i++) {
        visit_condition(parts, &conditions[i].conditionValue);
    }
}

uint32_t
sim_filter_flatten(const FWPM_FILTER0* filter, void* bytes, size_t room, size_t* used)
{
    sim_parts parts = {bytes, room, sizeof(*filter), 1, 0};

    if (filter == NULL || room < sizeof(*filter)) {
        return FWP_E_INVALID_PARAMETER;
    }
    memcpy(bytes, filter, sizeof(*filter));
    visit_filter(&parts);
    *used = parts.used;
    return parts.error;
}

uint32_t
sim_filter_restore(void* bytes, size_t size)
{
    sim_parts parts = {bytes, size, 0, 0, 0};

    if (size < sizeof(FWPM_FILTER0)) {
        return FWP_E_INVALID_PARAMETER;
    }
    visit_filter(&parts);
    return parts.error;
}
