// Weights of filters, given and automatic: the measured rows.
#include "engine.h"

static const uint8_t no_package[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
static const uint8_t a_package[] = {1, 2, 0, 0, 0, 0, 0, 15, 2, 0, 0, 0, 7, 0, 0, 0};
static const uint8_t user_a[] = {1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0};
static const uint8_t user_b[] = {1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 2, 0, 0, 0};

// Self-relative: header 20, DACL with one ACCESS_ALLOWED entry for CC (FWP_ACTRL_MATCH_FILTER).
static FWP_BYTE_BLOB
grants_to(const uint8_t sid[16], uint8_t bytes[64])
{
    memset(bytes, 0, 64);
    bytes[0] = 1, bytes[2] = 4, bytes[3] = 0x80, bytes[16] = 20;
    bytes[20] = 2, bytes[22] = 8 + 24, bytes[24] = 1;
    bytes[30] = 24, bytes[32] = FWP_ACTRL_MATCH_FILTER;
    memcpy(bytes + 36, sid, 16);
    return (FWP_BYTE_BLOB){52, bytes};
}

static FWP_V4_ADDR_AND_MASK mask;
static FWP_RANGE0 range;
static FWP_RANGE0 range6;
static FWP_BYTE_ARRAY16 first6, last6;

// The conditions of the dumped firewall filters, as far as `how_many` says.
static uint32_t
firewall_conditions(FWPM_FILTER_CONDITION0* to, uint32_t how_many, FWP_BYTE_BLOB* descriptor, int v6)
{
    const FWPM_FILTER_CONDITION0 all[] = {
        condition(&FWPM_CONDITION_ALE_PACKAGE_ID, FWP_MATCH_NOT_EQUAL,
                  (FWP_CONDITION_VALUE0){.type = FWP_SID, .sid = (PSID)no_package}),
        condition(&FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_RANGE,
                  (FWP_CONDITION_VALUE0){.type = FWP_RANGE_TYPE, .rangeValue = v6 ? &range6 : &range}),
        condition(&FWPM_CONDITION_ORIGINAL_PROFILE_ID, FWP_MATCH_EQUAL,
                  (FWP_CONDITION_VALUE0){.type = FWP_UINT32, .uint32 = 1}),
        condition(&FWPM_CONDITION_CURRENT_PROFILE_ID, FWP_MATCH_EQUAL,
                  (FWP_CONDITION_VALUE0){.type = FWP_UINT32, .uint32 = 1}),
        condition(&FWPM_CONDITION_ALE_USER_ID, FWP_MATCH_EQUAL,
                  (FWP_CONDITION_VALUE0){.type = FWP_SECURITY_DESCRIPTOR_TYPE, .sd = descriptor}),
    };

    memcpy(to, all, how_many * sizeof(*to));
    return how_many;
}

static void
set_range(uint32_t low, uint32_t high)
{
    range = (FWP_RANGE0){{.type = FWP_UINT32, .uint32 = low}, {.type = FWP_UINT32, .uint32 = high}};
    memset(&first6, 0, sizeof(first6)), memset(&last6, 0xFF, sizeof(last6));
    range6 = (FWP_RANGE0){{.type = FWP_BYTE_ARRAY16_TYPE, .byteArray16 = &first6},
                          {.type = FWP_BYTE_ARRAY16_TYPE, .byteArray16 = &last6}};
}

static uint64_t
weight_of(const GUID* layer, FWPM_FILTER_CONDITION0* conditions, uint32_t count, FWP_VALUE0 weight)
{
    FWPM_FILTER0 filter = filter_at(layer, FWP_ACTION_BLOCK);
    uint64_t effective = 0;
    UINT64 id;

    filter.filterCondition = conditions, filter.numFilterConditions = count, filter.weight = weight;
    id = add(filter);
    CHECK(sim_filter_effective_weight(id, &effective));
    delete(id);
    return effective;
}

static const FWP_VALUE0 automatic = {.type = FWP_EMPTY};

TEST(a4_without_conditions_the_automatic_weight_is_zero)
{
    UINT64 one = 1;
    FWPM_FILTER0 permit, block;

    start();
    permit = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);
    permit.weight = (FWP_VALUE0){.type = FWP_UINT64, .uint64 = &one};
    block = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);
    CHECK_EQUAL(weight_of(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, NULL, 0, automatic), 0);
    (void)add(permit), (void)add(block);
    CHECK(passes(connect_to(public_v4, 443)));
    stop();
}

TEST(the_measured_automatic_weights_are_reproduced)
{
    uint8_t bytes[64];
    FWP_BYTE_BLOB descriptor = grants_to(user_a, bytes);
    FWPM_FILTER_CONDITION0 c[5];
    const GUID* v4 = &FWPM_LAYER_ALE_AUTH_CONNECT_V4;
    const GUID* v6 = &FWPM_LAYER_ALE_AUTH_CONNECT_V6;

    start();
    set_range(0, UINT32_MAX);
    CHECK_EQUAL(weight_of(v4, c, firewall_conditions(c, 1, &descriptor, 0), automatic), 0x0000004000000000);
    CHECK_EQUAL(weight_of(v6, c, firewall_conditions(c, 1, &descriptor, 1), automatic), 0x0000001000000000);
    CHECK_EQUAL(weight_of(v4, c, firewall_conditions(c, 5, &descriptor, 0), automatic), 0x0000006000001FC0);
    CHECK_EQUAL(weight_of(v6, c, firewall_conditions(c, 5, &descriptor, 1), automatic), 0x0000001800000FC0);
    (void)firewall_conditions(c, 5, &descriptor, 0);
    c[1] = condition(&FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL,
                     (FWP_CONDITION_VALUE0){.type = FWP_UINT32, .uint32 = 0x0A000001});
    CHECK_EQUAL(weight_of(v4, c, 5, automatic), 0x0200006000001FC0);
    mask = (FWP_V4_ADDR_AND_MASK){0x0A000001, UINT32_MAX};
    c[0] = condition(&FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL,
                     (FWP_CONDITION_VALUE0){.type = FWP_V4_ADDR_MASK, .v4AddrMask = &mask});
    CHECK_EQUAL(weight_of(v4, c, 1, automatic), 0x0400000000000000);
    CHECK_EQUAL(weight_of(v4, NULL, 0, (FWP_VALUE0){.type = FWP_UINT8, .uint8 = 15}), 0xF000000000000000);
    stop();
}

TEST(a5_a_range_weight_outweighs_any_number_of_conditions)
{
    uint8_t bytes[64];
    FWP_BYTE_BLOB descriptor = grants_to(user_a, bytes);
    FWPM_FILTER_CONDITION0 c[5];

    start();
    set_range(0xCB000000, 0xCBFFFFFF);
    CHECK(weight_of(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, c, firewall_conditions(c, 5, &descriptor, 0), automatic)
          < weight_of(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, NULL, 0, (FWP_VALUE0){.type = FWP_UINT8, .uint8 = 1}));
    stop();
}

TEST(a6_a_uint64_weight_competes_with_the_highest_range)
{
    UINT64 above = 0xF000000000000001;
    FWPM_FILTER0 permit, block;

    start();
    permit = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);
    permit.weight = (FWP_VALUE0){.type = FWP_UINT8, .uint8 = 15};
    block = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);
    block.weight = (FWP_VALUE0){.type = FWP_UINT64, .uint64 = &above};
    (void)add(permit), (void)add(block);
    CHECK(!passes(connect_to(public_v4, 443)));
    stop();
}

static void
store_app_filters(uint8_t bytes[64], FWP_BYTE_BLOB* descriptor)
{
    FWPM_FILTER_CONDITION0 c[5];
    FWPM_FILTER0 block = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);
    FWPM_FILTER0 permit = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);

    *descriptor = grants_to(user_a, bytes);
    set_range(0, UINT32_MAX);
    block.filterCondition = c, block.numFilterConditions = firewall_conditions(c, 1, descriptor, 0);
    (void)add(block);
    permit.filterCondition = c, permit.numFilterConditions = firewall_conditions(c, 5, descriptor, 0);
    (void)add(permit);
    memset(bytes, 0xEE, 64); // the engine has its own copy
}

TEST(a7_the_more_specific_automatic_filter_comes_first)
{
    uint8_t bytes[64];
    FWP_BYTE_BLOB descriptor;

    start();
    sim_process_identity(APP, user_a, a_package);
    store_app_filters(bytes, &descriptor);
    CHECK(passes(connect_to(public_v4, 443)));
    stop();
}

TEST(a8_and_if_its_user_is_another_the_default_blocks)
{
    uint8_t bytes[64];
    FWP_BYTE_BLOB descriptor;

    start();
    sim_process_identity(APP, user_b, a_package);
    store_app_filters(bytes, &descriptor);
    CHECK(!passes(connect_to(public_v4, 443)));
    sim_process_identity(APP, user_b, NULL); // no package: neither filter is about it
    CHECK(passes(connect_to(public_v4, 443)));
    stop();
}

TEST(a9_ranges_of_any_width_weigh_the_same)
{
    uint8_t bytes[64];
    FWP_BYTE_BLOB descriptor = grants_to(user_a, bytes);
    FWPM_FILTER_CONDITION0 c[5];

    start();
    (void)firewall_conditions(c, 5, &descriptor, 0);
    set_range(0xAC100000, 0xAC1FFFFF);
    CHECK_EQUAL(weight_of(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, c, 5, automatic), 0x0080006000001FC0);
    set_range(0xC0A80000, 0xC0A8FFFF);
    CHECK_EQUAL(weight_of(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, c, 5, automatic), 0x0080006000001FC0);
    stop();
}

TEST(automatic_weights_can_be_flat_or_shuffled)
{
    FWPM_FILTER_CONDITION0 port[] = {condition(&FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL,
                                               (FWP_CONDITION_VALUE0){.type = FWP_UINT16, .uint16 = 443})};
    sim_knobs knobs = {.acquire_sets_block = 1, .auto_weight = 1};

    start_with(&knobs);
    CHECK_EQUAL(weight_of(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, port, 1, automatic), 0);
    stop();
    knobs.auto_weight = 2;
    start_with(&knobs);
    CHECK(weight_of(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, port, 1, automatic)
          != weight_of(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, port, 1, automatic));
    CHECK(weight_of(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, port, 1, automatic) < 1ull << 60);
    stop();
}

TEST(d12_no_package_is_a_package_id_too)
{
    FWPM_FILTER_CONDITION0 c[5];
    FWPM_FILTER0 block = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);

    start();
    block.filterCondition = c, block.numFilterConditions = firewall_conditions(c, 1, NULL, 0);
    (void)add(block);
    CHECK(passes(connect_to(public_v4, 443)));
    sim_process_identity(APP, NULL, a_package);
    CHECK(!passes(connect_to(public_v4, 443)));
    stop();
}

TEST(d17_a_user_condition_is_an_access_check)
{
    uint8_t bytes[64];
    FWP_BYTE_BLOB descriptor = grants_to(user_a, bytes);
    FWPM_FILTER_CONDITION0 user[] = {condition(
        &FWPM_CONDITION_ALE_USER_ID, FWP_MATCH_EQUAL,
        (FWP_CONDITION_VALUE0){.type = FWP_SECURITY_DESCRIPTOR_TYPE, .sd = &descriptor})};
    FWPM_FILTER0 block = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);
    UINT64 id;

    start();
    block.filterCondition = user, block.numFilterConditions = 1;
    id = add(block);
    sim_process_identity(APP, user_a, NULL);
    CHECK(!passes(connect_to(public_v4, 443)));
    sim_process_identity(APP, user_b, NULL);
    CHECK(passes(connect_to(public_v4, 443)));
    delete(id);
    bytes[28] = 1; // ACCESS_DENIED: A is not granted, and nobody else is
    id = add(block);
    sim_process_identity(APP, user_a, NULL);
    CHECK(passes(connect_to(public_v4, 443)));
    delete(id);
    bytes[22] = 200; // an ACL that is longer than the descriptor
    CHECK_EQUAL(FwpmFilterAdd0(engine, &block, NULL, NULL), STATUS_INVALID_SECURITY_DESCR);
    stop();
}

TEST(a10_other_weights_are_refused)
{
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT);

    start();
    filter.weight = (FWP_VALUE0){.type = FWP_UINT8, .uint8 = 16};
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, NULL), STATUS_FWP_INVALID_WEIGHT);
    filter.weight = (FWP_VALUE0){.type = FWP_UINT32, .uint32 = 5};
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, NULL), STATUS_FWP_INVALID_WEIGHT);
    stop();
}

TEST(a13_without_a_sublayer_key_it_is_the_universal_one)
{
    start();
    (void)add(filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_PERMIT));
    CHECK_EQUAL(FwpmSubLayerDeleteByKey0(engine, &FWPM_SUBLAYER_UNIVERSAL), STATUS_FWP_BUILTIN_OBJECT);
    CHECK_EQUAL(add_sublayer(engine, 1, 0x8001), STATUS_SUCCESS);
    FWPM_FILTER0 block = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);
    block.subLayerKey = key(1);
    (void)add(block);
    sim_trace_start();
    CHECK(!passes(connect_to(public_v4, 443)));
    CHECK_EQUAL(sim_trace(1)->result.terminating_count, 2);
    CHECK_EQUAL(sim_trace(1)->result.winner, sim_trace(1)->result.terminating[0]); // 0x8001 was heard before 0x8000
    stop();
}
