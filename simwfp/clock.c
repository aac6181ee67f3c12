// Time, which stands still between calls unless the real clock is asked for, and the debugger's messages.
#define _GNU_SOURCE
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SIM_EPOCH_1601 116444736000000000ull // 100 ns from 1601-01-01 to 1970-01-01

static uint64_t sim_manual_time;

void
sim_clock_reset(void)
{
    sim_manual_time = 10000000; // a clock that starts at 0 hides missing initialisation
}

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
