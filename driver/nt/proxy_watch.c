#include "proxy_watch.h"

#include "state/active.h"
#include "state/events.h"

static NTSTATUS pm_watch_status = STATUS_DEVICE_NOT_READY;

// Short, no wait, no allocation: it runs in the last thread of every process of the machine.
static VOID process_changed(PEPROCESS process, HANDLE pid, PPS_CREATE_NOTIFY_INFO info) {
    if (info == NULL) {
        pm_active_process_exited(process);
        return;
    }
    pm_event_process_started(
        (uint32_t)(uintptr_t)pid, (uint32_t)(uintptr_t)info->ParentProcessId,
        (uint64_t)PsGetProcessCreateTimeQuadPart(process),
        info->ImageFileName == NULL ? NULL : info->ImageFileName->Buffer,
        info->ImageFileName == NULL ? 0 : info->ImageFileName->Length);
}

_Use_decl_annotations_ void pm_proxy_watch_start(void) {
    // STATUS_ACCESS_DENIED here means an image linked without /INTEGRITYCHECK.
    pm_watch_status = PsSetCreateProcessNotifyRoutineEx(process_changed, FALSE);
    if (!NT_SUCCESS(pm_watch_status)) {
        DbgPrintEx(
            DPFLTR_IHVNETWORK_ID, DPFLTR_ERROR_LEVEL,
            "pointsman: no process notification, status 0x%08X; registrations will be refused\n",
            (unsigned)pm_watch_status);
    }
}

_Use_decl_annotations_ void pm_proxy_watch_stop(void) {
    if (NT_SUCCESS(pm_watch_status)) {
        (void)PsSetCreateProcessNotifyRoutineEx(process_changed, TRUE);
    }
    pm_watch_status = STATUS_DEVICE_NOT_READY;
}

NTSTATUS pm_proxy_watch_status(void) {
    return pm_watch_status;
}
