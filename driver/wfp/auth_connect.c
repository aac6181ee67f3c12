// The callout at ALE_AUTH_CONNECT: blocks what a rule blocks, has no opinion on anything else.
#include "callouts.h"
#include "flow.h"
#include "state/active.h"
#include "state/counters.h"
#include "state/events.h"

void pm_auth_connect_classify(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* layer_data,
    const void* classify_context, const FWPS_FILTER2* filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0* out) {
    pm_snapshot snapshot;
    pm_flow flow;
    pm_decision decision;

    UNREFERENCED_PARAMETER(layer_data);
    UNREFERENCED_PARAMETER(classify_context);
    UNREFERENCED_PARAMETER(flow_context);
    if ((out->rights & FWPS_RIGHT_ACTION_WRITE) == 0) {
        pm_count(PM_REASON_NO_WRITE_RIGHT); // a veto would be legal, and is not our business
        return;
    }
    out->actionType = FWP_ACTION_CONTINUE;
    pm_active_snapshot(&snapshot);
    if (snapshot.registered == 0) {
        pm_count(PM_REASON_NO_PROXY);
        return;
    }
    pm_flow_at_authorize(values, metadata, &flow);
    decision = pm_decide_authorize(&snapshot, &flow, filter->context);
    if (decision.verdict == PM_BLOCK) {
        out->actionType = FWP_ACTION_BLOCK;
        out->rights &= ~(UINT32)FWPS_RIGHT_ACTION_WRITE; // hard: a lighter sublayer's permit must not undo it
    } else if (decision.reason == PM_REASON_PASSED_BY_RULE) {
        out->actionType = FWP_ACTION_PERMIT; // soft: keeps a later block rule of ours from being reached
    }
    pm_count((uint32_t)decision.reason);
    if (pm_flow_is_reported(&decision)) {
        pm_event_flow(&flow, &decision, filter->context, pm_flow_process_start(&flow), STATUS_SUCCESS);
    }
}
