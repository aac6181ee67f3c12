// Sublayers, weights, rights, hard and soft actions, vetoes: the cases of the reference tables, by their numbers.
//
// A set-up is written as in the tables: "9:P! 5:B" is a native permit with CLEAR_ACTION_RIGHT in a sublayer of weight 9 and
// a native block in one of weight 5.  P B C: native permit, block, continue.  t u i: callout, terminating, unknown,
// inspection; what its function does follows: p P permit soft and hard, b B block soft and hard, c continue, 0 nothing,
// - is not registered; + is PERMIT_IF_CALLOUT_UNREGISTERED.  ! is CLEAR_ACTION_RIGHT.  @N the weight, else by position.
#include "simwfp.h"

#include "check.h"

#define FUNCTIONS 9

static const char script[FUNCTIONS] = "pPbBc0w-";
static uint32_t inspected_rights;
static char inspected;

static void
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

static const FWPS_CALLOUT_CLASSIFY_FN2 functions[] = {classify_0, classify_1, classify_2,
                                                      classify_3, classify_4, classify_5,
                                                      classify_6};

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
    sim_classify_result classified;
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

static const struct {
    const char* number;
    const char* setup;
    int blocked;
    int winner;      // which filter of the set-up, from 1; 0: none
    uint32_t decided; // sublayers with a decision
    uint32_t violations;
} cases[] = {
    {"A1", "", 0, 0, 0, 0},
    {"A2", "5:P@9 5:B@1", 0, 1, 1, 0},
    {"A3", "5:B@9 5:P@1", 1, 1, 1, 0},
    {"A12", "5:C@9 5:B@1", 1, 2, 1, 0},
    {"B1", "9:P 5:B", 1, 2, 2, 0},
    {"B2", "9:P! 5:B", 0, 1, 2, 0},
    {"B3", "9:P! 5:B!", 1, 2, 2, 0},
    {"B4", "9:tP 5:B", 0, 1, 2, 0},
    {"B5", "9:tp 5:B", 1, 2, 2, 0},
    {"B6", "9:tP 5:tB", 1, 2, 2, 0},
    {"B7", "9:B 5:P", 1, 1, 2, 0},
    {"B8", "9:B 5:P!", 1, 1, 2, 0},
    {"B9", "9:tb 5:P", 0, 2, 2, 0},
    {"B10", "9:tb", 1, 1, 1, 0},
    {"B11", "9:tB 5:P!", 1, 1, 2, 0},
    {"B12", "9:B 8:B 7:B", 1, 1, 3, 0},
    {"B13", "9:P 5:P", 0, 1, 2, 0},
    {"B14", "9:P 7:P! 5:B", 0, 1, 3, 0},
    // w writes PERMIT without the right.  It changes nothing; over a PERMIT nobody can see it, over a BLOCK it is noted.
    {"B15", "9:P! 7:tw 5:B", 0, 1, 2, 0},
    {"B15", "9:B 7:tw 5:P", 1, 1, 2, 1},
    {"B16", "9:P! 7:B 5:B!", 1, 3, 3, 0},
    {"B20", "9:tb 7:u0", 1, 1, 1, 0},
    {"C1", "5:t-", 1, 1, 1, 0},
    {"C2", "5:u-", 1, 1, 1, 0},
    {"C2", "5:u-@9 5:P@1", 1, 1, 1, 0},
    {"C3", "5:i-@9 5:P@1", 0, 2, 1, 0},
    {"C4", "5:t-+", 0, 1, 1, 0},
    {"C5", "9:t-+ 5:B", 1, 2, 2, 0},
    {"C7", "5:uc@9 5:B@1", 1, 2, 1, 0},
    {"C8", "5:ib@9 5:P@1", 0, 2, 1, 1},
    {"C9", "5:tc@9 5:P@1", 0, 2, 1, 1},
};

TEST(the_arbitration_table_holds)
{
    start(NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t before = sim_violations();
        int failures = check_failures;
        outcome result = run(cases[i].setup);

        CHECK_EQUAL(result.blocked, cases[i].blocked);
        CHECK_EQUAL(result.classified.winner, cases[i].winner == 0 ? 0 : result.ids[cases[i].winner - 1]);
        CHECK_EQUAL(result.classified.terminating_count, cases[i].decided);
        CHECK_EQUAL(sim_violations() - before, cases[i].violations);
        CHECK_EQUAL(result.classified.tie_dependent, 0);
        printf("# case %s%s: %s\n", cases[i].number, check_failures == failures ? "" : " FAILED", cases[i].setup);
    }
    stop();
}

TEST(b17_an_inspection_callout_is_called_after_a_hard_block)
{
    start(NULL);
    CHECK(run("9:B 5:ic").blocked);
    CHECK_EQUAL(inspected, 'c');
    CHECK_EQUAL(inspected_rights, 0);
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

TEST(a11_equal_filter_weights_are_luck_and_are_reported)
{
    int blocked = 0, runs = 64;

    for (int seed = 0; seed < runs; seed++) {
        sim_knobs knobs = {.acquire_sets_block = 1, .tie_seed = (uint32_t)seed};

        start(&knobs);
        outcome result = run("5:P@7 5:B@7");
        blocked += result.blocked;
        CHECK_EQUAL(result.classified.tie_dependent, 1);
        CHECK_EQUAL(run("5:P@7 5:P@7").classified.tie_dependent, 0);   // the same either way
        CHECK_EQUAL(run("5:P@7 5:B@7 4:B").classified.tie_dependent, 0);
        CHECK_EQUAL(run("5:tp@7 5:B@7").classified.tie_dependent, 1);  // nobody knows what it would have said
        stop();
    }
    CHECK(blocked > 0 && blocked < runs); // both orders are explored
}

TEST(b21_equal_sublayer_weights_are_luck_and_are_reported)
{
    int blocked = 0, runs = 64;

    for (int seed = 0; seed < runs; seed++) {
        sim_knobs knobs = {.acquire_sets_block = 1, .tie_seed = (uint32_t)seed};
        FWPM_SUBLAYER0 twin = {.displayData = {.name = (PWSTR)L"s"}, .weight = 9, .subLayerKey = key(5)};

        start(&knobs);
        CHECK_EQUAL(FwpmSubLayerAdd0(engine, &twin, NULL), STATUS_SUCCESS); // the word "5:" now means a twin of 9
        outcome result = run("9:P! 5:B");
        blocked += result.blocked;
        CHECK_EQUAL(result.classified.tie_dependent, 1);
        CHECK_EQUAL(run("9:P! 5:B!").classified.tie_dependent, 0);
        stop();
    }
    CHECK(blocked > 0 && blocked < runs);
}

TEST(tie_order_can_be_the_order_of_adding_or_its_reverse)
{
    for (uint32_t order = 1; order <= 2; order++) {
        sim_knobs knobs = {.acquire_sets_block = 1, .tie_order = order};

        start(&knobs);
        CHECK_EQUAL(run("5:P@7 5:B@7").blocked, order == 2);
        stop();
    }
}

TEST(c10_a_callout_permit_with_the_flag_set_is_hard)
{
    start(NULL);
    CHECK_EQUAL(run("5:tP!").classified.hard, 1);
    CHECK_EQUAL(run("5:tp").classified.hard, 0);
    stop();
}

TEST(c11_a_callout_may_go_while_filters_name_it)
{
    UINT64 terminating, permitting;
    sim_connect_request request = {.pid = 9, .family = 4, .protocol = 6, .remote_port = 443,
                                   .remote_address = {203, 0, 113, 7}, .app_id = (const uint8_t*)"", .app_id_size = 0};
    sim_connect_result result;

    start(NULL);
    CHECK_EQUAL(add_word("5:tp", 1, &terminating), STATUS_SUCCESS);
    CHECK_EQUAL(FwpsCalloutUnregisterById0(callout_ids[0]), STATUS_SUCCESS);
    callout_ids[0] = 0;
    sim_connect(&request, &result);
    CHECK(result.blocked); // as C1
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, terminating), STATUS_SUCCESS);
    CHECK_EQUAL(add_word("5:tp+", 1, &permitting), STATUS_SUCCESS);
    sim_connect(&request, &result);
    CHECK(!result.blocked); // as C4
    stop();
}

TEST(c18_a_callout_belongs_to_one_layer)
{
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"f"}, .layerKey = FWPM_LAYER_ALE_AUTH_CONNECT_V6};

    start(NULL);
    filter.action.type = FWP_ACTION_CALLOUT_UNKNOWN;
    filter.action.calloutKey = key(100);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, NULL), STATUS_FWP_INCOMPATIBLE_LAYER);
    stop();
}

TEST(b18_a_hard_permit_says_nothing_about_the_next_layer)
{
    UINT64 id;
    FWPM_FILTER0 block = {.displayData = {.name = (PWSTR)L"f"}, .layerKey = FWPM_LAYER_OUTBOUND_TRANSPORT_V4};
    sim_connect_request like = {.pid = 9, .family = 4, .protocol = 6, .app_id = (const uint8_t*)"", .app_id_size = 0};
    uint8_t address[16] = {203, 0, 113, 7};
    sim_socket* socket;

    start(NULL);
    CHECK_EQUAL(add_word("9:P!", 1, &id), STATUS_SUCCESS);
    block.action.type = FWP_ACTION_BLOCK;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &block, NULL, NULL), STATUS_SUCCESS);
    sim_trace_start();
    socket = sim_socket_open(&like);
    CHECK_EQUAL(sim_socket_connect(socket, address, 443), SIM_ETIMEDOUT); // the SYN is dropped
    CHECK_EQUAL(sim_trace(1)->result.action, FWP_ACTION_PERMIT);
    CHECK_EQUAL(sim_trace(2)->layer, FWPS_LAYER_OUTBOUND_TRANSPORT_V4);
    CHECK_EQUAL(sim_trace(2)->result.action, FWP_ACTION_BLOCK);
    sim_socket_close(socket);
    stop();
}
