// What the driver has in the filter engine: four callout functions, and the provider, sublayer and callout objects.
#ifndef PM_OBJECTS_H
#define PM_OBJECTS_H

#include "platform.h"
#include "pointsman_abi.h"

// Registers the callout functions (needed), then adds the objects now or when the Base Filtering Engine runs.
_IRQL_requires_(PASSIVE_LEVEL) _Must_inspect_result_ NTSTATUS pm_objects_start(_In_ PDEVICE_OBJECT device);

// Takes everything down again; returns only when no callout function can be called any more.
_IRQL_requires_(PASSIVE_LEVEL) void pm_objects_stop(void);

// Fills state bits and the statuses of callouts, objects and the redirect handle.
void pm_objects_status(_Inout_ pm_status_reply* status);

#endif
