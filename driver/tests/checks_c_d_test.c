// The reference's checklist (wfp-kernel.md 9.2), C and D: what fails, what is blocked.
#include "redirecting.h"

// The nth call of a redirect fails: 1 the pool, 2 the classify handle, 3 the writable data.
static void
fails_open(uint32_t nth, uint32_t touched, pm_reason reason)
{
    sim_knobs knobs = {.acquire_sets_block = touched, .block_at_redirect = 1};

    start_redirecting(&knobs);
    sim_fail_call(nth);
    sim_trace_start();
    sim_connect_result result = run_connect(to_public());
    CHECK_EQUAL(sim_calls(), nth); // nothing is asked after the failure, and above all no Apply
    sim_fail_call(0);
    CHECK(!result.redirected && !result.blocked);
    CHECK_EQUAL(sim_trace(0)->result.action, FWP_ACTION_NONE); // CONTINUE
    CHECK_EQUAL(sim_trace(0)->result.hard, 0);                 // with the right still there
    CHECK_EQUAL(counter((uint32_t)reason), 1);
    CHECK_EQUAL(sim_live_allocations(), 0);
    machine_stop();
}

TEST(c1_without_memory_it_goes_direct)
{
    fails_open(1, 1, PM_REASON_OUT_OF_MEMORY);
}

TEST(c2_without_a_classify_handle_it_goes_direct)
{
    fails_open(2, 1, PM_REASON_WFP_CALL_FAILED);
}

TEST(c3_without_writable_data_it_goes_direct_whatever_acquire_did)
{
    fails_open(3, 1, PM_REASON_WFP_CALL_FAILED);
    fails_open(3, 0, PM_REASON_WFP_CALL_FAILED);
}

TEST(c4_writable_data_that_is_nowhere_is_a_failure)
{
    start_redirecting(NULL);
    sim_acquire_gives(SIM_ACQUIRE_NULL);
    sim_connect_result result = run_connect(to_public());
    sim_acquire_gives(SIM_ACQUIRE_DATA);
    CHECK(!result.redirected && !result.blocked);
    CHECK_EQUAL(counter(PM_REASON_WFP_CALL_FAILED), 1);
    CHECK_EQUAL(sim_live_allocations(), 0);
    machine_stop();
}

TEST(c5_a_request_of_another_family_is_applied_unchanged)
{
    start_redirecting(NULL);
    sim_acquire_gives(SIM_ACQUIRE_OTHER_FAMILY);
    sim_connect_result result = run_connect(to_public());
    sim_acquire_gives(SIM_ACQUIRE_DATA);
    CHECK(!result.redirected && !result.blocked);
    CHECK_EQUAL(counter(PM_REASON_UNEXPECTED_FIELD), 1);
    CHECK_EQUAL(sim_live_allocations(), 0);
    machine_stop();
}

TEST(c6_without_a_redirect_handle_the_driver_loads_and_everything_passes)
{
    int seen = 0;

    for (uint32_t nth = 1; nth < 32; nth++) {
        sim_boot(NULL);
        sim_fail_call(nth);
        NTSTATUS status = sim_load_driver(DriverEntry);
        sim_fail_call(0);
        if (!NT_SUCCESS(status)) {
            sim_shutdown();
            continue;
        }
        machine_processes();
        CHECK_EQUAL(sim_open(PROXY, 3, NULL, &machine_file), STATUS_SUCCESS);
        machine_engine = NULL;
        if ((machine_status().state & PM_STATE_REDIRECT_HANDLE) == 0) {
            seen++;
            add_redirect_filters(register_pid(machine_file, PROXY));
            CHECK(!is_redirected());
            CHECK_EQUAL(counter(PM_REASON_NO_REDIRECT_HANDLE), 1);
        }
        machine_stop();
    }
    CHECK_EQUAL(seen, 1);
}

FWPS_CALLOUT_CLASSIFY_FN2_TYPE pm_connect_redirect_classify;
FWPS_CALLOUT_CLASSIFY_FN2_TYPE pm_auth_connect_classify;

TEST(c7_without_a_classify_context_it_goes_direct)
{
    FWPS_INCOMING_VALUE0 fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_MAX] = {0};
    FWPS_INCOMING_VALUES0 values = {FWPS_LAYER_ALE_CONNECT_REDIRECT_V4, FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_MAX, fields};
    FWPS_INCOMING_METADATA_VALUES0 metadata = {.currentMetadataValues = FWPS_METADATA_FIELD_PROCESS_ID, .processId = APP};
    FWPS_CLASSIFY_OUT0 out = {.actionType = FWP_ACTION_NONE, .rights = FWPS_RIGHT_ACTION_WRITE};

    start_redirecting(NULL);
    FWPS_FILTER2 filter = {.context = filter_context(registration, PM_REDIRECT, 1)};
    fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_PROTOCOL].value = (FWP_VALUE0){.type = FWP_UINT8, .uint8 = 6};
    fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_REMOTE_PORT].value = (FWP_VALUE0){.type = FWP_UINT16, .uint16 = 1};
    fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_REMOTE_ADDRESS].value = (FWP_VALUE0){.type = FWP_UINT32, .uint32 = 0xCB007107};
    fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_FLAGS].value = (FWP_VALUE0){.type = FWP_UINT32};
    pm_connect_redirect_classify(&values, &metadata, NULL, NULL, &filter, 0, &out);
    CHECK_EQUAL(out.actionType, FWP_ACTION_CONTINUE);
    CHECK_EQUAL(out.rights, FWPS_RIGHT_ACTION_WRITE);
    machine_stop();
}

static uint32_t
next_random(uint32_t* state)
{
    *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
    return *state;
}

TEST(c8_whatever_fails_nothing_is_ever_blocked_or_lost)
{
    uint32_t random = 2463534242u;

    start_redirecting(NULL);
    for (int i = 0; i < 1000; i++) {
        sim_connect_request request = to_public();
        sim_connect_result result;

        request.family = next_random(&random) % 4 == 0 ? 6 : 4;
        request.remote_address[0] = (uint8_t)next_random(&random);
        request.remote_port = (uint16_t)next_random(&random);
        request.pid = next_random(&random) % 8 == 0 ? PROXY : APP;
        sim_acquire_gives((sim_acquire_result)(next_random(&random) % 3));
        sim_fail_call(next_random(&random) % 5);
        result = run_connect(request);
        sim_fail_call(0);
        CHECK(!result.blocked);
        sim_flow_close(result.flow);
        CHECK_EQUAL(sim_live_allocations(), 0);
        CHECK_EQUAL(registration_ioctl(machine_file, PROXY, PM_IOCTL_RENEW, registration), STATUS_SUCCESS);
    }
    sim_acquire_gives(SIM_ACQUIRE_DATA);
    machine_stop();
}

// ---- D.  Adapted: which UDP is blocked is a rule, thus a filter (protocol 17, port 443), not a built-in ----

static void
start_blocking(void)
{
    FWPM_FILTER_CONDITION0 quic[] = {
        {FWPM_CONDITION_IP_PROTOCOL, FWP_MATCH_EQUAL, {.type = FWP_UINT8, .uint8 = 17}},
        {FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL, {.type = FWP_UINT16, .uint16 = 443}}};

    machine_start(NULL);
    registration = register_pid(machine_file, PROXY);
    (void)add_filter_with(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, &PM_CALLOUT_AUTH_CONNECT_V4, 5,
                          filter_context(registration, PM_BLOCK, 9), quic, 2);
}

static sim_connect_request
quic_to(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    sim_connect_request request = connect_v4(a, b, c, d, 443);

    request.protocol = 17;
    return request;
}

TEST(d1_quic_is_blocked_hard)
{
    start_blocking();
    sim_trace_start();
    CHECK(run_connect(quic_to(203, 0, 113, 7)).blocked);
    CHECK_EQUAL(sim_trace(1)->result.action, FWP_ACTION_BLOCK);
    CHECK_EQUAL(sim_trace(1)->result.hard, 1);
    machine_stop();
}

TEST(d2_and_not_without_a_live_proxy)
{
    start_blocking();
    CHECK_EQUAL(registration_ioctl(machine_file, PROXY, PM_IOCTL_WITHDRAW, registration), STATUS_SUCCESS);
    CHECK(!run_connect(quic_to(203, 0, 113, 7)).blocked);
    machine_stop();
}

TEST(d3_nor_of_the_proxy_itself)
{
    sim_connect_request request = quic_to(203, 0, 113, 7);

    start_blocking();
    request.pid = PROXY;
    CHECK(!run_connect(request).blocked);
    machine_stop();
}

TEST(d4_nor_what_was_permitted_or_redirected_before)
{
    static const uint32_t flags[] = {
        FWP_CONDITION_FLAG_IS_REAUTHORIZE, FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED,
        FWP_CONDITION_FLAG_IS_HONORING_POLICY_AUTHORIZE};

    start_blocking();
    for (size_t i = 0; i < 3; i++) {
        sim_connect_request request = quic_to(203, 0, 113, 7);

        request.flags = flags[i];
        CHECK(!run_connect(request).blocked);
    }
    machine_stop();
}

TEST(d5_a_private_destination_is_blocked_if_the_rule_says_so_and_loopback_never)
{
    start_blocking(); // adapted: block rules may name private destinations
    CHECK(run_connect(quic_to(10, 0, 0, 1)).blocked);
    CHECK(!run_connect(quic_to(127, 0, 0, 1)).blocked);
    machine_stop();
}

TEST(d6_tcp_is_another_matter)
{
    start_blocking();
    CHECK(!run_connect(to_public()).blocked);
    machine_stop();
}

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

TEST(d7_without_the_right_it_does_not_even_veto)
{
    HANDLE engine;
    UINT32 id;

    start_blocking();
    hard_action = FWP_ACTION_PERMIT;
    id = other_product(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, decide_hard, &engine);
    CHECK(!run_connect(quic_to(203, 0, 113, 7)).blocked);
    CHECK_EQUAL(sim_violations(), 0);
    CHECK_EQUAL(counter(PM_REASON_NO_WRITE_RIGHT), 1);
    no_other_product(id, engine);
    machine_stop();
}

TEST(d8_a_redirected_connect_is_seen_once_at_each_layer)
{
    machine_start(NULL);
    registration = register_pid(machine_file, PROXY);
    add_redirect_filters(registration);
    add_block_filters(registration, 5);
    sim_trace_start();
    sim_connect_result result = run_connect(to_public());
    CHECK(result.redirected);
    CHECK_EQUAL(result.redirect_classifies, 1);
    const sim_trace_entry* last = sim_trace(result.auth_classifies);
    CHECK_EQUAL(last->remote_port, PROXY_PORT);
    CHECK(last->flags & FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED);
    CHECK_EQUAL(counter(PM_REASON_REDIRECT_AUTHORIZED), result.auth_classifies);
    sim_flow_close(result.flow);
    machine_stop();
}

TEST(d9_a_mapped_connect_is_redirected_at_v6_and_authorized_at_v4)
{
    machine_start(NULL);
    registration = register_pid(machine_file, PROXY);
    add_redirect_filters(registration);
    add_block_filters(registration, 5);
    sim_trace_start();
    sim_connect_result result = run_connect(connect_v6((uint8_t[16]){[10] = 255, 255, 203, 0, 113, 7}, 443));
    CHECK(result.redirected && !result.blocked);
    CHECK_EQUAL(sim_trace(0)->layer, FWPS_LAYER_ALE_CONNECT_REDIRECT_V6);
    CHECK_EQUAL(sim_trace(1)->layer,
                sim_knobs_now()->v4mapped_v6_only ? FWPS_LAYER_ALE_AUTH_CONNECT_V6 : FWPS_LAYER_ALE_AUTH_CONNECT_V4);
    sim_flow_close(result.flow);
    machine_stop();
}

TEST(d10_the_original_destination_is_not_read_unless_it_is_there)
{
    start_blocking();
    FWPS_INCOMING_VALUE0 fields[FWPS_FIELD_ALE_AUTH_CONNECT_V4_MAX] = {0};
    FWPS_INCOMING_VALUES0 values = {FWPS_LAYER_ALE_AUTH_CONNECT_V4, FWPS_FIELD_ALE_AUTH_CONNECT_V4_MAX, fields};
    FWPS_INCOMING_METADATA_VALUES0 metadata;
    FWPS_FILTER2 filter = {.context = filter_context(registration, PM_BLOCK, 1)};
    FWPS_CLASSIFY_OUT0 out = {.actionType = FWP_ACTION_NONE, .rights = FWPS_RIGHT_ACTION_WRITE};
    memset(&metadata, 0xA5, sizeof(metadata));
    metadata.currentMetadataValues = 0;
    fields[FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_PROTOCOL].value = (FWP_VALUE0){.type = FWP_UINT8, .uint8 = 17};
    fields[FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_REMOTE_PORT].value = (FWP_VALUE0){.type = FWP_UINT16, .uint16 = 443};
    fields[FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_REMOTE_ADDRESS].value = (FWP_VALUE0){.type = FWP_UINT32, .uint32 = 0xCB007107};
    fields[FWPS_FIELD_ALE_AUTH_CONNECT_V4_FLAGS].value = (FWP_VALUE0){
        .type = FWP_UINT32, .uint32 = FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED};
    pm_auth_connect_classify(&values, &metadata, NULL, NULL, &filter, 0, &out);
    CHECK_EQUAL(out.actionType, FWP_ACTION_CONTINUE);
    machine_stop();
}
