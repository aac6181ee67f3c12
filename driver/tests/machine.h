// A simulated machine with the driver loaded, as the tests of the driver see it.
#ifndef MACHINE_H
#define MACHINE_H

#include "pointsman_abi.h"
#include "simwfp.h"

#include "check.h"

#define PROXY 4242u
#define OLD_PROXY 4141u
#define APP 777u
#define PROXY_PORT 18080u

DRIVER_INITIALIZE DriverEntry;

#include "pointsman_guids.h"

static const uint8_t machine_app_id[] = {'\\', 0, 'a', 0, '.', 0, 'e', 0, 'x', 0, 'e', 0, 0, 0};
static sim_file* machine_file; // of PROXY
static HANDLE machine_engine;  // of PROXY

static inline void
machine_processes(void)
{
    static const uint16_t image[] = {'\\', 'a', '.', 'e', 'x', 'e'};

    sim_process_start(PROXY, 1, 1111, image, sizeof(image));
    sim_process_start(OLD_PROXY, 1, 2222, image, sizeof(image));
    sim_process_start(APP, 1, 3333, image, sizeof(image));
}

static inline void
machine_start(const sim_knobs* knobs)
{
    sim_boot(knobs);
    CHECK_EQUAL(sim_load_driver(DriverEntry), STATUS_SUCCESS);
    machine_processes();
    CHECK_EQUAL(sim_open(PROXY, 3, NULL, &machine_file), STATUS_SUCCESS);
    machine_engine = NULL;
}

static inline void
machine_stop(void)
{
    if (machine_engine != NULL) {
        (void)sim_user_engine_close(machine_engine);
    }
    sim_close(machine_file);
    sim_unload_driver();
    CHECK_EQUAL(sim_live_allocations(), 0);
    CHECK_EQUAL(sim_open_handles(), 0);
    sim_shutdown();
}

static inline pm_register_request
register_request(void)
{
    pm_register_request request = {
        .header = {sizeof(request), PM_ABI_VERSION},
        .endpoints = {.v4_address = {127, 0, 0, 1}, .v4_port = PROXY_PORT, .v6_port = PROXY_PORT}};

    request.endpoints.v6_address[15] = 1;
    return request;
}

static inline NTSTATUS
register_with(sim_file* file, uint32_t pid, const pm_register_request* request, pm_register_reply* reply)
{
    uint32_t written = 0;
    NTSTATUS status = sim_ioctl(file, pid, PM_IOCTL_REGISTER, request, sizeof(*request), reply, sizeof(*reply), &written);

    CHECK_EQUAL(written, NT_SUCCESS(status) ? sizeof(*reply) : 0);
    return status;
}

static inline uint32_t
register_pid(sim_file* file, uint32_t pid)
{
    pm_register_request request = register_request();
    pm_register_reply reply = {0};

    CHECK_EQUAL(register_with(file, pid, &request, &reply), STATUS_SUCCESS);
    return reply.registration;
}

static inline NTSTATUS
registration_ioctl(sim_file* file, uint32_t pid, uint32_t code, uint32_t registration)
{
    pm_registration_request request = {{sizeof(request), PM_ABI_VERSION}, registration, 0};
    uint32_t written = 0;

    return sim_ioctl(file, pid, code, &request, sizeof(request), NULL, 0, &written);
}

static inline pm_status_reply
machine_status(void)
{
    pm_status_reply reply;
    uint32_t written = 0;

    memset(&reply, 0xEE, sizeof(reply));
    CHECK_EQUAL(
        sim_ioctl(machine_file, PROXY, PM_IOCTL_STATUS, NULL, 0, &reply, sizeof(reply), &written), STATUS_SUCCESS);
    CHECK_EQUAL(written, sizeof(reply));
    return reply;
}

static inline uint64_t
counter(uint32_t index)
{
    return machine_status().counters[index];
}

static inline uint64_t
filter_context(uint32_t registration, pm_verdict verdict, uint32_t rule)
{
    return (uint64_t)registration << 32 | (uint64_t)verdict << 28 | rule;
}

// One filter at `layer`, as the proxy adds them.
static inline uint64_t
add_filter_with(
    const GUID* layer, const GUID* callout, uint64_t weight, uint64_t context, FWPM_FILTER_CONDITION0* conditions,
    uint32_t count)
{
    FWPM_SESSION0 session = {.flags = FWPM_SESSION_FLAG_DYNAMIC};
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"test"}};
    uint64_t id = 0;

    if (machine_engine == NULL) {
        CHECK_EQUAL(sim_user_engine_open(PROXY, &session, &machine_engine), 0);
    }
    filter.flags = FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED;
    filter.providerKey = (GUID*)&PM_PROVIDER;
    filter.layerKey = *layer;
    filter.subLayerKey = PM_SUBLAYER;
    filter.weight = (FWP_VALUE0){.type = FWP_UINT64, .uint64 = &weight};
    filter.action.type = FWP_ACTION_CALLOUT_UNKNOWN;
    filter.action.calloutKey = *callout;
    filter.rawContext = context;
    filter.filterCondition = conditions;
    filter.numFilterConditions = count;
    CHECK_EQUAL(sim_user_filter_add(machine_engine, &filter, &id), 0);
    return id;
}

static inline uint64_t
add_filter(const GUID* layer, const GUID* callout, uint64_t weight, uint64_t context)
{
    return add_filter_with(layer, callout, weight, context, NULL, 0);
}

// What a proxy with the policy "redirect everything" has installed.
static inline void
add_redirect_filters(uint32_t registration)
{
    uint64_t context = filter_context(registration, PM_REDIRECT, PM_RULE_DEFAULT);

    (void)add_filter(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, &PM_CALLOUT_CONNECT_REDIRECT_V4, 1, context);
    (void)add_filter(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V6, &PM_CALLOUT_CONNECT_REDIRECT_V6, 1, context);
}

static inline void
add_block_filters(uint32_t registration, uint32_t rule)
{
    uint64_t context = filter_context(registration, PM_BLOCK, rule);

    (void)add_filter(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, &PM_CALLOUT_AUTH_CONNECT_V4, 1, context);
    (void)add_filter(&FWPM_LAYER_ALE_AUTH_CONNECT_V6, &PM_CALLOUT_AUTH_CONNECT_V6, 1, context);
}

static inline sim_connect_request
connect_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port)
{
    sim_connect_request request = {
        .pid = APP, .family = 4, .protocol = 6, .remote_port = port, .remote_address = {a, b, c, d},
        .app_id = machine_app_id, .app_id_size = sizeof(machine_app_id), .endpoint = 99};

    return request;
}

static inline sim_connect_request
connect_v6(const uint8_t address[16], uint16_t port)
{
    sim_connect_request request = connect_v4(0, 0, 0, 0, port);

    request.family = 6;
    memcpy(request.remote_address, address, 16);
    return request;
}

static inline sim_connect_result
run_connect(sim_connect_request request)
{
    sim_connect_result result;

    sim_connect(&request, &result);
    CHECK_EQUAL(sim_open_handles(), 0);
    return result;
}

// A connect to a public address: is it redirected now?
static inline int
is_redirected(void)
{
    sim_connect_result result = run_connect(connect_v4(203, 0, 113, 7, 443));
    int redirected = (int)result.redirected;

    CHECK(!result.blocked);
    sim_flow_close(result.flow);
    return redirected;
}

// ---- another product with a callout of its own, in the heaviest sublayer ----

static UINT64 other_filter;

static inline NTSTATUS
other_notice(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID* key, FWPS_FILTER2* filter)
{
    (void)type, (void)key, (void)filter;
    return STATUS_SUCCESS;
}

static inline UINT32
other_product(const GUID* layer, FWPS_CALLOUT_CLASSIFY_FN2 classify, HANDLE* engine)
{
    GUID key = {77, 7, 7, {7}};
    FWPS_CALLOUT2 function = {.calloutKey = key, .classifyFn = classify, .notifyFn = other_notice};
    FWPM_CALLOUT0 callout = {.calloutKey = key, .displayData = {.name = (PWSTR)L"o"}, .applicableLayer = *layer};
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = key, .displayData = {.name = (PWSTR)L"o"}, .weight = 0xFFFF};
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"o"}, .layerKey = *layer, .subLayerKey = key};
    UINT32 id = 0;

    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, engine), STATUS_SUCCESS);
    CHECK_EQUAL(FwpsCalloutRegister2(&function, &function, &id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmSubLayerAdd0(*engine, &sublayer, NULL), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmCalloutAdd0(*engine, &callout, NULL, NULL), STATUS_SUCCESS);
    filter.action.type = FWP_ACTION_CALLOUT_TERMINATING;
    filter.action.calloutKey = key;
    CHECK_EQUAL(FwpmFilterAdd0(*engine, &filter, NULL, &other_filter), STATUS_SUCCESS);
    return id;
}

static inline void
no_other_product(UINT32 id, HANDLE engine)
{
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, other_filter), STATUS_SUCCESS);
    CHECK_EQUAL(FwpsCalloutUnregisterById0(id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS);
}

#endif
