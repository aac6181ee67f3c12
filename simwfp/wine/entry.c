// fwpkclnt.sys for Wine, which has none: simwfp's filter engine behind the names that a callout driver imports.
// Started as a kernel driver service before the driver under test, so that it stays while that one comes and goes.
// Both services need the same load-order group: Wine gives each group a winedevice.exe of its own.
//
// It also mends two names of Wine's ntoskrnl.exe, in memory, so that the driver's own image runs unmodified:
// PsSetCreateProcessNotifyRoutineEx (Wine 8.0: success, and no callback ever) and PsGetProcessCreateTimeQuadPart (a
// stub that ends the process).
#include "host.h"

#include <string.h>

#define PAGE_EXECUTE_READWRITE 0x40u
#define SIM_PATCH_SIZE 12u

typedef struct sim_patch {
    UNICODE_STRING name;
    void* replacement;
    uint8_t* at; // NULL: not patched
    uint8_t before[SIM_PATCH_SIZE];
} sim_patch;

static sim_patch sim_patches[] = {
    {RTL_CONSTANT_STRING(L"PsSetCreateProcessNotifyRoutineEx"), sim_watch_set_routine, NULL, {0}},
    {RTL_CONSTANT_STRING(L"PsGetProcessCreateTimeQuadPart"), sim_watch_create_time, NULL, {0}},
};
#define SIM_PATCH_COUNT (sizeof(sim_patches) / sizeof(sim_patches[0]))

DRIVER_INITIALIZE DriverEntry;

static NTSTATUS
write_code(uint8_t* at, const uint8_t* bytes)
{
    HANDLE self = (HANDLE)(intptr_t)-1;
    PVOID base = at;
    SIZE_T size = SIM_PATCH_SIZE;
    ULONG old = 0;
    NTSTATUS status = ZwProtectVirtualMemory(self, &base, &size, PAGE_EXECUTE_READWRITE, &old);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    memcpy(at, bytes, SIM_PATCH_SIZE);
    return ZwProtectVirtualMemory(self, &base, &size, old, &old);
}

// mov rax, replacement; jmp rax
static NTSTATUS
apply(sim_patch* patch)
{
    uint8_t code[SIM_PATCH_SIZE] = {0x48, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xE0};
    uint8_t* at = MmGetSystemRoutineAddress(&patch->name);
    NTSTATUS status;

    if (at == NULL) {
        return STATUS_NOT_FOUND;
    }
    memcpy(code + 2, &patch->replacement, sizeof(patch->replacement));
    memcpy(patch->before, at, SIM_PATCH_SIZE);
    status = write_code(at, code);
    patch->at = NT_SUCCESS(status) ? at : NULL;
    return status;
}

static void
revert_all(void)
{
    for (SIZE_T i = 0; i < SIM_PATCH_COUNT; i++) {
        if (sim_patches[i].at != NULL) {
            (void)write_code(sim_patches[i].at, sim_patches[i].before);
            sim_patches[i].at = NULL;
        }
    }
}

static VOID
unload(PDRIVER_OBJECT driver)
{
    (void)driver;
    sim_test_device_delete();
    revert_all();
    sim_watch_stop();
}

NTSTATUS
DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path)
{
    NTSTATUS status;

    (void)registry_path;
    sim_settings = (sim_knobs){.acquire_sets_block = 1, .classify_irql = DISPATCH_LEVEL, .real_clock = 1};
    sim_faults_reset();
    sim_trace_reset();
    sim_flows_reset();
    sim_engine_reset();
    status = sim_watch_start();
    for (SIZE_T i = 0; NT_SUCCESS(status) && i < SIM_PATCH_COUNT; i++) {
        status = apply(&sim_patches[i]);
    }
    if (NT_SUCCESS(status)) {
        status = sim_test_device_create(driver);
    }
    if (!NT_SUCCESS(status)) {
        revert_all();
        sim_watch_stop();
        return status;
    }
    driver->DriverUnload = unload;
    return STATUS_SUCCESS;
}
