// The reference's checklist (wfp-kernel.md 9.2), A: what is redirected.  A10 is "owner PID", A24 "excluded app": rules are WFP filters
// here, so the exclusion is a heavier filter with the verdict "pass".
#include "redirecting.h"

static const uint8_t public_v6[16] = {0x20, 0x01, 0x0D, 0xB8, [15] = 7};
TEST(a1_public_v4_is_redirected_by_one_acquire_apply_and_release)
{
    start_redirecting(NULL);
    sim_fail_call(0);
    pm_redirect_context context = redirected(to_public());
    CHECK_EQUAL(sim_calls(), 3); // pool, classify handle, writable data; a missing apply or release aborts
    CHECK_EQUAL(context.registration, registration);
    machine_stop();
}

TEST(a2_scope_and_flow_of_the_old_destination_do_not_survive)
{
    start_redirecting(NULL);
    sim_connect_result result = run_connect(connect_v6(public_v6, 443)); // simwfp hands it over with both set
    CHECK(result.redirected);
    const SOCKADDR_IN6* remote = (const SOCKADDR_IN6*)sim_last_remote();
    CHECK_EQUAL(remote->sin6_family, AF_INET6);
    CHECK_EQUAL(remote->sin6_scope_id, 0);
    CHECK_EQUAL(remote->sin6_flowinfo, 0);
    sim_flow_close(result.flow);
    machine_stop();
}

TEST(a3_a_mapped_destination_goes_to_the_mapped_v4_endpoint)
{
    static const uint8_t mapped_proxy[16] = {[10] = 255, 255, 127, 0, 0, 1};
    sim_connect_request request = connect_v6((uint8_t[16]){[10] = 255, 255, 8, 8, 8, 8}, 53);

    start_redirecting(NULL);
    sim_connect_result result = run_connect(request);
    CHECK(memcmp(result.remote_address, mapped_proxy, 16) == 0);
    sim_flow_close(result.flow);
    pm_redirect_context context = redirected(request);
    CHECK(memcmp(context.remote_address, (uint8_t[]){8, 8, 8, 8}, 4) == 0);
    CHECK_EQUAL(context.family, 4);
    machine_stop();
}

static void
register_only(int v4)
{
    pm_register_request request = register_request();
    pm_register_reply reply;

    if (v4) {
        memset(request.endpoints.v6_address, 0, 16), request.endpoints.v6_port = 0;
    } else {
        memset(request.endpoints.v4_address, 0, 4), request.endpoints.v4_port = 0;
    }
    CHECK_EQUAL(register_with(machine_file, PROXY, &request, &reply), STATUS_SUCCESS);
    add_redirect_filters(reply.registration);
}

TEST(a4_a_v4_endpoint_is_of_no_use_to_v6)
{
    machine_start(NULL);
    register_only(1);
    stays_direct(connect_v6(public_v6, 443));
    machine_stop();
}

TEST(a5_a_v6_endpoint_is_of_no_use_to_a_mapped_destination)
{
    machine_start(NULL);
    register_only(0);
    stays_direct(connect_v6((uint8_t[16]){[10] = 255, 255, 8, 8, 8, 8}, 53));
    stays_direct(to_public());
    machine_stop();
}

TEST(a6_without_a_proxy_nothing_is_asked_of_anybody)
{
    machine_start(NULL);
    add_redirect_filters(1);
    sim_fail_call(0);
    stays_direct(to_public());
    CHECK_EQUAL(sim_calls(), 0);
    machine_stop();
}

TEST(a7_a_withdrawal_counts_from_the_next_connect)
{
    start_redirecting(NULL);
    (void)redirected(to_public());
    CHECK_EQUAL(registration_ioctl(machine_file, PROXY, PM_IOCTL_WITHDRAW, registration), STATUS_SUCCESS);
    stays_direct(to_public());
    machine_stop(); // a7's other half, a snapshot that is kept whole, is threads_test.c
}

// A callout heard first that decides hard, so that ours finds the right gone.
static FWP_ACTION_TYPE hard_action;

static void
decide_hard(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* data,
    const void* context, const FWPS_FILTER2* filter, UINT64 flow, FWPS_CLASSIFY_OUT0* out)
{
    (void)values, (void)metadata, (void)data, (void)context, (void)filter, (void)flow;
    out->actionType = hard_action;
    out->rights &= ~(UINT32)FWPS_RIGHT_ACTION_WRITE;
}

static void
after_a_hard(FWP_ACTION_TYPE action)
{
    HANDLE engine;
    UINT32 id;

    start_redirecting(NULL);
    hard_action = action;
    id = other_product(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, decide_hard, &engine);
    sim_fail_call(0);
    sim_connect_result result = run_connect(to_public());
    CHECK(!result.redirected);
    CHECK_EQUAL(result.action, action);
    CHECK_EQUAL(sim_calls(), 0);
    CHECK_EQUAL(counter(PM_REASON_NO_WRITE_RIGHT), 1);
    no_other_product(id, engine);
    machine_stop();
}

TEST(a8_after_a_hard_block_nothing_is_written)
{
    sim_boot(NULL);
    uint32_t before = sim_violations();
    sim_shutdown();
    after_a_hard(FWP_ACTION_BLOCK);
    CHECK(sim_violations() <= before + 1); // the block at this layer itself is noted; a write of ours would be a second
}

TEST(a9_after_a_hard_permit_nothing_is_written)
{
    after_a_hard(FWP_ACTION_PERMIT);
    CHECK_EQUAL(sim_violations(), 0);
}

TEST(a10_and_a11_every_live_registrant_is_left_alone)
{
    sim_file* old_file;
    sim_connect_request request = to_public();

    machine_start(NULL); // adapted: older registrations stay behind the active one, and exempt (architecture.md 3)
    CHECK_EQUAL(sim_open(OLD_PROXY, 3, NULL, &old_file), STATUS_SUCCESS);
    (void)register_pid(old_file, OLD_PROXY);
    registration = register_pid(machine_file, PROXY);
    add_redirect_filters(registration);
    request.pid = PROXY;
    stays_direct(request);
    request.pid = OLD_PROXY;
    stays_direct(request);
    request.pid = APP;
    (void)redirected(request);
    sim_close(old_file);
    request.pid = OLD_PROXY; // registered no more: an app like any other
    (void)redirected(request);
    machine_stop();
}

TEST(a12_connections_of_nobody_and_of_the_system_are_left_alone)
{
    sim_connect_request request = to_public();

    start_redirecting(NULL);
    request.no_process = 1;
    stays_direct(request);
    request.no_process = 0;
    for (uint32_t pid = 0; pid <= 4; pid += 4) {
        request.pid = pid;
        stays_direct(request);
    }
    machine_stop();
}

TEST(a13_udp_icmp_and_raw_endpoints_are_left_alone)
{
    sim_connect_request request = to_public();

    start_redirecting(NULL);
    request.protocol = 17;
    stays_direct(request);
    request.protocol = 1;
    stays_direct(request);
    request.protocol = 6, request.flags = FWP_CONDITION_FLAG_IS_RAW_ENDPOINT;
    stays_direct(request);
    machine_stop();
}

TEST(a14_a_reauthorization_asks_nothing_of_the_engine)
{
    sim_connect_request request = to_public();

    start_redirecting(NULL);
    request.flags = FWP_CONDITION_FLAG_IS_REAUTHORIZE;
    sim_fail_call(0);
    stays_direct(request);
    CHECK_EQUAL(sim_calls(), 0);
    machine_stop();
}

// First and last address inside, and the neighbours outside.  Adapted: documentation prefixes count as public.
static const struct {
    uint8_t first[4], last[4];
} v4_table[] = {
    {{0, 0, 0, 0}, {0, 255, 255, 255}},     {{10, 0, 0, 0}, {10, 255, 255, 255}},
    {{100, 64, 0, 0}, {100, 127, 255, 255}}, {{127, 0, 0, 0}, {127, 255, 255, 255}},
    {{169, 254, 0, 0}, {169, 254, 255, 255}}, {{172, 16, 0, 0}, {172, 31, 255, 255}},
    {{192, 0, 0, 0}, {192, 0, 0, 255}},     {{192, 168, 0, 0}, {192, 168, 255, 255}},
    {{198, 18, 0, 0}, {198, 19, 255, 255}}, {{224, 0, 0, 0}, {255, 255, 255, 255}},
};

static sim_connect_request
neighbour(const uint8_t address[4], int by)
{
    uint32_t value = ((uint32_t)address[0] << 24 | (uint32_t)address[1] << 16 | (uint32_t)address[2] << 8 | address[3])
                     + (uint32_t)by;

    return connect_v4((uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value, 443);
}

TEST(a15_each_row_of_the_v4_table_is_direct_and_its_neighbours_are_not)
{
    start_redirecting(NULL);
    for (size_t i = 0; i < sizeof(v4_table) / sizeof(v4_table[0]); i++) {
        stays_direct(neighbour(v4_table[i].first, 0));
        stays_direct(neighbour(v4_table[i].last, 0));
        if (v4_table[i].first[0] != 0) {
            (void)redirected(neighbour(v4_table[i].first, -1));
        }
        if (v4_table[i].last[0] != 255) {
            (void)redirected(neighbour(v4_table[i].last, 1));
        }
    }
    (void)redirected(connect_v4(192, 0, 2, 1, 443));
    machine_stop();
}

TEST(a16_each_row_of_the_v6_table_likewise)
{
    static const uint8_t direct[][16] = {
        {0}, {[15] = 1}, {0xFC}, {0xFD, 255, 255, [15] = 255}, {0xFE, 0x80}, {0xFE, 0xBF, [15] = 255}, {0xFE, 0xC0},
        {0xFE, 0xFF, [15] = 255}, {0xFF}, {0xFF, 0x0E, [15] = 1}, {0x01}, {0, 0x64, 0xFF, 0x9B, [12] = 10, 0, 0, 1}};
    static const uint8_t outside[][16] = {
        {0xFB, 255, [15] = 255}, {0xFE, 0x7F, [15] = 255}, {0xFE}, {0x01, [7] = 1}, {0x20, 1, 0x0D, 0xB8},
        {0, 0x64, 0xFF, 0x9B, [12] = 8, 8, 8, 8}};

    start_redirecting(NULL);
    for (size_t i = 0; i < sizeof(direct) / sizeof(direct[0]); i++) {
        stays_direct(connect_v6(direct[i], 443));
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        (void)redirected(connect_v6(outside[i], 443));
    }
    machine_stop();
}

TEST(a17_a_mapped_private_address_is_private)
{
    start_redirecting(NULL);
    stays_direct(connect_v6((uint8_t[16]){[10] = 255, 255, 10, 0, 0, 1}, 443));
    machine_stop();
}

TEST(a18_the_proxys_own_endpoint_is_not_redirected_to_itself)
{
    start_redirecting(NULL);
    stays_direct(connect_v4(127, 0, 0, 1, PROXY_PORT));
    stays_direct(connect_v6((uint8_t[16]){[15] = 1}, PROXY_PORT));
    machine_stop();
}

TEST(a19_what_wfp_calls_broadcast_or_multicast_is_left_alone)
{
    sim_connect_request request = to_public();

    start_redirecting(NULL);
    for (uint16_t type = NlatMulticast; type <= NlatBroadcast; type++) {
        request.reserved = type; // the destination type, whatever the address looks like
        stays_direct(request);
    }
    machine_stop();
}

TEST(a20_and_a21_a_socket_bound_to_one_network_cannot_reach_loopback)
{
    sim_connect_request request = to_public();

    start_redirecting(NULL);
    memcpy(request.local_address, (uint8_t[]){192, 168, 1, 5}, 4);
    stays_direct(request);
    memcpy(request.local_address, (uint8_t[]){127, 0, 0, 1}, 4);
    (void)redirected(request);
    memset(request.local_address, 0, 4);
    (void)redirected(request);
    machine_stop();
}

TEST(a22_another_compartment_has_another_loopback)
{
    sim_connect_request request = to_public();

    start_redirecting(NULL);
    request.compartment = 2;
    stays_direct(request);
    machine_stop();
}

TEST(a23_values_of_another_type_are_not_read)
{
    static const uint16_t needed[] = {
        FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_PROTOCOL, FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_REMOTE_PORT,
        FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_REMOTE_ADDRESS, FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_FLAGS};
    FWPS_INCOMING_VALUE0 fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_MAX];
    FWPS_INCOMING_METADATA_VALUES0 metadata = {.currentMetadataValues = FWPS_METADATA_FIELD_PROCESS_ID, .processId = APP};

    start_redirecting(NULL);
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        good_fields(fields);
        fields[needed[i]].value = (FWP_VALUE0){.type = i % 2 == 0 ? FWP_EMPTY : FWP_BYTE_BLOB_TYPE};
        fields[needed[i]].value.uint64 = (UINT64*)(uintptr_t)0xDEAD; // would crash
        CHECK_EQUAL(call_with(fields, &metadata, &fields).actionType, FWP_ACTION_CONTINUE);
    }
    CHECK_EQUAL(counter(PM_REASON_UNEXPECTED_FIELD), 4);
    machine_stop();
}

TEST(a24_an_excluded_app_is_a_heavier_pass_filter_for_its_exact_app_id)
{
    start_redirecting(NULL); // lengths and a missing terminator: connect_redirect_test.c
    FWP_BYTE_BLOB app = {sizeof(machine_app_id), (uint8_t*)machine_app_id};
    FWPM_FILTER_CONDITION0 condition = {FWPM_CONDITION_ALE_APP_ID, FWP_MATCH_EQUAL,
                                        {.type = FWP_BYTE_BLOB_TYPE, .byteBlob = &app}};
    add_filter_with(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, &PM_CALLOUT_CONNECT_REDIRECT_V4, 9,
                    filter_context(registration, PM_PASS, 3), &condition, 1);
    stays_direct(to_public());
    sim_connect_request other = to_public();
    other.app_id = (const uint8_t*)"\\\0b\0\0"; // another one
    other.app_id_size = 6;
    (void)redirected(other);
    machine_stop();
}

TEST(a25_and_a26_the_context_is_exact_whole_and_without_a_stray_byte)
{
    static const uint8_t zeros[PM_APP_ID_MAX + 8];
    sim_connect_request request = connect_v4(1, 2, 3, 4, 443);

    start_redirecting(NULL);
    pm_redirect_context context = redirected(request);
    CHECK(memcmp(context.remote_address, (uint8_t[16]){1, 2, 3, 4}, 16) == 0);
    CHECK_EQUAL(context.remote_port, 443);
    CHECK_EQUAL(context.size, sizeof(context));
    CHECK_EQUAL(context.generation, machine_status().generation);
    CHECK(memcmp(context.reserved, zeros, sizeof(context.reserved)) == 0);
    CHECK(memcmp(context.padding, zeros, sizeof(context.padding)) == 0);
    CHECK(memcmp(context.app_id + context.app_id_size, zeros, PM_APP_ID_MAX - context.app_id_size) == 0);
    machine_stop();
}
