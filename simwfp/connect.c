// One connect() through the ALE layers: values and metadata per layer, writable layer data, redirect records, flows.
#define _GNU_SOURCE
#include "sim.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SIM_CONNECT_MAGIC 0x434F4E4Eu
#define SIM_MAX_FIELDS 64u
#define SIM_MAX_RECORDS 8u
#define SIM_MAX_VERSIONS 8u
#define SIM_FLOW_BUCKETS 1024u

// Who redirected a connection, newest last.  Contexts belong to the flow that made them.
typedef struct sim_records {
    uint32_t count;
    struct {
        HANDLE handle;
        void* context;
        SIZE_T size;
    } entries[SIM_MAX_RECORDS];
} sim_records;

typedef struct sim_flow {
    uint64_t id;
    sim_records records;
    uint32_t own_from; // records from this index on are this flow's own: their contexts are freed with it
    struct sim_flow* next;
} sim_flow;

// What classifyContext points at.
typedef struct sim_pending {
    uint32_t magic;
    uint16_t layer;
    FWPS_CONNECT_REQUEST0* versions[SIM_MAX_VERSIONS]; // applied ones, oldest first; [0] is what the app asked
    uint32_t version_count;
    FWPS_CONNECT_REQUEST0* acquired;
    uint32_t handles;
} sim_pending;

static pthread_mutex_t sim_flow_lock = PTHREAD_MUTEX_INITIALIZER;
static sim_flow* sim_flows[SIM_FLOW_BUCKETS];
static uint64_t sim_next_flow;
static uint32_t sim_live_redirect_handles;
static uint32_t sim_live_classify;

// ---- redirect handles and records ----

typedef struct sim_redirect_handle {
    GUID provider;
} sim_redirect_handle;

NTSTATUS
FwpsRedirectHandleCreate0(const GUID* provider, UINT32 flags, HANDLE* handle)
{
    sim_redirect_handle* created;

    sim_require_irql(PASSIVE_LEVEL, "FwpsRedirectHandleCreate0");
    if (flags != 0 || sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    created = sim_allocate(sizeof(*created));
    created->provider = *provider;
    sim_live_redirect_handles++;
    *handle = created;
    return STATUS_SUCCESS;
}

VOID
FwpsRedirectHandleDestroy0(HANDLE handle)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpsRedirectHandleDestroy0");
    sim_live_redirect_handles--;
    free(handle);
}

FWPS_CONNECTION_REDIRECT_STATE
FwpsQueryConnectionRedirectState0(HANDLE records, HANDLE handle, void** context)
{
    const sim_records* from = records;

    sim_require_irql(DISPATCH_LEVEL, "FwpsQueryConnectionRedirectState0");
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

static sim_pending*
pending_of(const void* context, const char* call)
{
    sim_pending* pending = (sim_pending*)context;

    if (pending == NULL || pending->magic != SIM_CONNECT_MAGIC) {
        sim_misuse("%s: not a classify context", call);
        return NULL;
    }
    return pending;
}

NTSTATUS
FwpsAcquireClassifyHandle0(void* classify_context, UINT32 flags, UINT64* handle)
{
    sim_pending* pending = pending_of(classify_context, "FwpsAcquireClassifyHandle0");

    sim_require_irql(DISPATCH_LEVEL, "FwpsAcquireClassifyHandle0");
    if (flags != 0) {
        sim_misuse("FwpsAcquireClassifyHandle0: flags must be 0");
    }
    if (pending == NULL || sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    pending->handles++;
    (void)__atomic_add_fetch(&sim_live_classify, 1, __ATOMIC_RELAXED);
    *handle = (UINT64)(uintptr_t)pending;
    return STATUS_SUCCESS;
}

VOID
FwpsReleaseClassifyHandle0(UINT64 handle)
{
    sim_pending* pending = pending_of((void*)(uintptr_t)handle, "FwpsReleaseClassifyHandle0");

    sim_require_irql(DISPATCH_LEVEL, "FwpsReleaseClassifyHandle0");
    if (pending->handles == 0) {
        sim_misuse("FwpsReleaseClassifyHandle0: released once too often");
        return;
    }
    pending->handles--;
    (void)__atomic_sub_fetch(&sim_live_classify, 1, __ATOMIC_RELAXED);
}

NTSTATUS
FwpsAcquireWritableLayerDataPointer0(
    UINT64 handle, UINT64 filter_id, UINT32 flags, PVOID* data, FWPS_CLASSIFY_OUT0* out)
{
    sim_pending* pending = pending_of((void*)(uintptr_t)handle, "FwpsAcquireWritableLayerDataPointer0");
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
    if ((out->rights & FWPS_RIGHT_ACTION_WRITE) == 0) {
        sim_misuse("writable layer data acquired without the right to write");
    }
    if (sim_settings.acquire_sets_block) {
        out->actionType = FWP_ACTION_BLOCK;
        out->rights &= ~(UINT32)FWPS_RIGHT_ACTION_WRITE;
    }
    if (sim_fails_now() || pending->version_count == SIM_MAX_VERSIONS) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    latest = pending->versions[pending->version_count - 1];
    request = sim_allocate(sizeof(*request));
    request->localAddressAndPort = latest->localAddressAndPort;
    request->remoteAddressAndPort = latest->remoteAddressAndPort;
    request->portReservationToken = latest->portReservationToken;
    request->previousVersion = pending->version_count > 1 ? latest : NULL;
    request->modifierFilterId = filter_id;
    pending->acquired = request;
    *data = request;
    return STATUS_SUCCESS;
}

static int
is_changed(const FWPS_CONNECT_REQUEST0* request, const FWPS_CONNECT_REQUEST0* before)
{
    return memcmp(&request->remoteAddressAndPort, &before->remoteAddressAndPort, sizeof(SOCKADDR_STORAGE)) != 0
           || request->localRedirectHandle != NULL || request->localRedirectContext != NULL
           || request->localRedirectTargetPID != 0;
}

VOID
FwpsApplyModifiedLayerData0(UINT64 handle, PVOID data, UINT32 flags)
{
    sim_pending* pending = pending_of((void*)(uintptr_t)handle, "FwpsApplyModifiedLayerData0");
    FWPS_CONNECT_REQUEST0* request = data;
    const FWPS_CONNECT_REQUEST0* before = pending->versions[pending->version_count - 1];

    sim_require_irql(DISPATCH_LEVEL, "FwpsApplyModifiedLayerData0");
    if (flags != 0) {
        sim_misuse("FwpsApplyModifiedLayerData0: flags are for pended classifies only");
    }
    if (request == NULL || request != pending->acquired) {
        sim_misuse("FwpsApplyModifiedLayerData0: not the pointer that was acquired");
        return;
    }
    pending->acquired = NULL;
    if (!is_changed(request, before)) {
        free(request);
        return;
    }
    if (memcmp(&request->localAddressAndPort, &before->localAddressAndPort, sizeof(SOCKADDR_STORAGE)) != 0) {
        sim_violation("filter %llu: changed the local address", (unsigned long long)request->modifierFilterId);
    }
    if (request->localRedirectContext != NULL
        && !sim_pool_give_to_wfp(request->localRedirectContext, request->localRedirectContextSize)) {
        sim_misuse("the redirect context is not a live pool block of that size: WFP will free it");
        request->localRedirectContext = NULL;
    }
    pending->versions[pending->version_count++] = request;
}

void
sim_callout_returned(void* classify_context)
{
    sim_pending* pending = classify_context;

    if (pending == NULL) {
        return;
    }
    if (pending->acquired != NULL) {
        sim_misuse("a callout returned with writable layer data acquired and not applied: the connect would hang");
        free(pending->acquired);
        pending->acquired = NULL;
    }
    if (pending->handles != 0) {
        sim_misuse("a callout returned with %u classify handles", pending->handles);
        pending->handles = 0;
    }
}

uint32_t
sim_open_handles(void)
{
    return __atomic_load_n(&sim_live_classify, __ATOMIC_RELAXED);
}

// ---- flows ----

static sim_flow**
flow_slot(uint64_t id)
{
    sim_flow** at = &sim_flows[id % SIM_FLOW_BUCKETS];

    while (*at != NULL && (*at)->id != id) {
        at = &(*at)->next;
    }
    return at;
}

static void
free_flow(sim_flow* flow)
{
    for (uint32_t i = flow->own_from; i < flow->records.count; i++) {
        if (flow->records.entries[i].context != NULL) {
            sim_pool_free_by_wfp(flow->records.entries[i].context);
        }
    }
    free(flow);
}

void
sim_flow_close(uint64_t id)
{
    sim_flow** at;
    sim_flow* flow;

    pthread_mutex_lock(&sim_flow_lock);
    at = flow_slot(id);
    flow = *at;
    if (flow != NULL) {
        *at = flow->next;
        free_flow(flow);
    }
    pthread_mutex_unlock(&sim_flow_lock);
}

uint32_t
sim_flow_context(uint64_t id, void* out, uint32_t out_size)
{
    uint32_t size = 0;
    const sim_flow* flow;

    pthread_mutex_lock(&sim_flow_lock);
    flow = *flow_slot(id);
    if (flow != NULL && flow->records.entries[flow->records.count - 1].context != NULL) {
        size = (uint32_t)flow->records.entries[flow->records.count - 1].size;
        if (size <= out_size) {
            memcpy(out, flow->records.entries[flow->records.count - 1].context, size);
        }
    }
    pthread_mutex_unlock(&sim_flow_lock);
    return size;
}

// Turns the applied versions into a flow with records; 0: nobody redirected.
static uint64_t
make_flow(const sim_pending* pending, const sim_records* inherited)
{
    sim_flow* flow = sim_allocate(sizeof(*flow));

    flow->records = *inherited;
    flow->own_from = inherited->count;
    for (uint32_t i = 1; i < pending->version_count && flow->records.count < SIM_MAX_RECORDS; i++) {
        const FWPS_CONNECT_REQUEST0* version = pending->versions[i];

        if (version->localRedirectHandle != NULL) {
            uint32_t at = flow->records.count++;

            flow->records.entries[at].handle = version->localRedirectHandle;
            flow->records.entries[at].context = version->localRedirectContext;
            flow->records.entries[at].size = version->localRedirectContextSize;
        }
    }
    if (flow->records.count == flow->own_from) {
        free(flow);
        return 0;
    }
    pthread_mutex_lock(&sim_flow_lock);
    flow->id = ++sim_next_flow;
    flow->next = sim_flows[flow->id % SIM_FLOW_BUCKETS];
    sim_flows[flow->id % SIM_FLOW_BUCKETS] = flow;
    pthread_mutex_unlock(&sim_flow_lock);
    return flow->id;
}

// ---- values ----

typedef struct sim_values {
    FWPS_INCOMING_VALUES0 values;
    FWPS_INCOMING_VALUE0 fields[SIM_MAX_FIELDS];
    FWPS_INCOMING_METADATA_VALUES0 metadata;
    FWP_BYTE_BLOB app_id;
    FWP_BYTE_ARRAY16 local;
    FWP_BYTE_ARRAY16 remote;
    SOCKADDR_STORAGE original;
} sim_values;

static const uint8_t sim_mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

static int
is_mapped(const uint8_t* address)
{
    return memcmp(address, sim_mapped_prefix, sizeof(sim_mapped_prefix)) == 0;
}

static int
is_loopback(uint8_t family, const uint8_t* address)
{
    static const uint8_t one[16] = {[15] = 1};

    if (family == 4) {
        return address[0] == 127;
    }
    return memcmp(address, one, 16) == 0 || (is_mapped(address) && address[12] == 127);
}

static uint8_t
destination_type(uint8_t family, const uint8_t* address)
{
    static const uint8_t broadcast[4] = {255, 255, 255, 255};

    if (family == 4) {
        return memcmp(address, broadcast, 4) == 0 ? NlatBroadcast : address[0] >> 4 == 14 ? NlatMulticast : NlatUnicast;
    }
    return address[0] == 0xFF ? NlatMulticast : NlatUnicast;
}

static uint32_t
host_order(const uint8_t* v4)
{
    return (uint32_t)v4[0] << 24 | (uint32_t)v4[1] << 16 | (uint32_t)v4[2] << 8 | v4[3];
}

static void
put(sim_values* v, uint16_t layer, const GUID* key, FWP_VALUE0 value)
{
    uint32_t field = 0;
    sim_field_kind kind = SIM_FIELD_UINT8;

    if (sim_field_of_key(layer, key, &field, &kind)) {
        v->fields[field].value = value;
    }
}

static void
put_address(sim_values* v, uint16_t layer, const GUID* key, FWP_BYTE_ARRAY16* storage, const uint8_t* address)
{
    if (sim_layer_is_v6(layer)) {
        memcpy(storage->byteArray16, address, 16);
        put(v, layer, key, (FWP_VALUE0){.type = FWP_BYTE_ARRAY16_TYPE, .byteArray16 = storage});
    } else {
        put(v, layer, key, (FWP_VALUE0){.type = FWP_UINT32, .uint32 = host_order(address)});
    }
}

typedef struct sim_endpoint {
    uint8_t family;
    uint8_t address[16];
    uint16_t port;
} sim_endpoint;

// Every field by its name; what is not known stays FWP_EMPTY, and absent metadata is poisoned.
static void
fill(sim_values* v, uint16_t layer, const sim_connect_request* from, const sim_endpoint* remote, uint32_t flags)
{
    static const uint8_t any[16];
    uint32_t compartment_field = sim_layer_is_redirect(layer)
                                     ? (uint32_t)FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_COMPARTMENT_ID
                                     : (uint32_t)FWPS_FIELD_ALE_AUTH_CONNECT_V4_COMPARTMENT_ID;
    const uint8_t* local = sim_layer_is_v6(layer) == (from->family == 6) ? from->local_address : any;
    FWP_VALUE0 app = {.type = FWP_BYTE_BLOB_TYPE, .byteBlob = &v->app_id};

    memset(v, 0, sizeof(*v));
    v->values = (FWPS_INCOMING_VALUES0){layer, sim_layer_field_count(layer), v->fields};
    v->app_id.size = (uint32_t)from->app_id_size;
    v->app_id.data = (uint8_t*)from->app_id;
    put(v, layer, &FWPM_CONDITION_ALE_APP_ID, app);
    put(v, layer, &FWPM_CONDITION_ALE_ORIGINAL_APP_ID, app);
    put_address(v, layer, &FWPM_CONDITION_IP_LOCAL_ADDRESS, &v->local, local);
    put_address(v, layer, &FWPM_CONDITION_IP_REMOTE_ADDRESS, &v->remote, remote->address);
    put(v, layer, &FWPM_CONDITION_IP_LOCAL_PORT, (FWP_VALUE0){.type = FWP_UINT16, .uint16 = from->local_port});
    put(v, layer, &FWPM_CONDITION_IP_REMOTE_PORT, (FWP_VALUE0){.type = FWP_UINT16, .uint16 = remote->port});
    put(v, layer, &FWPM_CONDITION_IP_PROTOCOL, (FWP_VALUE0){.type = FWP_UINT8, .uint8 = from->protocol});
    put(v, layer, &FWPM_CONDITION_FLAGS, (FWP_VALUE0){.type = FWP_UINT32, .uint32 = flags});
    put(v, layer, &FWPM_CONDITION_IP_DESTINATION_ADDRESS_TYPE,
        (FWP_VALUE0){.type = FWP_UINT8, .uint8 = destination_type(remote->family, remote->address)});
    v->fields[compartment_field].value = (FWP_VALUE0){
        .type = FWP_UINT32, .uint32 = from->compartment == 0 ? 1 : from->compartment};

    memset(&v->metadata, 0xA5, sizeof(v->metadata));
    v->metadata.currentMetadataValues = FWPS_METADATA_FIELD_TRANSPORT_ENDPOINT_HANDLE;
    v->metadata.flags = 0;
    v->metadata.transportEndpointHandle = from->endpoint;
    if (!from->no_process) {
        v->metadata.currentMetadataValues |= FWPS_METADATA_FIELD_PROCESS_ID;
        v->metadata.processId = from->pid;
    }
}

static void
put_sockaddr(SOCKADDR_STORAGE* to, uint8_t family, const uint8_t* address, uint16_t port)
{
    uint16_t swapped = (uint16_t)(port << 8 | port >> 8);

    memset(to, 0, sizeof(*to));
    if (family == 4) {
        SOCKADDR_IN* v4 = (SOCKADDR_IN*)to;
        v4->sin_family = AF_INET;
        v4->sin_port = swapped;
        memcpy(&v4->sin_addr, address, 4);
    } else {
        SOCKADDR_IN6* v6 = (SOCKADDR_IN6*)to;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = swapped;
        v6->sin6_flowinfo = 0x12345678; // leftovers that a redirector must not carry over
        v6->sin6_scope_id = 7;
        memcpy(&v6->sin6_addr, address, 16);
    }
}

static void
get_sockaddr(const SOCKADDR_STORAGE* from, sim_endpoint* to)
{
    uint16_t port;

    memset(to, 0, sizeof(*to));
    if (from->ss_family == AF_INET) {
        const SOCKADDR_IN* v4 = (const SOCKADDR_IN*)from;
        to->family = 4;
        memcpy(to->address, &v4->sin_addr, 4);
        port = v4->sin_port;
    } else {
        const SOCKADDR_IN6* v6 = (const SOCKADDR_IN6*)from;
        to->family = 6;
        memcpy(to->address, &v6->sin6_addr, 16);
        port = v6->sin6_port;
    }
    to->port = (uint16_t)(port << 8 | port >> 8);
}

// ---- connect ----

static void
inherited_records(uint64_t flow_id, sim_records* records)
{
    const sim_flow* flow;

    memset(records, 0, sizeof(*records));
    pthread_mutex_lock(&sim_flow_lock);
    flow = flow_id == 0 ? NULL : *flow_slot(flow_id);
    if (flow != NULL) {
        *records = flow->records;
    }
    pthread_mutex_unlock(&sim_flow_lock);
}

// Where the redirect layer leaves the connection.  Loopback needs a target process and a handle, or it is not taken.
static void
effective_remote(const sim_pending* pending, sim_endpoint* remote)
{
    const FWPS_CONNECT_REQUEST0* last = pending->versions[pending->version_count - 1];
    sim_endpoint wanted;

    get_sockaddr(&last->remoteAddressAndPort, &wanted);
    if (pending->version_count > 1 && is_loopback(wanted.family, wanted.address)
        && (last->localRedirectTargetPID == 0 || last->localRedirectHandle == NULL)) {
        sim_violation("a redirect to loopback without target process or redirect handle is not accepted");
        get_sockaddr(&pending->versions[0]->remoteAddressAndPort, &wanted);
    }
    *remote = wanted;
}

static int
authorize(const sim_connect_request* request, const sim_endpoint* remote, const sim_endpoint* original, uint32_t flags,
          sim_connect_result* result)
{
    sim_values* v = sim_allocate(sizeof(*v));
    sim_endpoint at = *remote;
    sim_classify_result classified;
    uint16_t layer = at.family == 4 ? FWPS_LAYER_ALE_AUTH_CONNECT_V4 : FWPS_LAYER_ALE_AUTH_CONNECT_V6;

    if (at.family == 6 && is_mapped(at.address) && !sim_settings.v4mapped_v6_only) {
        layer = FWPS_LAYER_ALE_AUTH_CONNECT_V4;
        memmove(at.address, at.address + 12, 4);
        memset(at.address + 4, 0, 12);
        at.family = 4;
    }
    flags |= request->flags | (is_loopback(at.family, at.address) ? FWP_CONDITION_FLAG_IS_LOOPBACK : 0);
    fill(v, layer, request, &at, flags);
    if ((flags & FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED) != 0) {
        put_sockaddr(&v->original, original->family, original->address, original->port);
        v->metadata.currentMetadataValues |= FWPS_METADATA_FIELD_ORIGINAL_DESTINATION
                                             | FWPS_METADATA_FIELD_LOCAL_REDIRECT_TARGET_PID;
        v->metadata.originalDestination = (SOCKADDR*)&v->original;
        v->metadata.localRedirectTargetPID = 1;
    }
    result->auth_classifies++;
    sim_classify(&v->values, &v->metadata, NULL, &classified);
    free(v);
    return classified.action != FWP_ACTION_BLOCK;
}

static int
authorize_all(
    const sim_connect_request* request, const sim_endpoint* original, const sim_endpoint* remote, int redirected,
    sim_connect_result* result)
{
    int twice = redirected
                && (sim_settings.auth_twice == 1
                    || (sim_settings.auth_twice == 0 && !is_loopback(remote->family, remote->address)
                        && request->protocol == IPPROTO_TCP));

    if (twice && !authorize(request, original, original, FWP_CONDITION_FLAG_IS_HONORING_POLICY_AUTHORIZE, result)) {
        return 0;
    }
    return authorize(
        request, remote, original, redirected ? FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED : 0, result);
}

static void
classify_redirect(
    const sim_connect_request* request, const sim_endpoint* original, sim_records* records, sim_pending* pending,
    sim_connect_result* result)
{
    sim_values* v = sim_allocate(sizeof(*v));
    sim_classify_result classified;

    fill(v, pending->layer, request, original, request->flags);
    if (records->count != 0) {
        v->metadata.currentMetadataValues |= FWPS_METADATA_FIELD_REDIRECT_RECORD_HANDLE;
        v->metadata.redirectRecords = records;
    }
    sim_classify(&v->values, &v->metadata, pending, &classified);
    free(v);
    result->redirect_classifies++;
    result->action = classified.action;
}

void
sim_connect(const sim_connect_request* request, sim_connect_result* result)
{
    PEPROCESS before = sim_enter_process(sim_process_find(request->pid));
    sim_pending pending = {.magic = SIM_CONNECT_MAGIC};
    sim_endpoint original = {.family = request->family, .port = request->remote_port};
    sim_endpoint remote;
    sim_records records;
    int redirected;

    *result = (sim_connect_result){0};
    memcpy(original.address, request->remote_address, request->family == 4 ? 4 : 16);
    pending.layer = request->family == 4 ? FWPS_LAYER_ALE_CONNECT_REDIRECT_V4 : FWPS_LAYER_ALE_CONNECT_REDIRECT_V6;
    pending.versions[0] = sim_allocate(sizeof(FWPS_CONNECT_REQUEST0));
    pending.version_count = 1;
    put_sockaddr(&pending.versions[0]->remoteAddressAndPort, original.family, original.address, original.port);
    put_sockaddr(
        &pending.versions[0]->localAddressAndPort, original.family, request->local_address, request->local_port);
    inherited_records(request->records, &records);

    classify_redirect(request, &original, &records, &pending, result);
    effective_remote(&pending, &remote);
    redirected = memcmp(&remote, &original, sizeof(remote)) != 0;
    result->flow = make_flow(&pending, &records);
    if ((result->action == FWP_ACTION_BLOCK && sim_settings.block_at_redirect)
        || !authorize_all(request, &original, &remote, redirected, result)) {
        result->blocked = 1;
    }
    if (result->blocked || !redirected) {
        sim_flow_close(result->flow);
        result->flow = 0;
    }
    result->redirected = redirected && !result->blocked;
    memcpy(result->remote_address, remote.address, 16);
    result->remote_port = remote.port;
    for (uint32_t i = 0; i < pending.version_count; i++) {
        free(pending.versions[i]);
    }
    (void)sim_enter_process(before);
}

// ---- life ----

void
sim_connect_reset(void)
{
    for (uint32_t i = 0; i < SIM_FLOW_BUCKETS; i++) {
        while (sim_flows[i] != NULL) {
            sim_flow_close(sim_flows[i]->id);
        }
    }
}

void
sim_connect_check_unloaded(void)
{
    if (sim_live_redirect_handles != 0) {
        sim_misuse("unloaded with %u redirect handles", sim_live_redirect_handles);
        sim_live_redirect_handles = 0;
    }
    if (sim_open_handles() != 0) {
        sim_misuse("unloaded with %u classify handles", sim_open_handles());
    }
}
