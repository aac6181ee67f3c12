// The management calls that open, transact and add.  Deleting, getting, enumerating and protecting: existing.c.
#define _GNU_SOURCE
#include "classify.h"

#include <stdlib.h>

#define SIM_MAX_CALLOUTS 100000u
#define SIM_MAX_SUBLAYERS 65536u

// PASSIVE_LEVEL all of them, and remote procedure calls to BFE: nothing for an exit path.
static void
require(const char* call)
{
    sim_require_irql(PASSIVE_LEVEL, call);
    sim_slow_call(call);
}

NTSTATUS
FwpmEngineOpen0(PCWSTR server, UINT32 authn, PVOID identity, const FWPM_SESSION0* session, HANDLE* engine)
{
    (void)authn;
    require("FwpmEngineOpen0");
    if (server != NULL || identity != NULL) {
        return STATUS_INVALID_PARAMETER;
    }
    return sim_session_open(0, session, engine);
}

NTSTATUS
FwpmEngineClose0(HANDLE engine)
{
    sim_session* session = sim_session_of(engine);

    require("FwpmEngineClose0");
    if (session == NULL) {
        sim_misuse("FwpmEngineClose0: not an open engine handle");
        return STATUS_INVALID_HANDLE;
    }
    if (session->pid == 0 && sim_enumerations_of(session) != 0) {
        sim_misuse("FwpmEngineClose0 with %u enumeration handles open", sim_enumerations_of(session));
    }
    sim_session_close(session);
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmTransactionBegin0(HANDLE engine, UINT32 flags)
{
    require("FwpmTransactionBegin0");
    return sim_transaction_begin(sim_session_of(engine), flags);
}

NTSTATUS
FwpmTransactionCommit0(HANDLE engine)
{
    require("FwpmTransactionCommit0");
    return sim_transaction_finish(sim_session_of(engine), 1);
}

NTSTATUS
FwpmTransactionAbort0(HANDLE engine)
{
    require("FwpmTransactionAbort0");
    return sim_transaction_finish(sim_session_of(engine), 0);
}

// ---- providers, provider contexts, sublayers, callouts ----

static sim_lifetime
lifetime_of(const sim_session* session, int persistent)
{
    return session->dynamic ? SIM_DYNAMIC : persistent ? SIM_PERSISTENT : SIM_STATIC;
}

// The beginning of every addition: may it be, under this key, and who owns it?
static NTSTATUS
begin_object(
    const char* call, sim_session* session, sim_kind kind, const GUID* key, int persistent, const GUID* provider, PCWSTR name,
    PSECURITY_DESCRIPTOR sd, sim_object** object)
{
    static uint64_t ids[SIM_KINDS];
    static const GUID zero;
    NTSTATUS status;
    sim_object* made;

    *object = NULL;
    require(call);
    status = sim_session_may_write(session);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (!sim_may(session, NULL, FWPM_ACTRL_ADD)) {
        return STATUS_ACCESS_DENIED;
    }
    made = sim_allocate(sizeof(*made));
    made->kind = kind;
    made->lifetime = lifetime_of(session, persistent);
    status = sim_refer(SIM_PROVIDER, provider, session, made, STATUS_FWP_PROVIDER_NOT_FOUND, &made->provider);
    if (NT_SUCCESS(status) && name == NULL) {
        status = STATUS_FWP_NULL_DISPLAY_NAME;
    }
    if (NT_SUCCESS(status)) {
        status = sim_access_set(made, sd);
    }
    if (NT_SUCCESS(status) && !sim_is_equal_guid(key, &zero) && sim_object_find(kind, key, session) != NULL) {
        status = STATUS_FWP_ALREADY_EXISTS;
    }
    if (NT_SUCCESS(status) && kind == SIM_CALLOUT && sim_object_counts[kind] >= SIM_MAX_CALLOUTS) {
        status = STATUS_FWP_TOO_MANY_CALLOUTS;
    }
    if (NT_SUCCESS(status) && kind == SIM_SUBLAYER && sim_object_counts[kind] >= SIM_MAX_SUBLAYERS) {
        status = STATUS_FWP_TOO_MANY_SUBLAYERS;
    }
    if (!NT_SUCCESS(status)) {
        sim_object_free(made);
        return status;
    }
    made->id = ++ids[kind];
    made->key = *key;
    sim_key_choose(made);
    *object = made;
    return STATUS_SUCCESS;
}

static uint16_t*
copy_string(const uint16_t* from)
{
    size_t length = 0;
    uint16_t* to;

    if (from == NULL) {
        return NULL;
    }
    while (from[length] != 0) {
        length++;
    }
    to = sim_allocate((length + 1) * sizeof(*to));
    for (size_t i = 0; i < length; i++) {
        to[i] = from[i];
    }
    return to;
}

NTSTATUS
FwpmProviderAdd0(HANDLE engine, const FWPM_PROVIDER0* provider, PSECURITY_DESCRIPTOR sd)
{
    sim_session* session = sim_session_of(engine);
    sim_object* object;
    NTSTATUS status = begin_object(
        "FwpmProviderAdd0", session, SIM_PROVIDER, &provider->providerKey, (provider->flags & FWPM_PROVIDER_FLAG_PERSISTENT) != 0, NULL,
        provider->displayData.name, sd, &object);

    if (NT_SUCCESS(status)) {
        FWPM_PROVIDER0 kept = *provider;

        kept.providerKey = object->key;
        object->service = copy_string(provider->serviceName);
        object->original = sim_copy(SIM_PROVIDER, &kept, &object->original_block);
        sim_session_added(session, object);
    }
    return status;
}

static NTSTATUS
check_context(const FWPM_PROVIDER_CONTEXT0* context)
{
    if ((context->flags & ~(UINT32)(FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT | FWPM_PROVIDER_CONTEXT_FLAG_DOWNLEVEL)) != 0) {
        return STATUS_FWP_INVALID_FLAGS;
    }
    if ((uint32_t)context->type >= FWPM_PROVIDER_CONTEXT_TYPE_MAX) {
        return STATUS_FWP_INVALID_ENUMERATOR;
    }
    if (context->type != FWPM_GENERAL_CONTEXT) {
        return STATUS_NOT_SUPPORTED; // IPsec and classify options are not modelled
    }
    return context->dataBuffer == NULL ? STATUS_FWP_NULL_POINTER : STATUS_SUCCESS;
}

NTSTATUS
FwpmProviderContextAdd0(
    HANDLE engine, const FWPM_PROVIDER_CONTEXT0* context, PSECURITY_DESCRIPTOR sd, UINT64* id)
{
    sim_session* session = sim_session_of(engine);
    sim_object* object;
    NTSTATUS status = begin_object(
        "FwpmProviderContextAdd0", session, SIM_CONTEXT, &context->providerContextKey,
        (context->flags & FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT) != 0, context->providerKey,
        context->displayData.name, sd, &object);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = check_context(context);
    if (!NT_SUCCESS(status)) {
        sim_object_free(object);
        return status;
    }
    FWPM_PROVIDER_CONTEXT0 kept = *context;

    kept.providerContextKey = object->key;
    kept.providerContextId = object->id;
    object->original = sim_copy(SIM_CONTEXT, &kept, &object->original_block);
    if (id != NULL) {
        *id = object->id;
    }
    sim_session_added(session, object);
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmSubLayerAdd0(HANDLE engine, const FWPM_SUBLAYER0* sublayer, PSECURITY_DESCRIPTOR sd)
{
    sim_session* session = sim_session_of(engine);
    sim_object* object;
    NTSTATUS status = begin_object(
        "FwpmSubLayerAdd0", session, SIM_SUBLAYER, &sublayer->subLayerKey, (sublayer->flags & FWPM_SUBLAYER_FLAG_PERSISTENT) != 0,
        sublayer->providerKey, sublayer->displayData.name, sd, &object);

    if (NT_SUCCESS(status)) {
        FWPM_SUBLAYER0 kept = *sublayer;

        kept.subLayerKey = object->key;
        object->weight = sublayer->weight;
        object->original = sim_copy(SIM_SUBLAYER, &kept, &object->original_block);
        sim_session_added(session, object);
    }
    return status;
}

NTSTATUS
FwpmCalloutAdd0(HANDLE engine, const FWPM_CALLOUT0* callout, PSECURITY_DESCRIPTOR sd, UINT32* id)
{
    sim_session* session = sim_session_of(engine);
    sim_object* object;
    NTSTATUS status = begin_object(
        "FwpmCalloutAdd0", session, SIM_CALLOUT, &callout->calloutKey, (callout->flags & FWPM_CALLOUT_FLAG_PERSISTENT) != 0,
        callout->providerKey, callout->displayData.name, sd, &object);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (!sim_layer_of_key(&callout->applicableLayer, &object->layer)) {
        sim_object_free(object);
        return STATUS_FWP_LAYER_NOT_FOUND;
    }
    FWPM_CALLOUT0 kept = *callout;

    kept.calloutKey = object->key;
    kept.calloutId = (UINT32)object->id;
    object->flags = callout->flags;
    object->original = sim_copy(SIM_CALLOUT, &kept, &object->original_block);
    if (id != NULL) {
        *id = (UINT32)object->id;
    }
    sim_session_added(session, object);
    return STATUS_SUCCESS;
}

// ---- filters ----

NTSTATUS
FwpmFilterAdd0(HANDLE engine, const FWPM_FILTER0* filter, PSECURITY_DESCRIPTOR sd, UINT64* id)
{
    require("FwpmFilterAdd0");
    return sim_filter_add(sim_session_of(engine), filter, sd, id);
}
