// Process notification for a driver under Wine.  Exits are events (a wait on the process handles); Wine announces no
// creation, so a creation is noticed by a look at the process list ten times a second.
//
// Every process is kept open from the moment it is known, so its exit is told for the very process object that the
// driver may hold, and before its id can be used again.
#include "host.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SIM_MAX_PROCESSES 256u
#define SIM_MAX_WAIT 64u          // MAXIMUM_WAIT_OBJECTS
#define SIM_LOOK_EVERY (-1000000) // 100 ms, relative, in 100 ns
#define SIM_SNAPSHOT_SIZE 0x40000u
#define SIM_NAME_SIZE 1024u
#define SYSTEM_PROCESS_INFORMATION 5
#define PROCESS_TIMES 4
#define PROCESS_IMAGE_FILE_NAME 27
#define WAIT_ANY 1

typedef struct sim_watched {
    PEPROCESS process; // NULL: the slot is free
    HANDLE handle;
    uint32_t pid;
    uint32_t parent;
    int announced;
} sim_watched;

// SYSTEM_PROCESS_INFORMATION, as far as it is read.
typedef struct sim_process_entry {
    ULONG next; // bytes to the next entry, 0: last
    UCHAR opaque1[76];
    HANDLE pid;
    HANDLE parent;
} sim_process_entry;
_Static_assert(offsetof(sim_process_entry, pid) == 80, "SYSTEM_PROCESS_INFORMATION.UniqueProcessId");

static pthread_mutex_t sim_watch_lock;  // the table
static pthread_mutex_t sim_notify_lock; // held while a routine runs
static sim_watched sim_watched_processes[SIM_MAX_PROCESSES];
static PCREATE_PROCESS_NOTIFY_ROUTINE_EX sim_routine;
static HANDLE sim_stop_event;
static HANDLE sim_adopted_event; // somebody asked about a process that we did not know
static HANDLE sim_thread;
static void* sim_snapshot;

// ---- the table ----

static sim_watched*
slot_of(PEPROCESS process)
{
    for (uint32_t i = 0; i < SIM_MAX_PROCESSES; i++) {
        if (sim_watched_processes[i].process == process) {
            return &sim_watched_processes[i];
        }
    }
    return NULL;
}

// Takes a reference and a handle of its own.  1: it was not known before.
static int
adopt(PEPROCESS process, uint32_t pid, uint32_t parent, int announced)
{
    sim_watched* slot = NULL;
    HANDLE handle = NULL;

    pthread_mutex_lock(&sim_watch_lock);
    if (slot_of(process) == NULL) {
        slot = slot_of(NULL);
    }
    if (slot != NULL
        && NT_SUCCESS(ObOpenObjectByPointer(
            process, OBJ_KERNEL_HANDLE, NULL, SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION, NULL, KernelMode,
            &handle))) {
        ObReferenceObject(process);
        *slot = (sim_watched){process, handle, pid, parent, announced};
    } else {
        slot = NULL;
    }
    pthread_mutex_unlock(&sim_watch_lock);
    return slot != NULL;
}

static void
drop(sim_watched* slot)
{
    sim_watched gone;

    pthread_mutex_lock(&sim_watch_lock);
    gone = *slot;
    memset(slot, 0, sizeof(*slot));
    pthread_mutex_unlock(&sim_watch_lock);
    (void)ZwClose(gone.handle);
    ObDereferenceObject(gone.process);
}

// ---- telling ----

static void
tell_start(const sim_watched* slot)
{
    UNICODE_STRING* name = calloc(1, SIM_NAME_SIZE);
    PS_CREATE_NOTIFY_INFO info = {0};
    ULONG needed = 0;

    info.Size = sizeof(info);
    info.ParentProcessId = (HANDLE)(uintptr_t)slot->parent;
    if (name != NULL
        && NT_SUCCESS(
            ZwQueryInformationProcess(slot->handle, PROCESS_IMAGE_FILE_NAME, name, SIM_NAME_SIZE, &needed))) {
        info.ImageFileName = name;
    }
    pthread_mutex_lock(&sim_notify_lock);
    if (sim_routine != NULL) {
        sim_routine(slot->process, (HANDLE)(uintptr_t)slot->pid, &info);
    }
    pthread_mutex_unlock(&sim_notify_lock);
    free(name);
}

static void
tell_exit(const sim_watched* slot)
{
    pthread_mutex_lock(&sim_notify_lock);
    if (sim_routine != NULL) {
        sim_routine(slot->process, (HANDLE)(uintptr_t)slot->pid, NULL);
    }
    pthread_mutex_unlock(&sim_notify_lock);
}

// ---- looking ----

static void
look(int announced)
{
    ULONG needed = 0;
    const uint8_t* at = sim_snapshot;

    if (!NT_SUCCESS(ZwQuerySystemInformation(SYSTEM_PROCESS_INFORMATION, sim_snapshot, SIM_SNAPSHOT_SIZE, &needed))) {
        return;
    }
    for (;;) {
        const sim_process_entry* entry = (const sim_process_entry*)(const void*)at;
        PEPROCESS process = NULL;

        if (entry->pid != NULL && NT_SUCCESS(PsLookupProcessByProcessId(entry->pid, &process))) {
            (void)adopt(
                process, (uint32_t)(uintptr_t)entry->pid, (uint32_t)(uintptr_t)entry->parent, announced);
            ObDereferenceObject(process);
        }
        if (entry->next == 0) {
            break;
        }
        at += entry->next;
    }
}

static void
tell_all(void)
{
    for (uint32_t i = 0; i < SIM_MAX_PROCESSES; i++) {
        sim_watched* slot = &sim_watched_processes[i];
        LARGE_INTEGER now = {.QuadPart = 0};

        if (slot->process == NULL) {
            continue;
        }
        if (!slot->announced) {
            slot->announced = 1;
            tell_start(slot);
        }
        if (ZwWaitForSingleObject(slot->handle, FALSE, &now) == STATUS_SUCCESS) {
            tell_exit(slot);
            drop(slot);
        }
    }
}

static VOID
watch(PVOID context)
{
    HANDLE handles[SIM_MAX_WAIT] = {sim_stop_event, sim_adopted_event};
    NTSTATUS woken;

    (void)context;
    do {
        LARGE_INTEGER until = {.QuadPart = SIM_LOOK_EVERY};
        ULONG count = 2;

        look(0);
        tell_all();
        for (uint32_t i = 0; i < SIM_MAX_PROCESSES && count < SIM_MAX_WAIT; i++) {
            if (sim_watched_processes[i].process != NULL) {
                handles[count++] = sim_watched_processes[i].handle;
            }
        }
        woken = ZwWaitForMultipleObjects(count, handles, WAIT_ANY, FALSE, &until);
    } while (woken != STATUS_SUCCESS); // 0: the first handle
    (void)PsTerminateSystemThread(STATUS_SUCCESS);
}

// ---- what stands in for ntoskrnl's ----

NTSTATUS
sim_watch_set_routine(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine, BOOLEAN remove)
{
    NTSTATUS status = STATUS_SUCCESS;

    pthread_mutex_lock(&sim_notify_lock); // a removal waits for a routine that runs
    if (sim_routine != (remove ? routine : NULL)) {
        status = STATUS_INVALID_PARAMETER;
    } else {
        sim_routine = remove ? NULL : routine;
    }
    pthread_mutex_unlock(&sim_notify_lock);
    return status;
}

// The driver asks for the process that registers, so from here on its exit is waited for.
LONGLONG
sim_watch_create_time(PEPROCESS process)
{
    LONGLONG times[4] = {0}; // KERNEL_USER_TIMES: created, exited, kernel, user
    HANDLE handle = NULL;
    ULONG needed = 0;

    if (NT_SUCCESS(ObOpenObjectByPointer(
            process, OBJ_KERNEL_HANDLE, NULL, PROCESS_QUERY_LIMITED_INFORMATION, NULL, KernelMode, &handle))) {
        (void)ZwQueryInformationProcess(handle, PROCESS_TIMES, times, sizeof(times), &needed);
        (void)ZwClose(handle);
    }
    if (adopt(process, (uint32_t)(uintptr_t)PsGetProcessId(process), 0, 0)) {
        (void)ZwSetEvent(sim_adopted_event, NULL);
    }
    return times[0];
}

int
sim_watch_is_asked(void)
{
    return sim_routine != NULL;
}

// ---- life ----

NTSTATUS
sim_watch_start(void)
{
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;

    sim_snapshot = malloc(SIM_SNAPSHOT_SIZE);
    if (sim_snapshot != NULL) {
        status = ZwCreateEvent(&sim_stop_event, EVENT_ALL_ACCESS, NULL, 0, FALSE);
    }
    if (NT_SUCCESS(status)) {
        status = ZwCreateEvent(&sim_adopted_event, EVENT_ALL_ACCESS, NULL, 1, FALSE); // resets itself
    }
    if (NT_SUCCESS(status)) {
        look(1); // who runs already is not announced
        status = PsCreateSystemThread(&sim_thread, 0, NULL, NULL, NULL, watch, NULL);
    }
    return status;
}

void
sim_watch_stop(void)
{
    if (sim_thread != NULL) {
        (void)ZwSetEvent(sim_stop_event, NULL);
        (void)ZwWaitForSingleObject(sim_thread, FALSE, NULL);
        (void)ZwClose(sim_thread);
        sim_thread = NULL;
    }
    for (uint32_t i = 0; i < SIM_MAX_PROCESSES; i++) {
        if (sim_watched_processes[i].process != NULL) {
            drop(&sim_watched_processes[i]);
        }
    }
    if (sim_stop_event != NULL) {
        (void)ZwClose(sim_stop_event);
        sim_stop_event = NULL;
    }
    if (sim_adopted_event != NULL) {
        (void)ZwClose(sim_adopted_event);
        sim_adopted_event = NULL;
    }
    free(sim_snapshot);
    sim_snapshot = NULL;
}
