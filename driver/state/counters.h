// One counter per reason, and a few more: monotonic since the driver was loaded.
#ifndef PM_COUNTERS_H
#define PM_COUNTERS_H

#include "platform.h"
#include "pointsman_abi.h"

// `index` is a pm_reason or a pm_counter.
_IRQL_requires_max_(DISPATCH_LEVEL) void pm_count(_In_ uint32_t index);

void pm_counters_reset(void); // at load: static memory outlives an unload in the host library
void pm_counters_read(_Out_ uint64_t counters[PM_COUNTER_COUNT]);

#endif
