// Blocking at ALE_AUTH_CONNECT, and all the cases in which a block filter must not block.
#include "machine.h"

static uint32_t
start(void)
{
    machine_start(NULL);
    uint32_t registration = register_pid(machine_file, PROXY);
    add_block_filters(registration, 5);
    return registration;
}

TEST(a_block_rule_blocks_tcp_and_udp_in_both_families)
{
    sim_connect_request udp = connect_v4(203, 0, 113, 7, 443);

    (void)start();
    CHECK(run_connect(connect_v4(203, 0, 113, 7, 443)).blocked);
    udp.protocol = 17;
    CHECK(run_connect(udp).blocked);
    CHECK(run_connect(connect_v6((uint8_t[16]){0x20, 1, [15] = 1}, 443)).blocked);
    CHECK(run_connect(connect_v6((uint8_t[16]){[10] = 255, 255, 203, 0, 113, 7}, 443)).blocked);
    CHECK(run_connect(connect_v4(10, 0, 0, 1, 443)).blocked); // a rule may well block a private address
    CHECK_EQUAL(counter(PM_REASON_BLOCKED_BY_RULE), 5);
    CHECK_EQUAL(sim_violations(), 0);
    machine_stop();
}

TEST(loopback_is_never_blocked)
{
    (void)start();
    CHECK(!run_connect(connect_v4(127, 0, 0, 1, 443)).blocked);
    machine_stop();
}

TEST(nothing_is_blocked_without_a_live_proxy)
{
    uint32_t registration = start();

    sim_advance(PM_LEASE_DEFAULT_MS * 10000ull);
    CHECK(!run_connect(connect_v4(203, 0, 113, 7, 443)).blocked);
    CHECK_EQUAL(registration_ioctl(machine_file, PROXY, PM_IOCTL_RENEW, registration), STATUS_SUCCESS);
    CHECK(run_connect(connect_v4(203, 0, 113, 7, 443)).blocked);
    CHECK_EQUAL(registration_ioctl(machine_file, PROXY, PM_IOCTL_WITHDRAW, registration), STATUS_SUCCESS);
    CHECK(!run_connect(connect_v4(203, 0, 113, 7, 443)).blocked);
    machine_stop();
}

TEST(the_proxy_itself_old_flows_and_redirected_ones_are_not_blocked)
{
    static const uint32_t flags[] = {
        FWP_CONDITION_FLAG_IS_REAUTHORIZE, FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED,
        FWP_CONDITION_FLAG_IS_HONORING_POLICY_AUTHORIZE};
    sim_connect_request request = connect_v4(203, 0, 113, 7, 443);

    (void)start();
    request.pid = PROXY;
    CHECK(!run_connect(request).blocked);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        request = connect_v4(203, 0, 113, 7, 443), request.flags = flags[i];
        CHECK(!run_connect(request).blocked);
    }
    machine_stop();
}

TEST(an_earlier_pass_rule_keeps_a_later_block_rule_from_being_reached)
{
    uint32_t registration = start();

    (void)add_filter(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, &PM_CALLOUT_AUTH_CONNECT_V4, 9,
                     filter_context(registration, PM_PASS, 1));
    CHECK(!run_connect(connect_v4(203, 0, 113, 7, 443)).blocked);
    machine_stop();
}

TEST(a_filter_that_outlives_the_callout_permits)
{
    sim_connect_result result;
    sim_connect_request request = connect_v4(203, 0, 113, 7, 443);

    (void)start();
    sim_close(machine_file);
    sim_unload_driver(); // the engine keeps what the filters of the proxy refer to
    sim_connect(&request, &result);
    CHECK(!result.blocked && !result.redirected);
    CHECK(sim_object_count() > 0);
    // Loading again finds the objects of before and works with them.
    CHECK_EQUAL(sim_load_driver(DriverEntry), STATUS_SUCCESS);
    CHECK_EQUAL(sim_open(PROXY, 3, NULL, &machine_file), STATUS_SUCCESS);
    CHECK_EQUAL(machine_status().state, 15);
    machine_stop();
}
