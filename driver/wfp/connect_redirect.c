// The callout at ALE_CONNECT_REDIRECT: read, decide, act.  Every way out but one leaves the connection as it was.
#include "callouts.h"
#include "flow.h"
#include "decide/address.h"
#include "state/active.h"
#include "state/counters.h"
#include "state/events.h"

static HANDLE pm_redirect_handle;

_Use_decl_annotations_ NTSTATUS pm_redirect_handle_create(const GUID* provider) {
    return FwpsRedirectHandleCreate0(provider, 0, &pm_redirect_handle);
}

_Use_decl_annotations_ void pm_redirect_handle_destroy(void) {
    if (pm_redirect_handle != NULL) {
        FwpsRedirectHandleDestroy0(pm_redirect_handle);
        pm_redirect_handle = NULL;
    }
}

// What the proxy will want to know.  NULL: out of memory.
static pm_redirect_context*
redirect_context_new(const pm_flow* flow, const pm_snapshot* snapshot, uint64_t filter_context) {
    LARGE_INTEGER now;
    uint32_t app_id_size = flow->app_id_size;
    pm_redirect_context* context = ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(*context), PM_POOL_TAG);

    if (context == NULL) {
        return NULL;
    }
    RtlZeroMemory(context, sizeof(*context)); // user space will see every byte
    KeQuerySystemTime(&now);
    context->magic = PM_CONTEXT_MAGIC;
    context->version = PM_ABI_VERSION;
    context->size = sizeof(*context);
    context->registration = snapshot->active_registration;
    context->rule_id = PM_FILTER_RULE(filter_context);
    context->generation = snapshot->generation;
    context->time = (uint64_t)now.QuadPart;
    context->process_start = pm_flow_process_start(flow);
    context->pid = flow->pid;
    context->remote_port = flow->remote_port;
    context->family = flow->family;
    context->protocol = flow->protocol;
    RtlCopyMemory(context->remote_address, flow->remote_address, sizeof(context->remote_address));
    context->flags = flow->mapped ? PM_FLAG_V4_MAPPED : 0;
    if (app_id_size > PM_APP_ID_MAX) {
        app_id_size = PM_APP_ID_MAX;
        context->flags |= PM_FLAG_APP_ID_TRUNCATED;
    }
    if (app_id_size != 0) {
        RtlCopyMemory(context->app_id, flow->app_id, app_id_size);
    }
    context->app_id_size = (uint16_t)app_id_size;
    return context;
}

static uint16_t to_network_order(uint16_t port) {
    return (uint16_t)((port << 8) | (port >> 8));
}

// 0: the request is of another family than the layer promised, and untouched.
static int set_proxy_address(SOCKADDR_STORAGE* remote, const pm_flow* flow, const pm_endpoints* endpoints) {
    if (remote->ss_family == AF_INET && flow->family == 4 && !flow->mapped) {
        SOCKADDR_IN* v4 = (SOCKADDR_IN*)remote;
        RtlCopyMemory(&v4->sin_addr, endpoints->v4_address, sizeof(endpoints->v4_address));
        v4->sin_port = to_network_order(endpoints->v4_port);
        return 1;
    }
    if (remote->ss_family == AF_INET6 && (flow->family == 6 || flow->mapped)) {
        SOCKADDR_IN6* v6 = (SOCKADDR_IN6*)remote;
        v6->sin6_flowinfo = 0;
        v6->sin6_scope_id = 0; // of the old destination: means nothing on loopback
        if (flow->mapped) {
            pm_address_map(endpoints->v4_address, v6->sin6_addr.u_Byte);
            v6->sin6_port = to_network_order(endpoints->v4_port);
        } else {
            RtlCopyMemory(&v6->sin6_addr, endpoints->v6_address, sizeof(endpoints->v6_address));
            v6->sin6_port = to_network_order(endpoints->v6_port);
        }
        return 1;
    }
    return 0;
}

// Has another product already sent this very connect to a proxy of its own?
static int redirected_by_other(const FWPS_CONNECT_REQUEST0* request, UINT64 filter_id) {
    const FWPS_CONNECT_REQUEST0* version;

    for (version = request->previousVersion; version != NULL; version = version->previousVersion) {
        if (version->modifierFilterId != filter_id && version->localRedirectHandle != NULL) {
            return 1;
        }
    }
    return 0;
}

// Points the pending connect at the proxy.  PM_REASON_REDIRECTED, or why not; then the request is as it was.
_IRQL_requires_max_(DISPATCH_LEVEL) static pm_reason redirect_to_proxy(
    _In_ const pm_flow* flow, _In_ const pm_snapshot* snapshot, _In_opt_ const void* classify_context,
    _In_ const FWPS_FILTER2* filter, _Inout_ FWPS_CLASSIFY_OUT0* out, _Out_ NTSTATUS* status) {
    UINT64 handle = 0;
    FWPS_CONNECT_REQUEST0* request = NULL;
    pm_redirect_context* context = NULL;
    pm_reason reason = PM_REASON_WFP_CALL_FAILED;

    *status = STATUS_SUCCESS;
    if (pm_redirect_handle == NULL) {
        return PM_REASON_NO_REDIRECT_HANDLE;
    }
    if (classify_context == NULL) {
        return PM_REASON_UNEXPECTED_FIELD;
    }
    context = redirect_context_new(flow, snapshot, filter->context);
    if (context == NULL) {
        return PM_REASON_OUT_OF_MEMORY;
    }
    *status = FwpsAcquireClassifyHandle0((void*)classify_context, 0, &handle);
    if (!NT_SUCCESS(*status)) {
        goto free_context;
    }
    *status = FwpsAcquireWritableLayerDataPointer0(handle, filter->filterId, 0, (PVOID*)&request, out);
    if (!NT_SUCCESS(*status) || request == NULL) {
        goto restore_out;
    }

    // From here on nothing can fail, and what was acquired must be applied, changed or not.
    if (redirected_by_other(request, filter->filterId)) {
        reason = PM_REASON_OTHER_REDIRECTOR;
    } else if (!set_proxy_address(&request->remoteAddressAndPort, flow, &snapshot->endpoints)) {
        reason = PM_REASON_UNEXPECTED_FIELD;
    } else {
        request->localRedirectTargetPID = snapshot->active_pid; // loopback is refused without it
        request->localRedirectHandle = pm_redirect_handle;
        request->localRedirectContext = context;
        request->localRedirectContextSize = sizeof(*context);
        context = NULL; // WFP owns it now and frees it with the flow
        reason = PM_REASON_REDIRECTED;
    }
    FwpsApplyModifiedLayerData0(handle, request, 0);

restore_out:
    // Acquiring sets BLOCK and takes the right, as documented, even where it fails halfway: undo both.
    out->actionType = FWP_ACTION_CONTINUE;
    out->rights |= FWPS_RIGHT_ACTION_WRITE;
    FwpsReleaseClassifyHandle0(handle);
free_context:
    if (context != NULL) {
        ExFreePoolWithTag(context, PM_POOL_TAG);
    }
    return reason;
}

// Do the records of the socket say that the connection comes from our own proxy?
static int is_already_redirected(const FWPS_INCOMING_METADATA_VALUES0* metadata) {
    FWPS_CONNECTION_REDIRECT_STATE state;

    if (pm_redirect_handle == NULL
        || !FWPS_IS_METADATA_FIELD_PRESENT(metadata, FWPS_METADATA_FIELD_REDIRECT_RECORD_HANDLE)) {
        return 0;
    }
    state = FwpsQueryConnectionRedirectState0(metadata->redirectRecords, pm_redirect_handle, NULL);
    // Another product's proxy (BY_OTHER) is an app like any other: we have not seen its connection yet.
    return state == FWPS_CONNECTION_REDIRECTED_BY_SELF || state == FWPS_CONNECTION_PREVIOUSLY_REDIRECTED_BY_SELF;
}

void pm_connect_redirect_classify(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, void* layer_data,
    const void* classify_context, const FWPS_FILTER2* filter, UINT64 flow_context, FWPS_CLASSIFY_OUT0* out) {
    pm_snapshot snapshot;
    pm_flow flow;
    pm_decision decision;
    NTSTATUS status = STATUS_SUCCESS;

    UNREFERENCED_PARAMETER(layer_data);
    UNREFERENCED_PARAMETER(flow_context);
    if ((out->rights & FWPS_RIGHT_ACTION_WRITE) == 0) {
        pm_count(PM_REASON_NO_WRITE_RIGHT); // another callout has decided; touching `out` now is a contract violation
        return;
    }
    out->actionType = FWP_ACTION_CONTINUE;
    pm_active_snapshot(&snapshot);
    if (snapshot.registered == 0) {
        pm_count(PM_REASON_NO_PROXY); // the common case of a machine without a proxy costs no more than this
        return;
    }
    pm_flow_at_redirect(values, metadata, &flow);
    decision = pm_decide_redirect(&snapshot, &flow, filter->context);
    if (decision.verdict == PM_REDIRECT) {
        decision.reason = is_already_redirected(metadata)
                              ? PM_REASON_ALREADY_REDIRECTED
                              : redirect_to_proxy(&flow, &snapshot, classify_context, filter, out, &status);
        decision.verdict = decision.reason == PM_REASON_REDIRECTED ? PM_REDIRECT : PM_PASS;
    }
    if (decision.verdict == PM_REDIRECT || decision.reason == PM_REASON_PASSED_BY_RULE) {
        out->actionType = FWP_ACTION_PERMIT; // soft: ends our sublayer, binds nobody else
    }
    pm_count((uint32_t)decision.reason);
    if (pm_flow_is_reported(&decision)) {
        pm_event_flow(&flow, &decision, filter->context, pm_flow_process_start(&flow), status);
    }
}
