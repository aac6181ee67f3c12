// FwpmFilterAdd0: what it checks, in what order, and the filter that comes of it (wfp-engine.md 1.6, 2.3).
#define _GNU_SOURCE
#include "classify.h"

#include <stdlib.h>
#include <string.h>

#define SIM_AUTO_WEIGHT_BITS 60u

static uint64_t sim_next_filter_id;

// Nothing may refer to what may live shorter.  A persistent object refers to persistent ones of its own provider only.
static int
outlives(const sim_object* target, const sim_session* session, const sim_object* from)
{
    if (target->lifetime == SIM_BUILTIN) {
        return 1;
    }
    if (from->lifetime == SIM_DYNAMIC || from->lifetime == SIM_STATIC) {
        return target->session == NULL || (session->dynamic && target->session == session);
    }
    if (target->lifetime != SIM_PERSISTENT && target->lifetime != SIM_BOOT_TIME) {
        return 0;
    }
    return target->kind == SIM_PROVIDER || target->provider == NULL || target->provider == from->provider;
}

NTSTATUS
sim_refer(
    sim_kind kind, const GUID* key, const sim_session* session, const sim_object* from, NTSTATUS not_found,
    sim_object** target)
{
    sim_object* found;

    *target = NULL;
    if (key == NULL) {
        return STATUS_SUCCESS;
    }
    found = sim_object_find(kind, key, session);
    if (found == NULL) {
        return not_found;
    }
    if (!outlives(found, session, from)) {
        return STATUS_FWP_LIFETIME_MISMATCH;
    }
    if (!sim_may(session, found, FWPM_ACTRL_ADD_LINK)) {
        return STATUS_ACCESS_DENIED;
    }
    *target = found;
    return STATUS_SUCCESS;
}

static NTSTATUS
check_filter(const FWPM_FILTER0* filter, uint16_t* layer)
{
    const uint32_t known = 0x7F;
    int callout = filter->action.type == FWP_ACTION_CALLOUT_TERMINATING
                  || filter->action.type == FWP_ACTION_CALLOUT_UNKNOWN;

    if (filter->displayData.name == NULL) {
        return STATUS_FWP_NULL_DISPLAY_NAME;
    }
    if ((filter->flags & ~known) != 0 || (filter->flags & FWPM_FILTER_FLAG_DISABLED) != 0
        || (filter->flags & (FWPM_FILTER_FLAG_PERSISTENT | FWPM_FILTER_FLAG_BOOTTIME))
               == (FWPM_FILTER_FLAG_PERSISTENT | FWPM_FILTER_FLAG_BOOTTIME)
        || ((filter->flags & FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED) != 0 && !callout)) {
        return STATUS_FWP_INVALID_FLAGS;
    }
    if (!sim_layer_of_key(&filter->layerKey, layer)) {
        return STATUS_FWP_LAYER_NOT_FOUND;
    }
    if (!callout && filter->action.type != FWP_ACTION_CALLOUT_INSPECTION && filter->action.type != FWP_ACTION_BLOCK
        && filter->action.type != FWP_ACTION_PERMIT && filter->action.type != FWP_ACTION_CONTINUE) {
        return STATUS_FWP_INVALID_ACTION_TYPE;
    }
    return STATUS_SUCCESS;
}

// FWP_EMPTY and the low 60 bits of a UINT8 weight are the engine's own choice: auto_weight.c.
static NTSTATUS
filter_weight(const FWP_VALUE0* from, sim_object* filter)
{
    switch (from->type) {
    case FWP_EMPTY:
        filter->filter_weight = sim_auto_weight(filter);
        return STATUS_SUCCESS;
    case FWP_UINT8:
        filter->filter_weight = ((uint64_t)from->uint8 << SIM_AUTO_WEIGHT_BITS) + sim_auto_weight(filter);
        return from->uint8 <= 15 ? STATUS_SUCCESS : STATUS_FWP_INVALID_WEIGHT;
    case FWP_UINT64:
        filter->filter_weight = from->uint64 == NULL ? 0 : *from->uint64;
        return from->uint64 == NULL ? STATUS_FWP_INVALID_WEIGHT : STATUS_SUCCESS;
    default:
        return STATUS_FWP_INVALID_WEIGHT;
    }
}

static NTSTATUS
build_conditions(const FWPM_FILTER0* filter, sim_object* object)
{
    uint64_t seen = 0;

    object->conditions = sim_allocate(filter->numFilterConditions * sizeof(sim_condition) + 1);
    for (uint32_t i = 0; i < filter->numFilterConditions; i++) {
        NTSTATUS status = sim_condition_build(object->layer, &filter->filterCondition[i], &object->conditions[i]);

        if (!NT_SUCCESS(status)) {
            return status;
        }
        object->condition_count++;
        if (i == 0 || object->conditions[i].field != object->conditions[i - 1].field) {
            uint64_t bit = 1ull << object->conditions[i].field;

            if ((seen & bit) != 0) {
                return STATUS_FWP_DUPLICATE_CONDITION; // the field has a run of its own already
            }
            seen |= bit;
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS
refer_of_filter(const FWPM_FILTER0* filter, const sim_session* session, sim_object* object)
{
    static const GUID zero;
    const GUID* sublayer = sim_is_equal_guid(&filter->subLayerKey, &zero) ? &FWPM_SUBLAYER_UNIVERSAL
                                                                          : &filter->subLayerKey;
    int callout = (filter->action.type & 0x4000) != 0; // FWP_ACTION_FLAG_CALLOUT
    int context = (filter->flags & FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT) != 0;
    NTSTATUS status = sim_refer(
        SIM_PROVIDER, filter->providerKey, session, object, STATUS_FWP_PROVIDER_NOT_FOUND, &object->provider);

    if (NT_SUCCESS(status)) {
        status = sim_refer(SIM_SUBLAYER, sublayer, session, object, STATUS_FWP_SUBLAYER_NOT_FOUND, &object->sublayer);
    }
    if (NT_SUCCESS(status) && context) {
        status = sim_refer(
            SIM_CONTEXT, &filter->providerContextKey, session, object, STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND,
            &object->context);
    }
    if (NT_SUCCESS(status) && callout) {
        status = sim_refer(
            SIM_CALLOUT, &filter->action.calloutKey, session, object, STATUS_FWP_CALLOUT_NOT_FOUND, &object->callout);
    }
    if (NT_SUCCESS(status) && callout && object->callout->layer != object->layer) {
        status = STATUS_FWP_INCOMPATIBLE_LAYER;
    }
    return status;
}

static void
fill_run_time(const FWPM_FILTER0* filter, sim_object* object)
{
    object->run_time.filterId = object->id;
    object->run_time.weight.type = FWP_UINT64;
    object->run_time.weight.uint64 = &object->filter_weight;
    object->run_time.subLayerWeight = object->sublayer->weight;
    if ((filter->flags & FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT) != 0) {
        object->run_time.flags |= FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT;
    }
    if ((filter->flags & FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED) != 0) {
        object->run_time.flags |= FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED;
    }
    for (uint32_t i = 1; i < object->condition_count; i++) {
        if (object->conditions[i].field == object->conditions[i - 1].field) {
            object->run_time.flags |= FWPS_FILTER_FLAG_OR_CONDITIONS;
        }
    }
    object->run_time.numFilterConditions = object->condition_count;
    object->run_time.action.type = filter->action.type;
    object->run_time.context = object->context != NULL ? 0 : filter->rawContext;
    if (object->context != NULL && object->callout != NULL
        && (object->callout->flags & FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT) != 0) {
        object->run_time.providerContext = object->context->original; // no callout sees one that it did not ask for
    }
}

// As it will be enumerated: with what the engine chose.
static void
keep_original(const FWPM_FILTER0* filter, sim_object* object)
{
    FWPM_FILTER0 kept = *filter;

    kept.filterKey = object->key;
    kept.subLayerKey = object->sublayer->key;
    kept.filterId = object->id;
    kept.effectiveWeight = (FWP_VALUE0){.type = FWP_UINT64, .uint64 = &object->filter_weight};
    object->original = sim_copy(SIM_FILTER, &kept, &object->original_block);
}

static NTSTATUS
build_filter(const FWPM_FILTER0* filter, const sim_session* session, sim_object* object)
{
    static const GUID zero;
    NTSTATUS status = check_filter(filter, &object->layer);

    object->lifetime = session->dynamic                                        ? SIM_DYNAMIC
                       : (filter->flags & FWPM_FILTER_FLAG_PERSISTENT) != 0 ? SIM_PERSISTENT
                       : (filter->flags & FWPM_FILTER_FLAG_BOOTTIME) != 0   ? SIM_BOOT_TIME
                                                                               : SIM_STATIC;
    if (NT_SUCCESS(status)) {
        status = refer_of_filter(filter, session, object);
    }
    if (NT_SUCCESS(status) && !sim_is_equal_guid(&filter->filterKey, &zero)
        && sim_object_find(SIM_FILTER, &filter->filterKey, session) != NULL) {
        status = STATUS_FWP_ALREADY_EXISTS;
    }
    if (NT_SUCCESS(status)) {
        status = build_conditions(filter, object);
    }
    if (NT_SUCCESS(status)) {
        object->order = ++sim_next_filter_id;
        status = filter_weight(&filter->weight, object);
    }
    if (NT_SUCCESS(status)) {
        object->kind = SIM_FILTER;
        object->id = object->order;
        object->key = filter->filterKey;
        sim_key_choose(object);
        object->flags = filter->flags;
        object->action = filter->action.type;
        fill_run_time(filter, object);
        keep_original(filter, object);
        status = sim_notify_added(object);
    }
    return status;
}

NTSTATUS
sim_filter_add(sim_session* session, const FWPM_FILTER0* filter, PSECURITY_DESCRIPTOR sd, uint64_t* id)
{
    NTSTATUS status = sim_session_may_write(session);
    uint64_t filter_id;
    sim_object* object;

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (filter == NULL) {
        return STATUS_FWP_NULL_POINTER;
    }
    if (!sim_may(session, NULL, FWPM_ACTRL_ADD)) {
        return STATUS_ACCESS_DENIED;
    }
    object = sim_allocate(sizeof(*object));
    status = sim_access_set(object, sd);
    if (NT_SUCCESS(status)) {
        status = build_filter(filter, session, object);
    }
    if (!NT_SUCCESS(status)) {
        sim_object_free(object);
        return status;
    }
    filter_id = object->id;
    sim_session_added(session, object);
    if (id != NULL) {
        *id = filter_id;
    }
    return STATUS_SUCCESS;
}

