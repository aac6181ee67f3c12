// Callout functions: notifications, raw contexts, flow contexts.
#include "engine.h"

static uint64_t seen_context, deleted_contexts, last_flow;
static UINT32 callout;

static void
look(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    (void)context, (void)out;
    seen_context = filter->context;
    last_flow = FWPS_IS_METADATA_FIELD_PRESENT(metadata, FWPS_METADATA_FIELD_FLOW_HANDLE) ? metadata->flowHandle : 0;
}

static void
associate(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    UINT64 cookie = (UINT64)(uintptr_t)&deleted_contexts;

    look(metadata, context, filter, out);
    CHECK_EQUAL(FwpsFlowAssociateContext0(last_flow, FWPS_LAYER_ALE_AUTH_CONNECT_V4, callout, 0), STATUS_INVALID_PARAMETER);
    CHECK_EQUAL(FwpsFlowAssociateContext0(last_flow, FWPS_LAYER_ALE_AUTH_CONNECT_V4, callout, cookie), STATUS_SUCCESS);
    CHECK_EQUAL(
        FwpsFlowAssociateContext0(last_flow, FWPS_LAYER_ALE_AUTH_CONNECT_V4, callout, cookie), STATUS_OBJECT_NAME_EXISTS);
}

static void
start_callout(uint32_t flags)
{
    start();
    body = look;
    add_callout(1, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
    callout = register_callout(1, flags);
}

TEST(c12_a_callout_with_flow_contexts_stays_until_they_are_gone)
{
    sim_connect_request request = like(APP, 4, 6);
    sim_socket* socket;

    start_callout(0);
    body = associate;
    deleted_contexts = 0;
    (void)add(callout_filter(1, &FWPM_LAYER_ALE_AUTH_CONNECT_V4));
    socket = sim_socket_open(&request);
    CHECK_EQUAL(sim_socket_connect(socket, public_v4, 443), SIM_OK);
    CHECK_EQUAL(last_flow, sim_socket_flow(socket));
    CHECK_EQUAL(FwpsCalloutUnregisterById0(callout), STATUS_DEVICE_BUSY);
    CHECK_EQUAL(FwpsFlowRemoveContext0(last_flow, FWPS_LAYER_ALE_AUTH_CONNECT_V4, callout), STATUS_SUCCESS);
    CHECK_EQUAL(deleted_contexts, 1);
    CHECK_EQUAL(FwpsFlowRemoveContext0(last_flow, FWPS_LAYER_ALE_AUTH_CONNECT_V4, callout), STATUS_UNSUCCESSFUL);
    sim_socket_close(socket);
    CHECK_EQUAL(deleted_contexts, 1);
    socket = sim_socket_open(&request);
    CHECK_EQUAL(sim_socket_connect(socket, public_v4, 443), SIM_OK);
    sim_socket_close(socket); // the flow ends: its contexts too
    CHECK_EQUAL(deleted_contexts, 2);
    unregister(callout);
    stop();
}

TEST(a_callout_that_is_conditional_on_flow_is_asked_about_its_flows_only)
{
    start_callout(FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW);
    (void)add(callout_filter(1, &FWPM_LAYER_ALE_AUTH_CONNECT_V4));
    sim_trace_start();
    CHECK(passes(connect_to(public_v4, 443)));
    CHECK_EQUAL(sim_trace(1)->result.calls, 0);
    unregister(callout);
    stop();
}

TEST(c14_a_refused_notification_refuses_the_filter_and_not_the_transaction)
{
    FWPM_FILTER0 filter = callout_filter(1, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);

    start_callout(0);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    CHECK_EQUAL(add_sublayer(engine, 7, 7), STATUS_SUCCESS);
    notify_answer = STATUS_UNSUCCESSFUL;
    CHECK_EQUAL(FwpmFilterAdd0(engine, &filter, NULL, NULL), STATUS_FWP_CALLOUT_NOTIFICATION_FAILED);
    CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_SUCCESS);
    CHECK_EQUAL(sim_object_count(), 2); // callout and sublayer
    unregister(callout);
    stop();
}

TEST(c15_a_deletion_is_told_without_a_key_and_cannot_be_refused)
{
    UINT64 id;

    start_callout(0);
    id = add(callout_filter(1, &FWPM_LAYER_ALE_AUTH_CONNECT_V4));
    CHECK_EQUAL(notified[FWPS_CALLOUT_NOTIFY_ADD_FILTER], 1);
    CHECK(notified_key);
    notify_answer = STATUS_UNSUCCESSFUL;
    delete(id);
    CHECK_EQUAL(notified[FWPS_CALLOUT_NOTIFY_DELETE_FILTER], 1);
    CHECK(!notified_key);
    CHECK_EQUAL(sim_object_count(), 1);
    unregister(callout);
    stop();
}

TEST(c16_of_a_filter_that_was_there_before_only_the_deletion_is_told)
{
    UINT64 id;

    start();
    add_callout(1, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
    id = add(callout_filter(1, &FWPM_LAYER_ALE_AUTH_CONNECT_V4));
    callout = register_callout(1, 0);
    delete(id);
    CHECK_EQUAL(notified[FWPS_CALLOUT_NOTIFY_ADD_FILTER], 0);
    CHECK_EQUAL(notified[FWPS_CALLOUT_NOTIFY_DELETE_FILTER], 1);
    unregister(callout);
    stop();
}

TEST(c17_the_raw_context_reaches_classify)
{
    FWPM_FILTER0 filter = callout_filter(1, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);

    start_callout(0);
    filter.rawContext = 42;
    (void)add(filter);
    CHECK(passes(connect_to(public_v4, 443)));
    CHECK_EQUAL(seen_context, 42);
    unregister(callout);
    stop();
}

TEST(a_callout_may_ask_to_be_told_after_the_commit)
{
    start_callout(FWP_CALLOUT_FLAG_ENABLE_COMMIT_ADD_NOTIFY);
    CHECK_EQUAL(FwpmTransactionBegin0(engine, 0), STATUS_SUCCESS);
    (void)add(callout_filter(1, &FWPM_LAYER_ALE_AUTH_CONNECT_V4));
    CHECK_EQUAL(notified[FWPS_CALLOUT_NOTIFY_ADD_FILTER] + notified[FWPS_CALLOUT_NOTIFY_ADD_FILTER_POST_COMMIT], 0);
    CHECK_EQUAL(FwpmTransactionCommit0(engine), STATUS_SUCCESS);
    CHECK_EQUAL(notified[FWPS_CALLOUT_NOTIFY_ADD_FILTER_POST_COMMIT], 1);
    unregister(callout);
    stop();
}
