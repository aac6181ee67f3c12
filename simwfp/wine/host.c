// The platform under simwfp's engine, on Wine's kernel instead of the simulated one: memory, and empty hands where only
// the full simulation can keep books.  What is not checked here (IRQL, pool ownership) is checked by the C tests on the host.
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIM_TAG 0x6D695353u // "SSim"

sim_knobs sim_settings;

// A kernel has no environment to read knobs from.
void
sim_knobs_set(const sim_knobs* knobs)
{
    static const sim_knobs defaults = {.acquire_sets_block = 1};

    sim_settings = knobs == NULL ? defaults : *knobs;
}

void*
malloc(size_t size)
{
    return ExAllocatePoolWithTag(NonPagedPoolNx, size == 0 ? 1 : size, SIM_TAG);
}

void*
calloc(size_t count, size_t size)
{
    void* block = count != 0 && size > SIZE_MAX / count ? NULL : malloc(count * size);

    if (block != NULL) {
        memset(block, 0, count * size);
    }
    return block;
}

void
free(void* block)
{
    if (block != NULL) {
        ExFreePoolWithTag(block, SIM_TAG);
    }
}

void
abort(void)
{
    __builtin_trap(); // ends winedevice.exe, which the test sees as a driver that is gone
}

int
vsnprintf(char* to, size_t size, const char* format, va_list arguments)
{
    int written = _vsnprintf(to, size - 1, format, arguments);

    to[size - 1] = 0;
    return written;
}

// Of all of simwfp only the engine is here: its clock, and the books of a driver that Wine's kernel keeps.
uint64_t
sim_now(void)
{
    return KeQueryInterruptTime();
}

void
sim_slow_call(const char* call)
{
    (void)call;
}

const void*
sim_driver_device(void)
{
    return NULL; // Wine's ntoskrnl.exe knows it
}

void
sim_require_no_driver(const char* call)
{
    (void)call;
}

// Wine's IRQL is always 0.
void
sim_require_irql(KIRQL highest, const char* call)
{
    (void)highest;
    (void)call;
}

KIRQL
sim_raise_irql(KIRQL level)
{
    (void)level;
    return PASSIVE_LEVEL;
}

void
sim_lower_irql(KIRQL level)
{
    (void)level;
}

// The current process is the one whose IRP is being served: Wine knows it.
PEPROCESS
sim_enter_process(PEPROCESS process)
{
    (void)process;
    return NULL;
}

// Only asked whether the caller of an engine exists.  It does: it is the one that asks.
PEPROCESS
sim_process_find(uint32_t pid)
{
    (void)pid;
    return PsGetCurrentProcess();
}

// A proxy runs as an administrator; who the user is under Wine, no filter asks.
sim_token
sim_token_of(uint32_t pid)
{
    static const uint8_t administrators[] = {1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0};
    static const uint8_t nobody[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    sim_token token = {.group_count = 1};

    (void)pid;
    memcpy(token.user_sid, nobody, sizeof(nobody));
    memcpy(token.package_sid, nobody, sizeof(nobody));
    memcpy(token.groups[0], administrators, sizeof(administrators));
    return token;
}

// A redirect context came from Wine's pool and goes back there.
int
sim_pool_give_to_wfp(void* block, SIZE_T size)
{
    return block != NULL && size != 0;
}

void
sim_pool_free_by_wfp(void* block)
{
    ExFreePoolWithTag(block, 0);
}
