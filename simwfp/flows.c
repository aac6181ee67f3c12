// Redirected flows: who redirected each, and the contexts that WFP keeps for as long as the flow lives.
#define _GNU_SOURCE
#include "connection.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SIM_FLOW_BUCKETS 1024u

typedef struct sim_flow {
    uint64_t id;
    sim_records records;
    uint32_t own_from; // records from this index on are this flow's own: their contexts are freed with it
    struct sim_flow* next;
} sim_flow;

static pthread_mutex_t sim_flow_lock = PTHREAD_MUTEX_INITIALIZER;
static sim_flow* sim_flows[SIM_FLOW_BUCKETS];
static uint64_t sim_next_flow;

static sim_flow**
flow_slot(uint64_t id)
{
    sim_flow** at = &sim_flows[id % SIM_FLOW_BUCKETS];

    while (*at != NULL && (*at)->id != id) {
        at = &(*at)->next;
    }
    return at;
}

static void
free_flow(sim_flow* flow)
{
    for (uint32_t i = flow->own_from; i < flow->records.count; i++) {
        if (flow->records.entries[i].context != NULL) {
            sim_pool_free_by_wfp(flow->records.entries[i].context);
        }
    }
    free(flow);
}

void
sim_flow_close(uint64_t id)
{
    sim_flow** at;
    sim_flow* flow;

    pthread_mutex_lock(&sim_flow_lock);
    at = flow_slot(id);
    flow = *at;
    if (flow != NULL) {
        *at = flow->next;
        free_flow(flow);
    }
    pthread_mutex_unlock(&sim_flow_lock);
}

uint32_t
sim_flow_context(uint64_t id, void* out, uint32_t out_size)
{
    uint32_t size = 0;
    const sim_flow* flow;

    pthread_mutex_lock(&sim_flow_lock);
    flow = *flow_slot(id);
    if (flow != NULL && flow->records.entries[flow->records.count - 1].context != NULL) {
        size = (uint32_t)flow->records.entries[flow->records.count - 1].size;
        if (size <= out_size) {
            memcpy(out, flow->records.entries[flow->records.count - 1].context, size);
        }
    }
    pthread_mutex_unlock(&sim_flow_lock);
    return size;
}

// Turns the applied versions into a flow with records; 0: nobody redirected.
uint64_t
sim_flow_new(const sim_pending* pending, const sim_records* inherited)
{
    sim_flow* flow = sim_allocate(sizeof(*flow));

    flow->records = *inherited;
    flow->own_from = inherited->count;
    for (uint32_t i = 1; i < pending->version_count && flow->records.count < SIM_MAX_RECORDS; i++) {
        const FWPS_CONNECT_REQUEST0* version = pending->versions[i];

        if (version->localRedirectHandle != NULL) {
            uint32_t at = flow->records.count++;

            flow->records.entries[at].handle = version->localRedirectHandle;
            flow->records.entries[at].context = version->localRedirectContext;
            flow->records.entries[at].size = version->localRedirectContextSize;
        }
    }
    if (flow->records.count == flow->own_from) {
        free(flow);
        return 0;
    }
    pthread_mutex_lock(&sim_flow_lock);
    flow->id = ++sim_next_flow;
    flow->next = sim_flows[flow->id % SIM_FLOW_BUCKETS];
    sim_flows[flow->id % SIM_FLOW_BUCKETS] = flow;
    pthread_mutex_unlock(&sim_flow_lock);
    return flow->id;
}

void
sim_flow_records(uint64_t flow_id, sim_records* records)
{
    const sim_flow* flow;

    memset(records, 0, sizeof(*records));
    pthread_mutex_lock(&sim_flow_lock);
    flow = flow_id == 0 ? NULL : *flow_slot(flow_id);
    if (flow != NULL) {
        *records = flow->records;
    }
    pthread_mutex_unlock(&sim_flow_lock);
}

void
sim_flows_reset(void)
{
    for (uint32_t i = 0; i < SIM_FLOW_BUCKETS; i++) {
        while (sim_flows[i] != NULL) {
            sim_flow_close(sim_flows[i]->id);
        }
    }
}
