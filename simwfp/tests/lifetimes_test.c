// How long objects live, and who hears of their coming and going.
#include "engine.h"

static NTSTATUS
add_provider(uint32_t n, uint32_t flags, PCWSTR service)
{
    FWPM_PROVIDER0 provider = {.providerKey = key(n), .displayData = {.name = (PWSTR)L"p"}, .flags = flags,
                               .serviceName = (PWSTR)service};

    return FwpmProviderAdd0(engine, &provider, NULL);
}

static NTSTATUS
add_owned_sublayer(uint32_t n, uint32_t provider, uint32_t flags)
{
    GUID owner = key(provider);
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = key(n), .displayData = {.name = (PWSTR)L"s"}, .weight = 7,
                               .flags = flags, .providerKey = provider == 0 ? NULL : &owner};

    return FwpmSubLayerAdd0(engine, &sublayer, NULL);
}

static NTSTATUS
add_block(uint32_t sublayer, uint32_t provider, uint32_t flags, UINT64* id)
{
    GUID owner = key(provider);
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);

    filter.flags = flags;
    filter.providerKey = provider == 0 ? NULL : &owner;
    if (sublayer != 0) {
        filter.subLayerKey = key(sublayer);
    }
    return FwpmFilterAdd0(engine, &filter, NULL, id);
}

TEST(e2_keys_are_unique_within_a_type_only)
{
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);

    start();
    filter.filterKey = key(77);
    (void)add(filter);
    add_callout(77, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
    CHECK_EQUAL(sim_object_count(), 2);
    stop();
}

TEST(e6_a_transaction_that_is_held_too_long_is_aborted)
{
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);
    HANDLE user;
    uint64_t id;

    start();
    user = user_session(APP, 0);
    CHECK_EQUAL(sim_user_transaction_begin(user, 0), 0);
    CHECK_EQUAL(sim_user_filter_add(user, &filter, &id), 0);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_FWP_TIMEOUT);
    sim_advance(3601ull * 10000000u);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS); // the lock is free
    CHECK_EQUAL(sim_user_transaction_commit(user), 0x8032000F);
    CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_SUCCESS);
    CHECK(passes(connect_to(public_v4, 443)));
    CHECK_EQUAL(sim_object_count(), 0);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS); // a kernel caller is never cut off
    sim_advance(7200ull * 10000000u);
    CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_SUCCESS);
    CHECK_EQUAL(sim_user_engine_close(user), 0);
    stop();
}

TEST(e10_persistent_objects_refer_to_persistent_ones_of_their_own_provider)
{
    UINT64 id;

    start();
    CHECK_EQUAL(add_provider(1, FWPM_PROVIDER_FLAG_PERSISTENT, NULL), STATUS_SUCCESS);
    CHECK_EQUAL(add_provider(2, FWPM_PROVIDER_FLAG_PERSISTENT, NULL), STATUS_SUCCESS);
    CHECK_EQUAL(add_owned_sublayer(11, 1, FWPM_SUBLAYER_FLAG_PERSISTENT), STATUS_SUCCESS);
    CHECK_EQUAL(add_owned_sublayer(12, 0, 0), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(11, 2, FWPM_FILTER_FLAG_PERSISTENT, &id), STATUS_FWP_LIFETIME_MISMATCH);
    CHECK_EQUAL(add_block(12, 1, FWPM_FILTER_FLAG_PERSISTENT, &id), STATUS_FWP_LIFETIME_MISMATCH); // static
    CHECK_EQUAL(add_block(11, 1, FWPM_FILTER_FLAG_PERSISTENT, &id), STATUS_SUCCESS);
    stop();
}

TEST(built_in_objects_stay)
{
    start();
    CHECK_EQUAL(FwpmSubLayerDeleteByKey0(engine, &FWPM_SUBLAYER_UNIVERSAL), STATUS_FWP_BUILTIN_OBJECT);
    stop();
}

TEST(e15_a_restart_of_bfe_keeps_persistent_objects_and_disables_those_of_sleeping_services)
{
    UINT64 kept, sleeping, awake, gone;

    start();
    sim_service_auto_start(L"awake");
    CHECK_EQUAL(add_provider(1, FWPM_PROVIDER_FLAG_PERSISTENT, L"asleep"), STATUS_SUCCESS);
    CHECK_EQUAL(add_provider(2, FWPM_PROVIDER_FLAG_PERSISTENT, L"awake"), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(0, 0, 0, &gone), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(0, 0, FWPM_FILTER_FLAG_PERSISTENT, &kept), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(0, 1, FWPM_FILTER_FLAG_PERSISTENT, &sleeping), STATUS_SUCCESS);
    CHECK_EQUAL(add_block(0, 2, FWPM_FILTER_FLAG_PERSISTENT, &awake), STATUS_SUCCESS);
    sim_bfe_stop();
    CHECK(passes(connect_to(public_v4, 443))); // nothing is enforced without it
    sim_bfe_start();
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine), STATUS_SUCCESS);
    CHECK(!passes(connect_to(public_v4, 443)));
    CHECK(!sim_filter_disabled(kept) && sim_filter_disabled(sleeping) && !sim_filter_disabled(awake));
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, gone), STATUS_FWP_FILTER_NOT_FOUND);
    delete(kept), delete(awake);
    CHECK(passes(connect_to(public_v4, 443))); // the disabled one is there and does nothing
    delete(sleeping);
    stop();
}

TEST(boot_time_filters_hold_until_bfe_runs)
{
    UINT64 id;

    start();
    CHECK_EQUAL(add_block(0, 0, FWPM_FILTER_FLAG_BOOTTIME, &id), STATUS_SUCCESS);
    CHECK(passes(connect_to(public_v4, 443)));
    sim_machine_restart();
    CHECK(!passes(connect_to(public_v4, 443)));
    sim_bfe_start();
    CHECK(passes(connect_to(public_v4, 443)));
    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine), STATUS_SUCCESS);
    delete(id);
    stop();
}

TEST(section_1_2_a_session_that_the_service_ended_answers_so_until_it_is_closed)
{
    HANDLE user, handle;
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);
    uint64_t id = 0;

    start();
    user = user_session(APP, FWPM_SESSION_FLAG_DYNAMIC);
    CHECK_EQUAL(sim_user_filter_add(user, &filter, &id), 0);
    CHECK_EQUAL(sim_user_transaction_begin(user, 0), 0);
    sim_bfe_stop();
    sim_bfe_start();
    CHECK_EQUAL(sim_user_filter_add(user, &filter, &id), 0x80320010); // FWP_E_SESSION_ABORTED
    CHECK_EQUAL(sim_user_transaction_commit(user), 0x80320010);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_FWP_SESSION_ABORTED);
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, NULL, &handle), STATUS_FWP_SESSION_ABORTED);
    CHECK_EQUAL(sim_object_count(), 0);
    CHECK_EQUAL(sim_user_engine_close(user), 0);
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS); // the lock of the dead transaction is free
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_SUCCESS);
    stop();
}

TEST(section_1_2_a_session_key_is_unique_among_the_living)
{
    FWPM_SESSION0 named = {.sessionKey = key(33)};
    HANDLE first, second;

    start();
    CHECK_EQUAL(sim_user_engine_open(APP, &named, &first), 0);
    CHECK_EQUAL(sim_user_engine_open(SERVER, &named, &second), 0x80320009); // FWP_E_ALREADY_EXISTS
    CHECK_EQUAL(sim_user_engine_close(first), 0);
    CHECK_EQUAL(sim_user_engine_open(SERVER, &named, &second), 0);
    CHECK_EQUAL(sim_user_engine_close(second), 0);
    stop();
}

TEST(section_1_6_there_is_room_for_65536_sublayers)
{
    FWPM_SUBLAYER0 sublayer = {.displayData = {.name = (PWSTR)L"s"}};
    NTSTATUS status = STATUS_SUCCESS;
    uint32_t added = 0;

    start();
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    while (NT_SUCCESS(status) && added <= 65536) {
        status = FwpmSubLayerAdd0(engine, &sublayer, NULL);
        added += NT_SUCCESS(status);
    }
    CHECK_EQUAL(status, STATUS_FWP_TOO_MANY_SUBLAYERS);
    CHECK_EQUAL(added, 65535); // and the built-in one
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_SUCCESS);
    CHECK_EQUAL(sim_object_count(), 0);
    stop();
}

static UINT16 seen_flags;

static void
note_flags(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    (void)metadata, (void)context, (void)out;
    seen_flags = filter->flags;
}

TEST(section_2_4_a_callout_is_told_what_its_filters_flags_are)
{
    FWPM_FILTER_CONDITION0 run[] = {
        condition(&FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL, (FWP_CONDITION_VALUE0){.type = FWP_UINT16, .uint16 = 443}),
        condition(&FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL, (FWP_CONDITION_VALUE0){.type = FWP_UINT16, .uint16 = 80})};
    FWPM_FILTER0 filter;
    uint64_t id;

    start();
    body = note_flags;
    add_callout(70, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
    UINT32 function = register_callout(70, 0);
    for (uint32_t bits = 0; bits < 8; bits++) {
        filter = callout_filter(70, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
        filter.flags = ((bits & 1) != 0 ? FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT : 0u)
                       | ((bits & 2) != 0 ? FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED : 0u);
        filter.filterCondition = run, filter.numFilterConditions = (bits & 4) != 0 ? 2 : 1;
        id = add(filter);
        seen_flags = 0xFFFF;
        CHECK(passes(connect_to(public_v4, 443)));
        CHECK_EQUAL(seen_flags, bits); // FWPS flags are other numbers than FWPM's
        delete(id);
    }
    unregister(function);
    run[0].matchType = FWP_MATCH_TYPE_MAX;
    filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);
    filter.filterCondition = run, filter.numFilterConditions = 1;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_FWP_INVALID_ENUMERATOR);
    stop();
}

static uint32_t heard[FWPM_CHANGE_TYPE_MAX];

static VOID
hear(PVOID context, const FWPM_FILTER_CHANGE0* change)
{
    CHECK(context == &heard);
    CHECK(change->filterId != 0);
    heard[change->changeType]++;
}

TEST(e16_a_subscriber_hears_of_others_and_not_inside_a_transaction)
{
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);
    HANDLE one, two, change = NULL;
    uint64_t id;

    start();
    one = user_session(APP, 0), two = user_session(SERVER, FWPM_SESSION_FLAG_DYNAMIC);
    CHECK_EQUAL(sim_user_transaction_begin(one, 0), 0);
    CHECK_EQUAL(sim_user_filter_subscribe(one, hear, heard, &change), 0x8032000E);
    CHECK_EQUAL(sim_user_transaction_abort(one), 0);
    CHECK_EQUAL(sim_user_filter_subscribe(one, hear, heard, &change), 0);
    CHECK_EQUAL(sim_user_filter_add(one, &filter, &id), 0); // its own: not told
    CHECK_EQUAL(heard[FWPM_CHANGE_ADD], 0);
    CHECK_EQUAL(sim_user_transaction_begin(two, 0), 0);
    CHECK_EQUAL(sim_user_filter_add(two, &filter, &id), 0);
    CHECK_EQUAL(heard[FWPM_CHANGE_ADD], 0); // not before the commit
    CHECK_EQUAL(sim_user_transaction_commit(two), 0);
    CHECK_EQUAL(heard[FWPM_CHANGE_ADD], 1);
    CHECK_EQUAL(sim_user_engine_close(two), 0);
    CHECK_EQUAL(heard[FWPM_CHANGE_DELETE], 1);
    CHECK_EQUAL(sim_user_filter_unsubscribe(one, change), 0);
    (void)add(filter);
    CHECK_EQUAL(heard[FWPM_CHANGE_ADD], 1);
    CHECK_EQUAL(sim_user_engine_close(one), 0);
    stop();
}
