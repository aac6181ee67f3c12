// Sublayers, weights, rights, hard and soft actions, vetoes: the cases of the reference tables, by their numbers.
//
// A set-up is written as in the tables: "9:P! 5:B" is a native permit with CLEAR_ACTION_RIGHT in a sublayer of weight 9 and
// a native block in one of weight 5.  P B C: native permit, block, continue.  t u i: callout, terminating, unknown,
// inspection; what its function does follows: p P permit soft and hard, b B block soft and hard, c continue, 0 nothing,
// - is not registered; + is PERMIT_IF_CALLOUT_UNREGISTERED.  ! is CLEAR_ACTION_RIGHT.  @N the weight, else by position.
#include "simwfp.h"

#include "check.h"

#define FUNCTIONS 8

static const char script[FUNCTIONS] = "pPbBc0-";
static char inspected;

static void
act(char what, FWPS_CLASSIFY_OUT0* out)
{
    int may = (out->rights & FWPS_RIGHT_ACTION_WRITE) != 0;

    inspected = what;
    switch (what) {
    case 'p':
    case 'P':
        if (may) {
            out->actionType = FWP_ACTION_PERMIT;
        }
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

static const FWPS_CALLOUT_CLASSIFY_FN2 functions[] = {classify_0, classify_1, classify_2,
                                                      classify_3, classify_4, classify_5};

static NTSTATUS
notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID* key, FWPS_FILTER2* filter)
{
    (void)filter;
    CHECK(type != FWPS_CALLOUT_NOTIFY_DELETE_FILTER || key == NULL);
    return STATUS_SUCCESS;
}

static GUID
key(uint32_t n)
{
    GUID guid = {n, 1, 2, {3}};

    return guid;
}

static HANDLE engine;
static UINT32 callout_ids[FUNCTIONS];

static void
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

static void
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

static void
sublayer(uint16_t weight)
{
    FWPM_SUBLAYER0 layer = {.displayData = {.name = (PWSTR)L"s"}, .weight = weight, .subLayerKey = key(weight)};

    (void)FwpmSubLayerAdd0(engine, &layer, NULL); // ALREADY_EXISTS is fine
}

// One word of a set-up, e.g. "9:tp!@7".  Returns what FwpmFilterAdd0 said.
static NTSTATUS
add_word(const char* word, uint64_t weight, UINT64* id)
{
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"f"}, .layerKey = FWPM_LAYER_ALE_AUTH_CONNECT_V4};
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
    uint64_t ids[8];
} outcome;

static outcome
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
    sim_connect(&request, &connected);
    result.blocked = (int)connected.blocked;
    for (int i = 0; i < count; i++) {
        CHECK_EQUAL(FwpmFilterDeleteById0(engine, result.ids[i]), STATUS_SUCCESS);
    }
    return result;
}

static const struct {
    const char* number;
    const char* setup;
    int blocked;
    uint32_t violations;
} cases[] = {
    {"A1", "", 0, 0},
    {"A2", "5:P@9 5:B@1", 0, 0},
    {"A3", "5:B@9 5:P@1", 1, 0},
    {"A12", "5:C@9 5:B@1", 1, 0},
    {"B1", "9:P 5:B", 1, 0},
    {"B2", "9:P! 5:B", 0, 0},
    {"B3", "9:P! 5:B!", 1, 0},
    {"B4", "9:tP 5:B", 0, 0},
    {"B5", "9:tp 5:B", 1, 0},
    {"B6", "9:tP 5:tB", 1, 0},
    {"B7", "9:B 5:P", 1, 0},
    {"B8", "9:B 5:P!", 1, 0},
    {"B9", "9:tb 5:P", 0, 0},
    {"B10", "9:tb", 1, 0},
    {"B11", "9:tB 5:P!", 1, 0},
    {"B12", "9:B 8:B 7:B", 1, 0},
    {"B13", "9:P 5:P", 0, 0},
    {"B14", "9:P 7:P! 5:B", 0, 0},
    {"B16", "9:P! 7:B 5:B!", 1, 0},
    {"B20", "9:tb 7:u0", 1, 0},
    {"C1", "5:t-", 1, 0},
    {"C2", "5:u-", 1, 0},
    {"C2b", "5:u-@9 5:P@1", 1, 0},
    {"C3", "5:i-@9 5:P@1", 0, 0},
    {"C4", "5:t-+", 0, 0},
    {"C5", "9:t-+ 5:B", 1, 0},
    {"C7", "5:uc@9 5:B@1", 1, 0},
    {"C8", "5:ib@9 5:P@1", 0, 1},
    {"C9", "5:tc@9 5:P@1", 0, 1},
};

TEST(the_arbitration_table_holds)
{
    start(NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t before = sim_violations();
        outcome result = run(cases[i].setup);

        if (result.blocked != cases[i].blocked || sim_violations() - before != cases[i].violations) {
            printf("# case %s: %s\n", cases[i].number, cases[i].setup);
        }
        CHECK_EQUAL(result.blocked, cases[i].blocked);
        CHECK_EQUAL(sim_violations() - before, cases[i].violations);
    }
    stop();
}

TEST(b17_an_inspection_callout_is_called_after_a_hard_block)
{
    start(NULL);
    CHECK(run("9:B 5:ic").blocked);
    CHECK_EQUAL(inspected, 'c');
    stop();
}

TEST(b19_a_native_block_vetoes_a_hard_permit_under_its_knob)
{
    sim_knobs knobs = {.native_block_vetoes = 1};

    start(&knobs);
    CHECK(run("9:P! 5:B").blocked);
    stop();
}

TEST(c6_permit_if_unregistered_belongs_to_deciding_callouts_only)
{
    UINT64 id;

    start(NULL);
    CHECK_EQUAL(add_word("5:P+", 1, &id), STATUS_FWP_INVALID_FLAGS);
    CHECK_EQUAL(add_word("5:B+", 1, &id), STATUS_FWP_INVALID_FLAGS);
    CHECK_EQUAL(add_word("5:i-+", 1, &id), STATUS_FWP_INVALID_FLAGS);
    stop();
}

TEST(c13_a_callout_key_registers_once)
{
    UINT32 id;
    FWPS_CALLOUT2 function = {.calloutKey = key(100), .notifyFn = notify, .classifyFn = classify_0};

    start(NULL);
    CHECK_EQUAL(FwpsCalloutRegister2(&function, &function, &id), STATUS_FWP_ALREADY_EXISTS);
    stop();
}
