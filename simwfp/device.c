// The I/O manager, as far as one control device needs it: the device, its link, and the IRPs of its handles.
#include "sim.h"

#include <stdlib.h>
#include <string.h>

struct sim_file {
    FILE_OBJECT object;
    uint32_t access;
    int cleaned_up;
};

static DEVICE_OBJECT* sim_device;
static const void* sim_last_device;
static int sim_link;
static int sim_open_files;
static _Thread_local int sim_irp_completed;

const void*
sim_driver_device(void)
{
    return sim_last_device;
}

NTSTATUS
IoCreateDevice(
    PDRIVER_OBJECT driver, ULONG extension_size, PUNICODE_STRING name, ULONG type, ULONG characteristics,
    BOOLEAN exclusive, PDEVICE_OBJECT* device)
{
    (void)extension_size, (void)name;
    sim_require_irql(APC_LEVEL, "IoCreateDevice");
    if (exclusive) {
        sim_violation("an exclusive device makes a hand-over between two proxies impossible");
    }
    if ((characteristics & FILE_DEVICE_SECURE_OPEN) == 0) {
        sim_misuse("IoCreateDevice without FILE_DEVICE_SECURE_OPEN");
    }
    if (sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (sim_device != NULL) {
        return STATUS_OBJECT_NAME_COLLISION;
    }
    sim_device = sim_allocate(sizeof(*sim_device));
    sim_device->DriverObject = driver;
    sim_device->DeviceType = type;
    sim_device->Characteristics = characteristics;
    sim_device->Flags = DO_DEVICE_INITIALIZING;
    driver->DeviceObject = sim_device;
    sim_last_device = sim_device;
    *device = sim_device;
    return STATUS_SUCCESS;
}

VOID
IoDeleteDevice(PDEVICE_OBJECT device)
{
    if (device != sim_device) {
        sim_misuse("IoDeleteDevice: not the device");
        return;
    }
    if (sim_link) {
        sim_misuse("IoDeleteDevice: the symbolic link still names the device");
    }
    free(sim_device);
    sim_device = NULL;
    sim_device_unprotect();
}

NTSTATUS
IoCreateSymbolicLink(PUNICODE_STRING link, PUNICODE_STRING target)
{
    (void)link;
    (void)target;
    sim_require_irql(PASSIVE_LEVEL, "IoCreateSymbolicLink");
    if (sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (sim_link) {
        return STATUS_OBJECT_NAME_COLLISION;
    }
    if (!sim_device_is_protected()) {
        sim_misuse("a link was made to a device that everybody may open");
    }
    sim_link = 1;
    return STATUS_SUCCESS;
}

NTSTATUS
IoDeleteSymbolicLink(PUNICODE_STRING link)
{
    (void)link;
    sim_require_irql(PASSIVE_LEVEL, "IoDeleteSymbolicLink");
    if (!sim_link) {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    sim_link = 0;
    return STATUS_SUCCESS;
}

VOID
IofCompleteRequest(PIRP irp, CCHAR boost)
{
    (void)irp;
    (void)boost;
    sim_require_irql(DISPATCH_LEVEL, "IoCompleteRequest");
    if (sim_irp_completed++ != 0) {
        sim_misuse("IoCompleteRequest called twice for one IRP");
    }
}

// ---- IRPs ----

static NTSTATUS
dispatch(sim_file* file, UCHAR major, uint32_t pid, IRP* irp, IO_STACK_LOCATION* at)
{
    NTSTATUS status;
    PEPROCESS before = sim_enter_process(sim_process_find(pid));

    at->MajorFunction = major;
    at->DeviceObject = sim_device;
    at->FileObject = &file->object;
    irp->CurrentStackLocation = at;
    irp->RequestorMode = UserMode;
    sim_irp_completed = 0;
    status = sim_device->DriverObject->MajorFunction[major](sim_device, irp);
    if (sim_irp_completed == 0) {
        sim_misuse("an IRP of major function 0x%02X was not completed", major);
    }
    if (status != irp->IoStatus.Status) {
        sim_misuse("dispatch returned 0x%08X, the IRP says 0x%08X", (unsigned)status, (unsigned)irp->IoStatus.Status);
    }
    (void)sim_enter_process(before);
    return status;
}

NTSTATUS
sim_open(uint32_t pid, uint32_t access, const uint16_t* name_below, sim_file** file)
{
    NTSTATUS status;
    IRP irp = {0};
    IO_STACK_LOCATION at = {0};
    size_t length = 0;

    *file = NULL;
    if (sim_device == NULL || !sim_link || (sim_device->Flags & DO_DEVICE_INITIALIZING) != 0) {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    if (sim_process_find(pid) == NULL) {
        return STATUS_INVALID_HANDLE;
    }
    while (name_below != NULL && name_below[length] != 0) {
        length++;
    }
    *file = sim_allocate(sizeof(**file));
    (*file)->access = access;
    (*file)->object.DeviceObject = sim_device;
    (*file)->object.FileName.Buffer = (PWCH)name_below;
    (*file)->object.FileName.Length = (USHORT)(2 * length);
    status = dispatch(*file, IRP_MJ_CREATE, pid, &irp, &at);
    if (!NT_SUCCESS(status)) {
        free(*file);
        *file = NULL;
        return status;
    }
    sim_open_files++;
    return status;
}

NTSTATUS
sim_ioctl(
    sim_file* file, uint32_t pid, uint32_t code, const void* in, uint32_t in_size, void* out, uint32_t out_size,
    uint32_t* information)
{
    NTSTATUS status;
    IRP irp = {0};
    IO_STACK_LOCATION at = {0};
    uint32_t access = code >> 14 & 3;
    uint32_t buffer_size = in_size > out_size ? in_size : out_size;
    uint8_t* buffer;

    *information = 0;
    if (sim_process_find(pid) == NULL) {
        return STATUS_INVALID_HANDLE;
    }
    if ((file->access & access) != access) {
        return STATUS_ACCESS_DENIED; // the I/O manager's own check
    }
    if ((code & 3) != 0) {
        buffer_size = 0; // not METHOD_BUFFERED: there is no system buffer
    }
    buffer = buffer_size == 0 ? NULL : malloc(buffer_size); // exact, so that ASan sees a read past the end
    if (buffer != NULL) {
        memset(buffer, 0xA5, buffer_size);
        if (in_size != 0) {
            memcpy(buffer, in, in_size);
        }
    }
    irp.AssociatedIrp.SystemBuffer = buffer;
    at.Parameters.DeviceIoControl.IoControlCode = code;
    at.Parameters.DeviceIoControl.InputBufferLength = in_size;
    at.Parameters.DeviceIoControl.OutputBufferLength = out_size;
    status = dispatch(file, IRP_MJ_DEVICE_CONTROL, pid, &irp, &at);
    if (irp.IoStatus.Information > out_size) {
        sim_misuse("an IOCTL of %u bytes room says it wrote %zu", out_size, (size_t)irp.IoStatus.Information);
    } else if (NT_SUCCESS(status) && irp.IoStatus.Information != 0) {
        memcpy(out, buffer, irp.IoStatus.Information);
        *information = (uint32_t)irp.IoStatus.Information;
    }
    free(buffer);
    return status;
}

void
sim_cleanup(sim_file* file, uint32_t pid)
{
    IRP irp = {0};
    IO_STACK_LOCATION at = {0};

    if (!file->cleaned_up) {
        file->cleaned_up = 1;
        sim_forbid_slow_calls("IRP_MJ_CLEANUP");
        (void)dispatch(file, IRP_MJ_CLEANUP, pid, &irp, &at);
        sim_forbid_slow_calls(NULL);
    }
}

void
sim_close(sim_file* file)
{
    IRP irp = {0};
    IO_STACK_LOCATION at = {0};

    sim_cleanup(file, 0);
    (void)dispatch(file, IRP_MJ_CLOSE, 0, &irp, &at);
    sim_open_files--;
    free(file);
}

// ---- life ----

void
sim_device_initialized(void)
{
    if (sim_device != NULL) {
        sim_device->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING; // the I/O manager does so after DriverEntry
    }
}

int
sim_device_open_files(void)
{
    return sim_open_files;
}

int
sim_is_device(const void* object)
{
    return sim_device != NULL && object == sim_device;
}

void
sim_device_check_unloaded(void)
{
    if (sim_device != NULL) {
        sim_misuse("the driver is gone and its device is still there");
    }
    if (sim_link) {
        sim_misuse("the driver is gone and its symbolic link is still there");
    }
}
