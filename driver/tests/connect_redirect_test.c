// Whole connects through simwfp: what is redirected, what is not, and that nothing is lost when a call fails.
#include "machine.h"

static const uint8_t public_v6[16] = {0x20, 0x01, 0x0D, 0xB8, [15] = 7};
static const uint8_t mapped_v6[16] = {[10] = 255, 255, 203, 0, 113, 7};

// The address itself counts, not a copy of the driver's table: one row per fail-open reason.
static void
expect_direct(sim_connect_request request, pm_reason reason)
{
    uint64_t before = counter((uint32_t)reason);
    sim_connect_result result = run_connect(request);

    CHECK(!result.redirected && !result.blocked);
    CHECK(memcmp(result.remote_address, request.remote_address, request.family == 4 ? 4 : 16) == 0);
    CHECK_EQUAL(result.remote_port, request.remote_port);
    CHECK_EQUAL(result.flow, 0);
    CHECK(counter((uint32_t)reason) > before);
    CHECK_EQUAL(sim_live_allocations(), 0);
}

TEST(a_public_v4_destination_goes_to_the_proxy)
{
    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY));
    sim_connect_result result = run_connect(connect_v4(203, 0, 113, 7, 443));
    uint8_t loopback[4] = {127, 0, 0, 1};

    CHECK(result.redirected && !result.blocked);
    CHECK(memcmp(result.remote_address, loopback, 4) == 0);
    CHECK_EQUAL(result.remote_port, PROXY_PORT);
    CHECK_EQUAL(result.action, FWP_ACTION_PERMIT);
    CHECK_EQUAL(result.redirect_classifies, 1);
    CHECK_EQUAL(result.auth_classifies, sim_knobs_now()->auth_twice == 1 ? 2 : 1); // to loopback: once
    CHECK_EQUAL(sim_violations(), 0);
    sim_flow_close(result.flow);
    machine_stop();
}

TEST(a_public_v6_destination_goes_to_the_v6_endpoint)
{
    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY));
    sim_connect_result result = run_connect(connect_v6(public_v6, 443));
    uint8_t one[16] = {[15] = 1};

    CHECK(result.redirected);
    CHECK(memcmp(result.remote_address, one, 16) == 0);
    CHECK_EQUAL(result.remote_port, PROXY_PORT);
    sim_flow_close(result.flow);
    machine_stop();
}

TEST(a_mapped_destination_goes_to_the_mapped_v4_endpoint_and_counts_as_v4)
{
    pm_redirect_context context;
    uint8_t mapped_loopback[16] = {[10] = 255, 255, 127, 0, 0, 1};
    uint8_t original[4] = {203, 0, 113, 7};

    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY));
    sim_connect_result result = run_connect(connect_v6(mapped_v6, 443));
    CHECK(result.redirected);
    CHECK(memcmp(result.remote_address, mapped_loopback, 16) == 0);
    CHECK_EQUAL(sim_flow_context(result.flow, &context, sizeof(context)), sizeof(context));
    CHECK_EQUAL(context.family, 4);
    CHECK_EQUAL(context.flags, PM_FLAG_V4_MAPPED);
    CHECK(memcmp(context.remote_address, original, 4) == 0);
    sim_flow_close(result.flow);
    machine_stop();
}

TEST(every_fail_open_reason_leaves_the_connection_alone_and_is_counted)
{
    sim_connect_request request;
    uint32_t registration;
    pm_register_request v4_only = register_request();
    pm_register_reply reply;

    machine_start(NULL);
    add_redirect_filters(1);
    expect_direct(connect_v4(203, 0, 113, 7, 443), PM_REASON_NO_PROXY);
    registration = register_pid(machine_file, PROXY);
    CHECK_EQUAL(registration, 1);
    expect_direct(connect_v4(127, 0, 0, 2, 443), PM_REASON_LOOPBACK_DESTINATION);
    expect_direct(connect_v4(10, 0, 0, 1, 443), PM_REASON_PRIVATE_DESTINATION);
    expect_direct(connect_v4(224, 0, 0, 1, 443), PM_REASON_NOT_UNICAST);
    expect_direct(connect_v4(203, 0, 113, 7, 0), PM_REASON_NOT_UNICAST);
    expect_direct(connect_v6((uint8_t[16]){0xFE, 0x80, [15] = 1}, 443), PM_REASON_PRIVATE_DESTINATION);
    expect_direct(connect_v6((uint8_t[16]){[10] = 255, 255, 10, 0, 0, 1}, 443), PM_REASON_PRIVATE_DESTINATION);
    request = connect_v4(203, 0, 113, 7, 443), request.protocol = 17;
    expect_direct(request, PM_REASON_NOT_TCP);
    request = connect_v4(203, 0, 113, 7, 443), request.pid = PROXY;
    expect_direct(request, PM_REASON_OWN_PROCESS);
    request = connect_v4(203, 0, 113, 7, 443), request.pid = 4;
    expect_direct(request, PM_REASON_SYSTEM_PROCESS);
    request = connect_v4(203, 0, 113, 7, 443), request.no_process = 1;
    expect_direct(request, PM_REASON_UNKNOWN_PROCESS);
    request = connect_v4(203, 0, 113, 7, 443), request.compartment = 2;
    expect_direct(request, PM_REASON_OTHER_COMPARTMENT);
    request = connect_v4(203, 0, 113, 7, 443), request.flags = FWP_CONDITION_FLAG_IS_RAW_ENDPOINT;
    expect_direct(request, PM_REASON_RAW_ENDPOINT);
    request = connect_v4(203, 0, 113, 7, 443), request.flags = FWP_CONDITION_FLAG_IS_REAUTHORIZE;
    expect_direct(request, PM_REASON_REAUTHORIZATION);
    request = connect_v4(203, 0, 113, 7, 443), memcpy(request.local_address, (uint8_t[]){192, 168, 1, 5}, 4);
    expect_direct(request, PM_REASON_LOCAL_BINDING);
    memset(&v4_only.endpoints.v6_address, 0, 16), v4_only.endpoints.v6_port = 0;
    CHECK_EQUAL(register_with(machine_file, PROXY, &v4_only, &reply), STATUS_SUCCESS);
    expect_direct(connect_v6(public_v6, 443), PM_REASON_NO_ENDPOINT);
    sim_advance(PM_LEASE_DEFAULT_MS * 10000ull);
    expect_direct(connect_v4(203, 0, 113, 7, 443), PM_REASON_LEASE_OVER);
    machine_stop();
}

TEST(a_local_loopback_or_unspecified_binding_is_no_obstacle)
{
    sim_connect_request request = connect_v4(203, 0, 113, 7, 443);

    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY));
    memcpy(request.local_address, (uint8_t[]){127, 0, 0, 1}, 4);
    sim_connect_result result = run_connect(request);
    CHECK(result.redirected);
    sim_flow_close(result.flow);
    machine_stop();
}

TEST(the_proxys_upstream_connection_is_known_by_its_records_alone)
{
    sim_connect_request upstream = connect_v4(203, 0, 113, 7, 443);

    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY));
    sim_connect_result first = run_connect(connect_v4(203, 0, 113, 7, 443));
    CHECK(first.redirected);
    upstream.records = first.flow; // made by some process that is not registered
    sim_connect_result second = run_connect(upstream);
    CHECK(!second.redirected);
    CHECK_EQUAL(counter(PM_REASON_ALREADY_REDIRECTED), 1);
    sim_flow_close(first.flow);
    machine_stop();
}

TEST(a_filter_of_another_registration_has_no_opinion)
{
    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY) + 1);
    CHECK(!is_redirected());
    CHECK_EQUAL(counter(PM_REASON_INACTIVE_REGISTRATION), 1);
    machine_stop();
}

TEST(a_pass_filter_ends_the_sublayer_before_a_lighter_redirect_filter)
{
    machine_start(NULL);
    uint32_t registration = register_pid(machine_file, PROXY);
    add_redirect_filters(registration);
    (void)add_filter(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, &PM_CALLOUT_CONNECT_REDIRECT_V4, 9,
                     filter_context(registration, PM_PASS, 12));
    CHECK(!is_redirected());
    CHECK_EQUAL(counter(PM_REASON_PASSED_BY_RULE), 1);
    machine_stop();
}

TEST(whatever_call_fails_while_redirecting_the_connect_goes_direct_and_nothing_leaks)
{
    for (uint32_t touched = 0; touched <= 1; touched++) {
        sim_knobs knobs = {.acquire_sets_block = touched, .block_at_redirect = 1};

        for (uint32_t nth = 1;; nth++) {
            machine_start(&knobs);
            add_redirect_filters(register_pid(machine_file, PROXY));
            sim_fail_call(nth);
            sim_connect_result result = run_connect(connect_v4(203, 0, 113, 7, 443));
            uint32_t calls = sim_calls();
            sim_fail_call(0);

            CHECK(!result.blocked);
            CHECK_EQUAL(result.redirected, calls < nth);
            sim_flow_close(result.flow);
            CHECK_EQUAL(sim_live_allocations(), 0);
            machine_stop();
            if (calls < nth) { // nothing was left to fail: this run was the good one
                CHECK(nth == 4);
                break;
            }
        }
    }
}

TEST(redirecting_works_under_every_knob)
{
    for (uint32_t bits = 0; bits < 1u << 9; bits++) {
        sim_knobs knobs = {
            .native_block_vetoes = bits & 1, .acquire_sets_block = bits >> 1 & 1, .block_at_redirect = bits >> 2 & 1,
            .v4mapped_v6_only = bits >> 3 & 1, .auth_twice = bits >> 4 & 1 ? 2 : 0,
            .entry_action_so_far = bits >> 5 & 1, .empty_matches_not_equal = bits >> 6 & 1,
            .tie_seed = bits >> 7 & 1 ? bits : 0, .classify_irql = bits >> 8 & 1 ? DISPATCH_LEVEL : PASSIVE_LEVEL};

        machine_start(&knobs);
        uint32_t registration = register_pid(machine_file, PROXY);
        add_redirect_filters(registration);
        CHECK(is_redirected());
        CHECK(!run_connect(connect_v4(10, 0, 0, 1, 80)).redirected);
        add_block_filters(registration, 5);
        CHECK(is_redirected()); // the block filter sees a redirected connection and lets it be
        CHECK(run_connect(connect_v4(10, 0, 0, 1, 80)).blocked);
        CHECK_EQUAL(sim_violations(), 0);
        machine_stop();
    }
}

TEST(app_ids_of_any_length_are_copied_up_to_the_limit_and_never_read_past)
{
    static const uint32_t sizes[] = {0, 1, 2, 3, PM_APP_ID_MAX - 2, PM_APP_ID_MAX, PM_APP_ID_MAX + 2, 5000};

    machine_start(NULL);
    add_redirect_filters(register_pid(machine_file, PROXY));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        pm_redirect_context context;
        uint8_t* blob = malloc(sizes[i] + 1u); // exact: ASan sees the byte after it
        sim_connect_request request = connect_v4(203, 0, 113, 7, 443);
        uint32_t even = sizes[i] & ~1u;

        memset(blob, 'x', sizes[i] + 1u);
        request.app_id = blob, request.app_id_size = sizes[i];
        sim_connect_result result = run_connect(request);
        CHECK(result.redirected);
        CHECK_EQUAL(sim_flow_context(result.flow, &context, sizeof(context)), sizeof(context));
        CHECK_EQUAL(context.app_id_size, even > PM_APP_ID_MAX ? PM_APP_ID_MAX : even);
        CHECK_EQUAL(context.flags, even > PM_APP_ID_MAX ? PM_FLAG_APP_ID_TRUNCATED : 0);
        sim_flow_close(result.flow);
        free(blob);
    }
    machine_stop();
}
