// Callout functions: registering, notifications about filters, contexts on flows, and when one may go.
#define _GNU_SOURCE
#include "classify.h"

#include <pthread.h>
#include <stdlib.h>

#define SIM_CALLOUTS 64u

typedef struct sim_flow_context_entry {
    uint64_t flow;
    uint16_t layer;
    uint32_t callout;
    uint64_t context;
    struct sim_flow_context_entry* next;
} sim_flow_context_entry;

static sim_callout_function sim_functions[SIM_CALLOUTS];
static uint32_t sim_next_callout_id;
static pthread_mutex_t sim_context_lock = PTHREAD_MUTEX_INITIALIZER;
static sim_flow_context_entry* sim_flow_contexts;

static sim_callout_function*
by_id(uint32_t id)
{
    for (uint32_t i = 0; i < SIM_CALLOUTS; i++) {
        if (sim_functions[i].used && sim_functions[i].id == id) {
            return &sim_functions[i];
        }
    }
    return NULL;
}

sim_callout_function*
sim_callout_of(const GUID* key)
{
    for (uint32_t i = 0; i < SIM_CALLOUTS; i++) {
        if (sim_functions[i].used && sim_is_equal_guid(&sim_functions[i].callout.calloutKey, key)) {
            return &sim_functions[i];
        }
    }
    return NULL;
}

NTSTATUS
FwpsCalloutRegister2(void* device, const FWPS_CALLOUT2* callout, UINT32* id)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpsCalloutRegister2");
    sim_slow_call("FwpsCalloutRegister2");
    if (device == NULL || callout->classifyFn == NULL || callout->notifyFn == NULL) {
        sim_misuse("FwpsCalloutRegister2: device object, classifyFn and notifyFn are needed");
        return STATUS_INVALID_PARAMETER;
    }
    if (sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (sim_callout_of(&callout->calloutKey) != NULL) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    for (uint32_t i = 0; i < SIM_CALLOUTS; i++) {
        if (!sim_functions[i].used) {
            sim_index_lock_exclusive();
            sim_functions[i] = (sim_callout_function){1, *callout, ++sim_next_callout_id, device, 0, 0};
            sim_index_unlock();
            *id = sim_functions[i].id;
            return STATUS_SUCCESS;
        }
    }
    return STATUS_INSUFFICIENT_RESOURCES;
}

// Waits for every classify in flight; a context on a flow or a pended classify makes it busy.
static NTSTATUS
unregister(sim_callout_function* function)
{
    NTSTATUS status = STATUS_DEVICE_BUSY;

    if (function == NULL) {
        return STATUS_FWP_CALLOUT_NOT_FOUND;
    }
    if (sim_fails_now()) {
        return STATUS_DEVICE_BUSY;
    }
    if (sim_unregister_answer(&status)) {
        return status;
    }
    sim_index_lock_exclusive();
    if (function->flows == 0 && function->pended == 0) {
        function->used = 0;
        status = STATUS_SUCCESS;
    }
    sim_index_unlock();
    return status;
}

NTSTATUS
FwpsCalloutUnregisterById0(const UINT32 id)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpsCalloutUnregisterById0");
    sim_slow_call("FwpsCalloutUnregisterById0");
    return unregister(by_id(id));
}

NTSTATUS
FwpsCalloutUnregisterByKey0(const GUID* key)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpsCalloutUnregisterByKey0");
    sim_slow_call("FwpsCalloutUnregisterByKey0");
    return unregister(sim_callout_of(key));
}

// ---- notifications (processing-notify-callouts.md) ----

static sim_callout_function*
function_of(const sim_object* filter)
{
    return filter->callout == NULL ? NULL : sim_callout_of(&filter->callout->key);
}

NTSTATUS
sim_notify_added(sim_object* filter)
{
    const sim_callout_function* function = function_of(filter);

    if (function == NULL || (function->callout.flags & FWP_CALLOUT_FLAG_ENABLE_COMMIT_ADD_NOTIFY) != 0) {
        return STATUS_SUCCESS;
    }
    return NT_SUCCESS(function->callout.notifyFn(FWPS_CALLOUT_NOTIFY_ADD_FILTER, &filter->key, &filter->run_time))
               ? STATUS_SUCCESS
               : STATUS_FWP_CALLOUT_NOTIFICATION_FAILED;
}

void
sim_notify_committed(sim_object* filter)
{
    const sim_callout_function* function = function_of(filter);

    if (function != NULL && (function->callout.flags & FWP_CALLOUT_FLAG_ENABLE_COMMIT_ADD_NOTIFY) != 0) {
        (void)function->callout.notifyFn(
            FWPS_CALLOUT_NOTIFY_ADD_FILTER_POST_COMMIT, &filter->key, &filter->run_time);
    }
}

void
sim_notify_deleted(sim_object* filter)
{
    const sim_callout_function* function = function_of(filter);

    if (function != NULL) { // also for a filter that was there before the function: without key, its answer ignored
        (void)function->callout.notifyFn(FWPS_CALLOUT_NOTIFY_DELETE_FILTER, NULL, &filter->run_time);
    }
}

// ---- flow contexts ----

static sim_flow_context_entry**
context_at(uint64_t flow, uint16_t layer, uint32_t callout)
{
    sim_flow_context_entry** at = &sim_flow_contexts;

    while (*at != NULL && !((*at)->flow == flow && (*at)->layer == layer && (*at)->callout == callout)) {
        at = &(*at)->next;
    }
    return at;
}

uint64_t
sim_flow_context_of(uint64_t flow, uint16_t layer, uint32_t callout)
{
    const sim_flow_context_entry* entry;
    uint64_t context;

    if (__atomic_load_n(&sim_flow_contexts, __ATOMIC_RELAXED) == NULL) {
        return 0;
    }
    pthread_mutex_lock(&sim_context_lock);
    entry = *context_at(flow, layer, callout);
    context = entry == NULL ? 0 : entry->context;
    pthread_mutex_unlock(&sim_context_lock);
    return context;
}

NTSTATUS
FwpsFlowAssociateContext0(UINT64 flow, UINT16 layer, UINT32 callout, UINT64 context)
{
    sim_callout_function* function = by_id(callout);
    sim_flow_context_entry** at;
    NTSTATUS status = STATUS_OBJECT_NAME_EXISTS;

    sim_require_irql(DISPATCH_LEVEL, "FwpsFlowAssociateContext0");
    if (context == 0 || function == NULL || function->callout.flowDeleteFn == NULL) {
        return STATUS_INVALID_PARAMETER;
    }
    pthread_mutex_lock(&sim_context_lock);
    at = context_at(flow, layer, callout);
    if (*at == NULL) {
        *at = sim_allocate(sizeof(**at));
        **at = (sim_flow_context_entry){flow, layer, callout, context, NULL};
        function->flows++;
        status = STATUS_SUCCESS;
    }
    pthread_mutex_unlock(&sim_context_lock);
    return status;
}

static void
end_context(sim_flow_context_entry** at)
{
    sim_flow_context_entry* entry = *at;
    sim_callout_function* function = by_id(entry->callout);

    *at = entry->next;
    if (function != NULL) {
        function->flows--;
        function->callout.flowDeleteFn(entry->layer, entry->callout, entry->context);
    }
    free(entry);
}

NTSTATUS
FwpsFlowRemoveContext0(UINT64 flow, UINT16 layer, UINT32 callout)
{
    sim_flow_context_entry** at;
    NTSTATUS status = STATUS_UNSUCCESSFUL;

    sim_require_irql(DISPATCH_LEVEL, "FwpsFlowRemoveContext0");
    pthread_mutex_lock(&sim_context_lock);
    at = context_at(flow, layer, callout);
    if (*at != NULL) {
        end_context(at);
        status = STATUS_SUCCESS;
    }
    pthread_mutex_unlock(&sim_context_lock);
    return status;
}

void
sim_flow_contexts_delete(uint64_t flow)
{
    sim_flow_context_entry** at = &sim_flow_contexts;

    pthread_mutex_lock(&sim_context_lock);
    while (*at != NULL) {
        if ((*at)->flow == flow) {
            end_context(at);
        } else {
            at = &(*at)->next;
        }
    }
    pthread_mutex_unlock(&sim_context_lock);
}

// ---- life ----

void
sim_callouts_reset(void)
{
    while (sim_flow_contexts != NULL) {
        sim_flow_context_entry* entry = sim_flow_contexts;

        sim_flow_contexts = entry->next;
        free(entry);
    }
    for (uint32_t i = 0; i < SIM_CALLOUTS; i++) {
        sim_functions[i].used = 0;
    }
}

void
sim_callouts_check_unloaded(void)
{
    for (uint32_t i = 0; i < SIM_CALLOUTS; i++) {
        if (sim_functions[i].used && sim_functions[i].device == sim_driver_device()) {
            sim_misuse("a callout function is registered after unload: the next connect would crash");
            sim_functions[i].used = 0;
        }
    }
}
