// The management calls of a kernel-mode client: engine, transactions, providers, sublayers, callouts, filters.
#define _GNU_SOURCE
#include "classify.h"

#include <stdlib.h>

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

// ---- providers, sublayers, callouts ----

static sim_lifetime
lifetime_of(const sim_session* session, int persistent)
{
    return session->dynamic ? SIM_DYNAMIC : persistent ? SIM_PERSISTENT : SIM_STATIC;
}

static sim_object*
new_object(const sim_session* session, sim_kind kind, int persistent)
{
    sim_object* object = sim_allocate(sizeof(*object));

    object->kind = kind;
    object->lifetime = lifetime_of(session, persistent);
    return object;
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
    NTSTATUS status = sim_session_may_write(session);
    sim_object* object;

    (void)sd;
    require("FwpmProviderAdd0");
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (provider->displayData.name == NULL) {
        return STATUS_FWP_NULL_DISPLAY_NAME;
    }
    if (sim_object_find(SIM_PROVIDER, &provider->providerKey, session) != NULL) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    object = new_object(session, SIM_PROVIDER, (provider->flags & FWPM_PROVIDER_FLAG_PERSISTENT) != 0);
    object->key = provider->providerKey;
    object->service = copy_string(provider->serviceName);
    sim_session_added(session, object);
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmProviderDeleteByKey0(HANDLE engine, const GUID* key)
{
    sim_session* session = sim_session_of(engine);

    require("FwpmProviderDeleteByKey0");
    return sim_session_delete(session, sim_object_find(SIM_PROVIDER, key, session), STATUS_FWP_PROVIDER_NOT_FOUND);
}

NTSTATUS
FwpmSubLayerAdd0(HANDLE engine, const FWPM_SUBLAYER0* sublayer, PSECURITY_DESCRIPTOR sd)
{
    sim_session* session = sim_session_of(engine);
    NTSTATUS status = sim_session_may_write(session);
    sim_object from = {0};
    sim_object* provider = NULL;
    sim_object* object;

    (void)sd;
    require("FwpmSubLayerAdd0");
    if (NT_SUCCESS(status)) {
        from.lifetime = lifetime_of(session, (sublayer->flags & FWPM_SUBLAYER_FLAG_PERSISTENT) != 0);
        status = sim_refer(
            SIM_PROVIDER, sublayer->providerKey, session, &from, STATUS_FWP_PROVIDER_NOT_FOUND, &provider);
    }
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (sublayer->displayData.name == NULL) {
        return STATUS_FWP_NULL_DISPLAY_NAME;
    }
    if (sim_object_find(SIM_SUBLAYER, &sublayer->subLayerKey, session) != NULL) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    object = new_object(session, SIM_SUBLAYER, from.lifetime == SIM_PERSISTENT);
    object->key = sublayer->subLayerKey;
    object->weight = sublayer->weight;
    object->provider = provider;
    sim_session_added(session, object);
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmSubLayerDeleteByKey0(HANDLE engine, const GUID* key)
{
    sim_session* session = sim_session_of(engine);

    require("FwpmSubLayerDeleteByKey0");
    return sim_session_delete(session, sim_object_find(SIM_SUBLAYER, key, session), STATUS_FWP_SUBLAYER_NOT_FOUND);
}

NTSTATUS
FwpmCalloutAdd0(HANDLE engine, const FWPM_CALLOUT0* callout, PSECURITY_DESCRIPTOR sd, UINT32* id)
{
    sim_session* session = sim_session_of(engine);
    NTSTATUS status = sim_session_may_write(session);
    sim_object from = {0};
    sim_object* provider = NULL;
    sim_object* object;
    uint16_t layer = 0;

    (void)sd;
    require("FwpmCalloutAdd0");
    if (NT_SUCCESS(status)) {
        from.lifetime = lifetime_of(session, (callout->flags & FWPM_CALLOUT_FLAG_PERSISTENT) != 0);
        status = sim_refer(
            SIM_PROVIDER, callout->providerKey, session, &from, STATUS_FWP_PROVIDER_NOT_FOUND, &provider);
    }
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (callout->displayData.name == NULL) {
        return STATUS_FWP_NULL_DISPLAY_NAME;
    }
    if (!sim_layer_of_key(&callout->applicableLayer, &layer)) {
        return STATUS_FWP_LAYER_NOT_FOUND;
    }
    if (sim_object_find(SIM_CALLOUT, &callout->calloutKey, session) != NULL) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    object = new_object(session, SIM_CALLOUT, from.lifetime == SIM_PERSISTENT);
    object->key = callout->calloutKey;
    object->layer = layer;
    object->provider = provider;
    sim_session_added(session, object);
    if (id != NULL) {
        *id = (UINT32)object->order;
    }
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmCalloutDeleteByKey0(HANDLE engine, const GUID* key)
{
    sim_session* session = sim_session_of(engine);

    require("FwpmCalloutDeleteByKey0");
    return sim_session_delete(session, sim_object_find(SIM_CALLOUT, key, session), STATUS_FWP_CALLOUT_NOT_FOUND);
}

// ---- filters ----

NTSTATUS
FwpmFilterAdd0(HANDLE engine, const FWPM_FILTER0* filter, PSECURITY_DESCRIPTOR sd, UINT64* id)
{
    (void)sd;
    require("FwpmFilterAdd0");
    return sim_filter_add(sim_session_of(engine), filter, id);
}

NTSTATUS
FwpmFilterDeleteById0(HANDLE engine, UINT64 id)
{
    sim_session* session = sim_session_of(engine);

    require("FwpmFilterDeleteById0");
    return sim_session_delete(session, sim_object_find_filter(id, session), STATUS_FWP_FILTER_NOT_FOUND);
}

NTSTATUS
FwpmFilterDeleteByKey0(HANDLE engine, const GUID* key)
{
    sim_session* session = sim_session_of(engine);

    require("FwpmFilterDeleteByKey0");
    return sim_session_delete(session, sim_object_find(SIM_FILTER, key, session), STATUS_FWP_FILTER_NOT_FOUND);
}
