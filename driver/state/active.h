// The registrations of this moment, shared between IOCTLs, process exit and classify.
//
// Guards decide/registry with one spin lock and holds one reference to each owning process, so that neither the process
// object nor its PID can be used again while we compare with them.  No path here allocates or calls WFP.
#ifndef PM_ACTIVE_H
#define PM_ACTIVE_H

#include "decide/registry.h"
#include "platform.h"

void pm_active_start(void);
void pm_active_stop(void); // drops everything; later registrations are refused

// Registers the calling process.  Must run in its thread: that is what makes the owner certain.
_IRQL_requires_max_(DISPATCH_LEVEL) _Must_inspect_result_ NTSTATUS pm_active_register(
    _In_ const pm_register_request* request, _In_ PFILE_OBJECT file, _Out_ pm_register_reply* reply);

_IRQL_requires_max_(DISPATCH_LEVEL) _Must_inspect_result_ NTSTATUS pm_active_renew(_In_ uint32_t registration);
_IRQL_requires_max_(DISPATCH_LEVEL) _Must_inspect_result_ NTSTATUS pm_active_withdraw(_In_ uint32_t registration);

// Of any process and any file object; nothing happens if it has no registration.
_IRQL_requires_max_(DISPATCH_LEVEL) void pm_active_process_exited(_In_ PEPROCESS process);
_IRQL_requires_max_(DISPATCH_LEVEL) void pm_active_file_closed(_In_ PFILE_OBJECT file);

_IRQL_requires_max_(DISPATCH_LEVEL) void pm_active_snapshot(_Out_ pm_snapshot* snapshot);
_IRQL_requires_max_(DISPATCH_LEVEL) void pm_active_status(_Inout_ pm_status_reply* status);

#endif
