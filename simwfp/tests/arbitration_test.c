// Sublayers, weights, rights, hard and soft actions, vetoes: the cases of the reference tables, by their numbers.
#include "setups.h"

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
    // w writes PERMIT without the right.  It changes nothing.  Over a BLOCK that is noted; over a PERMIT the callout found the same
    // value there, so it can only be seen where the entry value is another: b15_... below.
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

TEST(b15_a_permit_over_a_hard_permit_is_noted_where_the_entry_value_is_not_the_action_so_far)
{
    sim_knobs knobs = {.acquire_sets_block = 1, .entry_action_so_far = 2};

    start(&knobs);
    uint32_t before = sim_violations();
    outcome result = run("9:P! 7:tw 5:B");
    CHECK(!result.blocked);
    CHECK_EQUAL(result.classified.winner, result.ids[0]);
    CHECK_EQUAL(sim_violations() - before, 1);
    CHECK(strstr(sim_last_violation(), "wrote an action without the right") != NULL);
    CHECK_EQUAL(run("9:P! 7:tp 5:B").classified.violations, 0); // one that looks at its right first
    CHECK_EQUAL(run("9:P! 7:tB 5:B").classified.vetoes, 1);     // a veto is no violation
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
