// A socket and its flows, as sockets.c and packets.c share them.
#ifndef SIM_SOCKETS_H
#define SIM_SOCKETS_H

#include "connection.h"

#define SIM_UDP_PEERS 16u

typedef struct sim_peer {
    int used;
    sim_endpoint asked; // what the app named
    sim_endpoint at;    // where it goes
    uint64_t last;      // packet
    uint64_t handle;
    uint64_t generation;
    uint64_t redirect_flow;
    uint32_t flags;
} sim_peer;

struct sim_socket {
    sim_connect_request request;
    uint8_t* app_id;
    int listening, connected, is_accepted;
    sim_connection* connecting; // pended
    sim_endpoint udp_peer;      // connect() of UDP
    sim_connect_result result;
    sim_peer tcp;
    sim_peer udp[SIM_UDP_PEERS];
    sim_socket* queue; // accepted, of a listener
    sim_socket* next;
};

uint64_t sim_next_flow_handle(void);
void sim_socket_aim(sim_connect_request* request, const uint8_t address[16], uint16_t port);

// ---- packets.c ----

void sim_peer_fill(sim_peer* peer, const sim_connection* c);
void sim_peer_established(const sim_socket* socket, const sim_peer* peer); // asks FLOW_ESTABLISHED, if anybody listens there
void sim_peer_close(sim_peer* peer, int owns_flow);

#endif
