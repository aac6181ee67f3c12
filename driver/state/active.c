#include "active.h"

#include "counters.h"
#include "events.h"

static KSPIN_LOCK pm_active_lock;
static pm_registry pm_active;
static int pm_active_open; // registrations are taken

void pm_active_start(void) {
    KeInitializeSpinLock(&pm_active_lock);
    RtlZeroMemory(&pm_active, sizeof(pm_active));
    pm_active_open = 1;
}

void pm_active_stop(void) {
    KIRQL irql;
    const void* owners[PM_MAX_REGISTRATIONS];
    uint32_t count;

    KeAcquireSpinLock(&pm_active_lock, &irql);
    pm_active_open = 0;
    count = pm_active.count;
    for (uint32_t i = 0; i < count; i++) {
        owners[i] = pm_active.entries[i].owner;
    }
    pm_active.count = 0;
    pm_active.generation++;
    KeReleaseSpinLock(&pm_active_lock, irql);
    for (uint32_t i = 0; i < count; i++) {
        ObDereferenceObject((PVOID)owners[i]);
    }
}

_Use_decl_annotations_ NTSTATUS
pm_active_register(const pm_register_request* request, PFILE_OBJECT file, pm_register_reply* reply) {
    KIRQL irql;
    PEPROCESS process = PsGetCurrentProcess();
    const void* unused = NULL; // a process whose reference is ours to give back
    int added = 0;
    pm_registration entry = {0};

    entry.pid = (uint32_t)(uintptr_t)PsGetCurrentProcessId();
    entry.process_start = (uint64_t)PsGetProcessCreateTimeQuadPart(process);
    entry.lease_ms = request->lease_ms == 0 ? PM_LEASE_DEFAULT_MS : request->lease_ms;
    entry.owner = process;
    entry.file = file;
    entry.endpoints = request->endpoints;
    ObReferenceObject(process);

    KeAcquireSpinLock(&pm_active_lock, &irql);
    if (!pm_active_open) {
        KeReleaseSpinLock(&pm_active_lock, irql);
        ObDereferenceObject(process);
        return STATUS_DEVICE_NOT_READY;
    }
    pm_registry_register(&pm_active, &entry, KeQueryInterruptTime(), &unused, &added);
    reply->generation = pm_active.generation;
    KeReleaseSpinLock(&pm_active_lock, irql);

    reply->header.size = sizeof(*reply);
    reply->header.version = PM_ABI_VERSION;
    reply->registration = entry.number;
    reply->lease_ms = entry.lease_ms;
    if (!added) {
        unused = process; // it held a reference already
    }
    if (unused != NULL) {
        ObDereferenceObject((PVOID)unused);
    }
    pm_count(PM_COUNTER_REGISTERED);
    pm_event_registration(PM_EVENT_REGISTERED, entry.number, entry.pid, entry.process_start);
    return STATUS_SUCCESS;
}

static NTSTATUS registry_status(pm_registry_result result) {
    if (result == PM_REGISTRY_DONE) {
        return STATUS_SUCCESS;
    }
    return result == PM_REGISTRY_NOT_OWNER ? STATUS_ACCESS_DENIED : STATUS_NOT_FOUND;
}

_Use_decl_annotations_ NTSTATUS pm_active_renew(uint32_t registration) {
    KIRQL irql;
    pm_registry_result result;

    KeAcquireSpinLock(&pm_active_lock, &irql);
    result = pm_registry_renew(&pm_active, registration, PsGetCurrentProcess(), KeQueryInterruptTime());
    KeReleaseSpinLock(&pm_active_lock, irql);
    if (result == PM_REGISTRY_DONE) {
        pm_count(PM_COUNTER_RENEWED);
    }
    return registry_status(result);
}

// Books and releases an entry that has left the registry.
static void removed(const pm_registration* entry, pm_event_kind kind, pm_counter counter) {
    pm_count((uint32_t)counter);
    pm_event_registration(kind, entry->number, entry->pid, entry->process_start);
    ObDereferenceObject((PVOID)entry->owner);
}

_Use_decl_annotations_ NTSTATUS pm_active_withdraw(uint32_t registration) {
    KIRQL irql;
    pm_registry_result result;
    pm_registration entry = {0};

    KeAcquireSpinLock(&pm_active_lock, &irql);
    result = pm_registry_withdraw(&pm_active, registration, PsGetCurrentProcess(), &entry);
    KeReleaseSpinLock(&pm_active_lock, irql);
    if (result == PM_REGISTRY_DONE) {
        removed(&entry, PM_EVENT_WITHDRAWN, PM_COUNTER_WITHDRAWN);
    }
    return registry_status(result);
}

static int forget(const void* owner_or_file, pm_event_kind kind, pm_counter counter) {
    KIRQL irql;
    int found;
    pm_registration entry = {0};

    KeAcquireSpinLock(&pm_active_lock, &irql);
    found = pm_registry_remove(&pm_active, owner_or_file, &entry);
    KeReleaseSpinLock(&pm_active_lock, irql);
    if (found) {
        removed(&entry, kind, counter);
    }
    return found;
}

_Use_decl_annotations_ void pm_active_process_exited(PEPROCESS process) {
    (void)forget(process, PM_EVENT_OWNER_EXITED, PM_COUNTER_OWNER_EXITED);
}

_Use_decl_annotations_ void pm_active_file_closed(PFILE_OBJECT file) {
    while (forget(file, PM_EVENT_OWNER_CLOSED, PM_COUNTER_OWNER_CLOSED)) { // a handle can be shared by several registrants
    }
}

_Use_decl_annotations_ void pm_active_snapshot(pm_snapshot* snapshot) {
    KIRQL irql;

    KeAcquireSpinLock(&pm_active_lock, &irql);
    pm_registry_snapshot(&pm_active, KeQueryInterruptTime(), snapshot);
    KeReleaseSpinLock(&pm_active_lock, irql);
}

_Use_decl_annotations_ void pm_active_status(pm_status_reply* status) {
    KIRQL irql;
    pm_snapshot snapshot;
    uint64_t now = KeQueryInterruptTime();

    KeAcquireSpinLock(&pm_active_lock, &irql);
    pm_registry_snapshot(&pm_active, now, &snapshot);
    for (uint32_t i = 0; i < pm_active.count; i++) {
        const pm_registration* entry = &pm_active.entries[i];
        pm_registration_status* slot = &status->registrations[i];

        slot->registration = entry->number;
        slot->pid = entry->pid;
        slot->process_start = entry->process_start;
        slot->lease_ms = entry->lease_ms;
        slot->lease_left_ms = pm_registry_lease_left_ms(entry, now);
        slot->endpoints = entry->endpoints;
    }
    KeReleaseSpinLock(&pm_active_lock, irql);
    status->active_registration = snapshot.active_registration;
    status->generation = snapshot.generation;
}
