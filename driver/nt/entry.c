// The loaded driver: one list, up in DriverEntry and down in Unload.
#include "nt/device.h"
#include "nt/proxy_watch.h"
#include "state/active.h"
#include "state/counters.h"
#include "state/events.h"
#include "wfp/objects.h"

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD unload;

NTSTATUS DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path) {
    NTSTATUS status;
    PDEVICE_OBJECT device = NULL;

    UNREFERENCED_PARAMETER(registry_path);
    pm_counters_reset();
    pm_events_start();
    pm_active_start();
    status = pm_device_create(driver, &device);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    pm_proxy_watch_start(); // if it fails the driver loads, and refuses registrations: no dead-man switch, no redirect
    status = pm_objects_start(device);
    if (!NT_SUCCESS(status)) {
        goto stop_watch;
    }
    status = pm_device_publish(); // last, or somebody opens a driver that is half built
    if (!NT_SUCCESS(status)) {
        goto stop_objects;
    }
    driver->DriverUnload = unload;
    DbgPrintEx(DPFLTR_IHVNETWORK_ID, DPFLTR_INFO_LEVEL, "pointsman: loaded, ABI %u\n", PM_ABI_VERSION);
    return STATUS_SUCCESS;

stop_objects:
    pm_objects_stop();
stop_watch:
    pm_proxy_watch_stop();
    pm_device_delete();
    return status;
}

// Called only when no handle of the device is open.
static VOID unload(PDRIVER_OBJECT driver) {
    UNREFERENCED_PARAMETER(driver);
    pm_device_withdraw();
    pm_active_stop(); // from here on classify passes everything
    pm_objects_stop();
    pm_proxy_watch_stop();
    pm_device_delete();
    DbgPrintEx(DPFLTR_IHVNETWORK_ID, DPFLTR_INFO_LEVEL, "pointsman: unloaded\n");
}
