// \\.\SimWfp inside winedevice.exe: engine sessions for user mode, one connect() at a time, and the simulator's books.
#include "test_device.h"

#include "filter_parts.h"
#include "host.h"

#include <string.h>

static UNICODE_STRING sim_device_name = RTL_CONSTANT_STRING(L"\\Device\\SimWfp");
static UNICODE_STRING sim_link_name = RTL_CONSTANT_STRING(L"\\DosDevices\\SimWfp");
static PDEVICE_OBJECT sim_device;
static uint32_t sim_misuses;
static char sim_misuse_text[sizeof(((sim_books*)0)->last)];

// Reads `in` and writes `out`, which are the same bytes.  Returns a status and the bytes written.
typedef NTSTATUS sim_handler(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written);

typedef struct sim_ioctl_entry {
    uint32_t code;
    uint32_t in_size; // at least
    uint32_t out_size; // at least
    sim_handler* handler;
} sim_ioctl_entry;

static void
note_misuse(const char* message)
{
    sim_misuses++;
    memset(sim_misuse_text, 0, sizeof(sim_misuse_text));
    for (SIZE_T i = 0; i + 1 < sizeof(sim_misuse_text) && message[i] != 0; i++) {
        sim_misuse_text[i] = message[i];
    }
}

static NTSTATUS
reply(void* out, uint32_t* written, uint32_t error, uint64_t id)
{
    *(sim_reply*)out = (sim_reply){error, 0, id};
    *written = sizeof(sim_reply);
    return STATUS_SUCCESS;
}

// ---- engine ----

static NTSTATUS
engine_open(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    FWPM_SESSION0 session = {.flags = *(const uint32_t*)in};
    uint32_t pid = (uint32_t)(uintptr_t)PsGetCurrentProcessId();

    (void)in_size;
    if (file->FsContext != NULL) {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    return reply(out, written, sim_user_engine_open(pid, &session, &file->FsContext), 0);
}

static NTSTATUS
begin(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    (void)in_size;
    return reply(out, written, sim_user_transaction_begin(file->FsContext, *(const uint32_t*)in), 0);
}

static NTSTATUS
commit(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    (void)in;
    (void)in_size;
    return reply(out, written, sim_user_transaction_commit(file->FsContext), 0);
}

static NTSTATUS
abort_transaction(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    (void)in;
    (void)in_size;
    return reply(out, written, sim_user_transaction_abort(file->FsContext), 0);
}

static NTSTATUS
filter_add(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    uint64_t id = 0;
    uint32_t error = sim_filter_restore((void*)in, in_size);

    if (error == 0) {
        error = sim_user_filter_add(file->FsContext, in, &id);
    }
    return reply(out, written, error, id);
}

static NTSTATUS
filter_delete(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    (void)in_size;
    return reply(out, written, sim_user_filter_delete(file->FsContext, *(const uint64_t*)in), 0);
}

static NTSTATUS
filter_delete_key(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    (void)in_size;
    return reply(out, written, sim_user_filter_delete_by_key(file->FsContext, in), 0);
}

static NTSTATUS
provider_delete_key(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    (void)in_size;
    return reply(out, written, sim_user_provider_delete_by_key(file->FsContext, in), 0);
}

static NTSTATUS
sublayer_delete_key(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    (void)in_size;
    return reply(out, written, sim_user_sublayer_delete_by_key(file->FsContext, in), 0);
}

static NTSTATUS
filter_find_key(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    FWPM_FILTER0* found = NULL;
    NTSTATUS status = FwpmFilterGetByKey0(file->FsContext, in, &found);

    (void)in_size;
    if (found != NULL) {
        FwpmFreeMemory0((void**)&found);
    }
    return reply(out, written, sim_user_error(status), 0);
}

// ---- connections ----

static NTSTATUS
dial(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    sim_dial from = *(const sim_dial*)in;
    sim_connect_request request = {
        .pid = from.pid, .family = from.family, .protocol = from.protocol, .local_port = from.local_port,
        .remote_port = from.remote_port, .app_id = (const uint8_t*)in + sizeof(from), .app_id_size = from.app_id_size,
        .endpoint = from.endpoint, .records = from.records};
    sim_connect_result result;
    sim_dialled* to = out;

    (void)file;
    if (in_size != sizeof(from) + from.app_id_size || (from.family != 4 && from.family != 6)) {
        return STATUS_INVALID_PARAMETER;
    }
    memcpy(request.local_address, from.local_address, 16);
    memcpy(request.remote_address, from.remote_address, 16);
    sim_connect(&request, &result); // reads the app id, so `out` is written after it
    memset(to, 0, sizeof(*to));
    to->blocked = result.blocked;
    to->redirected = result.redirected;
    memcpy(to->remote_address, result.remote_address, 16);
    to->remote_port = result.remote_port;
    to->flow = result.flow;
    to->context_size = (uint16_t)sim_flow_context(result.flow, to->context, sizeof(to->context));
    *written = sizeof(*to);
    return STATUS_SUCCESS;
}

static NTSTATUS
flow_close(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    (void)in_size;
    (void)out;
    (void)file;
    sim_flow_close(*(const uint64_t*)in);
    *written = 0;
    return STATUS_SUCCESS;
}

// ---- books ----

static NTSTATUS
read_books(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    sim_books* books = out;
    const char* last = sim_misuses != 0 ? sim_misuse_text : sim_last_violation();

    (void)in;
    (void)in_size;
    (void)file;
    memset(books, 0, sizeof(*books));
    books->objects = sim_object_count();
    books->handles = sim_open_handles();
    books->violations = sim_violations();
    books->misuses = sim_misuses;
    books->notified = (uint32_t)sim_watch_is_asked();
    for (SIZE_T i = 0; i + 1 < sizeof(books->last) && last[i] != 0; i++) {
        books->last[i] = last[i];
    }
    *written = sizeof(*books);
    return STATUS_SUCCESS;
}

static NTSTATUS
unloaded(const void* in, uint32_t in_size, void* out, PFILE_OBJECT file, uint32_t* written)
{
    (void)in;
    (void)in_size;
    (void)out;
    (void)file;
    if (sim_watch_is_asked()) {
        sim_misuse("unloaded with the process notification registered: the next process event would crash");
    }
    sim_engine_check_unloaded();
    sim_layer_data_check_unloaded();
    *written = 0;
    return STATUS_SUCCESS;
}

static const sim_ioctl_entry sim_ioctls[] = {
    {SIM_IOCTL_ENGINE_OPEN, 4, sizeof(sim_reply), engine_open},
    {SIM_IOCTL_BEGIN, 4, sizeof(sim_reply), begin},
    {SIM_IOCTL_COMMIT, 0, sizeof(sim_reply), commit},
    {SIM_IOCTL_ABORT, 0, sizeof(sim_reply), abort_transaction},
    {SIM_IOCTL_FILTER_ADD, sizeof(FWPM_FILTER0), sizeof(sim_reply), filter_add},
    {SIM_IOCTL_FILTER_DELETE, 8, sizeof(sim_reply), filter_delete},
    {SIM_IOCTL_FILTER_DELETE_KEY, sizeof(GUID), sizeof(sim_reply), filter_delete_key},
    {SIM_IOCTL_PROVIDER_DELETE_KEY, sizeof(GUID), sizeof(sim_reply), provider_delete_key},
    {SIM_IOCTL_SUBLAYER_DELETE_KEY, sizeof(GUID), sizeof(sim_reply), sublayer_delete_key},
    {SIM_IOCTL_FILTER_FIND_KEY, sizeof(GUID), sizeof(sim_reply), filter_find_key},
    {SIM_IOCTL_CONNECT, sizeof(sim_dial), sizeof(sim_dialled), dial},
    {SIM_IOCTL_FLOW_CLOSE, 8, 0, flow_close},
    {SIM_IOCTL_BOOKS, 0, sizeof(sim_books), read_books},
    {SIM_IOCTL_UNLOADED, 0, 0, unloaded},
};

// ---- the device ----

static NTSTATUS
complete(PIRP irp, NTSTATUS status, uint32_t information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS
on_create(PDEVICE_OBJECT device, PIRP irp)
{
    (void)device;
    return complete(irp, STATUS_SUCCESS, 0);
}

// Wine sends a close on CloseHandle, on exit and on a kill: the session goes in all three cases.
static NTSTATUS
on_close(PDEVICE_OBJECT device, PIRP irp)
{
    PFILE_OBJECT file = IoGetCurrentIrpStackLocation(irp)->FileObject;

    (void)device;
    if (file->FsContext != NULL) {
        (void)sim_user_engine_close(file->FsContext);
        file->FsContext = NULL;
    }
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS
on_control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION at = IoGetCurrentIrpStackLocation(irp);
    uint32_t in_size = at->Parameters.DeviceIoControl.InputBufferLength;
    uint32_t out_size = at->Parameters.DeviceIoControl.OutputBufferLength;
    void* buffer = irp->AssociatedIrp.SystemBuffer;
    NTSTATUS status = STATUS_INVALID_DEVICE_REQUEST;
    uint32_t written = 0;

    (void)device;
    for (SIZE_T i = 0; i < sizeof(sim_ioctls) / sizeof(sim_ioctls[0]); i++) {
        const sim_ioctl_entry* entry = &sim_ioctls[i];

        if (entry->code != at->Parameters.DeviceIoControl.IoControlCode) {
            continue;
        }
        status = in_size < entry->in_size || out_size < entry->out_size
                     ? STATUS_INFO_LENGTH_MISMATCH
                     : entry->handler(buffer, in_size, buffer, at->FileObject, &written);
        break;
    }
    return complete(irp, status, NT_SUCCESS(status) ? written : 0);
}

NTSTATUS
sim_test_device_create(PDRIVER_OBJECT driver)
{
    NTSTATUS status;

    sim_on_misuse(note_misuse);
    driver->MajorFunction[IRP_MJ_CREATE] = on_create;
    driver->MajorFunction[IRP_MJ_CLOSE] = on_close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = on_control;
    status = IoCreateDevice(driver, 0, &sim_device_name, 0x22, 0, FALSE, &sim_device);
    if (NT_SUCCESS(status)) {
        status = IoCreateSymbolicLink(&sim_link_name, &sim_device_name);
    }
    return status;
}

void
sim_test_device_delete(void)
{
    if (sim_device != NULL) {
        (void)IoDeleteSymbolicLink(&sim_link_name);
        IoDeleteDevice(sim_device);
        sim_device = NULL;
    }
}
