// The ALE layers in their order for one connect: CONNECT_REDIRECT, then AUTH_CONNECT for where it really goes.
//
// A callout may pend at any of them, so a connect is a state machine that can stop and go on (wfp-engine.md 5.3).
#define _GNU_SOURCE
#include "connection.h"

#include <stdlib.h>
#include <string.h>

static uint64_t sim_next_handle;
static _Thread_local SOCKADDR_STORAGE sim_last;

const SOCKADDR_STORAGE*
sim_last_remote(void)
{
    return &sim_last;
}

// Where the redirect layer leaves the connection.  Loopback needs a target process and a handle, or it is not taken.
static void
effective_remote(sim_connection* c)
{
    const FWPS_CONNECT_REQUEST0* last = c->pending.versions[c->pending.version_count - 1];

    sim_get_sockaddr(&last->remoteAddressAndPort, &c->remote);
    c->target_pid = last->localRedirectTargetPID;
    if (c->pending.version_count > 1 && sim_is_loopback(c->remote.family, c->remote.address)
        && (last->localRedirectTargetPID == 0 || last->localRedirectHandle == NULL)) {
        sim_violation("a redirect to loopback without target process or redirect handle is not accepted");
        sim_get_sockaddr(&c->pending.versions[0]->remoteAddressAndPort, &c->remote);
    }
    sim_last = last->remoteAddressAndPort;
    if (sim_settings.local_address_writable && c->request.protocol == IPPROTO_TCP) {
        sim_endpoint local;

        sim_get_sockaddr(&last->localAddressAndPort, &local);
        memcpy(c->request.local_address, local.address, sizeof(local.address));
        c->request.local_port = local.port;
    }
}

static void
start_redirect(sim_connection* c)
{
    c->values = sim_allocate(sizeof(*c->values));
    sim_pending_start(
        &c->pending,
        c->request.family == 4 ? FWPS_LAYER_ALE_CONNECT_REDIRECT_V4 : FWPS_LAYER_ALE_CONNECT_REDIRECT_V6);
    c->pending.versions[0] = sim_allocate(sizeof(FWPS_CONNECT_REQUEST0));
    c->pending.version_count = 1;
    sim_put_sockaddr(
        &c->pending.versions[0]->remoteAddressAndPort, c->original.family, c->original.address, c->original.port);
    sim_put_sockaddr(
        &c->pending.versions[0]->localAddressAndPort, c->original.family, c->request.local_address,
        c->request.local_port);
    sim_flow_records(c->request.records, &c->records);
    sim_values_fill(c->values, c->pending.layer, &c->request, &c->original, c->request.flags);
    if (c->records.count != 0) {
        c->values->metadata.currentMetadataValues |= FWPS_METADATA_FIELD_REDIRECT_RECORD_HANDLE;
        c->values->metadata.redirectRecords = &c->records;
    }
}

static void
classify_at(sim_connection* c, sim_classify_result* result)
{
    c->run = (sim_classification){
        .values = &c->values->values, .metadata = &c->values->metadata, .context = &c->pending, .flow = c->handle,
        .result = result};
    sim_classify(&c->run);
}

static void
finish_redirect(sim_connection* c, const sim_classify_result* classified)
{
    int twice;

    c->result.redirect_classifies++;
    c->result.action = classified->action;
    effective_remote(c);
    c->redirected = memcmp(&c->remote, &c->original, sizeof(c->remote)) != 0;
    c->redirect_flow = sim_flow_new(&c->pending, &c->records);
    if (classified->action == FWP_ACTION_BLOCK) {
        sim_violation("filter %llu: a block at the redirect layer is not reliable", (unsigned long long)classified->winner);
        c->result.blocked = sim_settings.block_at_redirect;
    }
    twice = c->redirected
            && (sim_settings.auth_twice == 1
                || (sim_settings.auth_twice == 0 && !sim_is_loopback(c->remote.family, c->remote.address)
                    && c->request.protocol == IPPROTO_TCP));
    c->stage = c->result.blocked ? SIM_STAGE_DONE : twice ? SIM_STAGE_HONOR : SIM_STAGE_AUTHORIZE;
}

static void
end_stage(sim_connection* c)
{
    sim_pending_end(&c->pending);
    free(c->values);
    c->values = NULL;
    c->running = 0;
}

// 1: done with the stage; 0: pended.
static int
run_redirect(sim_connection* c, sim_classify_result* classified)
{
    if (!c->running) {
        start_redirect(c);
        classify_at(c, classified);
    } else {
        c->run.result = classified;
        c->pending.pended = 0;
        c->pending.completed = 0;
        sim_classify_resume(&c->run, c->pending.has_out ? &c->pending.out : NULL);
    }
    if (c->run.pended) {
        c->running = 1;
        return 0;
    }
    finish_redirect(c, classified);
    end_stage(c);
    return 1;
}

uint16_t
sim_auth_layer(sim_endpoint* remote, uint16_t v4, uint16_t v6)
{
    if (remote->family == 6 && sim_is_mapped(remote->address) && !sim_settings.v4mapped_v6_only) {
        memmove(remote->address, remote->address + 12, 4);
        memset(remote->address + 4, 0, 12);
        remote->family = 4;
    }
    return remote->family == 4 ? v4 : v6;
}

static void
start_authorize(sim_connection* c, uint32_t more_flags, uint32_t reason)
{
    sim_endpoint at = c->stage == SIM_STAGE_HONOR ? c->original : c->remote;
    uint16_t layer = sim_auth_layer(&at, FWPS_LAYER_ALE_AUTH_CONNECT_V4, FWPS_LAYER_ALE_AUTH_CONNECT_V6);
    uint32_t flags = c->request.flags | more_flags;

    flags |= c->stage == SIM_STAGE_HONOR ? (uint32_t)FWP_CONDITION_FLAG_IS_HONORING_POLICY_AUTHORIZE
             : c->redirected             ? (uint32_t)FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED
                                         : 0u;
    flags |= sim_is_loopback(at.family, at.address) ? FWP_CONDITION_FLAG_IS_LOOPBACK : 0u;
    c->values = sim_allocate(sizeof(*c->values));
    sim_pending_start(&c->pending, layer);
    c->pending.reauthorization = reason != 0;
    sim_values_fill(c->values, layer, &c->request, &at, flags);
    c->values->metadata.currentMetadataValues |= FWPS_METADATA_FIELD_FLOW_HANDLE;
    c->values->metadata.flowHandle = c->handle;
    if (reason == 0) {
        c->values->metadata.currentMetadataValues |= FWPS_METADATA_FIELD_COMPLETION_HANDLE;
        c->values->metadata.completionHandle = &c->pending;
    }
    sim_values_put(
        c->values, layer, &FWPM_CONDITION_REAUTHORIZE_REASON, (FWP_VALUE0){.type = FWP_UINT32, .uint32 = reason});
    if ((flags & FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED) != 0) {
        sim_values_original(c->values, &c->original, c->target_pid == 0 ? 1 : c->target_pid);
    }
}

static int
run_authorize(sim_connection* c, sim_classify_result* classified)
{
    if (c->running) { // completed: the verdict is given by a reauthorization
        sim_classify_forget(&c->run);
        end_stage(c);
        start_authorize(
            c, FWP_CONDITION_FLAG_IS_REAUTHORIZE, FWP_CONDITION_REAUTHORIZE_REASON_CLASSIFY_COMPLETION);
    } else {
        start_authorize(c, 0, 0);
    }
    c->result.auth_classifies++;
    classify_at(c, classified);
    if (c->run.pended) {
        c->running = 1;
        return 0;
    }
    end_stage(c);
    c->result.blocked = classified->action == FWP_ACTION_BLOCK;
    c->stage = c->result.blocked || c->stage == SIM_STAGE_AUTHORIZE ? SIM_STAGE_DONE : SIM_STAGE_AUTHORIZE;
    return 1;
}

static void
finish(sim_connection* c)
{
    if (c->result.blocked || !c->redirected) {
        sim_flow_close(c->redirect_flow);
        c->redirect_flow = 0;
    }
    c->result.flow = c->redirect_flow;
    c->result.redirected = c->redirected && !c->result.blocked;
    memcpy(c->result.remote_address, c->remote.address, 16);
    c->result.remote_port = c->remote.port;
}

void
sim_connection_start(sim_connection* connection, const sim_connect_request* request, uint64_t handle)
{
    memset(connection, 0, sizeof(*connection));
    connection->request = *request;
    connection->app_id = sim_allocate((size_t)request->app_id_size + 1u);
    if (request->app_id_size != 0) {
        memcpy(connection->app_id, request->app_id, (size_t)request->app_id_size);
    }
    connection->request.app_id = connection->app_id;
    connection->handle = handle;
    connection->original.family = request->family;
    connection->original.port = request->remote_port;
    memcpy(connection->original.address, request->remote_address, request->family == 4 ? 4 : 16);
}

int
sim_connection_run(sim_connection* c)
{
    PEPROCESS before = sim_enter_process(sim_process_find(c->request.pid));
    int going = !c->running || c->pending.completed;

    while (going && c->stage != SIM_STAGE_DONE) {
        sim_classify_result classified;

        going = c->stage == SIM_STAGE_REDIRECT ? run_redirect(c, &classified) : run_authorize(c, &classified);
    }
    (void)sim_enter_process(before);
    if (c->stage == SIM_STAGE_DONE) {
        finish(c);
    }
    return c->stage == SIM_STAGE_DONE;
}

void
sim_connection_end(sim_connection* c)
{
    if (c->running) { // its process went while a callout held the connect: the flow is aborted, the callout is told nothing
        sim_classify_forget(&c->run);
        end_stage(c);
    }
    free(c->app_id);
    c->app_id = NULL;
}

// connect() of a UDP socket: the redirect layer is heard, and nothing comes of it.
void
sim_connection_redirect_only(sim_connection* c)
{
    PEPROCESS before = sim_enter_process(sim_process_find(c->request.pid));
    sim_classify_result classified;

    if (run_redirect(c, &classified)) {
        sim_flow_close(c->redirect_flow);
    }
    (void)sim_enter_process(before);
}

void
sim_connect(const sim_connect_request* request, sim_connect_result* result)
{
    sim_connection connection;

    sim_connection_start(&connection, request, __atomic_add_fetch(&sim_next_handle, 1, __ATOMIC_RELAXED) | 1ull << 62);
    if (!sim_connection_run(&connection)) {
        sim_misuse("sim_connect: a callout pended; sim_socket_connect can wait for it");
    }
    *result = connection.result;
    sim_connection_end(&connection);
}

int
sim_authorize_once(
    const sim_connect_request* request, uint16_t layer, const sim_endpoint* remote, uint32_t flags, uint32_t reason,
    uint64_t handle, sim_classify_result* result)
{
    sim_values* v = sim_allocate(sizeof(*v));
    sim_pending pending;
    sim_classification run = {.values = &v->values, .metadata = &v->metadata, .context = &pending, .flow = handle,
                              .result = result};
    PEPROCESS before = sim_enter_process(sim_process_find(request->pid));

    sim_pending_start(&pending, layer);
    pending.reauthorization = 1; // nothing here can wait
    flags |= sim_is_loopback(remote->family, remote->address) ? FWP_CONDITION_FLAG_IS_LOOPBACK : 0u;
    sim_values_fill(v, layer, request, remote, flags);
    v->metadata.currentMetadataValues |= FWPS_METADATA_FIELD_FLOW_HANDLE;
    v->metadata.flowHandle = handle;
    sim_values_put(v, layer, &FWPM_CONDITION_REAUTHORIZE_REASON, (FWP_VALUE0){.type = FWP_UINT32, .uint32 = reason});
    sim_classify(&run);
    sim_pending_end(&pending);
    (void)sim_enter_process(before);
    free(v);
    return result->action != FWP_ACTION_BLOCK;
}
