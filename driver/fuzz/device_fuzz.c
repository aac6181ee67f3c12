// libFuzzer on everything that user space and the network can put before the driver: IOCTLs, handles, deaths, connects.
//
// An input is a list of steps; each has a byte that says what, and what it needs.  Every input starts a machine, and simwfp
// aborts on a leak, a lost reference, a wrong IRQL or a contract that is not kept.
#include "pointsman_abi.h"
#include "simwfp.h"

#include "pointsman_guids.h"

DRIVER_INITIALIZE DriverEntry;
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#define PROCESSES 4u

typedef struct input {
    const uint8_t* at;
    size_t left;
} input;

static uint8_t
byte(input* in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

static void
bytes(input* in, void* to, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((uint8_t*)to)[i] = byte(in);
    }
}

static void
must(int condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

static sim_file* files[PROCESSES];
static int alive[PROCESSES];
static HANDLE engine;

static void
add_filters(uint32_t registration)
{
    static const GUID* const layers[] = {
        &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V6, &FWPM_LAYER_ALE_AUTH_CONNECT_V4,
        &FWPM_LAYER_ALE_AUTH_CONNECT_V6};
    static const GUID* const callouts[] = {
        &PM_CALLOUT_CONNECT_REDIRECT_V4, &PM_CALLOUT_CONNECT_REDIRECT_V6, &PM_CALLOUT_AUTH_CONNECT_V4,
        &PM_CALLOUT_AUTH_CONNECT_V6};

    for (size_t i = 0; i < 4; i++) {
        FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"f"}, .layerKey = *layers[i], .subLayerKey = PM_SUBLAYER};
        UINT64 weight = registration;

        filter.weight = (FWP_VALUE0){.type = FWP_UINT64, .uint64 = &weight};
        filter.action.type = FWP_ACTION_CALLOUT_UNKNOWN;
        filter.action.calloutKey = *callouts[i];
        filter.flags = FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED;
        filter.rawContext = (uint64_t)registration << 32 | (i < 2 ? (uint64_t)PM_REDIRECT : (uint64_t)PM_BLOCK) << 28 | 7;
        (void)FwpmFilterAdd0(engine, &filter, NULL, NULL);
    }
}

static void
control(input* in, uint32_t who)
{
    static const uint32_t codes[] = {PM_IOCTL_QUERY_VERSION, PM_IOCTL_REGISTER, PM_IOCTL_RENEW, PM_IOCTL_WITHDRAW,
                                     PM_IOCTL_STATUS, PM_IOCTL_READ_EVENTS};
    static const uint32_t sizes[] = {0, sizeof(pm_register_request), 16, 16, 0, 16};
    static uint8_t out[sizeof(pm_events_reply) + 8];
    uint8_t what = byte(in), shape = byte(in);
    uint32_t code = codes[what % 6], in_size = sizes[what % 6], out_size = sizeof(out), written = 0;
    uint8_t buffer[64] = {0};

    if (shape & 1) {
        code ^= 1u << (byte(in) & 31);
    }
    if (shape & 2) {
        in_size = byte(in) & 63u;
    }
    if (shape & 4) {
        out_size = (uint32_t)byte(in) << 2;
    }
    if (shape & 8) {
        bytes(in, buffer, in_size);
    } else {
        pm_register_request request = {.header = {in_size, PM_ABI_VERSION}};

        request.endpoints = (pm_endpoints){{127, 0, 0, 1}, 18080, 18080, {[15] = 1}};
        memcpy(buffer, &request, sizeof(request));
        buffer[8] = code == PM_IOCTL_REGISTER ? 0 : byte(in); // a registration number, or a sequence
    }
    NTSTATUS status = sim_ioctl(files[who], 100 + who, code, buffer, in_size, out, out_size, &written);
    must(NT_SUCCESS(status) || written == 0);
    must(written <= out_size);
    if (NT_SUCCESS(status) && code == PM_IOCTL_REGISTER) {
        pm_register_reply reply;
        memcpy(&reply, out, sizeof(reply));
        if (reply.registration < 16) {
            add_filters(reply.registration);
        }
    }
}

static void
connect_somewhere(input* in, uint32_t who)
{
    uint8_t app[80];
    sim_connect_request request = {.pid = 100 + who, .app_id = app, .endpoint = 1};
    sim_connect_result result;
    uint8_t shape = byte(in);

    request.family = shape & 1 ? 6 : 4;
    request.protocol = shape & 2 ? byte(in) : 6;
    request.no_process = shape >> 2 & 1;
    request.compartment = shape & 8 ? byte(in) : 0;
    request.flags = shape & 16 ? 1u << (byte(in) & 31) : 0;
    request.reserved = shape & 32 ? byte(in) : 0;
    bytes(in, request.remote_address, request.family == 4 ? 4 : 16);
    if (shape & 64) {
        bytes(in, request.local_address, request.family == 4 ? 4 : 16);
    }
    bytes(in, &request.remote_port, 2);
    request.app_id_size = byte(in) % sizeof(app);
    bytes(in, app, (size_t)request.app_id_size);
    sim_fail_call(shape & 128 ? byte(in) % 5u : 0);
    sim_connect(&request, &result);
    sim_fail_call(0);
    must(sim_open_handles() == 0);
    sim_flow_close(result.flow);
    must(sim_live_allocations() == 0);
}

static void
step(input* in)
{
    uint8_t what = byte(in);
    uint32_t who = what >> 4 & (PROCESSES - 1);

    if (!alive[who]) { // the PID again, once nobody refers to the old process
        if (files[who] != NULL) {
            sim_close(files[who]);
            files[who] = NULL;
        }
        sim_process_start(100 + who, 1, sim_now(), NULL, 0);
        alive[who] = 1;
    }
    if (files[who] == NULL) {
        must(sim_open(100 + who, 3, NULL, &files[who]) == STATUS_SUCCESS);
    }
    switch (what & 7) {
    case 0:
        sim_advance((uint64_t)byte(in) * 500000u);
        break;
    case 1:
        sim_close(files[who]);
        files[who] = NULL;
        break;
    case 2:
        sim_process_exit(100 + who);
        alive[who] = 0;
        break;
    case 3:
    case 4:
        connect_somewhere(in, who);
        break;
    default:
        control(in, who);
        break;
    }
    must(sim_process_references(100 + who) <= 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    sim_knobs knobs = {0};
    input in = {data, size > 4096 ? 4096 : size};
    uint8_t first = byte(&in);

    knobs.acquire_sets_block = first & 1;
    knobs.classify_irql = first & 2 ? DISPATCH_LEVEL : PASSIVE_LEVEL;
    knobs.auth_twice = first >> 2 & 1;
    sim_boot(&knobs);
    must(sim_load_driver(DriverEntry) == STATUS_SUCCESS);
    must(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine) == STATUS_SUCCESS);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        sim_process_start(100 + i, 1, 1, NULL, 0);
        alive[i] = 1;
    }
    while (in.left != 0) {
        step(&in);
    }
    for (uint32_t i = 0; i < PROCESSES; i++) {
        if (files[i] != NULL) {
            sim_close(files[i]);
            files[i] = NULL;
        }
        must(sim_process_references(100 + i) == 0);
    }
    must(FwpmEngineClose0(engine) == STATUS_SUCCESS);
    sim_unload_driver();
    sim_shutdown();
    return 0;
}
