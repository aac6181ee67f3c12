// Sockets on a machine with loopback and a network where every other host answers: opened, connected, accepted, closed, and what
// a proxy asks of them.  Their packets: packets.c.  One thread may use a socket at a time.
#define _GNU_SOURCE
#include "sockets.h"

#include <stdlib.h>
#include <string.h>

static sim_socket* sim_sockets;
static uint64_t sim_last_flow_handle;

uint64_t
sim_next_flow_handle(void)
{
    return ++sim_last_flow_handle;
}

sim_socket*
sim_socket_open(const sim_connect_request* like)
{
    sim_socket* socket = sim_allocate(sizeof(*socket));

    socket->request = *like;
    socket->app_id = sim_allocate((size_t)like->app_id_size + 1u);
    if (like->app_id_size != 0) {
        memcpy(socket->app_id, like->app_id, (size_t)like->app_id_size);
    }
    socket->request.app_id = socket->app_id;
    socket->next = sim_sockets;
    sim_sockets = socket;
    return socket;
}

int
sim_socket_listen(sim_socket* socket, uint16_t port)
{
    socket->listening = 1;
    socket->request.local_port = port;
    return SIM_OK;
}

static sim_socket*
listener_at(uint16_t port)
{
    sim_socket* socket = sim_sockets;

    while (socket != NULL && !(socket->listening && socket->request.local_port == port)) {
        socket = socket->next;
    }
    return socket;
}

// The other end of a loopback connect, on this same machine.
static int
arrive(const sim_socket* client, sim_endpoint* to)
{
    sim_socket* listener = listener_at(to->port);
    sim_socket* accepted;
    sim_endpoint from = {.family = to->family, .port = client->request.local_port};
    sim_classify_result classified;
    uint64_t handle = sim_next_flow_handle();
    uint16_t layer;

    if (listener == NULL) {
        return SIM_ECONNREFUSED; // a reset, and no ALE layer at all
    }
    memcpy(from.address, to->address, sizeof(from.address));
    layer = sim_auth_layer(&from, FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V4, FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V6);
    if (!sim_authorize_once(&listener->request, layer, &from, 0, 0, handle, &classified)) {
        return SIM_ETIMEDOUT; // no answer, and the client tries until it gives up
    }
    accepted = sim_socket_open(&listener->request);
    accepted->is_accepted = accepted->connected = 1;
    accepted->tcp = (sim_peer){
        .at = from, .asked = from, .handle = handle, .generation = sim_index_generation(layer),
        .redirect_flow = client->tcp.redirect_flow};
    sim_socket** end = &listener->queue;
    while (*end != NULL) {
        end = &(*end)->queue;
    }
    *end = accepted;
    return SIM_OK;
}

static int
passes_transport(const sim_socket* socket, const sim_endpoint* remote)
{
    sim_classify_result classified;
    sim_endpoint at = *remote;
    uint16_t layer = sim_auth_layer(&at, FWPS_LAYER_OUTBOUND_TRANSPORT_V4, FWPS_LAYER_OUTBOUND_TRANSPORT_V6);

    return sim_index_sublayers(layer) == 0
           || sim_authorize_once(&socket->request, layer, &at, 0, 0, socket->tcp.handle, &classified);
}

int
sim_socket_finish(sim_socket* socket)
{
    sim_connection* c = socket->connecting;
    int outcome = SIM_OK;

    if (c == NULL) {
        return SIM_ENOTCONN;
    }
    if (!sim_connection_run(c)) {
        return SIM_PENDED;
    }
    socket->connecting = NULL;
    socket->result = c->result;
    memcpy(socket->request.local_address, c->request.local_address, sizeof(c->request.local_address));
    sim_peer_fill(&socket->tcp, c);
    if (c->result.blocked) {
        outcome = SIM_EACCES;
    } else if (!passes_transport(socket, &c->remote)) {
        outcome = SIM_ETIMEDOUT;
    } else if (sim_is_loopback(c->remote.family, c->remote.address)) {
        outcome = arrive(socket, &c->remote);
    }
    if (outcome == SIM_OK) {
        socket->connected = 1;
        sim_peer_established(socket, &socket->tcp);
    } else {
        sim_peer_close(&socket->tcp, 1);
    }
    sim_connection_end(c);
    free(c);
    return outcome;
}

int
sim_socket_connect(sim_socket* socket, const uint8_t address[16], uint16_t port)
{
    sim_connect_request request = socket->request;
    sim_connection* c = sim_allocate(sizeof(*c));

    sim_socket_aim(&request, address, port);
    sim_connection_start(c, &request, sim_next_flow_handle());
    if (request.protocol == IPPROTO_TCP) {
        socket->connecting = c;
        return sim_socket_finish(socket);
    }
    // UDP: only the redirect layer is asked now; the first packet asks again, and authorizes (ebpf sock_addr.c).
    socket->udp_peer = c->original;
    sim_connection_redirect_only(c);
    sim_connection_end(c);
    free(c);
    socket->connected = 1;
    return SIM_OK;
}

// ---- the proxy's end ----

sim_socket*
sim_socket_accept(sim_socket* listener)
{
    sim_socket* accepted = listener->queue;

    if (accepted != NULL) {
        listener->queue = accepted->queue;
        accepted->queue = NULL;
    }
    return accepted;
}

void
sim_socket_peer(const sim_socket* socket, uint8_t address[16], uint16_t* port)
{
    const sim_endpoint* peer = sim_settings.peer_is_redirected || socket->is_accepted ? &socket->tcp.at
                                                                                     : &socket->tcp.asked;

    memcpy(address, peer->address, 16);
    *port = peer->port;
}

const sim_connect_result*
sim_socket_result(const sim_socket* socket)
{
    return &socket->result;
}

uint64_t
sim_socket_flow(const sim_socket* socket)
{
    return socket->tcp.handle;
}

NTSTATUS
sim_socket_query_context(const sim_socket* socket, void* out, uint32_t out_size, uint32_t* needed)
{
    *needed = !socket->is_accepted || socket->tcp.redirect_flow == 0
                  ? 0
                  : sim_flow_context(socket->tcp.redirect_flow, out, out_size);
    if (*needed == 0) {
        return STATUS_NOT_FOUND;
    }
    return *needed > out_size ? STATUS_BUFFER_TOO_SMALL : STATUS_SUCCESS;
}

NTSTATUS
sim_socket_copy_records(const sim_socket* from, sim_socket* to)
{
    if (!from->is_accepted || from->tcp.redirect_flow == 0) {
        return STATUS_NOT_FOUND;
    }
    to->request.records = from->tcp.redirect_flow;
    return STATUS_SUCCESS;
}

void
sim_socket_close(sim_socket* socket)
{
    sim_socket** at = &sim_sockets;

    while (socket->listening && socket->queue != NULL) {
        sim_socket_close(sim_socket_accept(socket));
    }
    if (socket->connecting != NULL) {
        sim_connection_end(socket->connecting);
        free(socket->connecting);
    }
    sim_peer_close(&socket->tcp, !socket->is_accepted);
    for (uint32_t i = 0; i < SIM_UDP_PEERS; i++) {
        sim_peer_close(&socket->udp[i], 1);
    }
    while (*at != socket) {
        at = &(*at)->next;
    }
    *at = socket->next;
    free(socket->app_id);
    free(socket);
}

void
sim_sockets_reset(void)
{
    while (sim_sockets != NULL) {
        sim_socket* socket = sim_sockets;

        while (!socket->listening && socket->next != NULL) {
            socket = socket->next; // listeners first: they own their queues
        }
        sim_socket_close(socket->listening ? socket : sim_sockets);
    }
}
