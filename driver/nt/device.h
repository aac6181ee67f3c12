// The control device \\.\Pointsman: who may open it, and the IOCTLs of pointsman_abi.h.
#ifndef PM_DEVICE_H
#define PM_DEVICE_H

#include "platform.h"

// Unnamed to user space until published.
_IRQL_requires_(PASSIVE_LEVEL) _Must_inspect_result_ NTSTATUS
pm_device_create(_In_ PDRIVER_OBJECT driver, _Outptr_ PDEVICE_OBJECT* device);
_IRQL_requires_(PASSIVE_LEVEL) _Must_inspect_result_ NTSTATUS pm_device_publish(void);
_IRQL_requires_(PASSIVE_LEVEL) void pm_device_withdraw(void);
_IRQL_requires_(PASSIVE_LEVEL) void pm_device_delete(void);

// Leaves the device to SYSTEM and Administrators: D:P(A;;GA;;;SY)(A;;GA;;;BA).
_IRQL_requires_(PASSIVE_LEVEL) _Must_inspect_result_ NTSTATUS pm_device_protect(_In_ PDEVICE_OBJECT device);

#endif
