// Conditions of filters: which are legal on which field, and whether they match a set of values (wfp-engine.md 2.4, 2.5).
#include "classify.h"

#include <stdlib.h>
#include <string.h>

// ---- building ----

static FWP_DATA_TYPE
plain_type(sim_field_kind kind, int v6)
{
    switch (kind) {
    case SIM_FIELD_UINT8:
        return FWP_UINT8;
    case SIM_FIELD_UINT16:
        return FWP_UINT16;
    case SIM_FIELD_UINT32:
        return FWP_UINT32;
    case SIM_FIELD_UINT64:
        return FWP_UINT64;
    case SIM_FIELD_ADDRESS:
        return v6 ? FWP_BYTE_ARRAY16_TYPE : FWP_UINT32;
    case SIM_FIELD_SID:
        return FWP_SID;
    case SIM_FIELD_TOKEN:
        return FWP_SECURITY_DESCRIPTOR_TYPE; // the field is a token, the condition a descriptor
    case SIM_FIELD_BLOB:
        break;
    }
    return FWP_BYTE_BLOB_TYPE;
}

static int
match_is_legal(FWP_MATCH_TYPE match, FWP_DATA_TYPE type)
{
    int integer = type == FWP_UINT8 || type == FWP_UINT16 || type == FWP_UINT32 || type == FWP_UINT64;

    switch (match) {
    case FWP_MATCH_EQUAL:
        return type != FWP_RANGE_TYPE;
    case FWP_MATCH_RANGE:
        return type == FWP_RANGE_TYPE;
    case FWP_MATCH_GREATER:
    case FWP_MATCH_LESS:
    case FWP_MATCH_GREATER_OR_EQUAL:
    case FWP_MATCH_LESS_OR_EQUAL:
        return integer || type == FWP_BYTE_ARRAY16_TYPE || type == FWP_BYTE_BLOB_TYPE;
    case FWP_MATCH_NOT_EQUAL:
        return integer || type == FWP_BYTE_ARRAY16_TYPE || type == FWP_BYTE_BLOB_TYPE || type == FWP_SID;
    case FWP_MATCH_FLAGS_ALL_SET:
    case FWP_MATCH_FLAGS_ANY_SET:
    case FWP_MATCH_FLAGS_NONE_SET:
        return integer;
    case FWP_MATCH_EQUAL_CASE_INSENSITIVE: // for unicode strings, and no field here is one
    case FWP_MATCH_TYPE_MAX:
        break;
    }
    return 0;
}

static uint64_t
integer_of(FWP_DATA_TYPE type, uint8_t u8, uint16_t u16, uint32_t u32)
{
    return type == FWP_UINT8 ? u8 : type == FWP_UINT16 ? u16 : u32;
}

static void
copy_bytes(sim_condition* condition, const void* bytes, uint32_t size)
{
    condition->blob_size = size;
    condition->blob = sim_allocate(size + 1u);
    if (size != 0) {
        memcpy(condition->blob, bytes, size);
    }
}

static int
is_contiguous_mask(uint32_t mask)
{
    return (~mask & (~mask + 1u)) == 0;
}

static NTSTATUS
copy_range(const FWP_RANGE0* range, FWP_DATA_TYPE plain, sim_condition* condition)
{
    const FWP_VALUE0* low = &range->valueLow;
    const FWP_VALUE0* high = &range->valueHigh;

    if (low->type != plain || high->type != plain) {
        return STATUS_FWP_TYPE_MISMATCH;
    }
    if (plain == FWP_BYTE_ARRAY16_TYPE) {
        memcpy(condition->low16, low->byteArray16, 16);
        memcpy(condition->high16, high->byteArray16, 16);
        return memcmp(condition->low16, condition->high16, 16) > 0 ? STATUS_FWP_INVALID_RANGE : STATUS_SUCCESS;
    }
    condition->is_integer = 1;
    condition->low = plain == FWP_UINT64 ? *low->uint64 : integer_of(plain, low->uint8, low->uint16, low->uint32);
    condition->high = plain == FWP_UINT64 ? *high->uint64 : integer_of(plain, high->uint8, high->uint16, high->uint32);
    return condition->low > condition->high ? STATUS_FWP_INVALID_RANGE : STATUS_SUCCESS;
}

static NTSTATUS
copy_value(const FWP_CONDITION_VALUE0* value, FWP_DATA_TYPE plain, sim_condition* condition)
{
    switch (value->type) {
    case FWP_EMPTY:
        return STATUS_SUCCESS;
    case FWP_UINT8:
    case FWP_UINT16:
    case FWP_UINT32:
        condition->low = integer_of(value->type, value->uint8, value->uint16, value->uint32);
        return value->type == plain ? STATUS_SUCCESS : STATUS_FWP_TYPE_MISMATCH;
    case FWP_BYTE_ARRAY16_TYPE:
        memcpy(condition->low16, value->byteArray16, 16);
        return plain == FWP_BYTE_ARRAY16_TYPE ? STATUS_SUCCESS : STATUS_FWP_TYPE_MISMATCH;
    case FWP_UINT64:
        condition->low = *value->uint64;
        return plain == FWP_UINT64 ? STATUS_SUCCESS : STATUS_FWP_TYPE_MISMATCH;
    case FWP_BYTE_BLOB_TYPE:
        if (plain != FWP_BYTE_BLOB_TYPE) {
            return STATUS_FWP_TYPE_MISMATCH;
        }
        copy_bytes(condition, value->byteBlob->data, value->byteBlob->size);
        return STATUS_SUCCESS;
    case FWP_SID:
        if (plain != FWP_SID) {
            return STATUS_FWP_TYPE_MISMATCH;
        }
        copy_bytes(condition, value->sid, sim_sid_size(value->sid));
        return STATUS_SUCCESS;
    case FWP_SECURITY_DESCRIPTOR_TYPE:
        if (plain != FWP_SECURITY_DESCRIPTOR_TYPE) {
            return STATUS_FWP_TYPE_MISMATCH;
        }
        if (!sim_descriptor_valid(value->sd->data, value->sd->size)) {
            return STATUS_INVALID_SECURITY_DESCR;
        }
        copy_bytes(condition, value->sd->data, value->sd->size);
        return STATUS_SUCCESS;
    case FWP_V4_ADDR_MASK:
        condition->low = value->v4AddrMask->addr;
        condition->high = value->v4AddrMask->mask;
        if (plain != FWP_UINT32) {
            return STATUS_FWP_TYPE_MISMATCH;
        }
        return is_contiguous_mask(value->v4AddrMask->mask) ? STATUS_SUCCESS : STATUS_FWP_INVALID_NET_MASK;
    case FWP_V6_ADDR_MASK:
        memcpy(condition->low16, value->v6AddrMask->addr, 16);
        condition->high = value->v6AddrMask->prefixLength;
        if (plain != FWP_BYTE_ARRAY16_TYPE) {
            return STATUS_FWP_TYPE_MISMATCH;
        }
        return condition->high <= 128 ? STATUS_SUCCESS : STATUS_FWP_INVALID_NET_MASK;
    case FWP_RANGE_TYPE:
        return copy_range(value->rangeValue, plain, condition);
    default:
        return STATUS_FWP_TYPE_MISMATCH;
    }
}

NTSTATUS
sim_condition_build(uint16_t layer, const FWPM_FILTER_CONDITION0* from, sim_condition* condition)
{
    sim_field_kind kind = SIM_FIELD_UINT8;
    NTSTATUS status;
    FWP_DATA_TYPE plain;

    memset(condition, 0, sizeof(*condition));
    if (from->matchType >= FWP_MATCH_TYPE_MAX) {
        return STATUS_FWP_INVALID_ENUMERATOR;
    }
    if (!sim_field_of_key(layer, &from->fieldKey, &condition->field, &kind)) {
        return STATUS_FWP_CONDITION_NOT_FOUND;
    }
    condition->match = from->matchType;
    condition->type = from->conditionValue.type;
    plain = plain_type(kind, sim_layer_is_v6(layer));
    if ((condition->type == FWP_V4_ADDR_MASK || condition->type == FWP_V6_ADDR_MASK) && kind != SIM_FIELD_ADDRESS) {
        return STATUS_FWP_TYPE_MISMATCH;
    }
    status = copy_value(&from->conditionValue, plain, condition);
    if (NT_SUCCESS(status) && !match_is_legal(condition->match, condition->type)) {
        status = STATUS_FWP_MATCH_TYPE_MISMATCH;
    }
    if (!NT_SUCCESS(status)) {
        sim_condition_free(condition);
    }
    return status;
}

void
sim_condition_free(sim_condition* condition)
{
    free(condition->blob);
    condition->blob = NULL;
}

// ---- matching ----

static int
compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int
compare_blobs(const FWP_BYTE_BLOB* value, const sim_condition* condition)
{
    uint32_t common = value->size < condition->blob_size ? value->size : condition->blob_size;
    int order = common == 0 ? 0 : memcmp(value->data, condition->blob, common);

    return order != 0 ? order : compare(value->size, condition->blob_size);
}

static int
holds(FWP_MATCH_TYPE match, int order)
{
    switch (match) {
    case FWP_MATCH_EQUAL:
        return order == 0;
    case FWP_MATCH_NOT_EQUAL:
        return order != 0;
    case FWP_MATCH_GREATER:
        return order > 0;
    case FWP_MATCH_LESS:
        return order < 0;
    case FWP_MATCH_GREATER_OR_EQUAL:
        return order >= 0;
    case FWP_MATCH_LESS_OR_EQUAL:
        return order <= 0;
    default:
        return 0;
    }
}

static int
in_v6_prefix(const uint8_t* address, const uint8_t* prefix, uint64_t bits)
{
    size_t whole = (size_t)(bits / 8);

    if (memcmp(address, prefix, whole) != 0) {
        return 0;
    }
    return bits % 8 == 0 || ((address[whole] ^ prefix[whole]) >> (8 - bits % 8)) == 0;
}

static int
integer_matches(uint64_t value, const sim_condition* condition)
{
    switch (condition->match) {
    case FWP_MATCH_RANGE:
        return value >= condition->low && value <= condition->high;
    case FWP_MATCH_FLAGS_ALL_SET:
        return (value & condition->low) == condition->low;
    case FWP_MATCH_FLAGS_ANY_SET:
        return (value & condition->low) != 0;
    case FWP_MATCH_FLAGS_NONE_SET:
        return (value & condition->low) == 0;
    default:
        break;
    }
    if (condition->type == FWP_V4_ADDR_MASK) {
        return (value & condition->high) == (condition->low & condition->high);
    }
    return holds(condition->match, compare(value, condition->low));
}

static int
condition_matches(const sim_condition* condition, const FWP_VALUE0* value)
{
    if (value->type == FWP_EMPTY) {
        if (condition->match == FWP_MATCH_NOT_EQUAL) {
            return (int)sim_settings.empty_matches_not_equal;
        }
        return condition->match == FWP_MATCH_EQUAL && condition->type == FWP_EMPTY;
    }
    if (condition->type == FWP_EMPTY) {
        return 0;
    }
    switch (value->type) {
    case FWP_UINT8:
        return integer_matches(value->uint8, condition);
    case FWP_UINT16:
        return integer_matches(value->uint16, condition);
    case FWP_UINT32:
        return integer_matches(value->uint32, condition);
    case FWP_BYTE_ARRAY16_TYPE: {
        const uint8_t* bytes = value->byteArray16->byteArray16;
        if (condition->type == FWP_V6_ADDR_MASK) {
            return in_v6_prefix(bytes, condition->low16, condition->high);
        }
        if (condition->match == FWP_MATCH_RANGE) {
            return memcmp(bytes, condition->low16, 16) >= 0 && memcmp(bytes, condition->high16, 16) <= 0;
        }
        return holds(condition->match, memcmp(bytes, condition->low16, 16));
    }
    case FWP_UINT64:
        return integer_matches(*value->uint64, condition);
    case FWP_BYTE_BLOB_TYPE:
        return holds(condition->match, compare_blobs(value->byteBlob, condition));
    case FWP_SID:
        return holds(condition->match, !sim_sids_equal(value->sid, condition->blob));
    case FWP_TOKEN_ACCESS_INFORMATION_TYPE:
        return sim_descriptor_grants(condition->blob, (const void*)value->tokenAccessInformation->data);
    default:
        return 0;
    }
}

// Different fields: AND.  Adjacent conditions of one field: OR.
int
sim_filter_matches(const sim_object* filter, const FWPS_INCOMING_VALUES0* values)
{
    uint32_t i = 0;

    while (i < filter->condition_count) {
        uint32_t field = filter->conditions[i].field;
        int any = 0;

        for (; i < filter->condition_count && filter->conditions[i].field == field; i++) {
            any = any || condition_matches(&filter->conditions[i], &values->incomingValue[field].value);
        }
        if (!any) {
            return 0;
        }
    }
    return 1;
}
