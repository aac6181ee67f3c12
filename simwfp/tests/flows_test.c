// What is classified when, and again: connects, datagrams, listeners, reauthorization, pending.
#include "engine.h"

static sim_socket*
open_socket(uint32_t pid, uint8_t family, uint8_t protocol)
{
    sim_connect_request request = like(pid, family, protocol);

    return sim_socket_open(&request);
}

static uint32_t
traced(void)
{
    uint32_t count = 0;

    while (sim_trace(count) != NULL) {
        count++;
    }
    return count;
}

static int
layers_are(const uint16_t* layers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (sim_trace(i) == NULL || sim_trace(i)->layer != layers[i]) {
            return 0;
        }
    }
    return sim_trace(count) == NULL;
}
#define LAYERS(...) layers_are((const uint16_t[]){__VA_ARGS__}, sizeof((const uint16_t[]){__VA_ARGS__}) / 2)
#define REDIRECT FWPS_LAYER_ALE_CONNECT_REDIRECT_V4
#define AUTH FWPS_LAYER_ALE_AUTH_CONNECT_V4
#define ACCEPT FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V4

TEST(f1_redirect_comes_before_authorize_and_both_see_one_endpoint)
{
    sim_socket* app;

    start();
    sim_trace_start();
    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    CHECK(LAYERS(REDIRECT, AUTH));
    CHECK_EQUAL(sim_trace(0)->endpoint, 99);
    CHECK_EQUAL(sim_trace(1)->endpoint, 99);
    sim_socket_close(app);
    stop();
}

TEST(f2_a_datagram_socket_has_a_flow_for_each_peer)
{
    sim_socket* app;

    start();
    sim_trace_start();
    app = open_socket(APP, 4, 17);
    CHECK_EQUAL(sim_socket_send_to(app, public_v4, 53), SIM_OK);
    CHECK_EQUAL(sim_socket_send_to(app, public_v4, 53), SIM_OK);
    CHECK_EQUAL(traced(), 2);
    CHECK_EQUAL(sim_socket_send_to(app, other_v4, 53), SIM_OK);
    CHECK_EQUAL(traced(), 4);
    sim_socket_close(app);
    stop();
}

TEST(f3_connected_udp_is_asked_at_connect_and_again_at_the_first_send)
{
    sim_socket* app;

    start();
    sim_trace_start();
    app = open_socket(APP, 4, 17);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 53), SIM_OK);
    CHECK(LAYERS(REDIRECT));
    CHECK_EQUAL(sim_socket_send(app), SIM_OK);
    CHECK(LAYERS(REDIRECT, REDIRECT, AUTH));
    CHECK_EQUAL(sim_socket_send(app), SIM_OK);
    CHECK_EQUAL(traced(), 3);
    sim_socket_close(app);
    stop();
}

TEST(f4_a_minute_of_silence_ends_a_datagram_flow)
{
    sim_socket* app;

    start();
    sim_trace_start();
    app = open_socket(APP, 4, 17);
    CHECK_EQUAL(sim_socket_send_to(app, public_v4, 53), SIM_OK);
    sim_advance(600000000ull);
    CHECK_EQUAL(sim_socket_send_to(app, public_v4, 53), SIM_OK);
    CHECK_EQUAL(traced(), 2);
    sim_advance(600000001ull);
    CHECK_EQUAL(sim_socket_send_to(app, public_v4, 53), SIM_OK);
    CHECK_EQUAL(traced(), 4);
    sim_socket_close(app);
    stop();
}

TEST(f5_a_mapped_destination_is_v6_to_redirect_and_v4_to_authorize)
{
    static const uint8_t mapped[16] = {[10] = 255, 255, 203, 0, 113, 7};
    sim_knobs knobs = {.acquire_sets_block = 1, .v4mapped_v6_only = 1};
    sim_socket* app;

    for (int v6_only = 0; v6_only < 2; v6_only++) {
        start_with(v6_only ? &knobs : NULL);
        sim_trace_start();
        app = open_socket(APP, 6, 6);
        CHECK_EQUAL(sim_socket_connect(app, mapped, 443), SIM_OK);
        CHECK(v6_only ? LAYERS(FWPS_LAYER_ALE_CONNECT_REDIRECT_V6, FWPS_LAYER_ALE_AUTH_CONNECT_V6)
                      : LAYERS(FWPS_LAYER_ALE_CONNECT_REDIRECT_V6, AUTH));
        sim_socket_close(app);
        stop();
    }
}

TEST(f6_a_loopback_connect_is_authorized_at_both_ends)
{
    sim_socket *app, *server;

    start();
    server = open_socket(SERVER, 4, 6);
    CHECK_EQUAL(sim_socket_listen(server, 8080), SIM_OK);
    sim_trace_start();
    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, loopback_v4, 8080), SIM_OK);
    CHECK(LAYERS(REDIRECT, AUTH, ACCEPT));
    CHECK_EQUAL(sim_trace(0)->flags & FWP_CONDITION_FLAG_IS_LOOPBACK, 0);
    CHECK_EQUAL(sim_trace(1)->flags & FWP_CONDITION_FLAG_IS_LOOPBACK, FWP_CONDITION_FLAG_IS_LOOPBACK);
    CHECK_EQUAL(sim_trace(2)->flags & FWP_CONDITION_FLAG_IS_LOOPBACK, FWP_CONDITION_FLAG_IS_LOOPBACK);
    sim_socket_close(app), sim_socket_close(server);
    stop();
}

TEST(f7_what_the_app_is_told)
{
    sim_socket *app, *server;
    UINT64 id;

    start();
    server = open_socket(SERVER, 4, 6);
    CHECK_EQUAL(sim_socket_listen(server, 8080), SIM_OK);
    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, loopback_v4, 8081), SIM_ECONNREFUSED);
    id = add(filter_at(&FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4, FWP_ACTION_BLOCK));
    CHECK_EQUAL(sim_socket_connect(app, loopback_v4, 8080), SIM_ETIMEDOUT);
    delete(id);
    id = add(filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK));
    CHECK_EQUAL(sim_socket_connect(app, loopback_v4, 8080), SIM_EACCES);
    delete(id);
    CHECK_EQUAL(sim_socket_connect(app, loopback_v4, 8080), SIM_OK);
    sim_socket_close(app), sim_socket_close(server);
    stop();
}

// ---- reauthorization ----

TEST(h1_a_policy_change_is_asked_about_with_the_next_packet_at_its_layer)
{
    sim_socket* app;

    start();
    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    (void)add(filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_CONTINUE));
    sim_trace_start();
    CHECK_EQUAL(sim_socket_receive(app), SIM_OK);
    CHECK(LAYERS(AUTH)); // the redirect layer is not
    CHECK_EQUAL(sim_trace(0)->flags, FWP_CONDITION_FLAG_IS_REAUTHORIZE);
    CHECK_EQUAL(sim_trace(0)->reauthorize_reason, FWP_CONDITION_REAUTHORIZE_REASON_POLICY_CHANGE);
    CHECK_EQUAL(sim_socket_send(app), SIM_OK);
    CHECK_EQUAL(traced(), 1); // once for a change
    sim_socket_close(app);
    stop();
}

TEST(h2_a_reauthorization_that_blocks_ends_the_flow)
{
    sim_knobs knobs = {.acquire_sets_block = 1, .reauth_block_drops = 1};
    sim_socket* app;
    UINT64 id;

    start();
    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    (void)add(filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK));
    CHECK_EQUAL(sim_socket_send(app), SIM_ECONNRESET);
    CHECK_EQUAL(sim_socket_send(app), SIM_ENOTCONN);
    sim_socket_close(app);
    stop();
    start_with(&knobs);
    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    id = add(filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK));
    CHECK_EQUAL(sim_socket_send(app), SIM_ETIMEDOUT);
    delete(id);
    CHECK_EQUAL(sim_socket_send(app), SIM_OK); // packets vanished; the flow is still there
    sim_socket_close(app);
    stop();
}

TEST(h3_a_change_at_another_layer_is_none_of_the_flows_business)
{
    sim_socket* app;

    start();
    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    (void)add(filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V6, FWP_ACTION_BLOCK));
    (void)add(filter_at(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, FWP_ACTION_BLOCK));
    sim_trace_start();
    CHECK_EQUAL(sim_socket_send(app), SIM_OK);
    CHECK_EQUAL(traced(), 0);
    sim_socket_close(app);
    stop();
}

// ---- pending ----

static NTSTATUS pend_status;
static UINT64 pended_handle, pended_filter;
static HANDLE pended_operation;
static HANDLE redirect_handle;

static void
pend_operation(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    (void)filter;
    pend_status = FwpsPendOperation0(
        FWPS_IS_METADATA_FIELD_PRESENT(metadata, FWPS_METADATA_FIELD_COMPLETION_HANDLE) ? metadata->completionHandle
                                                                                        : (HANDLE)context,
        &pended_operation);
    if (NT_SUCCESS(pend_status)) {
        out->actionType = FWP_ACTION_BLOCK;
        out->rights &= ~(UINT32)FWPS_RIGHT_ACTION_WRITE;
        out->flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
    } else {
        out->actionType = FWP_ACTION_PERMIT;
    }
}

static UINT32
start_pending(classify_body* function, const GUID* layer)
{
    start();
    body = function;
    add_callout(1, layer);
    UINT32 id = register_callout(1, 0);
    (void)add(callout_filter(1, layer));
    return id;
}

TEST(h4_a_reauthorization_cannot_be_pended)
{
    sim_socket* app;
    UINT32 id = start_pending(pend_operation, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);

    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_PENDED);
    CHECK_EQUAL(pend_status, STATUS_SUCCESS);
    CHECK_EQUAL(sim_socket_finish(app), SIM_PENDED);
    sim_trace_start();
    FwpsCompleteOperation0(pended_operation, NULL); // the verdict is then given by a reauthorization
    CHECK_EQUAL(sim_socket_finish(app), SIM_OK);
    CHECK_EQUAL(pend_status, STATUS_FWP_CANNOT_PEND);
    CHECK_EQUAL(sim_trace(0)->reauthorize_reason, FWP_CONDITION_REAUTHORIZE_REASON_CLASSIFY_COMPLETION);
    sim_socket_close(app);
    unregister(id);
    stop();
}

static void
pend_classify(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    (void)metadata;
    CHECK_EQUAL(FwpsAcquireClassifyHandle0((void*)context, 0, &pended_handle), STATUS_SUCCESS);
    pended_filter = filter->filterId;
    pend_status = FwpsPendClassify0(pended_handle, filter->filterId, 0, out);
    if (!NT_SUCCESS(pend_status)) {
        FwpsReleaseClassifyHandle0(pended_handle);
        out->actionType = FWP_ACTION_PERMIT;
    }
}

static void
redirect_from_worker(void)
{
    FWPS_CLASSIFY_OUT0 out = {.rights = FWPS_RIGHT_ACTION_WRITE};
    FWPS_CONNECT_REQUEST0* request = NULL;

    CHECK_EQUAL(
        FwpsAcquireWritableLayerDataPointer0(pended_handle, pended_filter, 0, (PVOID*)&request, &out), STATUS_SUCCESS);
    memcpy(&((SOCKADDR_IN*)&request->remoteAddressAndPort)->sin_addr, loopback_v4, 4);
    request->localRedirectTargetPID = SERVER;
    request->localRedirectHandle = redirect_handle;
    FwpsApplyModifiedLayerData0(pended_handle, request, 0);
    out.actionType = FWP_ACTION_PERMIT;
    FwpsCompleteClassify0(pended_handle, 0, &out);
    FwpsReleaseClassifyHandle0(pended_handle);
}

TEST(h5_a_pended_redirect_resumes_to_the_proxy)
{
    GUID provider = key(9);
    sim_socket *app, *server;
    UINT32 id = start_pending(pend_classify, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4);

    CHECK_EQUAL(FwpsRedirectHandleCreate0(&provider, 0, &redirect_handle), STATUS_SUCCESS);
    server = open_socket(SERVER, 4, 6);
    CHECK_EQUAL(sim_socket_listen(server, 443), SIM_OK);
    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_PENDED);
    CHECK(sim_socket_accept(server) == NULL);
    redirect_from_worker();
    CHECK_EQUAL(sim_socket_finish(app), SIM_OK);
    CHECK(sim_socket_result(app)->redirected);
    CHECK_EQUAL(sim_socket_result(app)->redirect_classifies, 1);
    sim_socket_close(app), sim_socket_close(server);
    CHECK_EQUAL(sim_open_handles(), 0);
    FwpsRedirectHandleDestroy0(redirect_handle);
    unregister(id);
    stop();
}

TEST(h6_a_classify_can_be_pended_at_the_redirect_layer_only)
{
    sim_socket* app;
    UINT32 id = start_pending(pend_classify, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);

    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    CHECK_EQUAL(pend_status, STATUS_FWP_CANNOT_PEND);
    sim_socket_close(app);
    unregister(id);
    stop();
}

TEST(h7_a_callout_with_a_pended_classify_cannot_go)
{
    sim_socket* app;
    FWPS_CLASSIFY_OUT0 out = {.actionType = FWP_ACTION_CONTINUE, .rights = FWPS_RIGHT_ACTION_WRITE};
    UINT32 id = start_pending(pend_classify, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4);

    app = open_socket(APP, 4, 6);
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_PENDED);
    CHECK_EQUAL(FwpsCalloutUnregisterById0(id), STATUS_DEVICE_BUSY);
    FwpsCompleteClassify0(pended_handle, 0, &out);
    FwpsReleaseClassifyHandle0(pended_handle);
    CHECK_EQUAL(sim_socket_finish(app), SIM_OK);
    unregister(id);
    body = NULL; // any call now would crash; and the filter without its callout is a block, ignored at this layer
    CHECK(passes(connect_to(public_v4, 443)));
    sim_socket_close(app);
    stop();
}

TEST(a_block_at_the_redirect_layer_is_noted_and_counts_under_its_knob)
{
    for (uint32_t enforced = 0; enforced < 2; enforced++) {
        sim_knobs knobs = {.acquire_sets_block = 1, .block_at_redirect = enforced};

        start_with(&knobs);
        (void)add(filter_at(&FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, FWP_ACTION_BLOCK));
        CHECK_EQUAL(passes(connect_to(public_v4, 443)), !enforced);
        CHECK_EQUAL(sim_violations(), 1);
        stop();
    }
}
