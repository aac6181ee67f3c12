// The order of the questions is the driver's whole policy.  Everything that is missing or odd passes, with its reason:
// the machine keeps its network, and the counter tells the operator.
#include "decide.h"

#include "address.h"

#define PM_DEFAULT_COMPARTMENT 1u
#define PM_IDLE_PID 0u
#define PM_SYSTEM_PID 4u
#define PM_TCP 6u

static pm_decision pass(pm_reason reason) {
    pm_decision decision = {PM_PASS, reason};
    return decision;
}

// What both layers ask first: does anybody speak for this filter, and whose connection is it?
// PM_REASON_NONE: nothing stands in the way.
static pm_reason not_ours(const pm_snapshot* snapshot, const pm_flow* flow, uint64_t filter_context) {
    if (snapshot->registered == 0) {
        return PM_REASON_NO_PROXY;
    }
    if (snapshot->active_registration == 0) {
        return PM_REASON_LEASE_OVER;
    }
    if (PM_FILTER_REGISTRATION(filter_context) != snapshot->active_registration) {
        return PM_REASON_INACTIVE_REGISTRATION;
    }
    if (flow->malformed) {
        return PM_REASON_UNEXPECTED_FIELD;
    }
    if (flow->reauthorization) {
        return PM_REASON_REAUTHORIZATION;
    }
    if (!flow->has_pid) {
        return PM_REASON_UNKNOWN_PROCESS;
    }
    if (flow->pid == PM_IDLE_PID || flow->pid == PM_SYSTEM_PID) {
        return PM_REASON_SYSTEM_PROCESS;
    }
    for (uint32_t i = 0; i < snapshot->registered; i++) {
        if (flow->pid == snapshot->pids[i]) {
            return PM_REASON_OWN_PROCESS;
        }
    }
    return PM_REASON_NONE;
}

static pm_reason destination_reason(const pm_flow* flow) {
    pm_address_kind kind = flow->family == 4 ? pm_address_kind_v4(flow->remote_address)
                                             : pm_address_kind_v6(flow->remote_address);

    if (flow->multicast || kind == PM_ADDRESS_NOT_UNICAST) {
        return PM_REASON_NOT_UNICAST;
    }
    if (kind == PM_ADDRESS_LOOPBACK) {
        return PM_REASON_LOOPBACK_DESTINATION;
    }
    return kind == PM_ADDRESS_PRIVATE ? PM_REASON_PRIVATE_DESTINATION : PM_REASON_NONE;
}

// Can this connection be carried to the proxy at all?
static pm_reason not_redirectable(const pm_snapshot* snapshot, const pm_flow* flow) {
    pm_reason reason;

    if (flow->compartment != 0 && flow->compartment != PM_DEFAULT_COMPARTMENT) {
        return PM_REASON_OTHER_COMPARTMENT; // the proxy's loopback is another one there
    }
    reason = destination_reason(flow);
    if (reason != PM_REASON_NONE) {
        return reason;
    }
    if (flow->remote_port == 0) {
        return PM_REASON_NOT_UNICAST;
    }
    if (flow->local_is_specific) {
        return PM_REASON_LOCAL_BINDING;
    }
    if ((flow->family == 4 ? snapshot->endpoints.v4_port : snapshot->endpoints.v6_port) == 0) {
        return PM_REASON_NO_ENDPOINT;
    }
    return PM_REASON_NONE;
}

pm_decision pm_decide_redirect(const pm_snapshot* snapshot, const pm_flow* flow, uint64_t filter_context) {
    pm_decision redirect = {PM_REDIRECT, PM_REASON_REDIRECTED};
    pm_reason reason = not_ours(snapshot, flow, filter_context);

    if (reason != PM_REASON_NONE) {
        return pass(reason);
    }
    if (PM_FILTER_VERDICT(filter_context) == PM_PASS) {
        return pass(PM_REASON_PASSED_BY_RULE);
    }
    if (PM_FILTER_VERDICT(filter_context) != PM_REDIRECT) {
        return pass(PM_REASON_UNKNOWN_FILTER);
    }
    if (flow->raw_endpoint) {
        return pass(PM_REASON_RAW_ENDPOINT);
    }
    if (flow->protocol != PM_TCP) {
        return pass(PM_REASON_NOT_TCP);
    }
    reason = not_redirectable(snapshot, flow);
    return reason == PM_REASON_NONE ? redirect : pass(reason);
}

pm_decision pm_decide_authorize(const pm_snapshot* snapshot, const pm_flow* flow, uint64_t filter_context) {
    pm_decision block = {PM_BLOCK, PM_REASON_BLOCKED_BY_RULE};
    pm_reason reason;

    if (flow->redirected && !flow->malformed) {
        return pass(PM_REASON_REDIRECT_AUTHORIZED); // its rule has been applied at the redirect layer
    }
    reason = not_ours(snapshot, flow, filter_context);
    if (reason != PM_REASON_NONE) {
        return pass(reason);
    }
    if (PM_FILTER_VERDICT(filter_context) == PM_PASS) {
        return pass(PM_REASON_PASSED_BY_RULE);
    }
    if (PM_FILTER_VERDICT(filter_context) != PM_BLOCK) {
        return pass(PM_REASON_UNKNOWN_FILTER);
    }
    // A rule may well block a private address, but a machine that cannot reach itself is broken.
    if (destination_reason(flow) == PM_REASON_LOOPBACK_DESTINATION) {
        return pass(PM_REASON_LOOPBACK_DESTINATION);
    }
    return block;
}
