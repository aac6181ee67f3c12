// What was classified, for tests: layer, destination, flags, and the result.
#define _GNU_SOURCE
#include "classify.h"

#include <pthread.h>
#include <string.h>

#define SIM_TRACE_ROOM 256u

static pthread_mutex_t sim_trace_lock = PTHREAD_MUTEX_INITIALIZER;
static int sim_tracing;
static uint32_t sim_trace_count;
static sim_trace_entry sim_traced[SIM_TRACE_ROOM];

void
sim_trace_start(void)
{
    pthread_mutex_lock(&sim_trace_lock);
    sim_trace_count = 0;
    sim_tracing = 1;
    pthread_mutex_unlock(&sim_trace_lock);
}

void
sim_trace_reset(void)
{
    sim_tracing = 0;
    sim_trace_count = 0;
}

static const FWP_VALUE0*
value_of(const sim_classification* run, const GUID* key)
{
    static const FWP_VALUE0 empty = {.type = FWP_EMPTY};
    uint32_t field;
    sim_field_kind kind;

    return sim_field_of_key(run->values->layerId, key, &field, &kind) ? &run->values->incomingValue[field].value
                                                                      : &empty;
}

void
sim_trace_add(const sim_classification* run)
{
    sim_trace_entry* entry;
    const FWP_VALUE0* address = value_of(run, &FWPM_CONDITION_IP_REMOTE_ADDRESS);

    if (!sim_tracing) {
        return;
    }
    pthread_mutex_lock(&sim_trace_lock);
    if (sim_trace_count < SIM_TRACE_ROOM) {
        entry = &sim_traced[sim_trace_count++];
        memset(entry, 0, sizeof(*entry));
        entry->layer = run->values->layerId;
        entry->remote_port = value_of(run, &FWPM_CONDITION_IP_REMOTE_PORT)->uint16;
        entry->flags = value_of(run, &FWPM_CONDITION_FLAGS)->uint32;
        entry->reauthorize_reason = value_of(run, &FWPM_CONDITION_REAUTHORIZE_REASON)->type == FWP_UINT32
                                        ? value_of(run, &FWPM_CONDITION_REAUTHORIZE_REASON)->uint32
                                        : 0;
        entry->endpoint = run->metadata->transportEndpointHandle;
        if (address->type == FWP_BYTE_ARRAY16_TYPE) {
            memcpy(entry->remote_address, address->byteArray16, 16);
        } else {
            for (uint32_t i = 0; i < 4; i++) {
                entry->remote_address[i] = (uint8_t)(address->uint32 >> (24u - 8u * i));
            }
        }
        entry->result = *run->result;
    }
    pthread_mutex_unlock(&sim_trace_lock);
}

const sim_trace_entry*
sim_trace(uint32_t nth)
{
    return nth < sim_trace_count ? &sim_traced[nth] : NULL;
}
