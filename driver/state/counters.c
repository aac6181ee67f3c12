#include "counters.h"

static volatile LONG64 pm_counters[PM_COUNTER_COUNT];

_Use_decl_annotations_ void pm_count(uint32_t index) {
    if (index < PM_COUNTER_COUNT) {
        InterlockedIncrement64(&pm_counters[index]);
    }
}

void pm_counters_reset(void) {
    for (uint32_t i = 0; i < PM_COUNTER_COUNT; i++) {
        pm_counters[i] = 0;
    }
}

_Use_decl_annotations_ void pm_counters_read(uint64_t counters[PM_COUNTER_COUNT]) {
    for (uint32_t i = 0; i < PM_COUNTER_COUNT; i++) {
        counters[i] = (uint64_t)pm_counters[i];
    }
}
