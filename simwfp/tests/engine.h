// A running filter engine with sessions, and one-line filters, for the tests of simwfp.
#ifndef ENGINE_H
#define ENGINE_H

#include "simwfp.h"

#include "check.h"

#define APP 50u
#define SERVER 60u

static HANDLE engine; // a kernel-mode session, static objects

static inline GUID
key(uint32_t n)
{
    GUID guid = {n, 0, 0, {0}};

    return guid;
}

static inline void
start_with(const sim_knobs* knobs)
{
    sim_boot(knobs);
    sim_process_start(APP, 1, 1, NULL, 0);
    sim_process_start(SERVER, 1, 1, NULL, 0);
    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine), STATUS_SUCCESS);
}

static inline void
start(void)
{
    start_with(NULL);
}

static inline void
stop(void)
{
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS);
    sim_shutdown();
}

static inline HANDLE
user_session(uint32_t pid, uint32_t flags)
{
    HANDLE session = NULL;
    FWPM_SESSION0 from = {.flags = flags};

    CHECK_EQUAL(sim_user_engine_open(pid, &from, &session), 0);
    return session;
}

static inline NTSTATUS
add_sublayer(HANDLE session, uint32_t n, uint16_t weight)
{
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = key(n), .displayData = {.name = (PWSTR)L"s"}, .weight = weight};

    return FwpmSubLayerAdd0(session, &sublayer, NULL);
}

static inline FWPM_FILTER0
filter_at(const GUID* layer, FWP_ACTION_TYPE action)
{
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"f"}, .layerKey = *layer};

    filter.action.type = action;
    return filter;
}

static inline UINT64
add(FWPM_FILTER0 filter)
{
    UINT64 id = 0;

    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_SUCCESS);
    return id;
}

static inline void
delete(UINT64 id)
{
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, id), STATUS_SUCCESS);
}

static inline FWPM_FILTER_CONDITION0
condition(const GUID* field, FWP_MATCH_TYPE match, FWP_CONDITION_VALUE0 value)
{
    return (FWPM_FILTER_CONDITION0){*field, match, value};
}

static inline sim_connect_request
like(uint32_t pid, uint8_t family, uint8_t protocol)
{
    return (sim_connect_request){.pid = pid, .family = family, .protocol = protocol, .app_id = (const uint8_t*)"ab",
                                 .app_id_size = 2, .endpoint = 99, .local_port = 50000};
}

static const uint8_t public_v4[16] = {203, 0, 113, 7};
static const uint8_t other_v4[16] = {203, 0, 113, 8};
static const uint8_t loopback_v4[16] = {127, 0, 0, 1};

static inline sim_connect_request
connect_to(const uint8_t address[16], uint16_t port)
{
    sim_connect_request request = like(APP, 4, 6);

    memcpy(request.remote_address, address, 16);
    request.remote_port = port;
    return request;
}

static inline int
passes(sim_connect_request request)
{
    sim_connect_result result;

    sim_connect(&request, &result);
    sim_flow_close(result.flow);
    return !result.blocked;
}

// ---- callouts that do what a test says ----

typedef void classify_body(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter,
                           FWPS_CLASSIFY_OUT0* out);
static classify_body* body;
static const FWPS_INCOMING_VALUES0* seen_values;

static inline void
classify(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* data,
    const void* context, const FWPS_FILTER2* filter, UINT64 flow, FWPS_CLASSIFY_OUT0* out)
{
    (void)data, (void)flow;
    seen_values = values;
    body(metadata, context, filter, out);
}

static NTSTATUS notify_answer;
static uint32_t notified[3]; // by type
static int notified_key;     // was there a key the last time?

static inline NTSTATUS
notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID* filter_key, FWPS_FILTER2* filter)
{
    (void)filter;
    notified[type]++;
    notified_key = filter_key != NULL;
    return notify_answer;
}

static inline void
flow_deleted(UINT16 layer, UINT32 callout, UINT64 context)
{
    (void)layer, (void)callout;
    *(uint64_t*)(uintptr_t)context += 1;
}

static inline UINT32
register_callout(uint32_t n, uint32_t flags)
{
    FWPS_CALLOUT2 function = {.calloutKey = key(n), .flags = flags, .classifyFn = classify, .notifyFn = notify,
                              .flowDeleteFn = flow_deleted};
    UINT32 id = 0;

    memset(notified, 0, sizeof(notified));
    notify_answer = STATUS_SUCCESS;
    CHECK_EQUAL(FwpsCalloutRegister2(&function, &function, &id), STATUS_SUCCESS);
    return id;
}

static inline void
add_callout(uint32_t n, const GUID* layer)
{
    FWPM_CALLOUT0 callout = {.calloutKey = key(n), .displayData = {.name = (PWSTR)L"c"}, .applicableLayer = *layer};

    CHECK_EQUAL(FwpmCalloutAdd0(engine, &callout, NULL, NULL), STATUS_SUCCESS);
}

static inline FWPM_FILTER0
callout_filter(uint32_t n, const GUID* layer)
{
    FWPM_FILTER0 filter = filter_at(layer, FWP_ACTION_CALLOUT_UNKNOWN);

    filter.action.calloutKey = key(n);
    return filter;
}

static inline void
unregister(UINT32 id)
{
    CHECK_EQUAL(FwpsCalloutUnregisterById0(id), STATUS_SUCCESS);
}

#endif
