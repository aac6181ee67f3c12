// The Base Filtering Engine as a service: its state, what survives a stop, what is enabled at a start.
#define _GNU_SOURCE
#include "classify.h"

#include <stdlib.h>
#include <string.h>

#define SIM_SERVICES 16u

sim_bfe_phase sim_phase;
static FWPM_SERVICE_STATE sim_bfe_state;
static FWPM_SERVICE_STATE_CHANGE_CALLBACK0 sim_bfe_callback;
static void* sim_bfe_context;
static uint16_t sim_auto_start[SIM_SERVICES][64];
static uint32_t sim_auto_start_count;

FWPM_SERVICE_STATE
FwpmBfeStateGet0(void)
{
    return sim_bfe_state;
}

NTSTATUS
FwpmBfeStateSubscribeChanges0(
    void* device, FWPM_SERVICE_STATE_CHANGE_CALLBACK0 callback, void* context, HANDLE* change)
{
    (void)device;
    sim_require_irql(PASSIVE_LEVEL, "FwpmBfeStateSubscribeChanges0");
    sim_slow_call("FwpmBfeStateSubscribeChanges0");
    if (sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    sim_bfe_callback = callback;
    sim_bfe_context = context;
    *change = &sim_bfe_callback;
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmBfeStateUnsubscribeChanges0(HANDLE change)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpmBfeStateUnsubscribeChanges0");
    if (change != &sim_bfe_callback || sim_bfe_callback == NULL) {
        sim_misuse("FwpmBfeStateUnsubscribeChanges0: no such subscription");
    }
    sim_bfe_callback = NULL;
    return STATUS_SUCCESS;
}

static void
tell_bfe_state(FWPM_SERVICE_STATE state)
{
    sim_bfe_state = state;
    if (sim_bfe_callback != NULL) {
        sim_bfe_callback(sim_bfe_context, state);
    }
}

// ---- what survives ----

static int
survives(const sim_object* object)
{
    return object->lifetime == SIM_PERSISTENT || object->lifetime == SIM_BOOT_TIME || object->lifetime == SIM_BUILTIN;
}

static void
delete_all(int also_survivors)
{
    for (int kind = SIM_FILTER; kind >= SIM_PROVIDER; kind--) {
        sim_object* next;

        for (sim_object* object = sim_objects; object != NULL; object = next) {
            next = object->next;
            if (object->kind == (sim_kind)kind && (also_survivors || !survives(object))) {
                if (object->kind == SIM_FILTER) {
                    sim_notify_deleted(object);
                }
                sim_object_refer(object, -1);
                sim_object_unlink(object);
                sim_object_free(object);
            }
        }
    }
}

// Atomic: between two phases no classify sees half of each (basic-operation.md: boot-time to persistent).
static void
enter_phase(sim_bfe_phase phase)
{
    sim_index_lock_exclusive();
    sim_phase = phase;
    for (sim_object* object = sim_objects; object != NULL; object = object->next) {
        if (object->kind == SIM_FILTER && object->indexed != sim_object_is_live(object)) {
            (object->indexed ? sim_index_remove : sim_index_add)(object);
        }
    }
    sim_index_publish();
    sim_index_unlock();
}

static int
starts_by_itself(const uint16_t* service)
{
    for (uint32_t i = 0; i < sim_auto_start_count; i++) {
        uint32_t at = 0;

        while (service[at] != 0 && service[at] == sim_auto_start[i][at]) {
            at++;
        }
        if (service[at] == sim_auto_start[i][at]) {
            return 1;
        }
    }
    return 0;
}

void
sim_service_auto_start(PCWSTR service)
{
    uint32_t at = 0;

    if (sim_auto_start_count == SIM_SERVICES) {
        sim_misuse("sim_service_auto_start: at most %u services", SIM_SERVICES);
        return;
    }
    for (; service[at] != 0 && at < 63; at++) {
        sim_auto_start[sim_auto_start_count][at] = service[at];
    }
    sim_auto_start[sim_auto_start_count++][at] = 0;
}

void
sim_bfe_start(void)
{
    for (sim_object* object = sim_objects; object != NULL; object = object->next) {
        const sim_object* provider = object->kind == SIM_PROVIDER ? object : object->provider;

        object->disabled = object->lifetime == SIM_PERSISTENT && provider != NULL && provider->service != NULL
                           && !starts_by_itself(provider->service);
    }
    enter_phase(SIM_BFE_RUNNING);
    tell_bfe_state(FWPM_SERVICE_RUNNING);
}

static void
stop(sim_bfe_phase phase)
{
    tell_bfe_state(FWPM_SERVICE_STOP_PENDING);
    sim_sessions_abort_all();
    enter_phase(phase);
    delete_all(0);
    tell_bfe_state(FWPM_SERVICE_STOPPED);
}

void
sim_bfe_stop(void)
{
    stop(SIM_BFE_STOPPED);
}

void
sim_machine_restart(void)
{
    sim_require_no_driver("sim_machine_restart");
    sim_sessions_close_all(); // nobody is left to close one
    stop(SIM_BFE_BOOT);
}

// ---- life ----

void
sim_engine_reset(void)
{
    FWPM_SUBLAYER0 described = {
        .subLayerKey = FWPM_SUBLAYER_UNIVERSAL, .displayData = {.name = (PWSTR)L"Universal"}, .weight = 0x8000};
    sim_object* universal;

    sim_sessions_close_all();
    enter_phase(SIM_BFE_STOPPED);
    delete_all(1);
    sim_index_reset();
    sim_callouts_reset();
    sim_results_reset();
    sim_bfe_callback = NULL;
    sim_auto_start_count = 0;
    sim_phase = sim_settings.bfe_stopped ? SIM_BFE_BOOT : SIM_BFE_RUNNING;
    sim_bfe_state = sim_settings.bfe_stopped ? FWPM_SERVICE_STOPPED : FWPM_SERVICE_RUNNING;
    universal = sim_allocate(sizeof(*universal));
    universal->kind = SIM_SUBLAYER;
    universal->key = FWPM_SUBLAYER_UNIVERSAL;
    universal->weight = 0x8000;
    universal->lifetime = SIM_BUILTIN;
    universal->original = sim_copy(SIM_SUBLAYER, &described, &universal->original_block);
    sim_object_link(universal);
}

// At the end of a machine: nothing of ours is kept either.
void
sim_engine_end(void)
{
    sim_sessions_close_all();
    enter_phase(SIM_BFE_STOPPED);
    delete_all(1);
    sim_index_reset();
    sim_callouts_reset();
    sim_results_check_unloaded();
    sim_results_reset();
}

void
sim_engine_check_unloaded(void)
{
    sim_callouts_check_unloaded();
    sim_results_check_unloaded();
    if (sim_bfe_callback != NULL) {
        sim_misuse("the BFE subscription is left after unload");
        sim_bfe_callback = NULL;
    }
    if (sim_sessions_of_kernel() != 0) {
        sim_misuse("an engine handle of the driver is left open after unload");
    }
}
