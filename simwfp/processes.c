// Process objects, who refers to them, who they are, and the notification of their coming and going.
#include "objects.h"

#include <stdlib.h>
#include <string.h>

static _Thread_local PEPROCESS sim_current;
static PEPROCESS sim_processes;
static PCREATE_PROCESS_NOTIFY_ROUTINE_EX sim_notify;

PEPROCESS
sim_process_find(uint32_t pid)
{
    PEPROCESS process;

    for (process = sim_processes; process != NULL; process = process->next) {
        if (process->pid == pid && process->alive) {
            return process;
        }
    }
    return NULL;
}

PEPROCESS
sim_enter_process(PEPROCESS process)
{
    PEPROCESS old = sim_current;

    sim_current = process;
    return old;
}

static void
reap(PEPROCESS process)
{
    PEPROCESS* at = &sim_processes;

    if (process->alive || process->driver_references != 0) {
        return;
    }
    while (*at != process) {
        at = &(*at)->next;
    }
    *at = process->next;
    free(process);
}

static const uint8_t sim_default_user[] = {1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0}; // S-1-5-21-1
static const uint8_t sim_nobody[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};                      // S-1-0-0
static const uint8_t sim_everyone[] = {1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};                    // S-1-1-0
static const uint8_t sim_administrators[] = {1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0}; // S-1-5-32-544

sim_token
sim_token_of(uint32_t pid)
{
    const struct _EPROCESS* process = sim_process_find(pid);
    sim_token nobody = {.group_count = 0};

    memcpy(nobody.user_sid, sim_nobody, sizeof(sim_nobody));
    memcpy(nobody.package_sid, sim_nobody, sizeof(sim_nobody));
    return process == NULL ? nobody : process->token;
}

void
sim_process_identity(uint32_t pid, const void* user_sid, const void* package_sid)
{
    PEPROCESS process = sim_process_find(pid);

    if (process != NULL) {
        sim_sid_copy(process->token.user_sid, user_sid == NULL ? sim_default_user : user_sid);
        sim_sid_copy(process->token.package_sid, package_sid == NULL ? sim_nobody : package_sid);
    }
}

void
sim_process_groups(uint32_t pid, const void* const* sids, uint32_t count)
{
    PEPROCESS process = sim_process_find(pid);

    if (process == NULL || count > SIM_GROUPS) {
        sim_misuse("sim_process_groups: pid %u, %u groups of at most %u", pid, count, SIM_GROUPS);
        return;
    }
    process->token.group_count = count;
    for (uint32_t i = 0; i < count; i++) {
        sim_sid_copy(process->token.groups[i], sids[i]);
    }
}

void
sim_process_start(uint32_t pid, uint32_t parent, uint64_t start, const uint16_t* image, uint32_t image_bytes)
{
    PEPROCESS process;
    UNICODE_STRING name = {(USHORT)image_bytes, (USHORT)image_bytes, NULL};
    PS_CREATE_NOTIFY_INFO info = {0};

    for (process = sim_processes; process != NULL; process = process->next) {
        if (process->pid == pid) {
            sim_misuse("pid %u is in use: its process object still exists", pid);
            return;
        }
    }
    process = sim_allocate(sizeof(*process));
    process->pid = pid;
    process->start = start;
    process->alive = 1;
    process->next = sim_processes;
    sim_processes = process;
    sim_process_identity(pid, NULL, NULL);
    sim_process_groups(pid, (const void*[]){sim_administrators, sim_everyone}, 2);
    if (sim_notify != NULL) {
        PEPROCESS caller = sim_enter_process(sim_process_find(parent));

        info.Size = sizeof(info);
        info.ParentProcessId = (HANDLE)(uintptr_t)parent;
        name.Buffer = (PWCH)(uintptr_t)sim_paged_give(image, image_bytes); // of the file object: paged pool
        info.ImageFileName = image == NULL ? NULL : &name;
        sim_notify(process, (HANDLE)(uintptr_t)pid, &info);
        sim_paged_take();
        (void)sim_enter_process(caller);
    }
}

void
sim_process_exit(uint32_t pid)
{
    PEPROCESS process = sim_process_find(pid);

    if (process == NULL) {
        return;
    }
    if (sim_notify != NULL) {
        PEPROCESS caller = sim_enter_process(process); // in the context of its last thread

        sim_forbid_slow_calls("the process notification of an exit");
        sim_notify(process, (HANDLE)(uintptr_t)pid, NULL);
        sim_forbid_slow_calls(NULL);
        (void)sim_enter_process(caller);
    }
    sim_engine_process_exited(pid);
    process->alive = 0;
    reap(process);
}

uint32_t
sim_process_references(uint32_t pid)
{
    PEPROCESS process;

    for (process = sim_processes; process != NULL; process = process->next) {
        if (process->pid == pid) {
            return process->driver_references;
        }
    }
    return 0;
}

NTSTATUS
PsSetCreateProcessNotifyRoutineEx(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine, BOOLEAN remove)
{
    sim_require_irql(PASSIVE_LEVEL, "PsSetCreateProcessNotifyRoutineEx");
    if (remove) {
        if (sim_notify != routine) {
            return STATUS_INVALID_PARAMETER;
        }
        sim_notify = NULL;
        return STATUS_SUCCESS;
    }
    if (sim_fails_now()) {
        return STATUS_ACCESS_DENIED;
    }
    if (sim_notify != NULL) {
        return STATUS_INVALID_PARAMETER;
    }
    sim_notify = routine;
    return STATUS_SUCCESS;
}

// A thread of no process that the simulator was told of is one of System's: there always is a current process.
static struct _EPROCESS sim_system = {.pid = 4, .alive = 1};

PEPROCESS
PsGetCurrentProcess(void)
{
    return sim_current == NULL ? &sim_system : sim_current;
}

HANDLE
PsGetCurrentProcessId(void)
{
    return (HANDLE)(uintptr_t)PsGetCurrentProcess()->pid;
}

HANDLE
PsGetProcessId(PEPROCESS process)
{
    return (HANDLE)(uintptr_t)process->pid;
}

LONGLONG
PsGetProcessCreateTimeQuadPart(PEPROCESS process)
{
    return (LONGLONG)process->start;
}

intptr_t
ObfReferenceObject(PVOID object)
{
    return (intptr_t)__atomic_add_fetch(&((PEPROCESS)object)->driver_references, 1, __ATOMIC_SEQ_CST);
}

intptr_t
ObfDereferenceObject(PVOID object)
{
    PEPROCESS process = object;
    uint32_t left;

    sim_require_irql(DISPATCH_LEVEL, "ObDereferenceObject");
    if (process->driver_references == 0) {
        sim_misuse("ObDereferenceObject: pid %u has no reference of the driver", process->pid);
        return 0;
    }
    left = __atomic_sub_fetch(&process->driver_references, 1, __ATOMIC_SEQ_CST);
    if (left == 0) {
        reap(process);
    }
    return (intptr_t)left;
}

// ---- life ----

void
sim_processes_reset(void)
{
    sim_current = NULL;
    while (sim_processes != NULL) {
        sim_processes->alive = 0;
        sim_processes->driver_references = 0;
        reap(sim_processes);
    }
}

void
sim_processes_check_unloaded(void)
{
    if (sim_notify != NULL) {
        sim_misuse("unloaded with the process notification registered: the next process event would crash");
        sim_notify = NULL;
    }
    for (PEPROCESS process = sim_processes; process != NULL; process = process->next) {
        if (process->driver_references != 0) {
            sim_misuse(
                "unloaded with %u references to the process of pid %u", process->driver_references, process->pid);
        }
    }
}
