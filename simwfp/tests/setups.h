// Set-ups of filters in one line each, as the tables of wfp-engine.md write them, run as one connect.
//
// "9:P! 5:B" is a native permit with CLEAR_ACTION_RIGHT in a sublayer of weight 9 and a native block in one of weight 5.
// P B C: native permit, block, continue.  t u i: callout, terminating, unknown, inspection; what its function does follows:
// p P permit soft and hard, b B block soft and hard, c continue, 0 nothing, w permit without looking at the right, r the right
// set whether it was there or not, - is not registered; + is PERMIT_IF_CALLOUT_UNREGISTERED.  ! is CLEAR_ACTION_RIGHT.  @N the
// weight, else by position.  ~ is a condition that does not hold.
#ifndef SETUPS_H
#define SETUPS_H

#include "simwfp.h"

#include "check.h"

#define FUNCTIONS 9
#define SETUP_FILTERS 32

static const char script[FUNCTIONS + 1] = "pPbBc0wr-";
static uint32_t inspected_rights;
static char inspected;

static inline void
act(char what, FWPS_CLASSIFY_OUT0* out)
{
    int may = (out->rights & FWPS_RIGHT_ACTION_WRITE) != 0;

    inspected = what;
    inspected_rights = out->rights;
    switch (what) {
    case 'p':
        if (may) {
            out->actionType = FWP_ACTION_PERMIT;
        }
        break;
    case 'P':
        if (may) {
            out->actionType = FWP_ACTION_PERMIT;
        }
        break;
    case 'w':
        out->actionType = FWP_ACTION_PERMIT;
        break;
    case 'b':
    case 'B':
        out->actionType = FWP_ACTION_BLOCK; // also as a veto
        break;
    case 'c':
        if (may) {
            out->actionType = FWP_ACTION_CONTINUE;
        }
        break;
    default:
        break;
    }
    if (what == 'r') {
        out->rights |= FWPS_RIGHT_ACTION_WRITE;
    }
    if (what == 'P' || what == 'B') {
        out->rights &= ~(UINT32)FWPS_RIGHT_ACTION_WRITE;
    }
}

#define FUNCTION(n)                                                                                                   \
    static void classify_##n(                                                                                         \
        const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* data,              \
        const void* context, const FWPS_FILTER2* filter, UINT64 flow, FWPS_CLASSIFY_OUT0* out)                        \
    {                                                                                                                 \
        (void)values, (void)metadata, (void)data, (void)context, (void)filter, (void)flow;                            \
        act(script[n], out);                                                                                          \
    }
FUNCTION(0)
FUNCTION(1)
FUNCTION(2)
FUNCTION(3)
FUNCTION(4)
FUNCTION(5)
FUNCTION(6)
FUNCTION(7)

static const FWPS_CALLOUT_CLASSIFY_FN2 functions[] = {classify_0, classify_1, classify_2,
                                                      classify_3, classify_4, classify_5,
                                                      classify_6, classify_7};

static inline NTSTATUS
notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID* key, FWPS_FILTER2* filter)
{
    (void)filter;
    CHECK(type != FWPS_CALLOUT_NOTIFY_DELETE_FILTER || key == NULL);
    return STATUS_SUCCESS;
}

static inline GUID
key(uint32_t n)
{
    GUID guid = {n, 1, 2, {3}};

    return guid;
}

static HANDLE engine;
static UINT32 callout_ids[FUNCTIONS];

static inline void
start(const sim_knobs* knobs)
{
    FWPM_CALLOUT0 callout = {.displayData = {.name = (PWSTR)L"t"},
                             .applicableLayer = FWPM_LAYER_ALE_AUTH_CONNECT_V4};

    sim_boot(knobs);
    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine), STATUS_SUCCESS);
    for (uint32_t i = 0; i < sizeof(script) - 1; i++) {
        FWPS_CALLOUT2 function = {.calloutKey = key(100 + i), .notifyFn = notify};

        callout.calloutKey = key(100 + i);
        CHECK_EQUAL(FwpmCalloutAdd0(engine, &callout, NULL, NULL), STATUS_SUCCESS);
        callout_ids[i] = 0;
        if (script[i] != '-') {
            function.classifyFn = functions[i];
            CHECK_EQUAL(FwpsCalloutRegister2(&function, &function, &callout_ids[i]), STATUS_SUCCESS);
        }
    }
}

static inline void
stop(void)
{
    for (uint32_t i = 0; i < sizeof(script) - 1; i++) {
        if (callout_ids[i] != 0) {
            CHECK_EQUAL(FwpsCalloutUnregisterById0(callout_ids[i]), STATUS_SUCCESS);
        }
    }
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS);
    sim_shutdown();
}

static inline void
sublayer(uint16_t weight)
{
    FWPM_SUBLAYER0 layer = {.displayData = {.name = (PWSTR)L"s"}, .weight = weight, .subLayerKey = key(weight)};

    (void)FwpmSubLayerAdd0(engine, &layer, NULL); // ALREADY_EXISTS is fine
}

// One word of a set-up, e.g. "9:tp!@7".  Returns what FwpmFilterAdd0 said.
static inline NTSTATUS
add_word(const char* word, uint64_t weight, UINT64* id)
{
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"f"}, .layerKey = FWPM_LAYER_ALE_AUTH_CONNECT_V4};
    FWPM_FILTER_CONDITION0 never = {FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL, {.type = FWP_UINT16, .uint16 = 1}};
    char* rest;
    uint16_t sublayer_weight = (uint16_t)strtoul(word, &rest, 10);
    char what = rest[1];

    rest += 2;
    sublayer(sublayer_weight);
    filter.subLayerKey = key(sublayer_weight);
    if (what == 't' || what == 'u' || what == 'i') {
        filter.action.type = what == 't'   ? FWP_ACTION_CALLOUT_TERMINATING
                             : what == 'u' ? FWP_ACTION_CALLOUT_UNKNOWN
                                           : FWP_ACTION_CALLOUT_INSPECTION;
        filter.action.calloutKey = key(100 + (uint32_t)(strchr(script, *rest++) - script));
    } else {
        filter.action.type = what == 'P' ? FWP_ACTION_PERMIT : what == 'B' ? FWP_ACTION_BLOCK : FWP_ACTION_CONTINUE;
    }
    for (; *rest != 0 && *rest != ' '; rest++) {
        if (*rest == '~') {
            filter.filterCondition = &never, filter.numFilterConditions = 1;
        }
        filter.flags |= *rest == '!' ? FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT : 0;
        filter.flags |= *rest == '+' ? FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED : 0;
        if (*rest == '@') {
            weight = strtoull(rest + 1, &rest, 10);
            rest--;
        }
    }
    filter.weight = (FWP_VALUE0){.type = FWP_UINT64, .uint64 = &weight};
    return FwpmFilterAdd0(engine, &filter, NULL, id);
}

typedef struct outcome {
    int blocked;
    uint64_t ids[SETUP_FILTERS];
    sim_classify_result classified;
} outcome;

static inline outcome
run(const char* setup)
{
    outcome result = {0};
    uint64_t weight = 1000;
    int count = 0;
    sim_connect_request request = {.pid = 9, .family = 4, .protocol = 6, .remote_port = 443,
                                   .remote_address = {203, 0, 113, 7}, .app_id = (const uint8_t*)"", .app_id_size = 0};
    sim_connect_result connected;

    for (const char* at = setup; *at != 0; at++) {
        CHECK_EQUAL(add_word(at, weight--, &result.ids[count]), STATUS_SUCCESS);
        count++;
        at = strchr(at, ' ');
        if (at == NULL) {
            break;
        }
    }
    inspected = 0;
    sim_trace_start();
    sim_connect(&request, &connected);
    result.blocked = (int)connected.blocked;
    if (sim_trace(1) != NULL) {
        result.classified = sim_trace(1)->result; // 0 is the redirect layer
    }
    for (int i = 0; i < count; i++) {
        CHECK_EQUAL(FwpmFilterDeleteById0(engine, result.ids[i]), STATUS_SUCCESS);
    }
    return result;
}

#endif
