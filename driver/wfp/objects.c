// Provider, sublayer and callouts are static objects: the filters, which the proxy adds in a dynamic session of its own,
// may refer to them (a dynamic object may not refer to a dynamic one of another session: FWP_E_LIFETIME_MISMATCH).
// Static objects without filters do nothing, and a restart of the machine clears them.
#define INITGUID // this unit defines every GUID that a header declares
#include "objects.h"

#include "callouts.h"
#include "pointsman_guids.h"

#define PM_SUBLAYER_WEIGHT 0x8000u    // VPNs and firewalls may sit above; nothing here depends on being first
#define PM_UNREGISTER_TRIES 100u
#define PM_UNREGISTER_DELAY (-100000) // 10 ms, relative, in 100 ns

typedef struct pm_callout {
    const GUID* key;
    const GUID* layer;
    FWPS_CALLOUT_CLASSIFY_FN2 classify;
    PWSTR name;
} pm_callout;

static const pm_callout pm_callouts[] = {
    {&PM_CALLOUT_CONNECT_REDIRECT_V4, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, pm_connect_redirect_classify,
     (PWSTR)L"Pointsman redirect, IPv4"},
    {&PM_CALLOUT_CONNECT_REDIRECT_V6, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V6, pm_connect_redirect_classify,
     (PWSTR)L"Pointsman redirect, IPv6"},
    {&PM_CALLOUT_AUTH_CONNECT_V4, &FWPM_LAYER_ALE_AUTH_CONNECT_V4, pm_auth_connect_classify,
     (PWSTR)L"Pointsman block, IPv4"},
    {&PM_CALLOUT_AUTH_CONNECT_V6, &FWPM_LAYER_ALE_AUTH_CONNECT_V6, pm_auth_connect_classify,
     (PWSTR)L"Pointsman block, IPv6"},
};
#define PM_CALLOUT_COUNT (sizeof(pm_callouts) / sizeof(pm_callouts[0]))

static UINT32 pm_callout_ids[PM_CALLOUT_COUNT]; // 0: not registered
static HANDLE pm_bfe_change;
static int pm_objects_added;
static NTSTATUS pm_callout_status = STATUS_DEVICE_NOT_READY;
static NTSTATUS pm_object_status = STATUS_DEVICE_NOT_READY;
static NTSTATUS pm_handle_status = STATUS_DEVICE_NOT_READY;

// Filters carry our data in their raw context, so there is nothing to set up or to free for one.
static NTSTATUS notify(FWPS_CALLOUT_NOTIFY_TYPE type, const GUID* key, FWPS_FILTER2* filter) {
    UNREFERENCED_PARAMETER(type);
    UNREFERENCED_PARAMETER(key);
    UNREFERENCED_PARAMETER(filter);
    return STATUS_SUCCESS;
}

// ALREADY_EXISTS: left by an earlier load that could not delete them, and as good as new.
static NTSTATUS added(NTSTATUS status) {
    return status == STATUS_FWP_ALREADY_EXISTS ? STATUS_SUCCESS : status;
}

static NTSTATUS add_in_transaction(HANDLE engine) {
    NTSTATUS status;
    FWPM_PROVIDER0 provider = {0};
    FWPM_SUBLAYER0 sublayer = {0};

    provider.providerKey = PM_PROVIDER;
    provider.displayData.name = (PWSTR)L"Pointsman";
    status = added(FwpmProviderAdd0(engine, &provider, NULL));
    if (!NT_SUCCESS(status)) {
        return status;
    }
    sublayer.subLayerKey = PM_SUBLAYER;
    sublayer.displayData.name = (PWSTR)L"Pointsman";
    sublayer.providerKey = (GUID*)&PM_PROVIDER;
    sublayer.weight = PM_SUBLAYER_WEIGHT;
    status = added(FwpmSubLayerAdd0(engine, &sublayer, NULL));
    for (SIZE_T i = 0; NT_SUCCESS(status) && i < PM_CALLOUT_COUNT; i++) {
        FWPM_CALLOUT0 callout = {0};

        callout.calloutKey = *pm_callouts[i].key;
        callout.displayData.name = pm_callouts[i].name;
        callout.providerKey = (GUID*)&PM_PROVIDER;
        callout.applicableLayer = *pm_callouts[i].layer;
        status = added(FwpmCalloutAdd0(engine, &callout, NULL, NULL));
    }
    return status;
}

static NTSTATUS in_transaction(NTSTATUS (*work)(HANDLE engine)) {
    HANDLE engine = NULL;
    NTSTATUS status = FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, NULL, &engine);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = FwpmTransactionBegin0(engine, 0);
    if (NT_SUCCESS(status)) {
        status = work(engine);
        if (NT_SUCCESS(status)) {
            status = FwpmTransactionCommit0(engine);
        } else {
            (void)FwpmTransactionAbort0(engine); // the first error is the one to report
        }
    }
    (void)FwpmEngineClose0(engine);
    return status;
}

static void add_objects(void) {
    pm_object_status = in_transaction(add_in_transaction);
    pm_objects_added = NT_SUCCESS(pm_object_status);
    if (!pm_objects_added) {
        DbgPrintEx(
            DPFLTR_IHVNETWORK_ID, DPFLTR_ERROR_LEVEL, "pointsman: cannot add WFP objects, status 0x%08X\n",
            (unsigned)pm_object_status);
    }
}

// Deletes what no filter refers to (IN_USE: a proxy still runs; its filters then meet an unregistered callout and pass).
static NTSTATUS delete_in_transaction(HANDLE engine) {
    for (SIZE_T i = 0; i < PM_CALLOUT_COUNT; i++) {
        (void)FwpmCalloutDeleteByKey0(engine, pm_callouts[i].key);
    }
    (void)FwpmSubLayerDeleteByKey0(engine, &PM_SUBLAYER);
    (void)FwpmProviderDeleteByKey0(engine, &PM_PROVIDER);
    return STATUS_SUCCESS;
}

static VOID bfe_state_changed(PVOID context, FWPM_SERVICE_STATE state) {
    UNREFERENCED_PARAMETER(context);
    if (state == FWPM_SERVICE_RUNNING) {
        add_objects(); // a restarted engine has forgotten the static ones
    } else {
        pm_objects_added = 0;
    }
}

static NTSTATUS register_callouts(PDEVICE_OBJECT device) {
    for (SIZE_T i = 0; i < PM_CALLOUT_COUNT; i++) {
        FWPS_CALLOUT2 callout = {0};
        NTSTATUS status;

        callout.calloutKey = *pm_callouts[i].key;
        callout.classifyFn = pm_callouts[i].classify;
        callout.notifyFn = notify;
        status = FwpsCalloutRegister2(device, &callout, &pm_callout_ids[i]);
        if (!NT_SUCCESS(status)) {
            pm_callout_ids[i] = 0;
            return status;
        }
    }
    return STATUS_SUCCESS;
}

// Returning while a callout is registered would leave WFP a pointer into freed memory, so this waits, whatever WFP answers; a
// bound exists only to report the answer instead of hanging in silence.
static void unregister_callouts(void) {
    LARGE_INTEGER delay;

    delay.QuadPart = PM_UNREGISTER_DELAY;
    for (SIZE_T i = PM_CALLOUT_COUNT; i-- > 0;) {
        for (UINT32 tries = 1; pm_callout_ids[i] != 0; tries++) {
            NTSTATUS status = FwpsCalloutUnregisterById0(pm_callout_ids[i]);

            if (NT_SUCCESS(status) || status == STATUS_FWP_CALLOUT_NOT_FOUND) {
                pm_callout_ids[i] = 0;
                break;
            }
            if (tries % PM_UNREGISTER_TRIES == 0) {
                DbgPrintEx(
                    DPFLTR_IHVNETWORK_ID, DPFLTR_ERROR_LEVEL,
                    "pointsman: WFP keeps callout %u, status 0x%08X; unload waits, a restart ends it\n",
                    (unsigned)pm_callout_ids[i], (unsigned)status);
            }
            (void)KeDelayExecutionThread(KernelMode, FALSE, &delay);
        }
    }
}

_Use_decl_annotations_ NTSTATUS pm_objects_start(PDEVICE_OBJECT device) {
    pm_objects_added = 0;
    pm_object_status = STATUS_DEVICE_NOT_READY;
    pm_handle_status = pm_redirect_handle_create(&PM_PROVIDER); // without it the driver loads and everything passes
    pm_callout_status = register_callouts(device);
    if (!NT_SUCCESS(pm_callout_status)) {
        goto undo;
    }
    // Subscribe first, then ask: the other way round a start in between would be missed.
    pm_callout_status = FwpmBfeStateSubscribeChanges0(device, bfe_state_changed, NULL, &pm_bfe_change);
    if (!NT_SUCCESS(pm_callout_status)) {
        goto undo;
    }
    if (FwpmBfeStateGet0() == FWPM_SERVICE_RUNNING && !pm_objects_added) {
        add_objects();
    }
    return STATUS_SUCCESS;

undo:
    unregister_callouts();
    pm_redirect_handle_destroy();
    return pm_callout_status;
}

_Use_decl_annotations_ void pm_objects_stop(void) {
    (void)FwpmBfeStateUnsubscribeChanges0(pm_bfe_change);
    pm_bfe_change = NULL;
    unregister_callouts();
    if (pm_objects_added) {
        (void)in_transaction(delete_in_transaction);
        pm_objects_added = 0;
    }
    pm_redirect_handle_destroy();
}

void pm_objects_status(pm_status_reply* status) {
    status->callout_status = (uint32_t)pm_callout_status;
    status->object_status = (uint32_t)pm_object_status;
    status->redirect_status = (uint32_t)pm_handle_status;
    status->state |= NT_SUCCESS(pm_callout_status) ? PM_STATE_CALLOUTS : 0;
    status->state |= pm_objects_added ? PM_STATE_OBJECTS : 0;
    status->state |= NT_SUCCESS(pm_handle_status) ? PM_STATE_REDIRECT_HANDLE : 0;
}
