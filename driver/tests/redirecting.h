// A machine whose driver redirects everything for one proxy, and what its connects do.
#ifndef REDIRECTING_H
#define REDIRECTING_H

#include "machine.h"

static uint32_t registration;

static inline void
start_redirecting(const sim_knobs* knobs)
{
    machine_start(knobs);
    registration = register_pid(machine_file, PROXY);
    add_redirect_filters(registration);
}

static inline void
stays_direct(sim_connect_request request)
{
    sim_connect_result result = run_connect(request);

    CHECK(!result.redirected && !result.blocked);
    CHECK_EQUAL(result.flow, 0);
    CHECK(memcmp(result.remote_address, request.remote_address, request.family == 4 ? 4 : 16) == 0);
    CHECK_EQUAL(sim_live_allocations(), 0);
}

static inline pm_redirect_context
redirected(sim_connect_request request)
{
    pm_redirect_context context;
    sim_connect_result result = run_connect(request);

    memset(&context, 0xEE, sizeof(context));
    CHECK(result.redirected);
    CHECK_EQUAL(result.remote_port, PROXY_PORT);
    CHECK_EQUAL(sim_flow_context(result.flow, &context, sizeof(context)), sizeof(context));
    sim_flow_close(result.flow);
    return context;
}

static inline sim_connect_request
to_public(void)
{
    return connect_v4(203, 0, 113, 7, 443);
}

// ---- the callout functions alone, with values that WFP never made ----

FWPS_CALLOUT_CLASSIFY_FN2_TYPE pm_connect_redirect_classify;
FWPS_CALLOUT_CLASSIFY_FN2_TYPE pm_auth_connect_classify;

static inline FWPS_CLASSIFY_OUT0
call_with(FWPS_INCOMING_VALUE0* fields, const FWPS_INCOMING_METADATA_VALUES0* metadata, const void* context)
{
    FWPS_INCOMING_VALUES0 values = {FWPS_LAYER_ALE_CONNECT_REDIRECT_V4, FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_MAX, fields};
    FWPS_FILTER2 filter = {.context = filter_context(registration, PM_REDIRECT, 1)};
    FWPS_CLASSIFY_OUT0 out = {.actionType = FWP_ACTION_NONE, .rights = FWPS_RIGHT_ACTION_WRITE};

    pm_connect_redirect_classify(&values, metadata, NULL, context, &filter, 0, &out);
    return out;
}

static inline void
good_fields(FWPS_INCOMING_VALUE0* fields)
{
    memset(fields, 0, FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_MAX * sizeof(*fields));
    fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_PROTOCOL].value = (FWP_VALUE0){.type = FWP_UINT8, .uint8 = 6};
    fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_REMOTE_PORT].value = (FWP_VALUE0){.type = FWP_UINT16, .uint16 = 443};
    fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_REMOTE_ADDRESS].value = (FWP_VALUE0){.type = FWP_UINT32, .uint32 = 0xCB007107};
    fields[FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_FLAGS].value = (FWP_VALUE0){.type = FWP_UINT32, .uint32 = 0};
}

#endif
