// How classify and commit grow with the number of filters: `make bench-simwfp`.  Each number is the median of eleven rounds.
#define _GNU_SOURCE
#include <time.h>

#include "../tests/engine.h"

#define ROUNDS 11
#define CONNECTS 2000

static double
now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int
by_value(const void* a, const void* b)
{
    return *(const double*)a < *(const double*)b ? -1 : *(const double*)a > *(const double*)b;
}

static UINT64 ids[100000];

static void
add_many(uint32_t count)
{
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    for (uint32_t i = 0; i < count; i++) { // a third each by app, prefix and port
        uint8_t app[4] = {(uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16), 1};
        FWP_BYTE_BLOB blob = {4, app};
        FWP_V4_ADDR_AND_MASK net = {0x0B000000u + (i << 8), 0xFFFFFF00u};
        FWPM_FILTER_CONDITION0 c[] = {
            i % 3 == 0 ? condition(&FWPM_CONDITION_ALE_APP_ID, FWP_MATCH_EQUAL,
                                   (FWP_CONDITION_VALUE0){.type = FWP_BYTE_BLOB_TYPE, .byteBlob = &blob})
            : i % 3 == 1 ? condition(&FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL,
                                     (FWP_CONDITION_VALUE0){.type = FWP_V4_ADDR_MASK, .v4AddrMask = &net})
                         : condition(&FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL,
                                     (FWP_CONDITION_VALUE0){.type = FWP_UINT16, .uint16 = (uint16_t)(i / 3)})};
        FWPM_FILTER0 filter = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);

        filter.filterCondition = c, filter.numFilterConditions = 1;
        ids[i] = add(filter);
    }
    CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_SUCCESS);
}

static double
connect_time(void)
{
    sim_connect_request request = connect_to(public_v4, 60000);
    double rounds[ROUNDS];

    for (int round = 0; round < ROUNDS; round++) {
        double start_at = now();
        for (int i = 0; i < CONNECTS; i++) {
            CHECK(passes(request));
        }
        rounds[round] = (now() - start_at) / CONNECTS;
    }
    qsort(rounds, ROUNDS, sizeof(rounds[0]), by_value);
    return rounds[ROUNDS / 2];
}

TEST(classify_and_commit)
{
    static const uint32_t sizes[] = {10, 100, 1000, 5000, 100000};
    double hundred = 1;

    printf("# filters  connect (both layers)  against 100   add and commit   delete and commit\n");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        double added, deleted, connected;

        start();
        added = now();
        add_many(sizes[i]);
        added = now() - added;
        connected = connect_time();
        hundred = sizes[i] == 100 ? connected : hundred;
        deleted = now();
        CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
        for (uint32_t j = 0; j < sizes[i]; j++) {
            delete(ids[j]);
        }
        CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_SUCCESS);
        deleted = now() - deleted;
        printf("# %7u  %17.2f us  %11.2f   %11.2f ms   %14.2f ms\n", sizes[i], connected / 1e3,
               sizes[i] < 100 ? 0.0 : connected / hundred, added / 1e6, deleted / 1e6);
        stop();
    }
}
