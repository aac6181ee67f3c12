// Memory that the filter engine hands to its callers: theirs until FwpmFreeMemory0, and counted.
#define _GNU_SOURCE
#include "objects.h"

#include <stdlib.h>

typedef struct sim_result {
    void* pointer; // what the caller has
    void* block;   // what is freed
    uint32_t pid;  // 0: the kernel's
    struct sim_result* next;
} sim_result;

static sim_result* sim_results;

void
sim_result_give(uint32_t pid, void* pointer, void* block)
{
    sim_result* result = sim_allocate(sizeof(*result));

    *result = (sim_result){pointer, block, pid, sim_results};
    sim_results = result;
}

static void
free_at(sim_result** at)
{
    sim_result* result = *at;

    *at = result->next;
    free(result->block);
    free(result);
}

VOID
FwpmFreeMemory0(PVOID* p)
{
    sim_result** at = &sim_results;

    if (p == NULL || *p == NULL) {
        return;
    }
    while (*at != NULL && (*at)->pointer != *p) {
        at = &(*at)->next;
    }
    if (*at == NULL) {
        sim_misuse("FwpmFreeMemory0: not memory of the filter engine, or freed already");
        return;
    }
    free_at(at);
    *p = NULL;
}

void
sim_results_of_process_exited(uint32_t pid)
{
    sim_result** at = &sim_results;

    while (*at != NULL) {
        if ((*at)->pid == pid) {
            free_at(at);
        } else {
            at = &(*at)->next;
        }
    }
}

uint32_t
sim_live_results(void)
{
    uint32_t count = 0;

    for (const sim_result* result = sim_results; result != NULL; result = result->next) {
        count++;
    }
    return count;
}

void
sim_results_check_unloaded(void)
{
    uint32_t count = 0;

    for (const sim_result* result = sim_results; result != NULL; result = result->next) {
        count += result->pid == 0;
    }
    if (count != 0) {
        sim_misuse("%u results of the filter engine were not given to FwpmFreeMemory0", count);
    }
}

void
sim_results_reset(void)
{
    while (sim_results != NULL) {
        free_at(&sim_results);
    }
}
