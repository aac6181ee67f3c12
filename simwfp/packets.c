// Flows and their packets: TCP is authorized once and again after a policy change; UDP has a flow for each peer, which a minute of
// silence ends (ale-stateful-filtering.md).
#define _GNU_SOURCE
#include "sockets.h"

#include <string.h>

#define SIM_UDP_IDLE 600000000ull // 100 ns

void
sim_peer_established(const sim_socket* socket, const sim_peer* peer)
{
    sim_classify_result classified;
    sim_endpoint at = peer->at;
    uint16_t layer = sim_auth_layer(&at, FWPS_LAYER_ALE_FLOW_ESTABLISHED_V4, FWPS_LAYER_ALE_FLOW_ESTABLISHED_V6);

    if (sim_index_sublayers(layer) != 0) {
        (void)sim_authorize_once(&socket->request, layer, &at, peer->flags, 0, peer->handle, &classified);
    }
}

void
sim_peer_fill(sim_peer* peer, const sim_connection* c)
{
    sim_endpoint at = c->remote;
    uint16_t layer = sim_auth_layer(&at, FWPS_LAYER_ALE_AUTH_CONNECT_V4, FWPS_LAYER_ALE_AUTH_CONNECT_V6);

    *peer = (sim_peer){.used = 1, .asked = c->original, .at = c->remote, .last = sim_now(), .handle = c->handle,
                       .generation = sim_index_generation(layer), .redirect_flow = c->redirect_flow,
                       .flags = c->redirected ? FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED : 0u};
}

void
sim_peer_close(sim_peer* peer, int owns_flow)
{
    if (peer->handle != 0) {
        sim_flow_contexts_delete(peer->handle);
    }
    if (owns_flow && peer->redirect_flow != 0) {
        sim_flow_close(peer->redirect_flow);
    }
    *peer = (sim_peer){0};
}

void
sim_socket_aim(sim_connect_request* request, const uint8_t address[16], uint16_t port)
{
    memcpy(request->remote_address, address, request->family == 4 ? 4 : 16);
    request->remote_port = port;
}

static int
reauthorize(sim_socket* socket, sim_peer* peer)
{
    sim_endpoint at = peer->at;
    uint16_t layer = socket->is_accepted
                         ? sim_auth_layer(&at, FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V4, FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V6)
                         : sim_auth_layer(&at, FWPS_LAYER_ALE_AUTH_CONNECT_V4, FWPS_LAYER_ALE_AUTH_CONNECT_V6);
    sim_classify_result classified;

    if (peer->generation == sim_index_generation(layer)) {
        return SIM_OK;
    }
    peer->generation = sim_index_generation(layer);
    if (sim_authorize_once(
            &socket->request, layer, &at, peer->flags | FWP_CONDITION_FLAG_IS_REAUTHORIZE,
            FWP_CONDITION_REAUTHORIZE_REASON_POLICY_CHANGE, peer->handle, &classified)) {
        return SIM_OK;
    }
    if (sim_settings.reauth_block_drops) {
        peer->generation = 0; // every packet is asked about, and vanishes
        return SIM_ETIMEDOUT;
    }
    sim_peer_close(peer, !socket->is_accepted);
    socket->connected = 0;
    return SIM_ECONNRESET;
}

static sim_peer*
peer_slot(sim_socket* socket, const sim_endpoint* asked)
{
    sim_peer* oldest = &socket->udp[0];

    for (uint32_t i = 0; i < SIM_UDP_PEERS; i++) {
        sim_peer* peer = &socket->udp[i];

        if (peer->used && sim_now() - peer->last > SIM_UDP_IDLE) {
            sim_peer_close(peer, 1);
        }
        if (peer->used && memcmp(&peer->asked, asked, sizeof(*asked)) == 0) {
            return peer;
        }
        oldest = !peer->used || (oldest->used && peer->last < oldest->last) ? peer : oldest;
    }
    sim_peer_close(oldest, 1);
    return oldest;
}

int
sim_socket_send_to(sim_socket* socket, const uint8_t address[16], uint16_t port)
{
    sim_connect_request request = socket->request;
    sim_connection c;
    sim_peer* peer;
    int outcome = SIM_OK;

    sim_socket_aim(&request, address, port);
    sim_connection_start(&c, &request, sim_next_flow_handle());
    peer = peer_slot(socket, &c.original);
    if (peer->used) {
        peer->last = sim_now();
        outcome = reauthorize(socket, peer);
    } else if (!sim_connection_run(&c)) {
        outcome = SIM_PENDED; // a datagram is not kept for later: the app's next one asks again
    } else {
        socket->result = c.result;
        outcome = c.result.blocked ? SIM_EACCES : SIM_OK;
        if (outcome == SIM_OK) {
            sim_peer_fill(peer, &c);
            sim_peer_established(socket, peer);
        }
    }
    sim_connection_end(&c);
    return outcome;
}

int
sim_socket_send(sim_socket* socket)
{
    if (!socket->connected) {
        return SIM_ENOTCONN;
    }
    if (socket->request.protocol != IPPROTO_TCP) {
        return sim_socket_send_to(socket, socket->udp_peer.address, socket->udp_peer.port);
    }
    return reauthorize(socket, &socket->tcp);
}

int
sim_socket_receive(sim_socket* socket)
{
    return sim_socket_send(socket); // the first packet after a change asks, in either direction
}
