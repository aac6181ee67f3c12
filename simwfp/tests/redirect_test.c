// Redirecting: the G cases, on sockets, with two redirectors.
#include "engine.h"

#define PROXY_PORT 18080u
#define OTHER_PORT 18090u

static HANDLE handles[2];  // of two redirecting products
static uint32_t with_pid, with_handle, with_context, forget_verdict;
static uint16_t new_port;        // 0: leave
static uint8_t new_address[4];   // 0: leave
static const FWPS_CONNECT_REQUEST0* previous;
static UINT64 modifier;
static FWPS_CONNECTION_REDIRECT_STATE states[2];
static int verdict_of_second;

static void
redirect_as(int product, const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter,
            FWPS_CLASSIFY_OUT0* out)
{
    UINT64 handle = 0;
    FWPS_CONNECT_REQUEST0* request = NULL;
    SOCKADDR_IN* remote;
    uint16_t port = product == 0 ? new_port : OTHER_PORT;

    states[product] = FWPS_IS_METADATA_FIELD_PRESENT(metadata, FWPS_METADATA_FIELD_REDIRECT_RECORD_HANDLE)
                          ? FwpsQueryConnectionRedirectState0(metadata->redirectRecords, handles[product], NULL)
                          : FWPS_CONNECTION_NOT_REDIRECTED;
    if (states[product] == FWPS_CONNECTION_REDIRECTED_BY_SELF
        || states[product] == FWPS_CONNECTION_PREVIOUSLY_REDIRECTED_BY_SELF) {
        return;
    }
    CHECK_EQUAL(FwpsAcquireClassifyHandle0((void*)context, 0, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(
        FwpsAcquireWritableLayerDataPointer0(handle, filter->filterId, 0, (PVOID*)&request, out), STATUS_SUCCESS);
    previous = request->previousVersion;
    modifier = previous == NULL ? 0 : previous->modifierFilterId;
    remote = (SOCKADDR_IN*)&request->remoteAddressAndPort;
    if (new_address[0] != 0) {
        memcpy(&remote->sin_addr, new_address, 4);
    }
    if (port != 0) {
        remote->sin_port = (USHORT)(port << 8 | port >> 8);
    }
    request->localRedirectTargetPID = with_pid ? SERVER : 0;
    request->localRedirectHandle = with_handle ? handles[product] : NULL;
    if (with_context) {
        request->localRedirectContext = ExAllocatePoolWithTag(NonPagedPoolNx, 32, 'test');
        memset(request->localRedirectContext, 0x40 + product, 32);
        request->localRedirectContextSize = 32;
    }
    FwpsApplyModifiedLayerData0(handle, request, 0);
    if (!forget_verdict) {
        out->actionType = product == 1 || !verdict_of_second ? FWP_ACTION_PERMIT : FWP_ACTION_CONTINUE;
        out->rights |= FWPS_RIGHT_ACTION_WRITE;
    }
    FwpsReleaseClassifyHandle0(handle);
}

static void
first(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    redirect_as(filter->context == 2 ? 1 : 0, metadata, context, filter, out);
}

static UINT32 callout;
static UINT64 redirect_filter;
static sim_socket* server;

static void
start_redirecting(const sim_knobs* knobs)
{
    sim_connect_request listen = like(SERVER, 4, 6);
    GUID provider = key(9);

    start_with(knobs);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(FwpsRedirectHandleCreate0(&provider, 0, &handles[i]), STATUS_SUCCESS);
    }
    with_pid = with_handle = with_context = 1, forget_verdict = 0, verdict_of_second = 0;
    new_port = PROXY_PORT, memcpy(new_address, loopback_v4, 4);
    body = first;
    add_callout(1, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4);
    callout = register_callout(1, 0);
    redirect_filter = add(callout_filter(1, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4));
    server = sim_socket_open(&listen);
    CHECK_EQUAL(sim_socket_listen(server, PROXY_PORT), SIM_OK);
    sim_trace_start();
}

static void
stop_redirecting(void)
{
    if (server != NULL) {
        sim_socket_close(server);
    }
    unregister(callout);
    for (int i = 0; i < 2; i++) {
        FwpsRedirectHandleDestroy0(handles[i]);
    }
    CHECK_EQUAL(sim_open_handles(), 0);
    CHECK_EQUAL(sim_live_allocations(), 0);
    stop();
}

static sim_socket*
app_socket(void)
{
    sim_connect_request request = like(APP, 4, 6);

    return sim_socket_open(&request);
}

TEST(g1_a_redirect_to_a_local_proxy_is_authorized_once_with_its_original_destination)
{
    sim_socket *app, *accepted;
    uint8_t address[16];
    uint16_t port;

    start_redirecting(NULL);
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    CHECK_EQUAL(sim_trace(0)->layer, FWPS_LAYER_ALE_CONNECT_REDIRECT_V4);
    CHECK_EQUAL(sim_trace(1)->layer, FWPS_LAYER_ALE_AUTH_CONNECT_V4);
    CHECK_EQUAL(sim_trace(1)->remote_port, PROXY_PORT);
    CHECK_EQUAL(sim_trace(1)->flags, FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED | FWP_CONDITION_FLAG_IS_LOOPBACK);
    CHECK_EQUAL(sim_trace(2)->layer, FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V4);
    CHECK(sim_trace(3) == NULL);
    accepted = sim_socket_accept(server);
    CHECK(accepted != NULL);
    sim_socket_peer(app, address, &port); // what the app asked for
    CHECK_EQUAL(port, 443);
    sim_socket_close(accepted), sim_socket_close(app);
    stop_redirecting();
}

TEST(the_name_of_the_peer_is_a_knob)
{
    sim_knobs knobs = {.acquire_sets_block = 1, .peer_is_redirected = 1};
    uint8_t address[16];
    uint16_t port;
    sim_socket* app;

    start_redirecting(&knobs);
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    sim_socket_peer(app, address, &port);
    CHECK_EQUAL(port, PROXY_PORT);
    sim_socket_close(app);
    stop_redirecting();
}

TEST(g2_without_process_or_handle_it_is_not_redirected)
{
    for (int missing = 0; missing < 2; missing++) {
        sim_socket* app;
        uint32_t before;

        start_redirecting(NULL);
        with_pid = missing != 0, with_handle = missing != 1, with_context = 0;
        before = sim_violations();
        app = app_socket();
        CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
        CHECK(!sim_socket_result(app)->redirected);
        CHECK_EQUAL(sim_violations(), before + 1);
        CHECK(sim_socket_accept(server) == NULL);
        sim_socket_close(app);
        stop_redirecting();
    }
}

TEST(g3_a_redirect_to_another_host_is_authorized_twice_and_either_may_refuse)
{
    FWP_CONDITION_VALUE0 to = {.type = FWP_UINT32};
    FWPM_FILTER_CONDITION0 c[1];
    FWPM_FILTER0 block = filter_at(&FWPM_LAYER_ALE_AUTH_CONNECT_V4, FWP_ACTION_BLOCK);
    sim_socket* app;

    for (int refuse = 0; refuse < 3; refuse++) { // nobody, the original, the new one
        start_redirecting(NULL);
        memcpy(new_address, other_v4, 4), new_port = 0;
        to.uint32 = refuse == 1 ? 0xCB007107 : 0xCB007108;
        c[0] = condition(&FWPM_CONDITION_IP_REMOTE_ADDRESS, FWP_MATCH_EQUAL, to);
        block.filterCondition = c, block.numFilterConditions = 1;
        if (refuse != 0) {
            (void)add(block);
        }
        app = app_socket();
        CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), refuse == 0 ? SIM_OK : SIM_EACCES);
        CHECK_EQUAL(sim_trace(1)->flags, FWP_CONDITION_FLAG_IS_HONORING_POLICY_AUTHORIZE);
        CHECK(memcmp(sim_trace(1)->remote_address, public_v4, 4) == 0);
        CHECK(refuse == 1 || memcmp(sim_trace(2)->remote_address, other_v4, 4) == 0);
        CHECK_EQUAL(sim_socket_result(app)->auth_classifies, refuse == 1 ? 1 : 2);
        sim_socket_close(app);
        stop_redirecting();
    }
}

TEST(g4_and_g5_a_proxys_own_connect_is_known_by_its_records_or_not_at_all)
{
    sim_socket *app, *accepted, *upstream;
    sim_connect_request from_proxy = like(SERVER, 4, 6);

    start_redirecting(NULL);
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    accepted = sim_socket_accept(server);
    upstream = sim_socket_open(&from_proxy);
    CHECK_EQUAL(sim_socket_copy_records(accepted, upstream), STATUS_SUCCESS);
    CHECK_EQUAL(sim_socket_connect(upstream, public_v4, 443), SIM_OK);
    CHECK_EQUAL(states[0], FWPS_CONNECTION_REDIRECTED_BY_SELF);
    CHECK(!sim_socket_result(upstream)->redirected);
    sim_socket_close(upstream);
    printf("# case G4\n");
    upstream = sim_socket_open(&from_proxy); // forgot the records
    CHECK_EQUAL(sim_socket_connect(upstream, public_v4, 443), SIM_OK);
    CHECK_EQUAL(states[0], FWPS_CONNECTION_NOT_REDIRECTED);
    CHECK(sim_socket_result(upstream)->redirected); // the loop that a driver must break by the process
    printf("# case G5\n");
    sim_socket_close(upstream), sim_socket_close(accepted), sim_socket_close(app);
    stop_redirecting();
}

// The other product's filter, in a sublayer that is heard before or after ours.
static UINT64
other_product(uint16_t weight)
{
    FWPM_FILTER0 filter = callout_filter(1, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4);

    CHECK_EQUAL(add_sublayer(engine, 70, weight), STATUS_SUCCESS);
    filter.subLayerKey = key(70);
    filter.rawContext = 2;
    return add(filter);
}

TEST(g6_a_heavier_redirectors_version_is_there_to_be_seen)
{
    UINT64 other;
    sim_socket* app;

    start_redirecting(NULL);
    other = other_product(0xFFFF);
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    CHECK(previous != NULL);
    CHECK_EQUAL(modifier, other);
    CHECK_EQUAL(sim_socket_result(app)->remote_port, PROXY_PORT); // the last one to change it wins
    sim_socket_close(app);
    stop_redirecting();
}

TEST(g7_redirected_by_us_and_then_by_another_is_left_alone)
{
    sim_socket *app, *accepted, *other_server, *first_proxy, *second, *upstream;
    sim_connect_request request = like(SERVER, 4, 6);
    UINT64 other;

    start_redirecting(NULL);
    other_server = sim_socket_open(&request);
    CHECK_EQUAL(sim_socket_listen(other_server, OTHER_PORT), SIM_OK);
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    accepted = sim_socket_accept(server);
    other = other_product(1); // lighter: it takes what our proxy sends on
    first_proxy = sim_socket_open(&request);
    CHECK_EQUAL(sim_socket_copy_records(accepted, first_proxy), STATUS_SUCCESS);
    CHECK_EQUAL(sim_socket_connect(first_proxy, public_v4, 443), SIM_OK);
    CHECK_EQUAL(states[0], FWPS_CONNECTION_REDIRECTED_BY_SELF);
    CHECK_EQUAL(states[1], FWPS_CONNECTION_REDIRECTED_BY_OTHER);
    second = sim_socket_accept(other_server);
    CHECK(second != NULL);
    upstream = sim_socket_open(&request);
    CHECK_EQUAL(sim_socket_copy_records(second, upstream), STATUS_SUCCESS);
    CHECK_EQUAL(sim_socket_connect(upstream, public_v4, 443), SIM_OK);
    CHECK_EQUAL(states[0], FWPS_CONNECTION_PREVIOUSLY_REDIRECTED_BY_SELF);
    CHECK_EQUAL(states[1], FWPS_CONNECTION_REDIRECTED_BY_SELF);
    CHECK(!sim_socket_result(upstream)->redirected);
    delete(other);
    sim_socket_close(upstream), sim_socket_close(second), sim_socket_close(first_proxy);
    sim_socket_close(accepted), sim_socket_close(app), sim_socket_close(other_server);
    stop_redirecting();
}

static char misuse[256];

static void
note(const char* message)
{
    (void)snprintf(misuse, sizeof(misuse), "%s", message);
}

static void
forget_apply(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    UINT64 handle = 0;
    PVOID request;

    (void)metadata;
    CHECK_EQUAL(FwpsAcquireClassifyHandle0((void*)context, 0, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpsAcquireWritableLayerDataPointer0(handle, filter->filterId, 0, &request, out), STATUS_SUCCESS);
    FwpsReleaseClassifyHandle0(handle);
}

TEST(g8_acquire_without_apply_fails_the_test)
{
    sim_socket* app;

    start_redirecting(NULL);
    body = forget_apply;
    sim_on_misuse(note);
    app = app_socket();
    (void)sim_socket_connect(app, public_v4, 443);
    sim_on_misuse(NULL);
    CHECK(strstr(misuse, "not applied") != NULL);
    sim_socket_close(app);
    stop_redirecting();
}

TEST(g9_the_address_alone_or_the_port_alone_is_a_redirect_too)
{
    sim_socket* app;

    start_redirecting(NULL);
    with_context = 0, new_port = 0, memcpy(new_address, other_v4, 4);
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    CHECK(sim_socket_result(app)->redirected);
    CHECK_EQUAL(sim_socket_result(app)->remote_port, 443);
    sim_socket_close(app);
    new_port = 8443, memset(new_address, 0, 4);
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    CHECK(sim_socket_result(app)->redirected);
    CHECK(memcmp(sim_socket_result(app)->remote_address, public_v4, 4) == 0);
    CHECK_EQUAL(sim_socket_result(app)->remote_port, 8443);
    sim_socket_close(app);
    stop_redirecting();
}

TEST(g10_a_callout_that_forgets_its_verdict_after_acquire_blocks)
{
    sim_knobs knobs = {.acquire_sets_block = 1, .block_at_redirect = 1};
    sim_socket* app;

    start_redirecting(&knobs);
    forget_verdict = 1;
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_EACCES);
    sim_socket_close(app);
    stop_redirecting();
    knobs.acquire_sets_block = 0; // and where it does not touch the verdict, nobody would notice
    start_redirecting(&knobs);
    forget_verdict = 1;
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    sim_socket_close(app);
    stop_redirecting();
}

TEST(g11_when_the_redirectors_process_exits_the_next_connect_goes_direct)
{
    HANDLE session;
    FWPM_FILTER0 filter = callout_filter(1, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4);
    uint64_t id;
    sim_socket* app;

    start_redirecting(NULL);
    delete(redirect_filter);
    session = user_session(SERVER, FWPM_SESSION_FLAG_DYNAMIC);
    CHECK_EQUAL(sim_user_filter_add(session, &filter, &id), 0);
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    CHECK(sim_socket_result(app)->redirected);
    sim_socket_close(app);
    sim_process_exit(SERVER); // its session ends, and with it its filter
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    CHECK(!sim_socket_result(app)->redirected);
    CHECK_EQUAL(sim_user_engine_close(session), 6);
    sim_socket_close(app);
    stop_redirecting();
}

TEST(g12_a_proxy_that_does_not_listen_is_connection_refused_and_not_access_denied)
{
    sim_socket* app;

    start_redirecting(NULL);
    sim_socket_close(server), server = NULL;
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_ECONNREFUSED);
    sim_socket_close(app);
    stop_redirecting();
}

TEST(g13_the_context_is_asked_for_with_any_buffer)
{
    uint8_t bytes[32];
    uint32_t needed;
    sim_socket *app, *accepted, *direct;

    start_redirecting(NULL);
    app = app_socket();
    CHECK_EQUAL(sim_socket_connect(app, public_v4, 443), SIM_OK);
    accepted = sim_socket_accept(server);
    CHECK_EQUAL(sim_socket_query_context(accepted, bytes, 31, &needed), STATUS_BUFFER_TOO_SMALL);
    CHECK_EQUAL(needed, 32);
    CHECK_EQUAL(sim_socket_query_context(accepted, bytes, 32, &needed), STATUS_SUCCESS);
    CHECK_EQUAL(bytes[31], 0x40);
    CHECK_EQUAL(sim_socket_query_context(app, bytes, 32, &needed), STATUS_NOT_FOUND);
    sim_socket_close(accepted), sim_socket_close(app);
    new_port = 0, memset(new_address, 0, 4), with_context = 0, with_handle = 0, with_pid = 0;
    direct = app_socket();
    CHECK_EQUAL(sim_socket_connect(direct, loopback_v4, PROXY_PORT), SIM_OK);
    accepted = sim_socket_accept(server);
    CHECK_EQUAL(sim_socket_query_context(accepted, bytes, 32, &needed), STATUS_NOT_FOUND);
    CHECK_EQUAL(sim_socket_copy_records(accepted, direct), STATUS_NOT_FOUND);
    sim_socket_close(accepted), sim_socket_close(direct);
    stop_redirecting();
}

static void
move_local(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    UINT64 handle = 0;
    FWPS_CONNECT_REQUEST0* request = NULL;

    (void)metadata;
    CHECK_EQUAL(FwpsAcquireClassifyHandle0((void*)context, 0, &handle), STATUS_SUCCESS);
    CHECK_EQUAL(FwpsAcquireWritableLayerDataPointer0(handle, filter->filterId, 0, (PVOID*)&request, out), STATUS_SUCCESS);
    ((SOCKADDR_IN*)&request->localAddressAndPort)->sin_addr.s_b[3] = 9;
    FwpsApplyModifiedLayerData0(handle, request, 0);
    FwpsReleaseClassifyHandle0(handle);
    out->actionType = FWP_ACTION_CONTINUE;
    out->rights |= FWPS_RIGHT_ACTION_WRITE;
}

static void
look_at_local(const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context, const FWPS_FILTER2* filter, FWPS_CLASSIFY_OUT0* out)
{
    if (seen_values->layerId == FWPS_LAYER_ALE_CONNECT_REDIRECT_V4) {
        move_local(metadata, context, filter, out);
        return;
    }
    modifier = seen_values->incomingValue[FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_LOCAL_ADDRESS].value.uint32;
}

TEST(a_changed_local_address_counts_under_its_knob_only)
{
    for (uint32_t writable = 0; writable < 2; writable++) {
        sim_knobs knobs = {.acquire_sets_block = 1, .local_address_writable = writable};
        UINT32 second;
        uint32_t before;

        start_redirecting(&knobs);
        add_callout(2, &FWPM_LAYER_ALE_AUTH_CONNECT_V4);
        second = register_callout(2, 0);
        (void)add(callout_filter(2, &FWPM_LAYER_ALE_AUTH_CONNECT_V4));
        body = look_at_local;
        before = sim_violations();
        CHECK(passes(connect_to(public_v4, 443)));
        CHECK_EQUAL(modifier, writable ? 9 : 0);
        CHECK_EQUAL(sim_violations(), before + 1);
        unregister(second);
        stop_redirecting();
    }
}
