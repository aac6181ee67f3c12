// The reference's checklist (wfp-kernel.md 9.2), B: connections that were redirected before, by us or by another.
#include "redirecting.h"

TEST(b1_a_connect_that_carries_our_records_is_left_alone)
{
    sim_connect_request upstream = to_public();

    start_redirecting(NULL);
    sim_connect_result first = run_connect(to_public());
    CHECK(first.redirected);
    upstream.records = first.flow;
    sim_fail_call(0);
    CHECK(!run_connect(upstream).redirected);
    CHECK_EQUAL(sim_calls(), 0); // no Acquire, no allocation
    sim_flow_close(first.flow);
    machine_stop();
}

static HANDLE other_handle;
static int other_versions; // how many versions the other product stacks
static int other_redirects;

static void
redirect_first(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* data,
    const void* context, const FWPS_FILTER2* filter, UINT64 flow, FWPS_CLASSIFY_OUT0* out)
{
    UINT64 handle = 0;
    FWPS_CONNECT_REQUEST0* request = NULL;

    (void)values, (void)metadata, (void)data, (void)flow;
    CHECK_EQUAL(FwpsAcquireClassifyHandle0((void*)context, 0, &handle), STATUS_SUCCESS);
    for (int i = 0; i < other_versions; i++) {
        CHECK_EQUAL(
            FwpsAcquireWritableLayerDataPointer0(handle, filter->filterId, 0, (PVOID*)&request, out), STATUS_SUCCESS);
        ((SOCKADDR_IN*)&request->remoteAddressAndPort)->sin_port = (USHORT)(0x1100 + i);
        if (other_redirects && i == 0) { // the handle is on the oldest version: the whole chain must be walked
            ((SOCKADDR_IN*)&request->remoteAddressAndPort)->sin_addr = (IN_ADDR){{127, 0, 0, 1}};
            request->localRedirectTargetPID = OLD_PROXY;
            request->localRedirectHandle = other_handle;
        }
        FwpsApplyModifiedLayerData0(handle, request, 0);
        out->rights |= FWPS_RIGHT_ACTION_WRITE;
    }
    FwpsReleaseClassifyHandle0(handle);
    out->actionType = FWP_ACTION_PERMIT;
}

static sim_connect_result
behind_another(int versions, int redirects, const sim_knobs* knobs)
{
    GUID provider = {1, 1, 1, {1}};
    sim_connect_result result;
    HANDLE engine;
    UINT32 id;

    start_redirecting(knobs);
    CHECK_EQUAL(FwpsRedirectHandleCreate0(&provider, 0, &other_handle), STATUS_SUCCESS);
    other_versions = versions, other_redirects = redirects;
    id = other_product(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, redirect_first, &engine);
    result = run_connect(to_public());
    sim_flow_close(result.flow);
    CHECK_EQUAL(counter(PM_REASON_OTHER_REDIRECTOR), redirects);
    CHECK_EQUAL(sim_live_allocations(), 0);
    no_other_product(id, engine);
    FwpsRedirectHandleDestroy0(other_handle);
    machine_stop();
    return result;
}

TEST(b5_and_b10_what_another_product_redirects_is_applied_unchanged_and_permitted)
{
    for (uint32_t touched = 0; touched < 2; touched++) {
        sim_knobs knobs = {.acquire_sets_block = touched, .block_at_redirect = 1};
        sim_connect_result result = behind_another(1, 1, &knobs);

        CHECK(!result.blocked);
        CHECK(result.remote_port != PROXY_PORT);
        CHECK_EQUAL(result.action, FWP_ACTION_PERMIT); // theirs; ours was "continue"
    }
}

TEST(b6_the_whole_chain_of_versions_is_walked)
{
    CHECK(behind_another(3, 1, NULL).remote_port != PROXY_PORT);
}

TEST(b7_and_b8_versions_that_go_to_no_local_proxy_are_no_obstacle)
{
    CHECK_EQUAL(behind_another(2, 0, NULL).remote_port, PROXY_PORT);
    start_redirecting(NULL);
    (void)redirected(to_public()); // no version before ours at all
    machine_stop();
}

TEST(b2_and_b3_of_two_records_ours_counts_wherever_it_stands_and_anothers_alone_does_not)
{
    GUID provider = {1, 1, 1, {1}};
    sim_connect_request upstream = to_public(), of_other = to_public(), twice = to_public();
    HANDLE engine;
    UINT32 id;

    start_redirecting(NULL);
    CHECK_EQUAL(FwpsRedirectHandleCreate0(&provider, 0, &other_handle), STATUS_SUCCESS);
    sim_connect_result ours = run_connect(to_public());
    CHECK(ours.redirected);
    other_versions = 1, other_redirects = 1;
    id = other_product(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, redirect_first, &engine);
    upstream.records = ours.flow; // ours, then theirs
    sim_connect_result both = run_connect(upstream);
    CHECK(both.flow != 0);
    sim_connect_result theirs = run_connect(of_other); // theirs alone
    no_other_product(id, engine);
    twice.records = both.flow;
    CHECK(!run_connect(twice).redirected); // PREVIOUSLY_REDIRECTED_BY_SELF
    twice.records = theirs.flow;
    sim_connect_result taken = run_connect(twice); // REDIRECTED_BY_OTHER: we have not seen it yet
    CHECK_EQUAL(taken.remote_port, PROXY_PORT);
    sim_flow_close(taken.flow), sim_flow_close(theirs.flow), sim_flow_close(both.flow), sim_flow_close(ours.flow);
    FwpsRedirectHandleDestroy0(other_handle);
    machine_stop();
}

TEST(b4_records_are_not_looked_at_unless_they_are_there)
{
    FWPS_INCOMING_VALUE0 fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_MAX];
    FWPS_INCOMING_METADATA_VALUES0 metadata;

    start_redirecting(NULL);
    (void)redirected(to_public()); // simwfp fills absent metadata with 0xA5
    memset(&metadata, 0xA5, sizeof(metadata));
    metadata.currentMetadataValues = FWPS_METADATA_FIELD_PROCESS_ID, metadata.processId = APP;
    good_fields(fields);
    sim_fail_call(1); // the pool: it got as far as that, so it took the connection for a new one
    CHECK_EQUAL(call_with(fields, &metadata, &fields).actionType, FWP_ACTION_CONTINUE);
    sim_fail_call(0);
    CHECK_EQUAL(counter(PM_REASON_OUT_OF_MEMORY), 1);
    machine_stop();
}

TEST(b9_what_acquire_did_to_the_verdict_is_undone)
{
    for (uint32_t touched = 0; touched < 2; touched++) {
        sim_knobs knobs = {.acquire_sets_block = touched, .block_at_redirect = 1};

        start_redirecting(&knobs);
        sim_trace_start();
        (void)redirected(to_public());
        CHECK_EQUAL(sim_trace(0)->result.action, FWP_ACTION_PERMIT);
        CHECK_EQUAL(sim_trace(0)->result.hard, 0);
        machine_stop();
    }
}
