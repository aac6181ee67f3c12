// wfp-engine.md 1.7: enumerating objects, what a template selects, and who frees what.
#include "engine.h"

static FWPM_FILTER_ENUM_TEMPLATE0
at_auth(void)
{
    return (FWPM_FILTER_ENUM_TEMPLATE0){.layerKey = FWPM_LAYER_ALE_AUTH_CONNECT_V4, .enumType = FWP_FILTER_ENUM_OVERLAPPING,
                                        .actionMask = 0xFFFFFFFF};
}

// The ids that an enumeration of filters gives, in order; at most 32.
static uint32_t
ids_of(HANDLE session, const FWPM_FILTER_ENUM_TEMPLATE0* wanted, UINT64 ids[32])
{
    HANDLE handle = NULL;
    FWPM_FILTER0** found = NULL;
    UINT32 count = 0;

    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(session, wanted, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterEnum0(session, handle, 32, &found, &count), STATUS_SUCCESS);
    for (UINT32 i = 0; i < count; i++) {
        ids[i] = found[i]->filterId;
    }
    FwpmFreeMemory0((PVOID*)&found);
    CHECK_EQUAL(FwpmFilterDestroyEnumHandle0(session, handle), STATUS_SUCCESS);
    CHECK_EQUAL(sim_open_enumerations(), 0);
    CHECK_EQUAL(sim_live_results(), 0);
    return count;
}

static int
selects(const FWPM_FILTER_ENUM_TEMPLATE0* wanted, UINT64 id)
{
    UINT64 ids[32];
    uint32_t count = ids_of(engine, wanted, ids);
    int found = 0;

    for (uint32_t i = 0; i < count; i++) {
        found |= ids[i] == id;
    }
    return found;
}

static FWPM_FILTER0
weighted(FWP_ACTION_TYPE action, UINT64* weight)
{
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, action);

    filter.weight = (FWP_VALUE0){.type = FWP_UINT64, .uint64 = weight};
    return filter;
}

TEST(section_1_7_an_enumeration_is_a_snapshot_of_its_beginning)
{
    UINT64 weight = 7, first, second;
    HANDLE handle;
    FWPM_FILTER0** found = NULL;
    UINT32 count;

    start();
    first = add(weighted(FWP_ACTION_BLOCK, &weight));
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, NULL, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(sim_open_enumerations(), 1);
    delete(first); // what is enumerated is gone, and one that is not is there
    second = add(weighted(FWP_ACTION_PERMIT, &weight));
    CHECK_EQUAL(FwpmFilterEnum0(engine, handle, 10, &found, &count), STATUS_SUCCESS);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(found[0]->filterId, first);
    CHECK_EQUAL(found[0]->action.type, FWP_ACTION_BLOCK);
    CHECK(found[0]->displayData.name[0] == 'f' && found[0]->displayData.name[1] == 0);
    CHECK_EQUAL(*found[0]->effectiveWeight.uint64, 7);
    CHECK(memcmp(&found[0]->subLayerKey, &FWPM_SUBLAYER_UNIVERSAL, sizeof(GUID)) == 0); // the zero key, as it was taken
    CHECK_EQUAL(sim_live_results(), 1);
    FwpmFreeMemory0((PVOID*)&found);
    CHECK(found == NULL);
    CHECK_EQUAL(sim_live_results(), 0);
    CHECK_EQUAL(FwpmFilterEnum0(engine, handle, 10, &found, &count), STATUS_SUCCESS);
    CHECK_EQUAL(count, 0); // read to its end: it does not start again
    CHECK_EQUAL(sim_live_results(), 0);
    CHECK_EQUAL(FwpmFilterDestroyEnumHandle0(engine, handle), STATUS_SUCCESS);
    delete(second);
    stop();
}

TEST(section_1_7_portions_are_of_the_size_that_was_asked_for_and_everything_comes_once)
{
    UINT64 weight = 1, sum = 0, got = 0;
    HANDLE handle;
    UINT32 count, portions = 0;

    start();
    for (int i = 0; i < 10; i++) {
        sum += add(weighted(FWP_ACTION_PERMIT, &weight));
    }
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, NULL, &handle), STATUS_SUCCESS);
    do {
        FWPM_FILTER0** found = NULL;
        CHECK_EQUAL(FwpmFilterEnum0(engine, handle, 3, &found, &count), STATUS_SUCCESS);
        for (UINT32 i = 0; i < count; i++) {
            got += found[i]->filterId;
        }
        FwpmFreeMemory0((PVOID*)&found);
        portions++;
    } while (count == 3);
    CHECK_EQUAL(portions, 4);
    CHECK_EQUAL(got, sum);
    CHECK_EQUAL(FwpmFilterDestroyEnumHandle0(engine, handle), STATUS_SUCCESS);
    stop();
}

TEST(section_1_7_own_changes_are_seen_before_the_commit_and_nobody_elses)
{
    UINT64 weight = 1, ids[32], kept, added = 0;
    HANDLE other;
    FWPM_FILTER0 filter = weighted(FWP_ACTION_PERMIT, &weight);

    start();
    other = user_session(APP, 0);
    kept = add(filter);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &added), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, kept), STATUS_SUCCESS);
    CHECK_EQUAL(ids_of(engine, NULL, ids), 1);
    CHECK_EQUAL(ids[0], added);
    CHECK_EQUAL(ids_of(other, NULL, ids), 1);
    CHECK_EQUAL(ids[0], kept);
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_SUCCESS);
    CHECK_EQUAL(ids_of(engine, NULL, ids), 1);
    CHECK_EQUAL(ids[0], kept);
    CHECK_EQUAL(sim_user_engine_close(other), 0);
    stop();
}

TEST(section_1_7_boot_time_and_disabled_filters_come_only_if_they_are_asked_for)
{
    FWPM_PROVIDER0 provider = {.providerKey = key(1), .displayData = {.name = (PWSTR)L"p"}, .serviceName = (PWSTR)L"late",
                               .flags = FWPM_PROVIDER_FLAG_PERSISTENT};
    FWPM_FILTER0 boot = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT), late = boot, plain = boot;
    FWPM_FILTER_ENUM_TEMPLATE0 wanted = at_auth();
    FWPM_PROVIDER0* described = NULL;
    GUID owner = key(1);

    start();
    CHECK_EQUAL(FwpmProviderAdd0(engine, &provider, NULL), STATUS_SUCCESS);
    boot.flags = FWPM_FILTER_FLAG_BOOTTIME;
    late.flags = FWPM_FILTER_FLAG_PERSISTENT, late.providerKey = &owner;
    UINT64 boot_id = add(boot), late_id = add(late);
    CHECK(!selects(&wanted, boot_id) && selects(&wanted, late_id));
    sim_bfe_stop();
    sim_bfe_start(); // the provider's service does not start by itself
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS); // the session is dead, its handle is not
    CHECK_EQUAL(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine), STATUS_SUCCESS);
    UINT64 plain_id = add(plain);
    CHECK(selects(&wanted, plain_id) && !selects(&wanted, boot_id) && !selects(&wanted, late_id));
    wanted.flags = FWP_FILTER_ENUM_FLAG_INCLUDE_BOOTTIME;
    CHECK(selects(&wanted, plain_id) && selects(&wanted, boot_id) && !selects(&wanted, late_id));
    wanted.flags = FWP_FILTER_ENUM_FLAG_INCLUDE_DISABLED;
    CHECK(selects(&wanted, plain_id) && !selects(&wanted, boot_id) && selects(&wanted, late_id));
    wanted.flags = FWP_FILTER_ENUM_FLAG_BOOTTIME_ONLY | FWP_FILTER_ENUM_FLAG_INCLUDE_DISABLED; // the second is ignored then
    CHECK(!selects(&wanted, plain_id) && selects(&wanted, boot_id) && !selects(&wanted, late_id));
    CHECK(selects(NULL, plain_id) && selects(NULL, boot_id) && selects(NULL, late_id)); // no template: everything
    CHECK_EQUAL(FwpmProviderGetByKey0(engine, &owner, &described), STATUS_SUCCESS);
    CHECK_EQUAL(described->flags, FWPM_PROVIDER_FLAG_PERSISTENT | FWPM_PROVIDER_FLAG_DISABLED);
    FwpmFreeMemory0((PVOID*)&described);
    stop();
}

TEST(section_1_7_sorted_by_weight_or_only_the_strongest_that_terminates)
{
    UINT64 weights[] = {5, 9, 7, 12}, ids[32], added[4];
    FWPM_FILTER_ENUM_TEMPLATE0 wanted = at_auth();

    start();
    for (uint32_t i = 0; i < 4; i++) { // the heaviest does not terminate
        added[i] = add(weighted(weights[i] == 12 ? FWP_ACTION_CONTINUE : FWP_ACTION_PERMIT, &weights[i]));
    }
    wanted.flags = FWP_FILTER_ENUM_FLAG_SORTED;
    CHECK_EQUAL(ids_of(engine, &wanted, ids), 4);
    CHECK(ids[0] == added[3] && ids[1] == added[1] && ids[2] == added[2] && ids[3] == added[0]);
    wanted.flags = FWP_FILTER_ENUM_FLAG_BEST_TERMINATING_MATCH;
    CHECK_EQUAL(ids_of(engine, &wanted, ids), 1);
    CHECK_EQUAL(ids[0], added[1]);
    wanted.flags = 0x40;
    HANDLE handle;
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, &wanted, &handle), STATUS_FWP_INVALID_FLAGS);
    wanted.flags = 0, wanted.enumType = FWP_FILTER_ENUM_TYPE_MAX;
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, &wanted, &handle), STATUS_FWP_INVALID_ENUMERATOR);
    wanted = at_auth(), wanted.layerKey = key(5);
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, &wanted, &handle), STATUS_FWP_LAYER_NOT_FOUND);
    CHECK_EQUAL(sim_open_enumerations(), 0);
    stop();
}

// ---- conditions of a template ----

static FWP_CONDITION_VALUE0
port(uint16_t value)
{
    return (FWP_CONDITION_VALUE0){.type = FWP_UINT16, .uint16 = value};
}

static int
contains(FWPM_FILTER_CONDITION0 wanted_condition, UINT64 id)
{
    FWPM_FILTER_ENUM_TEMPLATE0 wanted = at_auth();

    wanted.enumType = FWP_FILTER_ENUM_FULLY_CONTAINED;
    wanted.numFilterConditions = 1, wanted.filterCondition = &wanted_condition;
    return selects(&wanted, id);
}

static int
overlaps(FWPM_FILTER_CONDITION0 wanted_condition, UINT64 id)
{
    FWPM_FILTER_ENUM_TEMPLATE0 wanted = at_auth();

    wanted.numFilterConditions = 1, wanted.filterCondition = &wanted_condition;
    return selects(&wanted, id);
}

static FWPM_FILTER_CONDITION0
ports(uint16_t low, uint16_t high, FWP_RANGE0* range)
{
    *range = (FWP_RANGE0){{.type = FWP_UINT16, .uint16 = low}, {.type = FWP_UINT16, .uint16 = high}};
    return condition(&FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_RANGE,
                     (FWP_CONDITION_VALUE0){.type = FWP_RANGE_TYPE, .rangeValue = range});
}

TEST(section_1_7_filters_that_contain_a_template_or_overlap_with_it)
{
    const GUID* field = &FWPM_CONDITION_IP_REMOTE_PORT;
    FWP_RANGE0 a, b, c;
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);
    FWPM_FILTER_CONDITION0 run[] = {ports(80, 90, &a), ports(91, 99, &b), condition(field, FWP_MATCH_GREATER, port(60000))};

    start();
    UINT64 all = add(filter);
    filter.filterCondition = run, filter.numFilterConditions = 3;
    UINT64 id = add(filter);
    CHECK(contains(condition(field, FWP_MATCH_EQUAL, port(80)), id));
    CHECK(contains(condition(field, FWP_MATCH_EQUAL, port(80)), all)); // it says nothing of ports
    CHECK(!contains(condition(field, FWP_MATCH_EQUAL, port(100)), id));
    CHECK(!overlaps(condition(field, FWP_MATCH_EQUAL, port(100)), id));
    CHECK(contains(ports(85, 95, &c), id)); // over two conditions of the run
    CHECK(!contains(ports(85, 100, &c), id) && overlaps(ports(85, 100, &c), id));
    CHECK(!overlaps(ports(100, 60000, &c), id) && overlaps(ports(100, 60001, &c), id));
    CHECK(contains(ports(60001, 65535, &c), id));
    CHECK(contains(condition(field, FWP_MATCH_GREATER, port(60000)), id));
    CHECK(!contains(condition(field, FWP_MATCH_GREATER_OR_EQUAL, port(60000)), id));
    CHECK(overlaps(condition(field, FWP_MATCH_LESS, port(81)), id) && !overlaps(condition(field, FWP_MATCH_LESS, port(80)), id));
    CHECK(overlaps(condition(&FWPM_CONDITION_IP_PROTOCOL, FWP_MATCH_EQUAL,
                             (FWP_CONDITION_VALUE0){.type = FWP_UINT8, .uint8 = 6}), id));
    stop();
}

TEST(section_1_7_address_masks_and_app_ids_in_templates)
{
    FWP_V4_ADDR_AND_MASK net = {0x0A010000, 0xFFFF0000}, inside = {0x0A010200, 0xFFFFFF00}, around = {0x0A000000, 0xFF000000},
                         beside = {0x0A020000, 0xFFFF0000};
    FWP_BYTE_BLOB app = {2, (uint8_t*)"ab"}, other = {2, (uint8_t*)"ac"};
    FWPM_FILTER_CONDITION0 both[] = {
        condition(&FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL,
                  (FWP_CONDITION_VALUE0){.type = FWP_V4_ADDR_MASK, .v4AddrMask = &net}),
        condition(&FWPM_CONDITION_ALE_APP_ID, FWP_MATCH_EQUAL,
                  (FWP_CONDITION_VALUE0){.type = FWP_BYTE_BLOB_TYPE, .byteBlob = &app})};
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);
    FWPM_FILTER_CONDITION0 wanted = both[0];
    HANDLE handle;

    start();
    filter.filterCondition = both, filter.numFilterConditions = 2;
    UINT64 id = add(filter);
    wanted.conditionValue.v4AddrMask = &inside;
    CHECK(contains(wanted, id));
    wanted.conditionValue.v4AddrMask = &around;
    CHECK(!contains(wanted, id) && overlaps(wanted, id));
    wanted.conditionValue.v4AddrMask = &beside;
    CHECK(!overlaps(wanted, id));
    wanted = both[1];
    CHECK(contains(wanted, id));
    wanted.conditionValue.byteBlob = &other;
    CHECK(!contains(wanted, id) && !overlaps(wanted, id));
    FWPM_FILTER_CONDITION0 twice[] = {both[1], both[1]};
    FWPM_FILTER_ENUM_TEMPLATE0 bad = at_auth();
    bad.filterCondition = twice, bad.numFilterConditions = 2;
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, &bad, &handle), STATUS_FWP_DUPLICATE_CONDITION);
    // what comes back is a deep copy: the caller's memory may be gone
    app.data = (uint8_t*)"zz", net.addr = 0;
    FWPM_FILTER0* got = NULL;
    CHECK_EQUAL(FwpmFilterGetById0(engine, id, &got), STATUS_SUCCESS);
    CHECK_EQUAL(got->filterCondition[0].conditionValue.v4AddrMask->addr, 0x0A010000);
    CHECK(memcmp(got->filterCondition[1].conditionValue.byteBlob->data, "ab", 2) == 0);
    FwpmFreeMemory0((PVOID*)&got);
    stop();
}

TEST(section_1_7_action_callout_and_layer_select_too)
{
    FWPM_FILTER_ENUM_TEMPLATE0 wanted = at_auth();
    GUID callout = key(70), other = key(71);
    HANDLE handle;

    start();
    add_callout(70, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
    UINT64 by_callout = add(callout_filter(70, &FWPM_LAYER_ALE_AUTH_CONNECT_V4));
    UINT64 native = add(filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK));
    UINT64 elsewhere = add(filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V6, FWP_ACTION_BLOCK));
    CHECK(selects(&wanted, by_callout) && selects(&wanted, native) && !selects(&wanted, elsewhere));
    wanted.actionMask = FWP_ACTION_FLAG_TERMINATING;
    CHECK(!selects(&wanted, by_callout) && selects(&wanted, native));
    wanted.actionMask = FWP_ACTION_FLAG_CALLOUT;
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, &wanted, &handle), STATUS_FWP_NULL_POINTER);
    wanted.calloutKey = &callout;
    CHECK(selects(&wanted, by_callout) && !selects(&wanted, native));
    wanted.calloutKey = &other;
    CHECK(!selects(&wanted, by_callout));
    FWPM_CALLOUT0* got = NULL;
    CHECK_EQUAL(FwpmCalloutGetByKey0(engine, &callout, &got), STATUS_SUCCESS);
    CHECK_EQUAL(got->flags & FWPM_CALLOUT_FLAG_REGISTERED, 0);
    UINT32 callout_id = got->calloutId;
    FwpmFreeMemory0((PVOID*)&got);
    body = NULL;
    UINT32 function = register_callout(70, 0);
    CHECK_EQUAL(FwpmCalloutGetById0(engine, callout_id, &got), STATUS_SUCCESS);
    CHECK_EQUAL(got->flags & FWPM_CALLOUT_FLAG_REGISTERED, FWPM_CALLOUT_FLAG_REGISTERED);
    FwpmFreeMemory0((PVOID*)&got);
    CHECK_EQUAL(FwpmCalloutDeleteById0(engine, callout_id), STATUS_FWP_IN_USE);
    unregister(function);
    stop();
}

TEST(section_1_7_each_type_has_an_enumeration_and_its_own_handles)
{
    FWPM_SUBLAYER_ENUM_TEMPLATE0 owned;
    GUID mine = key(1);
    FWPM_PROVIDER0 provider = {.providerKey = mine, .displayData = {.name = (PWSTR)L"p", .description = (PWSTR)L"d"}};
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = key(2), .displayData = {.name = (PWSTR)L"s"}, .providerKey = &mine,
                               .providerData = {3, (uint8_t*)"abc"}, .weight = 9};
    FWPM_SUBLAYER0** found = NULL;
    FWPM_PROVIDER0** providers = NULL;
    UINT32 count;
    HANDLE handle, other;

    start();
    CHECK_EQUAL(FwpmProviderAdd0(engine, &provider, NULL), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmSubLayerAdd0(engine, &sublayer, NULL), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmSubLayerCreateEnumHandle0(engine, NULL, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmSubLayerEnum0(engine, handle, 9, &found, &count), STATUS_SUCCESS);
    CHECK_EQUAL(count, 2); // and the built-in one
    FwpmFreeMemory0((PVOID*)&found);
    CHECK_EQUAL(FwpmProviderDestroyEnumHandle0(engine, handle), STATUS_FWP_NOT_FOUND);
    other = user_session(APP, 0);
    CHECK_EQUAL(FwpmSubLayerEnum0(other, handle, 9, &found, &count), STATUS_FWP_NOT_FOUND); // another session's
    CHECK_EQUAL(sim_user_engine_close(other), 0);
    CHECK_EQUAL(FwpmSubLayerDestroyEnumHandle0(engine, handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmSubLayerDestroyEnumHandle0(engine, handle), STATUS_FWP_NOT_FOUND);
    CHECK_EQUAL(FwpmSubLayerEnum0(engine, handle, 9, &found, &count), STATUS_FWP_NOT_FOUND);
    owned.providerKey = &mine;
    CHECK_EQUAL(FwpmSubLayerCreateEnumHandle0(engine, &owned, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmSubLayerEnum0(engine, handle, 9, &found, &count), STATUS_SUCCESS);
    CHECK_EQUAL(count, 1);
    CHECK(memcmp(found[0]->providerKey, &mine, sizeof(mine)) == 0 && found[0]->weight == 9);
    CHECK(found[0]->providerData.size == 3 && memcmp(found[0]->providerData.data, "abc", 3) == 0);
    FwpmFreeMemory0((PVOID*)&found);
    CHECK_EQUAL(FwpmSubLayerDestroyEnumHandle0(engine, handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderCreateEnumHandle0(engine, NULL, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderEnum0(engine, handle, 9, &providers, &count), STATUS_SUCCESS);
    CHECK(count == 1 && providers[0]->displayData.description[0] == 'd' && providers[0]->serviceName == NULL);
    FwpmFreeMemory0((PVOID*)&providers);
    CHECK_EQUAL(FwpmProviderDestroyEnumHandle0(engine, handle), STATUS_SUCCESS);
    stop();
}

static char misuse[256];

static void
note(const char* message)
{
    (void)snprintf(misuse, sizeof(misuse), "%s", message);
}

TEST(section_1_7_what_is_not_freed_or_closed_is_noticed)
{
    UINT64 weight = 1;
    HANDLE handle, user;
    FWPM_FILTER0* got = NULL;
    FWPM_FILTER0* twice;
    PVOID foreign = &weight;

    start();
    UINT64 id = add(weighted(FWP_ACTION_PERMIT, &weight));
    sim_on_misuse(note);
    CHECK_EQUAL(FwpmFilterGetById0(engine, id, &got), STATUS_SUCCESS);
    twice = got;
    FwpmFreeMemory0((PVOID*)&got);
    FwpmFreeMemory0((PVOID*)&twice);
    CHECK(strstr(misuse, "freed already") != NULL);
    misuse[0] = 0;
    FwpmFreeMemory0(&foreign);
    CHECK(strstr(misuse, "not memory of the filter engine") != NULL);
    CHECK_EQUAL(FwpmFilterGetById0(engine, id, &got), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, NULL, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmEngineClose0(engine), STATUS_SUCCESS);
    CHECK(strstr(misuse, "1 enumeration handles open") != NULL);
    misuse[0] = 0;
    CHECK_EQUAL(sim_open_enumerations(), 0);
    // a user's process takes both with it, and nobody is to blame
    user = user_session(APP, 0);
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(user, NULL, &handle), STATUS_SUCCESS);
    FWPM_FILTER0* users = NULL;
    CHECK_EQUAL(FwpmFilterGetById0(user, id, &users), STATUS_SUCCESS);
    CHECK_EQUAL(sim_live_results(), 2);
    sim_process_exit(APP);
    CHECK_EQUAL(sim_live_results(), 1);
    CHECK_EQUAL(sim_open_enumerations(), 0);
    CHECK_EQUAL(misuse[0], 0);
    sim_shutdown();
    CHECK(strstr(misuse, "1 results of the filter engine were not given to FwpmFreeMemory0") != NULL);
    sim_on_misuse(NULL);
}

TEST(section_1_7_every_call_can_fail_and_then_leaves_nothing)
{
    UINT64 weight = 1;
    HANDLE handle = NULL;
    FWPM_FILTER0** found = NULL;
    FWPM_FILTER0* got = NULL;
    UINT32 count;

    start();
    UINT64 id = add(weighted(FWP_ACTION_PERMIT, &weight));
    sim_fail_call(1);
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, NULL, &handle), STATUS_INSUFFICIENT_RESOURCES);
    CHECK_EQUAL(sim_open_enumerations(), 0);
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, NULL, &handle), STATUS_SUCCESS);
    sim_fail_call(1);
    CHECK_EQUAL(FwpmFilterEnum0(engine, handle, 1, &found, &count), STATUS_INSUFFICIENT_RESOURCES);
    CHECK_EQUAL(FwpmFilterEnum0(engine, handle, 1, &found, &count), STATUS_SUCCESS);
    CHECK_EQUAL(count, 1); // the failure consumed nothing
    FwpmFreeMemory0((PVOID*)&found);
    CHECK_EQUAL(FwpmFilterDestroyEnumHandle0(engine, handle), STATUS_SUCCESS);
    sim_fail_call(1);
    CHECK_EQUAL(FwpmFilterGetById0(engine, id, &got), STATUS_INSUFFICIENT_RESOURCES);
    sim_fail_call(0);
    CHECK_EQUAL(sim_live_results(), 0);
    stop();
}
