// The level that a thread runs at, spin locks, and calls that are forbidden while an exit path runs.
#include "sim.h"

static _Thread_local KIRQL sim_irql;
static _Thread_local const char* sim_forbidden; // where allocations and waits may not happen

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

// ---- life ----

void
sim_irql_reset(void)
{
    sim_irql = PASSIVE_LEVEL;
}

void
sim_irql_check_unloaded(void)
{
    if (sim_irql != PASSIVE_LEVEL) {
        sim_misuse("IRQL is %d after unload", sim_irql);
    }
}
