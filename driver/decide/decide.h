// What to do with a connection: a pure function of the flow, the registrations and the filter that selected it.
#ifndef PM_DECIDE_H
#define PM_DECIDE_H

#include "pointsman_abi.h"

// One connection as WFP described it, after translation.  Addresses are in network order, ports in host order.
typedef struct pm_flow {
    uint8_t family;   // 4 or 6; an IPv4-mapped destination is 4 with `mapped` set
    uint8_t protocol; // IANA number
    uint8_t mapped;   // the socket is IPv6, the destination IPv4
    uint8_t raw_endpoint;
    uint8_t reauthorization;
    uint8_t redirected; // AUTH_CONNECT sees a connection that was redirected
    uint8_t multicast;  // WFP calls the destination multicast or broadcast, whatever it looks like
    uint8_t malformed;  // a fixed value had another type than documented: nothing else here is filled
    uint8_t has_pid;
    uint8_t local_is_specific; // bound to an address that is neither unspecified nor loopback
    uint16_t layer;
    uint16_t remote_port;
    uint16_t app_id_size; // bytes, without terminator
    uint32_t pid;
    uint32_t compartment; // 0: unknown
    uint8_t remote_address[16];
    const uint8_t* app_id; // WFP's memory, valid during classify
} pm_flow;

// The registrations as one classify sees them: copied under the lock, complete and of one moment.
typedef struct pm_snapshot {
    uint32_t registered;          // live registrants, hung ones included
    uint32_t active_registration; // 0: nobody
    uint32_t active_pid;
    uint32_t pids[PM_MAX_REGISTRATIONS];
    uint64_t generation;
    pm_endpoints endpoints; // of the active one
} pm_snapshot;

typedef struct pm_decision {
    pm_verdict verdict;
    pm_reason reason;
} pm_decision;

// At ALE_CONNECT_REDIRECT: PASS or REDIRECT.  A pass by rule ends our sublayer, any other leaves it to go on.
pm_decision pm_decide_redirect(const pm_snapshot* snapshot, const pm_flow* flow, uint64_t filter_context);

// At ALE_AUTH_CONNECT: PASS or BLOCK.
pm_decision pm_decide_authorize(const pm_snapshot* snapshot, const pm_flow* flow, uint64_t filter_context);

#endif
