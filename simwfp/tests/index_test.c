// The index against its oracle, which tries every filter; and that it looks at few of many.
#include "engine.h"

static uint32_t random_state;

static uint32_t
below(uint32_t limit)
{
    random_state ^= random_state << 13, random_state ^= random_state >> 17, random_state ^= random_state << 5;
    return random_state % limit;
}

// Small domains, so that matches, overlaps and ties are common.
typedef struct drawn {
    FWPM_FILTER_CONDITION0 conditions[12];
    FWP_BYTE_BLOB blobs[12];
    uint8_t bytes[12];
    FWP_V4_ADDR_AND_MASK masks[12];
    FWP_V6_ADDR_AND_MASK masks6[12];
    FWP_RANGE0 range;
    UINT64 weight;
} drawn;

static uint32_t
draw_app(drawn* d, uint32_t at)
{
    for (uint32_t runs = 1 + below(3); runs-- > 0; at++) {
        d->bytes[at] = (uint8_t)('a' + below(4));
        d->blobs[at] = (FWP_BYTE_BLOB){1, &d->bytes[at]};
        d->conditions[at] = condition(
            &FWPM_CONDITION_ALE_APP_ID, below(8) == 0 ? FWP_MATCH_NOT_EQUAL : FWP_MATCH_EQUAL,
            (FWP_CONDITION_VALUE0){.type = FWP_BYTE_BLOB_TYPE, .byteBlob = &d->blobs[at]});
    }
    return at;
}

static uint32_t
draw_port(drawn* d, uint32_t at)
{
    uint16_t low = (uint16_t)(80 + below(4));

    if (below(4) == 0) {
        d->range = (FWP_RANGE0){{.type = FWP_UINT16, .uint16 = low}, {.type = FWP_UINT16, .uint16 = (uint16_t)(low + 1)}};
        d->conditions[at] = condition(&FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_RANGE,
                                      (FWP_CONDITION_VALUE0){.type = FWP_RANGE_TYPE, .rangeValue = &d->range});
        return at + 1;
    }
    for (uint32_t runs = 1 + below(2); runs-- > 0; at++) {
        d->conditions[at] = condition(
            &FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL,
            (FWP_CONDITION_VALUE0){.type = FWP_UINT16, .uint16 = (uint16_t)(80 + below(4))});
    }
    return at;
}

static uint32_t
draw_address(drawn* d, uint32_t at, int v6)
{
    for (uint32_t runs = 1 + below(3); runs-- > 0; at++) {
        uint32_t bits = below(33);

        d->masks[at] = (FWP_V4_ADDR_AND_MASK){
            0xCB007100u | below(4), bits == 0 ? 0 : ~(uint32_t)((1ull << (32u - bits)) - 1u)};
        d->masks6[at] = (FWP_V6_ADDR_AND_MASK){{0x20, 1, [15] = (uint8_t)below(4)}, (uint8_t)below(129)};
        d->conditions[at] = condition(
            &FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL,
            v6 ? (FWP_CONDITION_VALUE0){.type = FWP_V6_ADDR_MASK, .v6AddrMask = &d->masks6[at]}
            : below(2) == 0
                ? (FWP_CONDITION_VALUE0){.type = FWP_UINT32, .uint32 = 0xCB007100u | below(4)}
                : (FWP_CONDITION_VALUE0){.type = FWP_V4_ADDR_MASK, .v4AddrMask = &d->masks[at]});
    }
    return at;
}

static UINT64
add_random(int v6)
{
    static const FWP_ACTION_TYPE actions[] = {FWP_ACTION_PERMIT, FWP_ACTION_BLOCK, FWP_ACTION_CONTINUE};
    drawn d;
    FWPM_FILTER0 filter = filter_at(
        v6 ? &FWPM_LAYER_ALE_AUTH_CONNECT_V6 : &FWPM_LAYER_ALE_AUTH_CONNECT_V4, actions[below(3)]);
    uint32_t count = 0;

    memset(&d, 0, sizeof(d));
    count = below(2) == 0 ? draw_app(&d, count) : count;
    count = below(2) == 0 ? draw_port(&d, count) : count;
    count = below(2) == 0 ? draw_address(&d, count, v6) : count;
    d.weight = below(8);
    filter.weight = (FWP_VALUE0){.type = FWP_UINT64, .uint64 = &d.weight};
    filter.filterCondition = d.conditions, filter.numFilterConditions = count;
    filter.flags = below(4) == 0 ? FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT : 0;
    filter.subLayerKey = key(1 + below(3));
    return add(filter);
}

static sim_classify_result
classify_once(const sim_connect_request* request, int brute_force)
{
    sim_connect_result result;

    sim_classify_by_brute_force(brute_force);
    sim_trace_start();
    sim_connect(request, &result);
    sim_classify_by_brute_force(0);
    return sim_trace(1)->result;
}

static void
compare_some(int v6)
{
    for (int i = 0; i < 20; i++) {
        uint8_t app = (uint8_t)('a' + below(5));
        sim_connect_request request = like(APP, v6 ? 6 : 4, 6);
        sim_classify_result indexed, oracle;

        request.app_id = &app, request.app_id_size = 1, request.remote_port = (uint16_t)(80 + below(5));
        memcpy(request.remote_address, v6 ? (uint8_t[4]){0x20, 1} : (uint8_t[4]){203, 0, 113, (uint8_t)below(5)}, 4);
        request.remote_address[15] = v6 ? (uint8_t)below(5) : 0;
        indexed = classify_once(&request, 0);
        oracle = classify_once(&request, 1);
        CHECK(indexed.examined <= oracle.examined);
        indexed.examined = oracle.examined;
        CHECK(memcmp(&indexed, &oracle, sizeof(indexed)) == 0);
    }
}

TEST(the_index_gives_what_trying_every_filter_gives)
{
    for (uint32_t seed = 1; seed <= 60; seed++) {
        UINT64 ids[40];
        uint32_t count = 0;
        int v6 = seed % 2 == 0;
        sim_knobs knobs = {.acquire_sets_block = 1, .tie_seed = seed};

        random_state = seed * 2654435761u;
        start_with(&knobs);
        for (uint32_t n = 1; n <= 3; n++) {
            CHECK_EQUAL(add_sublayer(engine, n, (uint16_t)(n / 2)), STATUS_SUCCESS); // two of them tie
        }
        for (int round = 0; round < 12; round++) {
            int transaction = below(2) == 0, abort = below(3) == 0;
            uint32_t before = count;

            if (transaction) {
                CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
            }
            if (!transaction || !abort) { // an aborted one adds and deletes too, below
                for (uint32_t drop = below(4); drop-- > 0 && count > 0; ids[0] = ids[--count]) {
                    delete(ids[0]);
                }
                before = count;
            }
            while (count < 40 && below(6) != 0) {
                ids[count++] = add_random(v6);
            }
            if (transaction) {
                compare_some(v6);
                CHECK_EQUAL(abort ? FwpmTransactionAbort0(engine) : FwpmTransactionCommit0(engine), STATUS_SUCCESS);
                count = abort ? before : count;
            }
            compare_some(v6);
        }
        stop();
    }
}

static void
add_disjoint(uint32_t count, int kind)
{
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t app[4] = {(uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16), 1};
        FWP_BYTE_BLOB blob = {4, app};
        FWP_V4_ADDR_AND_MASK net = {0x0B000000u + (i << 8), 0xFFFFFF00u};
        FWPM_FILTER_CONDITION0 c[] = {
            kind == 0 ? condition(&FWPM_CONDITION_ALE_APP_ID, FWP_MATCH_EQUAL,
                                  (FWP_CONDITION_VALUE0){.type = FWP_BYTE_BLOB_TYPE, .byteBlob = &blob})
            : kind == 1 ? condition(&FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL,
                                    (FWP_CONDITION_VALUE0){.type = FWP_V4_ADDR_MASK, .v4AddrMask = &net})
                        : condition(&FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL,
                                    (FWP_CONDITION_VALUE0){.type = FWP_UINT16, .uint16 = (uint16_t)i})};
        FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);

        filter.filterCondition = c, filter.numFilterConditions = 1;
        (void)add(filter);
    }
    CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_SUCCESS);
}

TEST(a_classify_looks_at_as_many_filters_of_a_hundred_thousand_as_of_a_hundred)
{
    for (int kind = 0; kind < 3; kind++) {
        uint32_t examined[2];

        for (int size = 0; size < 2; size++) {
            uint8_t app[4] = {7, 0, 0, 1};
            sim_connect_request request = connect_to((uint8_t[16]){11, 0, 7, 1}, 7);

            start();
            add_disjoint(size == 0 ? 100 : kind == 2 ? 65000 : 100000, kind);
            request.app_id = app, request.app_id_size = sizeof(app);
            examined[size] = classify_once(&request, 0).examined;
            CHECK(!passes(request));
            stop();
        }
        CHECK_EQUAL(examined[0], 1);
        CHECK_EQUAL(examined[1], 1);
    }
}

TEST(a_filter_with_a_hundred_alternatives_is_found_by_each)
{
    FWPM_FILTER_CONDITION0 c[100];
    FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);

    start();
    for (uint16_t i = 0; i < 100; i++) {
        c[i] = condition(&FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL,
                         (FWP_CONDITION_VALUE0){.type = FWP_UINT16, .uint16 = (uint16_t)(1000 + i)});
    }
    filter.filterCondition = c, filter.numFilterConditions = 100;
    (void)add(filter);
    CHECK(passes(connect_to(public_v4, 999)) && passes(connect_to(public_v4, 1100)));
    CHECK(!passes(connect_to(public_v4, 1000)) && !passes(connect_to(public_v4, 1099)));
    stop();
}
