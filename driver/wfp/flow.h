// WFP's incoming values and metadata, as a pm_flow: the one place that knows field indices and byte orders.
#ifndef PM_WFP_FLOW_H
#define PM_WFP_FLOW_H

#include "decide/decide.h"
#include "platform.h"

_IRQL_requires_max_(DISPATCH_LEVEL) void pm_flow_at_redirect(
    _In_ const FWPS_INCOMING_VALUES0* values, _In_ const FWPS_INCOMING_METADATA_VALUES0* metadata,
    _Out_ pm_flow* flow);
_IRQL_requires_max_(DISPATCH_LEVEL) void pm_flow_at_authorize(
    _In_ const FWPS_INCOMING_VALUES0* values, _In_ const FWPS_INCOMING_METADATA_VALUES0* metadata,
    _Out_ pm_flow* flow);

// Start of the process whose connect() this is: known if the classify runs in its thread, else 0.
_IRQL_requires_max_(DISPATCH_LEVEL) uint64_t pm_flow_process_start(_In_ const pm_flow* flow);

// Whether a reason is worth an event: not our own connections, nor the time when nobody listens anyway.
int pm_flow_is_reported(_In_ const pm_decision* decision);

#endif
