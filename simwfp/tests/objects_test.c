// Sessions, transactions, lifetimes, conditions: the management half of the engine.
#include "simwfp.h"

#include "check.h"

static HANDLE engine;

static GUID
key(uint32_t n)
{
    GUID guid = {n, 0, 0, {0}};

    return guid;
}

static void
start(void)
{
    sim_boot(NULL);
    sim_process_start(50, 1, 1, NULL, 0);
    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine), STATUS_SUCCESS);
}

static void
stop(void)
{
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS);
    sim_shutdown();
}

static HANDLE
dynamic_session(void)
{
    HANDLE session = NULL;
    FWPM_SESSION0 from = {.flags = FWPM_SESSION_FLAG_DYNAMIC};

    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, &from, &session), STATUS_SUCCESS);
    return session;
}

static NTSTATUS
add_provider(HANDLE session, uint32_t n)
{
    FWPM_PROVIDER0 provider = {.providerKey = key(n), .displayData = {.name = (PWSTR)L"p"}};

    return FwpmProviderAdd0(session, &provider, NULL);
}

static NTSTATUS
add_sublayer(HANDLE session, uint32_t n, uint32_t provider)
{
    GUID provider_key = key(provider);
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = key(n), .displayData = {.name = (PWSTR)L"s"}, .weight = 7,
                               .providerKey = provider == 0 ? NULL : &provider_key};

    return FwpmSubLayerAdd0(session, &sublayer, NULL);
}

static FWPM_FILTER0
block_filter(void)
{
    FWPM_FILTER0 filter = {.displayData = {.name = (PWSTR)L"f"}, .layerKey = FWPM_LAYER_ALE_AUTH_CONNECT_V4};

    filter.action.type = FWP_ACTION_BLOCK;
    return filter;
}

static NTSTATUS
add_block(HANDLE session, uint32_t sublayer, UINT64* id)
{
    FWPM_FILTER0 filter = block_filter();

    filter.subLayerKey = key(sublayer);
    return FwpmFilterAdd0(session, &filter, NULL, id);
}

static int
connects_to(uint8_t last, uint16_t port, uint8_t protocol)
{
    sim_connect_request request = {.pid = 50, .family = 4, .protocol = protocol, .remote_port = port,
                                   .remote_address = {203, 0, 113, last}, .app_id = (const uint8_t*)"ab",
                                   .app_id_size = 2};
    sim_connect_result result;

    sim_connect(&request, &result);
    return !result.blocked;
}

TEST(e1_transactions_do_not_nest_and_need_a_begin)
{
    start();
    CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_FWP_NO_TXN_IN_PROGRESS);
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_FWP_NO_TXN_IN_PROGRESS);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_FWP_TXN_IN_PROGRESS);
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_SUCCESS);
    stop();
}

TEST(e3_a_read_only_transaction_refuses_a_write_and_stays_open)
{
    start();
    CHECK_EQUAL(FwpmTransactionBegin0(engine, FWPM_TXN_READ_ONLY), STATUS_SUCCESS);
    CHECK_EQUAL(add_provider(engine, 1), STATUS_FWP_INCOMPATIBLE_TXN);
    CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_SUCCESS);
    stop();
}

TEST(e4_a_failed_call_does_not_end_the_transaction_and_classify_sees_commits_only)
{
    UINT64 id;

    start();
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    CHECK_EQUAL(add_sublayer(engine, 5, 0), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(engine, 5, &id), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(engine, 99, &id), STATUS_FWP_SUBLAYER_NOT_FOUND);
    CHECK(connects_to(7, 443, 6));
    CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_SUCCESS);
    CHECK(!connects_to(7, 443, 6));
    CHECK_EQUAL(sim_object_count(), 2);
    stop();
}

TEST(an_aborted_transaction_never_happened)
{
    UINT64 id, other;

    start();
    CHECK_EQUAL(add_sublayer(engine, 5, 0), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(engine, 5, &id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, id), STATUS_FWP_FILTER_NOT_FOUND); // own changes are visible to oneself
    CHECK_EQUAL(add_block(engine, 5, &other), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_SUCCESS);
    CHECK(!connects_to(7, 443, 6));
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, other), STATUS_FWP_FILTER_NOT_FOUND);
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, id), STATUS_SUCCESS);
    CHECK(connects_to(7, 443, 6));
    stop();
}

TEST(e5_a_second_writer_waits_in_vain)
{
    HANDLE other;

    start();
    other = dynamic_session();
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmTransactionBegin0(other, 0), STATUS_FWP_TIMEOUT);
    CHECK_EQUAL(add_provider(other, 3), STATUS_FWP_TIMEOUT);
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmEngineClose0(other), STATUS_SUCCESS);
    stop();
}

TEST(e8_what_a_dynamic_session_added_goes_with_it)
{
    HANDLE session;
    UINT64 id;

    start();
    session = dynamic_session();
    CHECK_EQUAL(add_provider(session, 1), STATUS_SUCCESS);
    CHECK_EQUAL(add_sublayer(session, 5, 1), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(session, 5, &id), STATUS_SUCCESS);
    CHECK(!connects_to(7, 443, 6));
    CHECK_EQUAL(FwpmEngineClose0(session), STATUS_SUCCESS);
    CHECK(connects_to(7, 443, 6));
    CHECK_EQUAL(sim_object_count(), 0);
    stop();
}

TEST(e7_a_dead_process_leaves_nothing_of_its_transaction)
{
    HANDLE session = NULL;
    FWPM_SESSION0 from = {.flags = FWPM_SESSION_FLAG_DYNAMIC};
    FWPM_FILTER0 filter = block_filter();
    uint64_t id;

    start();
    CHECK_EQUAL(sim_user_engine_open(50, &from, &session), 0);
    CHECK_EQUAL(sim_user_filter_add(session, &filter, &id), 0); // zero sublayer key: A13, UNIVERSAL
    CHECK(!connects_to(7, 443, 6));
    CHECK_EQUAL(sim_user_transaction_begin(session, 0), 0);
    CHECK_EQUAL(sim_user_filter_delete(session, id), 0);
    sim_process_exit(50);
    CHECK(connects_to(7, 443, 6));
    CHECK_EQUAL(sim_user_engine_close(session), 6); // rundown was first
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS); // the lock is free
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_SUCCESS);
    stop();
}

TEST(e9_nothing_may_refer_to_what_may_live_shorter)
{
    HANDLE one, two;
    UINT64 id;

    start();
    one = dynamic_session(), two = dynamic_session();
    CHECK_EQUAL(add_sublayer(one, 5, 0), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(engine, 5, &id), STATUS_FWP_LIFETIME_MISMATCH);
    CHECK_EQUAL(add_block(two, 5, &id), STATUS_FWP_LIFETIME_MISMATCH);
    CHECK_EQUAL(add_block(one, 5, &id), STATUS_SUCCESS);
    CHECK_EQUAL(add_sublayer(engine, 6, 0), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(two, 6, &id), STATUS_SUCCESS); // dynamic may refer to static
    CHECK_EQUAL(FwpmEngineClose0(one), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmEngineClose0(two), STATUS_SUCCESS);
    stop();
}

TEST(e11_and_e13_what_is_used_or_somebody_elses_cannot_be_deleted)
{
    HANDLE one, two;
    UINT64 id;
    GUID five = key(5), provider = key(1);

    start();
    one = dynamic_session(), two = dynamic_session();
    CHECK_EQUAL(add_provider(engine, 1), STATUS_SUCCESS);
    CHECK_EQUAL(add_sublayer(engine, 5, 1), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderDeleteByKey0(engine, &provider), STATUS_FWP_IN_USE);
    CHECK_EQUAL(add_block(one, 5, &id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmSubLayerDeleteByKey0(engine, &five), STATUS_FWP_IN_USE);
    CHECK_EQUAL(FwpmSubLayerDeleteByKey0(one, &five), STATUS_FWP_DYNAMIC_SESSION_IN_PROGRESS);
    CHECK_EQUAL(FwpmFilterDeleteById0(two, id), STATUS_FWP_WRONG_SESSION);
    CHECK_EQUAL(FwpmEngineClose0(one), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmSubLayerDeleteByKey0(engine, &five), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderDeleteByKey0(engine, &provider), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmEngineClose0(two), STATUS_SUCCESS);
    stop();
}

TEST(e12_and_e14_keys_are_unique_names_are_needed_flags_make_sense)
{
    FWPM_FILTER0 filter = block_filter();
    uint64_t id;

    start();
    filter.filterKey = key(77);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_FWP_ALREADY_EXISTS);
    CHECK_EQUAL(add_provider(engine, 77), STATUS_SUCCESS); // E2: another type may have the same key
    filter = block_filter(), filter.displayData.name = NULL;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_FWP_NULL_DISPLAY_NAME);
    filter = block_filter(), filter.flags = FWPM_FILTER_FLAG_DISABLED;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_FWP_INVALID_FLAGS);
    filter.flags = FWPM_FILTER_FLAG_PERSISTENT | FWPM_FILTER_FLAG_BOOTTIME;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_FWP_INVALID_FLAGS);
    filter = block_filter(), filter.weight = (FWP_VALUE0){.type = FWP_UINT8, .uint8 = 16}; // A10
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_FWP_INVALID_WEIGHT);
    filter.weight = (FWP_VALUE0){.type = FWP_UINT32, .uint32 = 5};
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_FWP_INVALID_WEIGHT);
    stop();
}

// ---- conditions ----

static FWPM_FILTER_CONDITION0
condition(const GUID* field, FWP_MATCH_TYPE match, FWP_CONDITION_VALUE0 value)
{
    return (FWPM_FILTER_CONDITION0){*field, match, value};
}

static NTSTATUS
add_with(FWPM_FILTER_CONDITION0* conditions, uint32_t count, UINT64* id)
{
    FWPM_FILTER0 filter = block_filter();

    filter.filterCondition = conditions;
    filter.numFilterConditions = count;
    return FwpmFilterAdd0(engine, &filter, NULL, id);
}

static FWP_CONDITION_VALUE0
u16(uint16_t value)
{
    return (FWP_CONDITION_VALUE0){.type = FWP_UINT16, .uint16 = value};
}

static FWP_CONDITION_VALUE0
u8(uint8_t value)
{
    return (FWP_CONDITION_VALUE0){.type = FWP_UINT8, .uint8 = value};
}

TEST(d1_to_d4_fields_are_anded_and_runs_are_ored)
{
    const GUID* port = &FWPM_CONDITION_IP_REMOTE_PORT;
    const GUID* protocol = &FWPM_CONDITION_IP_PROTOCOL;
    UINT64 id;

    start();
    FWPM_FILTER_CONDITION0 both[] = {condition(protocol, FWP_MATCH_EQUAL, u8(6)),
                                     condition(port, FWP_MATCH_EQUAL, u16(443))};
    CHECK_EQUAL(add_with(both, 2, &id), STATUS_SUCCESS);
    CHECK(!connects_to(7, 443, 6));
    CHECK(connects_to(7, 443, 17));
    CHECK(connects_to(7, 80, 6));
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, id), STATUS_SUCCESS);

    FWPM_FILTER_CONDITION0 run[] = {condition(port, FWP_MATCH_EQUAL, u16(80)),
                                    condition(port, FWP_MATCH_EQUAL, u16(443))};
    CHECK_EQUAL(add_with(run, 2, &id), STATUS_SUCCESS);
    CHECK(!connects_to(7, 443, 6));
    CHECK(!connects_to(7, 80, 6));
    CHECK(connects_to(7, 81, 6));
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, id), STATUS_SUCCESS);

    FWPM_FILTER_CONDITION0 split[] = {condition(port, FWP_MATCH_EQUAL, u16(80)),
                                      condition(protocol, FWP_MATCH_EQUAL, u8(6)),
                                      condition(port, FWP_MATCH_EQUAL, u16(443))};
    CHECK_EQUAL(add_with(split, 3, &id), STATUS_FWP_DUPLICATE_CONDITION);

    FWPM_FILTER_CONDITION0 trap[] = {condition(port, FWP_MATCH_NOT_EQUAL, u16(80)),
                                     condition(port, FWP_MATCH_NOT_EQUAL, u16(443))};
    CHECK_EQUAL(add_with(trap, 2, &id), STATUS_SUCCESS);
    CHECK(!connects_to(7, 80, 6)); // OR of two inequalities is always true
    stop();
}

TEST(d6_to_d8_ranges_masks_and_host_byte_order)
{
    UINT64 id;
    FWP_RANGE0 range = {{.type = FWP_UINT16, .uint16 = 80}, {.type = FWP_UINT16, .uint16 = 90}};
    FWP_V4_ADDR_AND_MASK mask = {0xCB007100, 0xFFFFFF00}; // 203.0.113.0/24, host order

    start();
    FWPM_FILTER_CONDITION0 ports[] = {condition(
        &FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_RANGE,
        (FWP_CONDITION_VALUE0){.type = FWP_RANGE_TYPE, .rangeValue = &range})};
    CHECK_EQUAL(add_with(ports, 1, &id), STATUS_SUCCESS);
    CHECK(connects_to(7, 79, 6) && !connects_to(7, 80, 6) && !connects_to(7, 90, 6) && connects_to(7, 91, 6));
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, id), STATUS_SUCCESS);
    range.valueHigh.uint16 = 79;
    CHECK_EQUAL(add_with(ports, 1, &id), STATUS_FWP_INVALID_RANGE);

    FWPM_FILTER_CONDITION0 net[] = {condition(
        &FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL,
        (FWP_CONDITION_VALUE0){.type = FWP_V4_ADDR_MASK, .v4AddrMask = &mask})};
    CHECK_EQUAL(add_with(net, 1, &id), STATUS_SUCCESS);
    CHECK(!connects_to(255, 80, 6));
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, id), STATUS_SUCCESS);
    mask.addr = 0x007100CB; // network order by mistake
    mask.mask = 0xFFFFFFFF;
    CHECK_EQUAL(add_with(net, 1, &id), STATUS_SUCCESS);
    CHECK(connects_to(0, 80, 6));
    mask.mask = 0xFF00FF00;
    CHECK_EQUAL(add_with(net, 1, &id), STATUS_FWP_INVALID_NET_MASK);
    stop();
}

TEST(d13_to_d16_app_ids_are_compared_bytewise_and_types_are_checked)
{
    UINT64 id;
    FWP_BYTE_BLOB same = {2, (uint8_t*)"ab"}, upper = {2, (uint8_t*)"AB"}, shorter = {1, (uint8_t*)"a"};
    FWP_CONDITION_VALUE0 value = {.type = FWP_BYTE_BLOB_TYPE, .byteBlob = &same};
    FWP_CONDITION_VALUE0 wrong = {.type = FWP_UINT32, .uint32 = 443};

    start();
    FWPM_FILTER_CONDITION0 app[] = {condition(&FWPM_CONDITION_ALE_APP_ID, FWP_MATCH_EQUAL, value)};
    CHECK_EQUAL(add_with(app, 1, &id), STATUS_SUCCESS);
    CHECK(!connects_to(7, 443, 6));
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, id), STATUS_SUCCESS);
    app[0].conditionValue.byteBlob = &upper;
    CHECK_EQUAL(add_with(app, 1, &id), STATUS_SUCCESS);
    app[0].conditionValue.byteBlob = &shorter;
    CHECK_EQUAL(add_with(app, 1, &id), STATUS_SUCCESS);
    CHECK(connects_to(7, 443, 6));
    app[0].matchType = FWP_MATCH_EQUAL_CASE_INSENSITIVE;
    CHECK_EQUAL(add_with(app, 1, &id), STATUS_FWP_MATCH_TYPE_MISMATCH);
    FWPM_FILTER_CONDITION0 port[] = {condition(&FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL, wrong)};
    CHECK_EQUAL(add_with(port, 1, &id), STATUS_FWP_TYPE_MISMATCH);
    GUID unknown = key(1);
    FWPM_FILTER_CONDITION0 field[] = {condition(&unknown, FWP_MATCH_EQUAL, wrong)};
    CHECK_EQUAL(add_with(field, 1, &id), STATUS_FWP_CONDITION_NOT_FOUND);
    stop();
}
