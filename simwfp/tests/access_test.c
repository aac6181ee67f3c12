// wfp-engine.md 1.8: what a user-mode caller may do, and what a kernel-mode caller may do anyway.
#include "engine.h"

#define ACCESS_DENIED 5u // ERROR_ACCESS_DENIED

static const uint8_t administrators[] = {1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0};
static const uint8_t operators[] = {1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x2C, 2, 0, 0};
static const uint8_t everyone[] = {1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};
static const uint8_t app_user[] = {1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 9, 0, 0, 0};
static const uint8_t firewall_service[] = { // S-1-5-80-3088073201-1464728630-1879813800-1107566885-823218052, MpsSvc
    1, 6, 0, 0, 0, 0, 0, 5, 80, 0, 0, 0, 0xF1, 0x41, 0x10, 0xB8, 0x36, 0xFC, 0x4D, 0x57,
    0xA8, 0xAE, 0x0B, 0x70, 0x25, 0x21, 0x04, 0x42, 0x84, 0x4F, 0x11, 0x31};

static void
be(uint32_t pid, const void* group)
{
    sim_process_identity(pid, app_user, NULL);
    sim_process_groups(pid, (const void*[]){everyone, group}, group == NULL ? 1 : 2);
}

static FWPM_FILTER0
permit(void)
{
    return filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);
}

// A self-relative descriptor with one entry, or two.
typedef struct descriptor {
    uint8_t bytes[128];
} descriptor;

static void
append(descriptor* d, uint8_t type, uint32_t mask, const uint8_t* sid, uint32_t sid_size)
{
    uint32_t size = (uint32_t)d->bytes[22] | (uint32_t)d->bytes[23] << 8;
    uint8_t* ace = d->bytes + 20 + size;

    ace[0] = type, ace[1] = 0, ace[2] = (uint8_t)(8 + sid_size), ace[3] = 0;
    memcpy(ace + 4, &mask, 4);
    memcpy(ace + 8, sid, sid_size);
    d->bytes[22] = (uint8_t)(size + 8 + sid_size);
    d->bytes[24]++;
}

static descriptor
descriptor_with(int is_protected)
{
    descriptor d = {{1, 0, 0x04, (uint8_t)(0x80 | (is_protected ? 0x10 : 0)), [16] = 20, [20] = 2, [22] = 8}};

    return d;
}

TEST(section_1_8_everybody_may_open_and_only_open)
{
    HANDLE session = NULL, handle, change;
    FWPM_FILTER0 filter = permit();
    FWPM_SUBLAYER0 sublayer = {.subLayerKey = key(3), .displayData = {.name = (PWSTR)L"s"}};
    uint64_t id = 0;

    start();
    be(APP, NULL);
    UINT64 kernels = add(filter);
    CHECK_EQUAL(sim_user_engine_open(APP, NULL, &session), 0);
    CHECK_EQUAL(sim_user_transaction_begin(session, 0), ACCESS_DENIED);
    CHECK_EQUAL(sim_user_transaction_begin(session, FWPM_TXN_READ_ONLY), ACCESS_DENIED);
    CHECK_EQUAL(sim_user_filter_add(session, &filter, &id), ACCESS_DENIED);
    CHECK_EQUAL(sim_user_error(FwpmSubLayerAdd0(session, &sublayer, NULL)), ACCESS_DENIED);
    CHECK_EQUAL(sim_user_filter_delete(session, kernels), ACCESS_DENIED);
    CHECK_EQUAL(sim_user_error(FwpmFilterCreateEnumHandle0(session, NULL, &handle)), ACCESS_DENIED);
    CHECK_EQUAL(sim_user_filter_subscribe(session, NULL, NULL, &change), ACCESS_DENIED);
    FWPM_FILTER0* got = NULL;
    CHECK_EQUAL(sim_user_error(FwpmFilterGetById0(session, kernels, &got)), ACCESS_DENIED);
    CHECK_EQUAL(sim_user_engine_close(session), 0);
    CHECK_EQUAL(sim_object_count(), 1); // nothing was added, nothing went
    delete(kernels);
    stop();
}

TEST(section_1_8_administrators_operators_and_five_services_may_all_of_it)
{
    const void* groups[] = {administrators, operators, firewall_service};

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        HANDLE session = NULL;
        FWPM_FILTER0 filter = permit();
        uint64_t id = 0;

        start();
        be(APP, groups[i]);
        CHECK_EQUAL(sim_user_engine_open(APP, NULL, &session), 0);
        CHECK_EQUAL(sim_user_transaction_begin(session, 0), 0);
        CHECK_EQUAL(sim_user_filter_add(session, &filter, &id), 0);
        CHECK_EQUAL(sim_user_transaction_commit(session), 0);
        CHECK_EQUAL(sim_user_filter_delete(session, id), 0);
        // WRITE_DAC is in GENERIC_ALL alone, which only administrators have
        CHECK_EQUAL(sim_user_filter_add(session, &filter, &id), 0);
        FWPM_FILTER0* got = NULL;
        CHECK_EQUAL(FwpmFilterGetById0(session, id, &got), STATUS_SUCCESS);
        descriptor d = descriptor_with(0);
        CHECK_EQUAL(
            sim_user_error(FwpmFilterSetSecurityInfoByKey0(
                session, &got->filterKey, DACL_SECURITY_INFORMATION, NULL, NULL, (const ACL*)(const void*)(d.bytes + 20), NULL)),
            i == 0 ? 0 : ACCESS_DENIED);
        FwpmFreeMemory0((PVOID*)&got);
        CHECK_EQUAL(sim_user_engine_close(session), 0);
        stop();
    }
}

TEST(section_1_8_a_session_keeps_the_rights_that_it_was_opened_with)
{
    HANDLE session;
    FWPM_FILTER0 filter = permit();
    uint64_t id;

    start();
    session = user_session(APP, 0);
    be(APP, NULL);
    CHECK_EQUAL(sim_user_filter_add(session, &filter, &id), 0);
    CHECK_EQUAL(sim_user_engine_close(session), 0);
    stop();
}

TEST(section_1_8_adding_needs_add_link_on_everything_that_is_referred_to)
{
    static const uint32_t kinds = 4; // provider, sublayer, callout, provider context
    FWP_BYTE_BLOB data = {1, (uint8_t*)"x"};

    for (uint32_t denied = 0; denied <= kinds; denied++) {
        HANDLE session;
        descriptor closed = descriptor_with(0);
        GUID keys[] = {key(1), key(2), key(3), key(4)};
        FWPM_PROVIDER0 provider = {.providerKey = keys[0], .displayData = {.name = (PWSTR)L"p"}};
        FWPM_SUBLAYER0 sublayer = {.subLayerKey = keys[1], .displayData = {.name = (PWSTR)L"s"}};
        FWPM_CALLOUT0 callout = {.calloutKey = keys[2], .displayData = {.name = (PWSTR)L"c"},
                                 .applicableLayer = FWPM_LAYER_ALE_AUTH_CONNECT_V4};
        FWPM_PROVIDER_CONTEXT0 context = {.providerContextKey = keys[3], .displayData = {.name = (PWSTR)L"x"},
                                          .type = FWPM_GENERAL_CONTEXT, .dataBuffer = &data};
        FWPM_FILTER0 filter = callout_filter(3, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
        uint64_t id = 0;

        start();
        append(&closed, 1, FWPM_ACTRL_ADD_LINK, app_user, sizeof(app_user)); // denied to the user, though in a group that may
        be(APP, administrators);
        CHECK_EQUAL(FwpmProviderAdd0(engine, &provider, denied == 0 ? &closed : NULL), STATUS_SUCCESS);
        CHECK_EQUAL(FwpmSubLayerAdd0(engine, &sublayer, denied == 1 ? &closed : NULL), STATUS_SUCCESS);
        CHECK_EQUAL(FwpmCalloutAdd0(engine, &callout, denied == 2 ? &closed : NULL, NULL), STATUS_SUCCESS);
        CHECK_EQUAL(FwpmProviderContextAdd0(engine, &context, denied == 3 ? &closed : NULL, NULL), STATUS_SUCCESS);
        filter.providerKey = &keys[0], filter.subLayerKey = keys[1], filter.providerContextKey = keys[3];
        filter.flags = FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT;
        session = user_session(APP, 0);
        CHECK_EQUAL(sim_user_filter_add(session, &filter, &id), denied == kinds ? 0 : ACCESS_DENIED);
        UINT64 kernels = 0;
        CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &kernels), STATUS_SUCCESS); // the kernel is asked nothing
        CHECK_EQUAL(sim_user_engine_close(session), 0);
        stop();
    }
}

TEST(section_1_8_enumeration_leaves_out_what_may_not_be_read)
{
    descriptor secret = descriptor_with(1), open = descriptor_with(1);
    FWPM_FILTER0 filter = permit();
    FWPM_FILTER0** found = NULL;
    FWPM_FILTER0* got = NULL;
    HANDLE session, handle;
    UINT32 count;
    UINT64 hidden, plain, mine;

    start();
    append(&secret, 0, GENERIC_ALL, firewall_service, sizeof(firewall_service));
    append(&open, 0, FWPM_ACTRL_READ, app_user, sizeof(app_user));
    be(APP, administrators);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, &secret, &hidden), STATUS_SUCCESS); // protected: nothing is inherited
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, &open, &mine), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &plain), STATUS_SUCCESS);
    session = user_session(APP, 0);
    CHECK_EQUAL(FwpmFilterCreateEnumHandle0(session, NULL, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterEnum0(session, handle, 9, &found, &count), STATUS_SUCCESS);
    CHECK_EQUAL(count, 2);
    for (UINT32 i = 0; i < count; i++) {
        CHECK(found[i]->filterId != hidden);
    }
    FwpmFreeMemory0((PVOID*)&found);
    CHECK_EQUAL(FwpmFilterDestroyEnumHandle0(session, handle), STATUS_SUCCESS);
    CHECK_EQUAL(sim_user_error(FwpmFilterGetById0(session, hidden, &got)), ACCESS_DENIED);
    CHECK_EQUAL(sim_user_filter_delete(session, hidden), ACCESS_DENIED);
    CHECK_EQUAL(sim_user_filter_delete(session, mine), ACCESS_DENIED); // reading is all it may
    CHECK_EQUAL(sim_user_filter_delete(session, plain), 0);
    CHECK_EQUAL(FwpmFilterGetById0(engine, hidden, &got), STATUS_SUCCESS);
    FwpmFreeMemory0((PVOID*)&got);
    CHECK_EQUAL(sim_user_engine_close(session), 0);
    stop();
}

static uint32_t told;

static void
count_change(void* context, const FWPM_FILTER_CHANGE0* change)
{
    (void)context, (void)change;
    told++;
}

TEST(section_1_8_a_subscriber_hears_of_what_it_may_read)
{
    descriptor secret = descriptor_with(1);
    FWPM_FILTER0 filter = permit();
    HANDLE session, change;
    UINT64 hidden, plain;

    start();
    told = 0;
    session = user_session(APP, 0);
    CHECK_EQUAL(sim_user_filter_subscribe(session, count_change, NULL, &change), 0);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, &secret, &hidden), STATUS_SUCCESS);
    CHECK_EQUAL(told, 0);
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &plain), STATUS_SUCCESS);
    CHECK_EQUAL(told, 1);
    CHECK_EQUAL(sim_user_filter_unsubscribe(session, change), 0);
    CHECK_EQUAL(sim_user_engine_close(session), 0);
    stop();
}

TEST(section_1_3_security_is_not_changed_in_a_transaction_nor_by_a_foreign_dynamic_session)
{
    descriptor closed = descriptor_with(0);
    const ACL* acl = (const ACL*)(const void*)(closed.bytes + 20);
    FWPM_FILTER0 filter = permit();
    HANDLE dynamic, user;
    GUID its = key(90);
    UINT64 id;

    start();
    append(&closed, 1, FWPM_ACTRL_READ | DELETE, everyone, sizeof(everyone));
    filter.filterKey = its;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, &id), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    CHECK_EQUAL(FwpmFilterSetSecurityInfoByKey0(engine, &its, DACL_SECURITY_INFORMATION, NULL, NULL, acl, NULL),
                STATUS_FWP_TXN_IN_PROGRESS);
    CHECK_EQUAL(FwpmTransactionAbort0(engine), STATUS_SUCCESS);
    dynamic = user_session(APP, FWPM_SESSION_FLAG_DYNAMIC);
    CHECK_EQUAL(FwpmFilterSetSecurityInfoByKey0(dynamic, &its, DACL_SECURITY_INFORMATION, NULL, NULL, acl, NULL),
                STATUS_FWP_DYNAMIC_SESSION_IN_PROGRESS);
    GUID other = key(91);
    CHECK_EQUAL(FwpmFilterSetSecurityInfoByKey0(engine, &other, DACL_SECURITY_INFORMATION, NULL, NULL, acl, NULL),
                STATUS_FWP_FILTER_NOT_FOUND);
    user = user_session(SERVER, 0);
    CHECK_EQUAL(FwpmFilterSetSecurityInfoByKey0(user, &its, DACL_SECURITY_INFORMATION, NULL, NULL, acl, NULL), STATUS_SUCCESS);
    CHECK_EQUAL(sim_user_filter_delete(user, id), ACCESS_DENIED); // even for administrators now
    CHECK_EQUAL(sim_user_engine_close(user), 0);
    CHECK_EQUAL(sim_user_engine_close(dynamic), 0);
    delete(id);
    stop();
}

TEST(section_1_6_a_descriptor_that_cannot_be_read_adds_nothing)
{
    descriptor broken = descriptor_with(0);
    FWPM_FILTER0 filter = permit();
    HANDLE session;
    uint8_t wrong_revision[20] = {7, 0, 4, 0x80};

    start();
    session = user_session(APP, 0);
    append(&broken, 0, GENERIC_ALL, everyone, sizeof(everyone));
    broken.bytes[24] = 9; // entries that are not there
    CHECK_EQUAL(sim_user_error(FwpmFilterAdd0(session, &filter, &broken, NULL)), 1338); // ERROR_INVALID_SECURITY_DESCR
    CHECK_EQUAL(sim_user_error(FwpmFilterAdd0(session, &filter, wrong_revision, NULL)), 1338);
    CHECK_EQUAL(sim_object_count(), 0);
    CHECK_EQUAL(sim_user_engine_close(session), 0);
    stop();
}
