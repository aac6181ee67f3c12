#include "device.h"

#include "proxy_watch.h"
#include "state/active.h"
#include "state/counters.h"
#include "state/events.h"
#include "wfp/objects.h"

static UNICODE_STRING pm_device_name = RTL_CONSTANT_STRING(L"\\Device\\Pointsman");
static UNICODE_STRING pm_link_name = RTL_CONSTANT_STRING(L"\\DosDevices\\Global\\Pointsman");
static PDEVICE_OBJECT pm_device;

// One call.  `buffer` is the request and then the reply: the request is gone once the reply is written.
typedef struct pm_call {
    void* buffer;
    PFILE_OBJECT file;
    uint32_t written; // bytes of the reply
} pm_call;
typedef NTSTATUS pm_ioctl_handler(pm_call* call);

typedef struct pm_ioctl {
    uint32_t code;
    uint32_t in_size;
    uint32_t out_size; // at least this much room is asked for
    pm_ioctl_handler* handler;
} pm_ioctl;

static int header_valid(const pm_header* header, uint32_t size) {
    return header->size == size && header->version == PM_ABI_VERSION;
}

static NTSTATUS query_version(pm_call* call) {
    pm_version_reply* reply = call->buffer;

    RtlZeroMemory(reply, sizeof(*reply));
    reply->header.size = sizeof(*reply);
    reply->header.version = PM_ABI_VERSION;
    reply->driver_version = PM_DRIVER_VERSION;
    call->written = sizeof(*reply);
    return STATUS_SUCCESS;
}

static NTSTATUS register_proxy(pm_call* call) {
    NTSTATUS status;
    pm_register_request request = *(const pm_register_request*)call->buffer;
    pm_register_reply reply = {0};

    if (!header_valid(&request.header, sizeof(request))) {
        return STATUS_REVISION_MISMATCH;
    }
    if (!pm_register_request_valid(&request, (uint32_t)(uintptr_t)PsGetCurrentProcessId())) {
        return STATUS_INVALID_PARAMETER;
    }
    if (!NT_SUCCESS(pm_proxy_watch_status())) {
        return STATUS_DEVICE_NOT_READY; // we could not notice its death
    }
    status = pm_active_register(&request, call->file, &reply);
    if (NT_SUCCESS(status)) {
        RtlCopyMemory(call->buffer, &reply, sizeof(reply));
        call->written = sizeof(reply);
    }
    return status;
}

static NTSTATUS on_registration(const pm_registration_request* request, NTSTATUS (*act)(uint32_t registration)) {
    if (!header_valid(&request->header, sizeof(*request))) {
        return STATUS_REVISION_MISMATCH;
    }
    return request->reserved != 0 ? STATUS_INVALID_PARAMETER : act(request->registration);
}

static NTSTATUS renew(pm_call* call) {
    return on_registration(call->buffer, pm_active_renew);
}

static NTSTATUS withdraw(pm_call* call) {
    return on_registration(call->buffer, pm_active_withdraw);
}

static NTSTATUS read_status(pm_call* call) {
    pm_status_reply* reply = call->buffer;

    RtlZeroMemory(reply, sizeof(*reply));
    reply->header.size = sizeof(*reply);
    reply->header.version = PM_ABI_VERSION;
    pm_active_status(reply);
    pm_objects_status(reply);
    reply->notify_status = (uint32_t)pm_proxy_watch_status();
    reply->state |= NT_SUCCESS(pm_proxy_watch_status()) ? PM_STATE_PROCESS_NOTIFY : 0;
    reply->events_written = pm_events_written();
    pm_counters_read(reply->counters);
    call->written = sizeof(*reply);
    return STATUS_SUCCESS;
}

static NTSTATUS read_events(pm_call* call) {
    pm_events_request request = *(const pm_events_request*)call->buffer;
    pm_events_reply* reply = call->buffer;

    if (!header_valid(&request.header, sizeof(request))) {
        return STATUS_REVISION_MISMATCH;
    }
    RtlZeroMemory(reply, offsetof(pm_events_reply, events));
    pm_events_read(
        request.from_sequence, PM_EVENT_BATCH, reply->events, &reply->count, &reply->next_sequence, &reply->lost);
    call->written = (uint32_t)(offsetof(pm_events_reply, events) + reply->count * sizeof(pm_event));
    reply->header.size = call->written;
    reply->header.version = PM_ABI_VERSION;
    return STATUS_SUCCESS;
}

static const pm_ioctl pm_ioctls[] = {
    {PM_IOCTL_QUERY_VERSION, 0, sizeof(pm_version_reply), query_version},
    {PM_IOCTL_REGISTER, sizeof(pm_register_request), sizeof(pm_register_reply), register_proxy},
    {PM_IOCTL_RENEW, sizeof(pm_registration_request), 0, renew},
    {PM_IOCTL_WITHDRAW, sizeof(pm_registration_request), 0, withdraw},
    {PM_IOCTL_STATUS, 0, sizeof(pm_status_reply), read_status},
    {PM_IOCTL_READ_EVENTS, sizeof(pm_events_request), sizeof(pm_events_reply), read_events},
};

static NTSTATUS complete(PIRP irp, NTSTATUS status, uint32_t information) {
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS on_create(PDEVICE_OBJECT device, PIRP irp) {
    PIO_STACK_LOCATION at = IoGetCurrentIrpStackLocation(irp);

    UNREFERENCED_PARAMETER(device);
    if (at->FileObject == NULL || at->FileObject->FileName.Length != 0) {
        return complete(irp, STATUS_OBJECT_NAME_NOT_FOUND, 0); // \\.\Pointsman\anything is nothing
    }
    return complete(irp, STATUS_SUCCESS, 0);
}

// The last handle is closed, perhaps by another process than the registrant: so the file object decides, not the caller.
static NTSTATUS on_cleanup(PDEVICE_OBJECT device, PIRP irp) {
    UNREFERENCED_PARAMETER(device);
    pm_active_file_closed(IoGetCurrentIrpStackLocation(irp)->FileObject);
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS on_device_control(PDEVICE_OBJECT device, PIRP irp) {
    PIO_STACK_LOCATION at = IoGetCurrentIrpStackLocation(irp);
    pm_call call = {irp->AssociatedIrp.SystemBuffer, at->FileObject, 0};
    NTSTATUS status = STATUS_INVALID_DEVICE_REQUEST;

    UNREFERENCED_PARAMETER(device);
    for (SIZE_T i = 0; i < sizeof(pm_ioctls) / sizeof(pm_ioctls[0]); i++) {
        const pm_ioctl* ioctl = &pm_ioctls[i];

        if (ioctl->code != at->Parameters.DeviceIoControl.IoControlCode) {
            continue;
        }
        if (at->Parameters.DeviceIoControl.InputBufferLength != ioctl->in_size) {
            status = STATUS_INFO_LENGTH_MISMATCH;
        } else if (at->Parameters.DeviceIoControl.OutputBufferLength < ioctl->out_size) {
            status = STATUS_BUFFER_TOO_SMALL;
        } else {
            status = ioctl->handler(&call);
        }
        break;
    }
    if (!NT_SUCCESS(status)) {
        pm_count(PM_COUNTER_REFUSED);
        call.written = 0;
    }
    return complete(irp, status, call.written);
}

static NTSTATUS on_other(PDEVICE_OBJECT device, PIRP irp) {
    UNREFERENCED_PARAMETER(device);
    return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
}

_Use_decl_annotations_ NTSTATUS pm_device_create(PDRIVER_OBJECT driver, PDEVICE_OBJECT* device) {
    NTSTATUS status;

    for (SIZE_T i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++) {
        driver->MajorFunction[i] = on_other;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = on_create;
    driver->MajorFunction[IRP_MJ_CLEANUP] = on_cleanup;
    driver->MajorFunction[IRP_MJ_CLOSE] = on_cleanup; // again: Wine 8.0 sends no cleanup, and twice is harmless
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = on_device_control;

    // Not exclusive: a new proxy registers while the old one still has its handle.
    status = IoCreateDevice(
        driver, 0, &pm_device_name, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &pm_device);
    if (!NT_SUCCESS(status)) {
        pm_device = NULL;
        return status;
    }
    status = pm_device_protect(pm_device);
    if (!NT_SUCCESS(status)) {
        pm_device_delete(); // a device that anybody may open is worse than none
        return status;
    }
    *device = pm_device;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_ NTSTATUS pm_device_publish(void) {
    return IoCreateSymbolicLink(&pm_link_name, &pm_device_name);
}

_Use_decl_annotations_ void pm_device_withdraw(void) {
    (void)IoDeleteSymbolicLink(&pm_link_name);
}

_Use_decl_annotations_ void pm_device_delete(void) {
    if (pm_device != NULL) {
        IoDeleteDevice(pm_device);
        pm_device = NULL;
    }
}
