// wfp-engine.md 1.1, 1.5, 2.10: provider contexts, which filters hand to the callouts that ask for them.
#include "engine.h"

static FWP_BYTE_BLOB data = {4, (uint8_t*)"data"};

static FWPM_PROVIDER_CONTEXT0
general(uint32_t n)
{
    return (FWPM_PROVIDER_CONTEXT0){.providerContextKey = key(n), .displayData = {.name = (PWSTR)L"x"},
                                    .type = FWPM_GENERAL_CONTEXT, .dataBuffer = &data};
}

static NTSTATUS
add_context(HANDLE session, uint32_t n, uint32_t flags, UINT64* id)
{
    FWPM_PROVIDER_CONTEXT0 context = general(n);

    context.flags = flags;
    return FwpmProviderContextAdd0(session, &context, NULL, id);
}

static FWPM_FILTER0
filter_with_context(uint32_t n)
{
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);

    filter.flags = FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT;
    filter.providerContextKey = key(n);
    return filter;
}

TEST(section_1_1_a_context_is_checked_and_its_key_is_unique_in_its_type)
{
    FWPM_PROVIDER_CONTEXT0 bad = general(5);
    GUID five = key(5), none = key(6);
    UINT64 id = 0;

    start();
    bad.displayData.name = NULL;
    CHECK_EQUAL(FwpmProviderContextAdd0(engine, &bad, NULL, &id), STATUS_FWP_NULL_DISPLAY_NAME);
    bad = general(5), bad.type = FWPM_PROVIDER_CONTEXT_TYPE_MAX;
    CHECK_EQUAL(FwpmProviderContextAdd0(engine, &bad, NULL, &id), STATUS_FWP_INVALID_ENUMERATOR);
    bad = general(5), bad.flags = 8;
    CHECK_EQUAL(FwpmProviderContextAdd0(engine, &bad, NULL, &id), STATUS_FWP_INVALID_FLAGS);
    bad = general(5), bad.dataBuffer = NULL;
    CHECK_EQUAL(FwpmProviderContextAdd0(engine, &bad, NULL, &id), STATUS_FWP_NULL_POINTER);
    bad = general(5), bad.providerKey = &none;
    CHECK_EQUAL(FwpmProviderContextAdd0(engine, &bad, NULL, &id), STATUS_FWP_PROVIDER_NOT_FOUND);
    CHECK_EQUAL(sim_object_count(), 0);
    CHECK_EQUAL(add_sublayer(engine, 5, 1), STATUS_SUCCESS); // of another type: no conflict
    CHECK_EQUAL(add_context(engine, 5, 0, &id), STATUS_SUCCESS);
    CHECK_EQUAL(add_context(engine, 5, 0, &id), STATUS_FWP_ALREADY_EXISTS);
    CHECK_EQUAL(FwpmProviderContextDeleteByKey0(engine, &none), STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND);
    CHECK_EQUAL(FwpmProviderContextDeleteByKey0(engine, &five), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderContextDeleteById0(engine, id), STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND);
    UINT64 first = 0, second = 0; // a zero key: BFE picks one, each time another
    CHECK_EQUAL(add_context(engine, 0, 0, &first), STATUS_SUCCESS);
    CHECK_EQUAL(add_context(engine, 0, 0, &second), STATUS_SUCCESS);
    CHECK(first != second);
    CHECK_EQUAL(FwpmProviderContextDeleteById0(engine, first), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderContextDeleteById0(engine, second), STATUS_SUCCESS);
    stop();
}

TEST(section_1_5_a_context_with_filters_stays_and_one_without_goes)
{
    GUID five = key(5), owner = key(1);
    UINT64 filter = 0;
    FWPM_FILTER0 missing = filter_with_context(9);
    FWPM_PROVIDER0 provider = {.providerKey = owner, .displayData = {.name = (PWSTR)L"p"}};
    FWPM_PROVIDER_CONTEXT0 owned = general(6);

    start();
    CHECK_EQUAL(FwpmFilterAdd0(engine, &missing, NULL, &filter), STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND);
    CHECK_EQUAL(add_context(engine, 5, 0, NULL), STATUS_SUCCESS);
    filter = add(filter_with_context(5));
    CHECK_EQUAL(FwpmProviderContextDeleteByKey0(engine, &five), STATUS_FWP_IN_USE);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS); // in one transaction it works, and an abort undoes it
    CHECK_EQUAL(FwpmFilterDeleteById0(engine, filter), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderContextDeleteByKey0(engine, &five), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderContextDeleteByKey0(engine, &five), STATUS_FWP_IN_USE);
    delete(filter);
    CHECK_EQUAL(FwpmProviderContextDeleteByKey0(engine, &five), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderAdd0(engine, &provider, NULL), STATUS_SUCCESS);
    owned.providerKey = &owner;
    CHECK_EQUAL(FwpmProviderContextAdd0(engine, &owned, NULL, NULL), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderDeleteByKey0(engine, &owner), STATUS_FWP_IN_USE);
    GUID six = key(6);
    CHECK_EQUAL(FwpmProviderContextDeleteByKey0(engine, &six), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderDeleteByKey0(engine, &owner), STATUS_SUCCESS);
    CHECK_EQUAL(sim_object_count(), 0);
    stop();
}

TEST(section_1_5_nothing_refers_to_a_context_that_lives_shorter)
{
    HANDLE one, two;
    FWPM_FILTER0 filter = filter_with_context(5), persistent = filter_with_context(6);
    GUID five = key(5);
    UINT64 id;

    start();
    one = user_session(APP, FWPM_SESSION_FLAG_DYNAMIC), two = user_session(SERVER, FWPM_SESSION_FLAG_DYNAMIC);
    CHECK_EQUAL(add_context(one, 5, 0, NULL), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_FWP_LIFETIME_MISMATCH);
    CHECK_EQUAL(FwpmFilterAdd0(two, &filter, NULL, &id), STATUS_FWP_LIFETIME_MISMATCH);
    CHECK_EQUAL(FwpmFilterAdd0(one, &filter, NULL, &id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderContextDeleteByKey0(two, &five), STATUS_FWP_WRONG_SESSION);
    CHECK_EQUAL(sim_user_error(FwpmProviderContextDeleteByKey0(one, &five)), 0x8032000A); // FWP_E_IN_USE
    sim_process_exit(APP);
    CHECK_EQUAL(sim_object_count(), 0); // filter and context of the dead, in the order that works
    CHECK_EQUAL(add_context(engine, 6, 0, NULL), STATUS_SUCCESS);
    persistent.flags |= FWPM_FILTER_FLAG_PERSISTENT;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &persistent, NULL, &id), STATUS_FWP_LIFETIME_MISMATCH);
    CHECK_EQUAL(add_context(engine, 7, FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT, NULL), STATUS_SUCCESS);
    persistent.providerContextKey = key(7);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &persistent, NULL, &id), STATUS_SUCCESS);
    CHECK_EQUAL(sim_user_engine_close(two), 0);
    sim_bfe_stop();
    sim_bfe_start();
    CHECK_EQUAL(sim_object_count(), 2); // the persistent pair
    stop();
}

static uint8_t handed[16];
static uint32_t handed_size;
static uint64_t handed_raw;
static int handed_over;

static void
take_context(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    (void)metadata, (void)context;
    handed_raw = filter->context;
    handed_over = filter->providerContext != NULL;
    if (handed_over) {
        handed_size = filter->providerContext->dataBuffer->size;
        memcpy(handed, filter->providerContext->dataBuffer->data, handed_size);
    }
    out->actionType = FWP_ACTION_CONTINUE;
}

TEST(section_2_10_a_callout_gets_the_context_if_it_uses_one_and_the_raw_value_otherwise)
{
    uint8_t bytes[4] = {'a', 'b', 'c', 'd'};
    FWP_BYTE_BLOB mine = {4, bytes};
    FWPM_PROVIDER_CONTEXT0 context = general(5);
    FWPM_CALLOUT0 user = {.calloutKey = key(70), .displayData = {.name = (PWSTR)L"c"},
                          .applicableLayer = FWPM_LAYER_ALE_AUTH_CONNECT_V4,
                          .flags = FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT};

    start();
    body = take_context;
    UINT32 function = register_callout(70, 0), plain_function = register_callout(71, 0);
    CHECK_EQUAL(FwpmCalloutAdd0(engine, &user, NULL, NULL), STATUS_SUCCESS);
    add_callout(71, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
    context.dataBuffer = &mine;
    CHECK_EQUAL(FwpmProviderContextAdd0(engine, &context, NULL, NULL), STATUS_SUCCESS);
    memset(bytes, 'z', sizeof(bytes)); // what was added is a copy
    FWPM_FILTER0 filter = callout_filter(70, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
    filter.flags = FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT;
    filter.providerContextKey = key(5);
    UINT64 id = add(filter);
    CHECK(passes(connect_to(public_v4, 443)));
    CHECK(handed_over && handed_size == 4 && memcmp(handed, "abcd", 4) == 0);
    CHECK_EQUAL(handed_raw, 0);
    delete(id);
    filter.action.calloutKey = key(71); // this one has not asked for it
    id = add(filter);
    CHECK(passes(connect_to(public_v4, 443)));
    CHECK(!handed_over);
    delete(id);
    filter = callout_filter(70, &FWPM_LAYER_ALE_AUTH_CONNECT_V4); // C17
    filter.rawContext = 42;
    id = add(filter);
    CHECK(passes(connect_to(public_v4, 443)));
    CHECK(!handed_over && handed_raw == 42);
    delete(id);
    unregister(function), unregister(plain_function);
    stop();
}

TEST(section_1_7_contexts_are_enumerated_by_provider_and_type_and_filters_by_their_context)
{
    FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0 wanted = {.providerContextType = FWPM_GENERAL_CONTEXT};
    FWPM_FILTER_ENUM_TEMPLATE0 filters = {.layerKey = FWPM_LAYER_ALE_AUTH_CONNECT_V4, .actionMask = 0xFFFFFFFF,
                                          .providerContextTemplate = &wanted};
    FWPM_PROVIDER_CONTEXT0** found = NULL;
    FWPM_FILTER0** with = NULL;
    UINT32 count;
    HANDLE handle;
    UINT64 context_id = 0;

    start();
    CHECK_EQUAL(add_context(engine, 5, 0, &context_id), STATUS_SUCCESS);
    UINT64 id = add(filter_with_context(5));
    (void)add(filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK));
    CHECK_EQUAL(FwpmProviderContextCreateEnumHandle0(engine, &wanted, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderContextEnum0(engine, handle, 5, &found, &count), STATUS_SUCCESS);
    CHECK(count == 1 && found[0]->providerContextId == context_id && found[0]->dataBuffer->size == 4);
    FwpmFreeMemory0((PVOID*)&found);
    CHECK_EQUAL(FwpmProviderContextDestroyEnumHandle0(engine, handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(engine, &filters, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterEnum0(engine, handle, 5, &with, &count), STATUS_SUCCESS);
    CHECK(count == 1 && with[0]->filterId == id);
    FwpmFreeMemory0((PVOID*)&with);
    CHECK_EQUAL(FwpmFilterDestroyEnumHandle0(engine, handle), STATUS_SUCCESS);
    wanted.providerContextType = FWPM_CLASSIFY_OPTIONS_CONTEXT;
    CHECK_EQUAL(FwpmProviderContextCreateEnumHandle0(engine, &wanted, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmProviderContextEnum0(engine, handle, 5, &found, &count), STATUS_SUCCESS);
    CHECK_EQUAL(count, 0);
    CHECK_EQUAL(FwpmProviderContextDestroyEnumHandle0(engine, handle), STATUS_SUCCESS);
    stop();
}
