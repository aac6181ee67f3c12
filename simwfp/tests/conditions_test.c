// Conditions: the cases that objects_test.c does not have.
#include "engine.h"

static UINT64
block_with(const GUID* layer, FWPM_FILTER_CONDITION0* conditions, uint32_t count)
{
    FWPM_FILTER0 filter = filter_at(layer, FWP_ACTION_BLOCK);

    filter.filterCondition = conditions, filter.numFilterConditions = count;
    return add(filter);
}

TEST(d5_no_condition_matches_everything)
{
    start();
    (void)block_with(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, NULL, 0);
    CHECK(!passes(connect_to(public_v4, 443)));
    CHECK(!passes(connect_to(loopback_v4, 1)));
    stop();
}

static int
v6_passes(const uint8_t address[16])
{
    sim_connect_request request = like(APP, 6, 6);

    memcpy(request.remote_address, address, 16);
    request.remote_port = 443;
    return passes(request);
}

TEST(d9_v6_prefixes_contain_what_their_length_says)
{
    static const uint8_t in_64[16] = {0x20, 1, 0x0D, 0xB8, 0, 0, 0, 1, 9};
    static const uint8_t out_64[16] = {0x20, 1, 0x0D, 0xB8, 0, 0, 0, 2, 9};
    FWP_V6_ADDR_AND_MASK prefix = {{0x20, 1, 0x0D, 0xB8, 0, 0, 0, 1}, 0};
    FWPM_FILTER_CONDITION0 c[] = {condition(&FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL,
                                            (FWP_CONDITION_VALUE0){.type = FWP_V6_ADDR_MASK, .v6AddrMask = &prefix})};
    UINT64 id;

    start();
    id = block_with(&FWPM_LAYER_ALE_AUTH_CONNECT_V6, c, 1);
    CHECK(!v6_passes(in_64) && !v6_passes(out_64));
    delete(id), prefix.prefixLength = 64;
    id = block_with(&FWPM_LAYER_ALE_AUTH_CONNECT_V6, c, 1);
    CHECK(!v6_passes(in_64) && v6_passes(out_64));
    delete(id), prefix.prefixLength = 65;
    id = block_with(&FWPM_LAYER_ALE_AUTH_CONNECT_V6, c, 1);
    CHECK(!v6_passes(in_64)); // bit 65 of it is 0, as in the prefix
    delete(id), prefix.prefixLength = 128;
    id = block_with(&FWPM_LAYER_ALE_AUTH_CONNECT_V6, c, 1);
    CHECK(v6_passes(in_64) && !v6_passes(prefix.addr));
    delete(id), prefix.prefixLength = 129;
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V6, FWP_ACTION_BLOCK);
    filter.filterCondition = c, filter.numFilterConditions = 1;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, NULL), STATUS_FWP_INVALID_NET_MASK);
    stop();
}

TEST(d10_flag_matches)
{
    static const struct {
        FWP_MATCH_TYPE match;
        uint32_t mask;
        int matches[3]; // against 0x10, 0x40, 0
    } rows[] = {
        {FWP_MATCH_FLAGS_ALL_SET, 0x10, {1, 0, 0}},
        {FWP_MATCH_FLAGS_ANY_SET, 0x50, {1, 1, 0}},
        {FWP_MATCH_FLAGS_NONE_SET, 0x10, {0, 1, 1}},
        {FWP_MATCH_FLAGS_ALL_SET, 0, {1, 1, 1}},
        {FWP_MATCH_FLAGS_ANY_SET, 0, {0, 0, 0}},
        {FWP_MATCH_FLAGS_NONE_SET, 0, {1, 1, 1}},
    };
    static const uint32_t flags[3] = {0x10, 0x40, 0};

    start();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        FWPM_FILTER_CONDITION0 c[] = {condition(&FWPM_CONDITION_FLAGS, rows[i].match,
                                                (FWP_CONDITION_VALUE0){.type = FWP_UINT32, .uint32 = rows[i].mask})};
        UINT64 id = block_with(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, c, 1);

        for (size_t j = 0; j < 3; j++) {
            sim_connect_request request = connect_to(public_v4, 443);

            request.flags = flags[j];
            CHECK_EQUAL(passes(request), !rows[i].matches[j]);
        }
        delete(id);
    }
    stop();
}

// IP_ARRIVAL_INTERFACE is not known of an outbound connect.
static int
empty_matches(FWP_MATCH_TYPE match, FWP_CONDITION_VALUE0 value)
{
    FWPM_FILTER_CONDITION0 c[] = {condition(&FWPM_CONDITION_IP_ARRIVAL_INTERFACE, match, value)};
    UINT64 id = block_with(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, c, 1);
    int matched = !passes(connect_to(public_v4, 443));

    delete(id);
    return matched;
}

TEST(d11_an_unknown_value_equals_only_empty)
{
    UINT64 five = 5;
    FWP_CONDITION_VALUE0 value = {.type = FWP_UINT64, .uint64 = &five};
    sim_knobs knobs = {.acquire_sets_block = 1, .empty_matches_not_equal = 1};

    start();
    CHECK(empty_matches(FWP_MATCH_EQUAL, (FWP_CONDITION_VALUE0){.type = FWP_EMPTY}));
    CHECK(!empty_matches(FWP_MATCH_EQUAL, value));
    CHECK(!empty_matches(FWP_MATCH_NOT_EQUAL, value));
    stop();
    start_with(&knobs);
    CHECK(empty_matches(FWP_MATCH_NOT_EQUAL, value));
    stop();
}

TEST(d16_the_redirect_layer_has_no_interface)
{
    FWPM_FILTER_CONDITION0 c[] = {condition(&FWPM_CONDITION_INTERFACE_INDEX, FWP_MATCH_EQUAL,
                                            (FWP_CONDITION_VALUE0){.type = FWP_UINT32, .uint32 = 1})};
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, FWP_ACTION_BLOCK);

    start();
    filter.filterCondition = c, filter.numFilterConditions = 1;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, NULL), STATUS_FWP_CONDITION_NOT_FOUND);
    (void)block_with(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, c, 1); // and AUTH_CONNECT, after routing, has
    CHECK(!passes(connect_to(public_v4, 443)));
    stop();
}
