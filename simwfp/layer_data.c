// What a redirect callout works with: redirect handles, redirect records, writable layer data.
#define _GNU_SOURCE
#include "connection.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SIM_HANDLE_MAGIC 0x48524453u

static pthread_mutex_t sim_handle_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t sim_live_redirect_handles;
static sim_acquire_result sim_acquire;

void
sim_acquire_gives(sim_acquire_result what)
{
    sim_acquire = what;
}

// ---- redirect handles and records ----

typedef struct sim_redirect_handle {
    uint32_t magic;
    GUID provider;
    struct sim_redirect_handle* next;
} sim_redirect_handle;

static sim_redirect_handle* sim_redirect_handles;

NTSTATUS
FwpsRedirectHandleCreate0(const GUID* provider, UINT32 flags, HANDLE* handle)
{
    sim_redirect_handle* created;

    sim_require_irql(PASSIVE_LEVEL, "FwpsRedirectHandleCreate0");
    if (flags != 0 || sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    created = sim_allocate(sizeof(*created));
    created->magic = SIM_HANDLE_MAGIC;
    created->provider = *provider;
    pthread_mutex_lock(&sim_handle_lock);
    created->next = sim_redirect_handles;
    sim_redirect_handles = created;
    sim_live_redirect_handles++;
    pthread_mutex_unlock(&sim_handle_lock);
    *handle = created;
    return STATUS_SUCCESS;
}

static int
is_live_handle(HANDLE handle)
{
    const sim_redirect_handle* at;

    pthread_mutex_lock(&sim_handle_lock);
    at = sim_redirect_handles;
    while (at != NULL && at != handle) {
        at = at->next;
    }
    pthread_mutex_unlock(&sim_handle_lock);
    return at != NULL;
}

VOID
FwpsRedirectHandleDestroy0(HANDLE handle)
{
    sim_redirect_handle** at = &sim_redirect_handles;

    sim_require_irql(PASSIVE_LEVEL, "FwpsRedirectHandleDestroy0");
    pthread_mutex_lock(&sim_handle_lock);
    while (*at != NULL && *at != handle) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = (*at)->next;
        sim_live_redirect_handles--;
        pthread_mutex_unlock(&sim_handle_lock);
        free(handle); // flows may still hold records that name it: they compare, and never look inside
        return;
    }
    pthread_mutex_unlock(&sim_handle_lock);
    sim_misuse("FwpsRedirectHandleDestroy0: no such redirect handle");
}

FWPS_CONNECTION_REDIRECT_STATE
FwpsQueryConnectionRedirectState0(HANDLE records, HANDLE handle, void** context)
{
    const sim_records* from = records;

    sim_require_irql(DISPATCH_LEVEL, "FwpsQueryConnectionRedirectState0");
    if (!is_live_handle(handle)) {
        sim_misuse("FwpsQueryConnectionRedirectState0: a redirect handle that was destroyed, or never made");
    }
    if (from == NULL || from->count == 0) {
        return FWPS_CONNECTION_NOT_REDIRECTED;
    }
    for (uint32_t i = from->count; i-- > 0;) {
        if (from->entries[i].handle == handle) {
            if (context != NULL) {
                *context = from->entries[i].context;
            }
            return i + 1 == from->count ? FWPS_CONNECTION_REDIRECTED_BY_SELF
                                        : FWPS_CONNECTION_PREVIOUSLY_REDIRECTED_BY_SELF;
        }
    }
    return FWPS_CONNECTION_REDIRECTED_BY_OTHER;
}

// ---- writable layer data ----

NTSTATUS
FwpsAcquireWritableLayerDataPointer0(
    UINT64 handle, UINT64 filter_id, UINT32 flags, PVOID* data, FWPS_CLASSIFY_OUT0* out)
{
    sim_pending* pending = sim_pending_of((void*)(uintptr_t)handle, "FwpsAcquireWritableLayerDataPointer0");
    FWPS_CONNECT_REQUEST0* latest;
    FWPS_CONNECT_REQUEST0* request;

    sim_require_irql(DISPATCH_LEVEL, "FwpsAcquireWritableLayerDataPointer0");
    if (flags != 0 || pending->handles == 0) {
        sim_misuse("FwpsAcquireWritableLayerDataPointer0: flags 0x%X, %u handles", flags, pending->handles);
    }
    if (!sim_layer_is_redirect(pending->layer)) {
        sim_misuse("writable layer data exists at the redirect layers only, not at layer %u", pending->layer);
    }
    if (pending->acquired != NULL) {
        sim_misuse("FwpsAcquireWritableLayerDataPointer0: acquired already and not applied");
    }
    if ((out->rights & FWPS_RIGHT_ACTION_WRITE) == 0 && !pending->pended) {
        sim_misuse("writable layer data acquired without the right to write");
    }
    if (sim_settings.acquire_sets_block) {
        out->actionType = FWP_ACTION_BLOCK;
        out->rights &= ~(UINT32)FWPS_RIGHT_ACTION_WRITE;
    }
    if (sim_fails_now() || pending->version_count == SIM_MAX_VERSIONS) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (sim_acquire == SIM_ACQUIRE_NULL) {
        *data = NULL;
        return STATUS_SUCCESS;
    }
    latest = pending->versions[pending->version_count - 1];
    request = sim_allocate(sizeof(*request));
    request->localAddressAndPort = latest->localAddressAndPort;
    request->remoteAddressAndPort = latest->remoteAddressAndPort;
    request->portReservationToken = latest->portReservationToken;
    request->previousVersion = pending->version_count > 1 ? latest : NULL;
    request->modifierFilterId = filter_id;
    if (sim_acquire == SIM_ACQUIRE_OTHER_FAMILY) {
        request->remoteAddressAndPort.ss_family = latest->remoteAddressAndPort.ss_family == AF_INET ? AF_INET6 : AF_INET;
    }
    pending->acquired = request;
    *data = request;
    return STATUS_SUCCESS;
}

static int
is_changed(const FWPS_CONNECT_REQUEST0* request, const FWPS_CONNECT_REQUEST0* before)
{
    return memcmp(&request->remoteAddressAndPort, &before->remoteAddressAndPort, sizeof(SOCKADDR_STORAGE)) != 0
           || request->localRedirectHandle != NULL || request->localRedirectContext != NULL
           || request->localRedirectTargetPID != 0
           || (sim_settings.local_address_writable
               && memcmp(&request->localAddressAndPort, &before->localAddressAndPort, sizeof(SOCKADDR_STORAGE)) != 0);
}

VOID
FwpsApplyModifiedLayerData0(UINT64 handle, PVOID data, UINT32 flags)
{
    sim_pending* pending = sim_pending_of((void*)(uintptr_t)handle, "FwpsApplyModifiedLayerData0");
    FWPS_CONNECT_REQUEST0* request = data;
    const FWPS_CONNECT_REQUEST0* before = pending->versions[pending->version_count - 1];

    sim_require_irql(DISPATCH_LEVEL, "FwpsApplyModifiedLayerData0");
    if (flags != 0 && !pending->pended) {
        sim_misuse("FwpsApplyModifiedLayerData0: flags are for pended classifies only");
    }
    if (request == NULL || request != pending->acquired) {
        sim_misuse("FwpsApplyModifiedLayerData0: not the pointer that was acquired");
        return;
    }
    pending->acquired = NULL;
    if (sim_acquire == SIM_ACQUIRE_OTHER_FAMILY) {
        request->remoteAddressAndPort.ss_family = before->remoteAddressAndPort.ss_family;
    }
    if (memcmp(&request->localAddressAndPort, &before->localAddressAndPort, sizeof(SOCKADDR_STORAGE)) != 0) {
        sim_violation("filter %llu: changed the local address", (unsigned long long)request->modifierFilterId);
    }
    if (!is_changed(request, before)) {
        free(request);
        return;
    }
    if (request->localRedirectHandle != NULL && !is_live_handle(request->localRedirectHandle)) {
        sim_misuse("the redirect handle was destroyed, or never made");
        request->localRedirectHandle = NULL;
    }
    if (request->localRedirectContext != NULL
        && !sim_pool_give_to_wfp(request->localRedirectContext, request->localRedirectContextSize)) {
        sim_misuse("the redirect context is not a live pool block of that size: WFP will free it");
        request->localRedirectContext = NULL;
    }
    pending->versions[pending->version_count++] = request;
}

// ---- life ----

void
sim_layer_data_check_unloaded(void)
{
    if (sim_live_redirect_handles != 0) {
        sim_misuse("unloaded with %u redirect handles", sim_live_redirect_handles);
        sim_live_redirect_handles = 0;
    }
}
