// fwpuclnt.dll for Wine, whose own answers RPC_S_CANNOT_SUPPORT or ends the process: the calls that a proxy makes,
// passed on to the simulated filter engine in winedevice.exe.  An engine handle is a handle of \\.\SimWfp.  Results are
// DWORDs on Windows: the same 32 bits as the kernel declarations say here.
#include "filter_parts.h"
#include "test_device.h"

#define GENERIC_READ_WRITE 0xC0000000u
#define OPEN_EXISTING 3u
#define RPC_S_SERVER_UNAVAILABLE 1722u

HANDLE CreateFileW(
    PCWSTR name, DWORD access, DWORD share, PVOID security, DWORD disposition, DWORD flags, HANDLE template_file);
BOOL DeviceIoControl(
    HANDLE device, DWORD code, const void* in, DWORD in_size, PVOID out, DWORD out_size, DWORD* written,
    PVOID overlapped);
BOOL CloseHandle(HANDLE handle);
DWORD GetLastError(void);
HANDLE GetProcessHeap(void);
PVOID HeapAlloc(HANDLE heap, DWORD flags, SIZE_T size);
BOOL HeapFree(HANDLE heap, DWORD flags, PVOID block);

static NTSTATUS
call(HANDLE engine, DWORD code, const void* in, DWORD in_size, UINT64* id)
{
    sim_reply reply = {0, 0, 0};
    DWORD written = 0;

    if (!DeviceIoControl(engine, code, in, in_size, &reply, sizeof(reply), &written, NULL)) {
        return (NTSTATUS)GetLastError();
    }
    if (id != NULL) {
        *id = reply.id;
    }
    return (NTSTATUS)reply.error;
}

NTSTATUS
FwpmEngineOpen0(PCWSTR server, UINT32 authn, PVOID identity, const FWPM_SESSION0* session, HANDLE* engine)
{
    UINT32 flags = session == NULL ? 0 : session->flags;
    HANDLE opened;
    NTSTATUS error;

    (void)authn;
    (void)identity;
    if (server != NULL) {
        return (NTSTATUS)FWP_E_INVALID_PARAMETER;
    }
    opened = CreateFileW(L"\\\\.\\SimWfp", GENERIC_READ_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (opened == (HANDLE)(intptr_t)-1) {
        return RPC_S_SERVER_UNAVAILABLE;
    }
    error = call(opened, SIM_IOCTL_ENGINE_OPEN, &flags, sizeof(flags), NULL);
    if (error != 0) {
        (void)CloseHandle(opened);
        return error;
    }
    *engine = opened;
    return 0;
}

NTSTATUS
FwpmEngineClose0(HANDLE engine)
{
    return CloseHandle(engine) ? 0 : (NTSTATUS)GetLastError();
}

NTSTATUS
FwpmTransactionBegin0(HANDLE engine, UINT32 flags)
{
    return call(engine, SIM_IOCTL_BEGIN, &flags, sizeof(flags), NULL);
}

NTSTATUS
FwpmTransactionCommit0(HANDLE engine)
{
    return call(engine, SIM_IOCTL_COMMIT, NULL, 0, NULL);
}

NTSTATUS
FwpmTransactionAbort0(HANDLE engine)
{
    return call(engine, SIM_IOCTL_ABORT, NULL, 0, NULL);
}

NTSTATUS
FwpmFilterAdd0(HANDLE engine, const FWPM_FILTER0* filter, PSECURITY_DESCRIPTOR sd, UINT64* id)
{
    void* bytes = HeapAlloc(GetProcessHeap(), 0, SIM_FILTER_BYTES);
    size_t used = 0;
    NTSTATUS error;

    (void)sd;
    if (bytes == NULL) {
        return 14; // ERROR_OUTOFMEMORY
    }
    error = (NTSTATUS)sim_filter_flatten(filter, bytes, SIM_FILTER_BYTES, &used);
    if (error == 0) {
        error = call(engine, SIM_IOCTL_FILTER_ADD, bytes, (DWORD)used, id);
    }
    (void)HeapFree(GetProcessHeap(), 0, bytes);
    return error;
}

NTSTATUS
FwpmFilterDeleteById0(HANDLE engine, UINT64 id)
{
    return call(engine, SIM_IOCTL_FILTER_DELETE, &id, sizeof(id), NULL);
}

NTSTATUS
FwpmFilterDeleteByKey0(HANDLE engine, const GUID* key)
{
    return call(engine, SIM_IOCTL_FILTER_DELETE_KEY, key, sizeof(*key), NULL);
}

NTSTATUS
FwpmProviderDeleteByKey0(HANDLE engine, const GUID* key)
{
    return call(engine, SIM_IOCTL_PROVIDER_DELETE_KEY, key, sizeof(*key), NULL);
}

NTSTATUS
FwpmSubLayerDeleteByKey0(HANDLE engine, const GUID* key)
{
    return call(engine, SIM_IOCTL_SUBLAYER_DELETE_KEY, key, sizeof(*key), NULL);
}

// Says whether it is there, which is all that an uninstaller asks; a filter itself does not cross the device.
NTSTATUS
FwpmFilterGetByKey0(HANDLE engine, const GUID* key, FWPM_FILTER0** object)
{
    NTSTATUS error = call(engine, SIM_IOCTL_FILTER_FIND_KEY, key, sizeof(*key), NULL);

    *object = NULL;
    return error != 0 ? error : 120; // ERROR_CALL_NOT_IMPLEMENTED
}
