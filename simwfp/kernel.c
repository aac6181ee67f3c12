// IRQL, spin locks, pool, time, process objects and their notification, DbgPrintEx.
#define _GNU_SOURCE
#include "sim.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIM_POOL_MAGIC 0x4C4F4F50u
#define SIM_EPOCH_1601 116444736000000000ull // 100 ns from 1601-01-01 to 1970-01-01

typedef struct sim_block {
    uint32_t magic;
    uint32_t tag;
    size_t size;
    int wfp_owned;
    struct sim_block* next;
    struct sim_block* previous;
} sim_block;

static _Thread_local KIRQL sim_irql;
static _Thread_local PEPROCESS sim_current;
static _Thread_local const char* sim_forbidden; // where allocations and waits may not happen
static pthread_mutex_t sim_books = PTHREAD_MUTEX_INITIALIZER;
static sim_block* sim_blocks;
static uint32_t sim_block_count; // owned by the driver
static PEPROCESS sim_processes;
static PCREATE_PROCESS_NOTIFY_ROUTINE_EX sim_notify;
static uint64_t sim_manual_time;

// ---- IRQL and locks ----

void
sim_require_irql(KIRQL highest, const char* call)
{
    if (sim_irql > highest) {
        sim_misuse("%s called at IRQL %d, at most %d is allowed", call, sim_irql, highest);
    }
}

KIRQL
sim_raise_irql(KIRQL level)
{
    KIRQL old = sim_irql;

    sim_irql = level > old ? level : old;
    return old;
}

void
sim_lower_irql(KIRQL level)
{
    sim_irql = level;
}

KIRQL
KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK lock)
{
    KIRQL old = sim_irql;
    uintptr_t me = (uintptr_t)&sim_irql;
    uintptr_t free = 0;

    sim_require_irql(DISPATCH_LEVEL, "KeAcquireSpinLock");
    if (__atomic_load_n(lock, __ATOMIC_RELAXED) == me) {
        sim_misuse("KeAcquireSpinLock: this thread holds the lock already (deadlock)");
    }
    while (!__atomic_compare_exchange_n(lock, &free, me, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        free = 0;
    }
    sim_irql = DISPATCH_LEVEL;
    return old;
}

VOID
KeReleaseSpinLock(PKSPIN_LOCK lock, KIRQL old)
{
    if (__atomic_load_n(lock, __ATOMIC_RELAXED) != (uintptr_t)&sim_irql) {
        sim_misuse("KeReleaseSpinLock: this thread does not hold the lock");
    }
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
    sim_irql = old;
}

// ---- exit paths ----

void
sim_forbid_slow_calls(const char* where)
{
    sim_forbidden = where;
}

void
sim_slow_call(const char* call)
{
    if (sim_forbidden != NULL) {
        sim_misuse("%s in %s, which must be short: no allocation, no wait, no call of the filter engine", call,
                   sim_forbidden);
    }
}

// ---- pool ----

PVOID
ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T size, ULONG tag)
{
    sim_block* block;

    sim_require_irql(DISPATCH_LEVEL, "ExAllocatePoolWithTag");
    sim_slow_call("ExAllocatePoolWithTag");
    if (type != NonPagedPoolNx || tag == 0 || size == 0) {
        sim_misuse("ExAllocatePoolWithTag: type %d, size %zu, tag 0x%X", (int)type, (size_t)size, tag);
    }
    if (sim_fails_now()) {
        return NULL;
    }
    block = malloc(sizeof(*block) + size);
    if (block == NULL) {
        return NULL;
    }
    memset(block + 1, 0xA5, size); // uninitialised, as on Windows
    pthread_mutex_lock(&sim_books);
    *block = (sim_block){SIM_POOL_MAGIC, tag, size, 0, sim_blocks, NULL};
    if (sim_blocks != NULL) {
        sim_blocks->previous = block;
    }
    sim_blocks = block;
    sim_block_count++;
    pthread_mutex_unlock(&sim_books);
    return block + 1;
}

static void
free_block(sim_block* block)
{
    if (block->previous != NULL) {
        block->previous->next = block->next;
    } else {
        sim_blocks = block->next;
    }
    if (block->next != NULL) {
        block->next->previous = block->previous;
    }
    sim_block_count -= block->wfp_owned ? 0 : 1;
    memset(block, 0xDD, sizeof(*block) + block->size);
    free(block);
}

VOID
ExFreePoolWithTag(PVOID memory, ULONG tag)
{
    sim_block* block = (sim_block*)memory - 1;

    sim_require_irql(DISPATCH_LEVEL, "ExFreePoolWithTag");
    if (memory == NULL || block->magic != SIM_POOL_MAGIC || block->tag != tag) {
        sim_misuse("ExFreePoolWithTag: not a live block of that tag");
        return;
    }
    if (block->wfp_owned) {
        sim_misuse("ExFreePoolWithTag: WFP owns that redirect context since it was applied");
        return;
    }
    pthread_mutex_lock(&sim_books);
    free_block(block);
    pthread_mutex_unlock(&sim_books);
}

int
sim_pool_give_to_wfp(void* memory, SIZE_T size)
{
    sim_block* found = NULL;

    pthread_mutex_lock(&sim_books);
    for (sim_block* block = sim_blocks; block != NULL && found == NULL; block = block->next) {
        found = block + 1 == memory && !block->wfp_owned && block->size >= size ? block : NULL;
    }
    if (found != NULL) {
        found->wfp_owned = 1;
        sim_block_count--;
    }
    pthread_mutex_unlock(&sim_books);
    return found != NULL;
}

void
sim_pool_free_by_wfp(void* memory)
{
    pthread_mutex_lock(&sim_books);
    free_block((sim_block*)memory - 1);
    pthread_mutex_unlock(&sim_books);
}

uint32_t
sim_live_allocations(void)
{
    return sim_block_count;
}

// ---- time ----

uint64_t
sim_now(void)
{
    struct timespec now;

    if (!sim_settings.real_clock) {
        return __atomic_load_n(&sim_manual_time, __ATOMIC_RELAXED);
    }
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 10000000u + (uint64_t)now.tv_nsec / 100u;
}

void
sim_advance(uint64_t hundred_ns)
{
    (void)__atomic_add_fetch(&sim_manual_time, hundred_ns, __ATOMIC_RELAXED);
}

ULONGLONG
KeQueryInterruptTime(void)
{
    return sim_now();
}

VOID
KeQuerySystemTime(PLARGE_INTEGER time)
{
    struct timespec now;

    if (!sim_settings.real_clock) {
        time->QuadPart = (LONGLONG)(SIM_EPOCH_1601 + sim_now());
        return;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    time->QuadPart = (LONGLONG)(SIM_EPOCH_1601 + (uint64_t)now.tv_sec * 10000000u + (uint64_t)now.tv_nsec / 100u);
}

NTSTATUS
KeDelayExecutionThread(KPROCESSOR_MODE mode, BOOLEAN alertable, PLARGE_INTEGER interval)
{
    (void)mode;
    (void)alertable;
    sim_require_irql(APC_LEVEL, "KeDelayExecutionThread");
    sim_slow_call("KeDelayExecutionThread");
    if (interval->QuadPart < 0) {
        struct timespec pause = {0, -interval->QuadPart * 100};

        if (sim_settings.real_clock) {
            (void)nanosleep(&pause, NULL);
        } else {
            sim_advance((uint64_t)-interval->QuadPart);
        }
    }
    return STATUS_SUCCESS;
}

// ---- processes ----

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
static const uint8_t sim_no_package[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};                  // S-1-0-0

void
sim_process_identity(uint32_t pid, const void* user_sid, const void* package_sid)
{
    PEPROCESS process = sim_process_find(pid);

    if (process != NULL) {
        sim_sid_copy(process->user_sid, user_sid == NULL ? sim_default_user : user_sid);
        sim_sid_copy(process->package_sid, package_sid == NULL ? sim_no_package : package_sid);
    }
}

void
sim_process_start(uint32_t pid, uint32_t parent, uint64_t start, const uint16_t* image, uint32_t image_bytes)
{
    PEPROCESS process;
    UNICODE_STRING name = {(USHORT)image_bytes, (USHORT)image_bytes, (PWCH)image};
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
    sim_sid_copy(process->user_sid, sim_default_user);
    sim_sid_copy(process->package_sid, sim_no_package);
    process->next = sim_processes;
    sim_processes = process;
    if (sim_notify != NULL) {
        PEPROCESS caller = sim_enter_process(sim_process_find(parent));

        info.Size = sizeof(info);
        info.ParentProcessId = (HANDLE)(uintptr_t)parent;
        info.ImageFileName = image == NULL ? NULL : &name;
        sim_notify(process, (HANDLE)(uintptr_t)pid, &info);
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

// ---- messages ----

ULONG
DbgPrintEx(ULONG component, ULONG level, PCSTR format, ...)
{
    va_list arguments;

    (void)component;
    (void)level;
    if (getenv("SIMWFP_DEBUG") != NULL) {
        va_start(arguments, format);
        (void)vfprintf(stderr, format, arguments);
        va_end(arguments);
    }
    return 0;
}

// ---- life ----

void
sim_kernel_reset(void)
{
    sim_irql = PASSIVE_LEVEL;
    sim_current = NULL;
    sim_manual_time = 10000000; // a clock that starts at 0 hides missing initialisation
    while (sim_processes != NULL) {
        sim_processes->alive = 0;
        sim_processes->driver_references = 0;
        reap(sim_processes);
    }
}

void
sim_kernel_check_unloaded(void)
{
    if (sim_notify != NULL) {
        sim_misuse("unloaded with the process notification registered: the next process event would crash");
        sim_notify = NULL;
    }
    if (sim_block_count != 0) {
        sim_misuse("unloaded with %u pool blocks allocated", sim_block_count);
    }
    for (PEPROCESS process = sim_processes; process != NULL; process = process->next) {
        if (process->driver_references != 0) {
            sim_misuse(
                "unloaded with %u references to the process of pid %u", process->driver_references, process->pid);
        }
    }
    if (sim_irql != PASSIVE_LEVEL) {
        sim_misuse("IRQL is %d after unload", sim_irql);
    }
}
