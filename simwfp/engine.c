// The Base Filtering Engine: sessions, transactions, objects, lifetimes, references (wfp-engine.md 1), and the sorted
// view of filters that classify reads.
//
// A change inside a transaction is marked on the object (added_by, deleted_by) and becomes real, or goes away, at its
// end: so an abort needs no undo log, and other sessions see nothing before the commit.
#define _GNU_SOURCE
#include "sim.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SIM_LAYERS 4u
#define SIM_CALLOUTS 32u
#define SIM_AUTO_WEIGHT_BITS 60u

struct sim_session {
    uint32_t pid; // 0: kernel
    int dynamic;
    int in_transaction;
    int read_only;
    struct sim_session* next;
};

static const uint16_t sim_view_layers[SIM_LAYERS] = {
    FWPS_LAYER_ALE_CONNECT_REDIRECT_V4, FWPS_LAYER_ALE_CONNECT_REDIRECT_V6, FWPS_LAYER_ALE_AUTH_CONNECT_V4,
    FWPS_LAYER_ALE_AUTH_CONNECT_V6};

static pthread_rwlock_t sim_engine_lock = PTHREAD_RWLOCK_INITIALIZER;
static sim_session* sim_sessions;
static sim_session* sim_writer; // session that holds the write transaction
static sim_object* sim_objects;
static sim_layer_view sim_views[SIM_LAYERS];
static sim_callout_function sim_functions[SIM_CALLOUTS];
static uint64_t sim_next_filter_id;
static uint64_t sim_next_order;
static uint32_t sim_next_callout_id;
static FWPM_SERVICE_STATE sim_bfe_state;
static FWPM_SERVICE_STATE_CHANGE_CALLBACK0 sim_bfe_callback;
static void* sim_bfe_context;

// ---- BFE ----

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

// ---- objects ----

static int
is_visible(const sim_object* object, const sim_session* session)
{
    if (object->added_by != NULL && object->added_by != session) {
        return 0;
    }
    return object->deleted_by == NULL || object->deleted_by != session;
}

static sim_object*
find(sim_kind kind, const GUID* key, const sim_session* session)
{
    for (sim_object* object = sim_objects; object != NULL; object = object->next) {
        if (object->kind == kind && sim_is_equal_guid(&object->key, key) && is_visible(object, session)) {
            return object;
        }
    }
    return NULL;
}

static void
notify_filter(const sim_object* filter, FWPS_CALLOUT_NOTIFY_TYPE type)
{
    const sim_callout_function* function = filter->callout == NULL ? NULL : sim_engine_callout(&filter->callout->key);

    if (function != NULL) {
        (void)function->callout.notifyFn(
            type, type == FWPS_CALLOUT_NOTIFY_ADD_FILTER ? &filter->key : NULL, (FWPS_FILTER2*)&filter->run_time);
    }
}

static void
unlink_object(sim_object* object)
{
    sim_object** at = &sim_objects;

    while (*at != object) {
        at = &(*at)->next;
    }
    *at = object->next;
    if (object->kind == SIM_FILTER) {
        notify_filter(object, FWPS_CALLOUT_NOTIFY_DELETE_FILTER);
    }
    for (uint32_t i = 0; i < object->condition_count; i++) {
        sim_condition_free(&object->conditions[i]);
    }
    free(object->conditions);
    free(object);
}

static void
link_object(sim_object* object, sim_session* session)
{
    object->order = sim_next_order++;
    object->added_by = session->in_transaction ? session : NULL;
    object->dynamic = session->dynamic ? session : NULL;
    object->next = sim_objects;
    sim_objects = object;
}

// ---- the view that classify reads ----

// Ties are nobody's to rely on: a seed shuffles them, 0 keeps the order of adding.
static uint64_t
tie_key(const sim_object* object)
{
    uint64_t x = object->order;

    if (sim_settings.tie_seed == 0) {
        return x;
    }
    x = (x + sim_settings.tie_seed) * 0x9E3779B97F4A7C15ull;
    return x ^ x >> 29;
}

static int
heavier(uint64_t a, uint64_t b, uint64_t tie_a, uint64_t tie_b)
{
    if (a != b) {
        return a > b ? -1 : 1;
    }
    return tie_a < tie_b ? -1 : tie_a > tie_b;
}

static int
by_arbitration(const void* left, const void* right)
{
    const sim_object* a = *(sim_object* const*)left;
    const sim_object* b = *(sim_object* const*)right;

    if (a->sublayer != b->sublayer) {
        return heavier(a->sublayer->weight, b->sublayer->weight, tie_key(a->sublayer), tie_key(b->sublayer));
    }
    return heavier(a->filter_weight, b->filter_weight, tie_key(a), tie_key(b));
}

static void
rebuild_views(void)
{
    for (uint32_t layer = 0; layer < SIM_LAYERS; layer++) {
        sim_layer_view* view = &sim_views[layer];
        uint32_t count = 0;

        for (sim_object* object = sim_objects; object != NULL; object = object->next) {
            count += object->kind == SIM_FILTER && object->layer == sim_view_layers[layer] && object->added_by == NULL;
        }
        free(view->filters);
        view->filters = count == 0 ? NULL : sim_allocate(count * sizeof(*view->filters));
        view->count = 0;
        for (sim_object* object = sim_objects; object != NULL; object = object->next) {
            if (object->kind == SIM_FILTER && object->layer == sim_view_layers[layer] && object->added_by == NULL) {
                view->filters[view->count++] = object;
            }
        }
        if (count > 1) {
            qsort(view->filters, count, sizeof(*view->filters), by_arbitration);
        }
    }
}

const sim_layer_view*
sim_engine_view(uint16_t layer)
{
    for (uint32_t i = 0; i < SIM_LAYERS; i++) {
        if (sim_view_layers[i] == layer) {
            return &sim_views[i];
        }
    }
    return NULL;
}

void
sim_engine_lock_shared(void)
{
    pthread_rwlock_rdlock(&sim_engine_lock);
}

void
sim_engine_unlock(void)
{
    pthread_rwlock_unlock(&sim_engine_lock);
}

static void
lock_exclusive(void)
{
    pthread_rwlock_wrlock(&sim_engine_lock);
}

// ---- sessions and transactions ----

static sim_session*
session_of(HANDLE engine)
{
    for (sim_session* session = sim_sessions; session != NULL; session = session->next) {
        if (session == engine) {
            return session;
        }
    }
    return NULL;
}

static NTSTATUS
open_session(uint32_t pid, const FWPM_SESSION0* from, HANDLE* engine)
{
    sim_session* session;

    if (sim_bfe_state != FWPM_SERVICE_RUNNING) {
        return STATUS_NOT_SUPPORTED;
    }
    if (sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    session = sim_allocate(sizeof(*session));
    session->pid = pid;
    session->dynamic = from != NULL && (from->flags & FWPM_SESSION_FLAG_DYNAMIC) != 0;
    session->next = sim_sessions;
    sim_sessions = session;
    *engine = session;
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmEngineOpen0(PCWSTR server, UINT32 authn, PVOID identity, const FWPM_SESSION0* session, HANDLE* engine)
{
    (void)authn;
    sim_require_irql(PASSIVE_LEVEL, "FwpmEngineOpen0");
    if (server != NULL || identity != NULL) {
        return STATUS_INVALID_PARAMETER;
    }
    return open_session(0, session, engine);
}

static void
end_transaction(sim_session* session, int commit)
{
    sim_object* next;

    for (sim_object* object = sim_objects; object != NULL; object = next) {
        next = object->next;
        if (object->added_by == session) {
            object->added_by = NULL;
            if (!commit) {
                object->deleted_by = session;
            }
        } else if (object->deleted_by == session && !commit) {
            object->deleted_by = NULL;
        }
    }
    // Filters first: what they refer to must outlive them.
    for (int kind = SIM_FILTER; kind >= SIM_PROVIDER; kind--) {
        for (sim_object* object = sim_objects; object != NULL; object = next) {
            next = object->next;
            if (object->kind == (sim_kind)kind && object->deleted_by == session) {
                unlink_object(object);
            }
        }
    }
    session->in_transaction = 0;
    session->read_only = 0;
    if (sim_writer == session) {
        sim_writer = NULL;
    }
    rebuild_views();
}

static void
close_session(sim_session* session)
{
    sim_session** at = &sim_sessions;

    lock_exclusive();
    if (session->in_transaction) {
        end_transaction(session, 0);
    }
    for (sim_object* object = sim_objects; object != NULL; object = object->next) {
        if (object->dynamic == session) {
            object->deleted_by = session;
        }
    }
    end_transaction(session, 1);
    while (*at != session) {
        at = &(*at)->next;
    }
    *at = session->next;
    free(session);
    sim_engine_unlock();
}

NTSTATUS
FwpmEngineClose0(HANDLE engine)
{
    sim_session* session = session_of(engine);

    sim_require_irql(PASSIVE_LEVEL, "FwpmEngineClose0");
    if (session == NULL) {
        sim_misuse("FwpmEngineClose0: not an open engine handle");
        return STATUS_INVALID_HANDLE;
    }
    close_session(session);
    return STATUS_SUCCESS;
}

static NTSTATUS
begin(sim_session* session, uint32_t flags)
{
    if (session == NULL) {
        return STATUS_INVALID_HANDLE;
    }
    if (session->in_transaction) {
        return STATUS_FWP_TXN_IN_PROGRESS;
    }
    if (sim_fails_now() || (sim_writer != NULL && (flags & FWPM_TXN_READ_ONLY) == 0)) {
        return STATUS_FWP_TIMEOUT; // Windows waits first; one thread could wait for ever
    }
    session->in_transaction = 1;
    session->read_only = (flags & FWPM_TXN_READ_ONLY) != 0;
    if (!session->read_only) {
        sim_writer = session;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS
finish(sim_session* session, int commit)
{
    if (session == NULL) {
        return STATUS_INVALID_HANDLE;
    }
    if (!session->in_transaction) {
        return STATUS_FWP_NO_TXN_IN_PROGRESS;
    }
    if (commit && sim_fails_now()) {
        return STATUS_ACCESS_DENIED; // observed on Windows
    }
    lock_exclusive();
    end_transaction(session, commit);
    sim_engine_unlock();
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmTransactionBegin0(HANDLE engine, UINT32 flags)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpmTransactionBegin0");
    return begin(session_of(engine), flags);
}

NTSTATUS
FwpmTransactionCommit0(HANDLE engine)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpmTransactionCommit0");
    return finish(session_of(engine), 1);
}

NTSTATUS
FwpmTransactionAbort0(HANDLE engine)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpmTransactionAbort0");
    return finish(session_of(engine), 0);
}

// What every write asks first.
static NTSTATUS
may_write(const sim_session* session)
{
    if (session == NULL) {
        return STATUS_INVALID_HANDLE;
    }
    if (sim_bfe_state != FWPM_SERVICE_RUNNING) {
        return STATUS_NOT_SUPPORTED;
    }
    if (session->read_only) {
        return STATUS_FWP_INCOMPATIBLE_TXN;
    }
    if (sim_writer != NULL && sim_writer != session) {
        return STATUS_FWP_TIMEOUT;
    }
    return sim_fails_now() ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
}

static void
added(sim_object* object, sim_session* session)
{
    lock_exclusive();
    link_object(object, session);
    if (!session->in_transaction) {
        rebuild_views();
    }
    sim_engine_unlock();
}

static NTSTATUS
delete_object(sim_session* session, sim_object* object, NTSTATUS not_found)
{
    NTSTATUS status = may_write(session);
    sim_object* reference;

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (object == NULL) {
        return not_found;
    }
    if (session->dynamic && object->dynamic != session) {
        return object->dynamic == NULL ? STATUS_FWP_DYNAMIC_SESSION_IN_PROGRESS : STATUS_FWP_WRONG_SESSION;
    }
    for (reference = object->kind == SIM_FILTER ? NULL : sim_objects; reference != NULL; reference = reference->next) {
        int refers = reference->provider == object || reference->sublayer == object || reference->callout == object;
        if (refers && is_visible(reference, session)) {
            return STATUS_FWP_IN_USE;
        }
    }
    lock_exclusive();
    object->deleted_by = session;
    if (!session->in_transaction) {
        end_transaction(session, 1);
    }
    sim_engine_unlock();
    return STATUS_SUCCESS;
}

// A dynamic object may refer to static ones and to its own session's; a static one to static ones only.
static int
outlives(const sim_object* target, const sim_session* session)
{
    return target->dynamic == NULL || (session->dynamic && target->dynamic == session);
}

static NTSTATUS
refer(sim_kind kind, const GUID* key, const sim_session* session, NTSTATUS not_found, sim_object** target)
{
    *target = NULL;
    if (key == NULL) {
        return STATUS_SUCCESS;
    }
    *target = find(kind, key, session);
    if (*target == NULL) {
        return not_found;
    }
    return outlives(*target, session) ? STATUS_SUCCESS : STATUS_FWP_LIFETIME_MISMATCH;
}

// ---- providers, sublayers, callouts ----

NTSTATUS
FwpmProviderAdd0(HANDLE engine, const FWPM_PROVIDER0* provider, PSECURITY_DESCRIPTOR sd)
{
    sim_session* session = session_of(engine);
    NTSTATUS status = may_write(session);
    sim_object* object;

    (void)sd;
    sim_require_irql(PASSIVE_LEVEL, "FwpmProviderAdd0");
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (provider->displayData.name == NULL) {
        return STATUS_FWP_NULL_DISPLAY_NAME;
    }
    if (find(SIM_PROVIDER, &provider->providerKey, session) != NULL) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    object = sim_allocate(sizeof(*object));
    object->kind = SIM_PROVIDER;
    object->key = provider->providerKey;
    added(object, session);
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmProviderDeleteByKey0(HANDLE engine, const GUID* key)
{
    sim_session* session = session_of(engine);

    sim_require_irql(PASSIVE_LEVEL, "FwpmProviderDeleteByKey0");
    return delete_object(session, find(SIM_PROVIDER, key, session), STATUS_FWP_PROVIDER_NOT_FOUND);
}

NTSTATUS
FwpmSubLayerAdd0(HANDLE engine, const FWPM_SUBLAYER0* sublayer, PSECURITY_DESCRIPTOR sd)
{
    sim_session* session = session_of(engine);
    NTSTATUS status = may_write(session);
    sim_object* provider = NULL;
    sim_object* object;

    (void)sd;
    sim_require_irql(PASSIVE_LEVEL, "FwpmSubLayerAdd0");
    if (NT_SUCCESS(status)) {
        status = refer(SIM_PROVIDER, sublayer->providerKey, session, STATUS_FWP_PROVIDER_NOT_FOUND, &provider);
    }
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (sublayer->displayData.name == NULL) {
        return STATUS_FWP_NULL_DISPLAY_NAME;
    }
    if (find(SIM_SUBLAYER, &sublayer->subLayerKey, session) != NULL) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    object = sim_allocate(sizeof(*object));
    object->kind = SIM_SUBLAYER;
    object->key = sublayer->subLayerKey;
    object->weight = sublayer->weight;
    object->provider = provider;
    added(object, session);
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmSubLayerDeleteByKey0(HANDLE engine, const GUID* key)
{
    sim_session* session = session_of(engine);

    sim_require_irql(PASSIVE_LEVEL, "FwpmSubLayerDeleteByKey0");
    return delete_object(session, find(SIM_SUBLAYER, key, session), STATUS_FWP_SUBLAYER_NOT_FOUND);
}

NTSTATUS
FwpmCalloutAdd0(HANDLE engine, const FWPM_CALLOUT0* callout, PSECURITY_DESCRIPTOR sd, UINT32* id)
{
    sim_session* session = session_of(engine);
    NTSTATUS status = may_write(session);
    sim_object* provider = NULL;
    sim_object* object;
    uint16_t layer = 0;

    (void)sd;
    sim_require_irql(PASSIVE_LEVEL, "FwpmCalloutAdd0");
    if (NT_SUCCESS(status)) {
        status = refer(SIM_PROVIDER, callout->providerKey, session, STATUS_FWP_PROVIDER_NOT_FOUND, &provider);
    }
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (callout->displayData.name == NULL) {
        return STATUS_FWP_NULL_DISPLAY_NAME;
    }
    if (!sim_layer_of_key(&callout->applicableLayer, &layer)) {
        return STATUS_FWP_LAYER_NOT_FOUND;
    }
    if (find(SIM_CALLOUT, &callout->calloutKey, session) != NULL) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    object = sim_allocate(sizeof(*object));
    object->kind = SIM_CALLOUT;
    object->key = callout->calloutKey;
    object->layer = layer;
    object->provider = provider;
    added(object, session);
    if (id != NULL) {
        *id = (UINT32)object->order;
    }
    return STATUS_SUCCESS;
}

NTSTATUS
FwpmCalloutDeleteByKey0(HANDLE engine, const GUID* key)
{
    sim_session* session = session_of(engine);

    sim_require_irql(PASSIVE_LEVEL, "FwpmCalloutDeleteByKey0");
    return delete_object(session, find(SIM_CALLOUT, key, session), STATUS_FWP_CALLOUT_NOT_FOUND);
}

// ---- filters ----

static NTSTATUS
check_filter(const FWPM_FILTER0* filter, uint16_t* layer)
{
    const uint32_t known = 0x7F;
    int callout = filter->action.type == FWP_ACTION_CALLOUT_TERMINATING
                  || filter->action.type == FWP_ACTION_CALLOUT_UNKNOWN;

    if (filter->displayData.name == NULL) {
        return STATUS_FWP_NULL_DISPLAY_NAME;
    }
    if ((filter->flags & ~known) != 0 || (filter->flags & FWPM_FILTER_FLAG_DISABLED) != 0
        || (filter->flags & (FWPM_FILTER_FLAG_PERSISTENT | FWPM_FILTER_FLAG_BOOTTIME))
               == (FWPM_FILTER_FLAG_PERSISTENT | FWPM_FILTER_FLAG_BOOTTIME)
        || ((filter->flags & FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED) != 0 && !callout)) {
        return STATUS_FWP_INVALID_FLAGS;
    }
    if (!sim_layer_of_key(&filter->layerKey, layer)) {
        return STATUS_FWP_LAYER_NOT_FOUND;
    }
    if (!callout && filter->action.type != FWP_ACTION_CALLOUT_INSPECTION && filter->action.type != FWP_ACTION_BLOCK
        && filter->action.type != FWP_ACTION_PERMIT && filter->action.type != FWP_ACTION_CONTINUE) {
        return STATUS_FWP_INVALID_ACTION_TYPE;
    }
    return STATUS_SUCCESS;
}

// EMPTY gives 0 here: automatic weights are undocumented, and policy must never depend on them.
static NTSTATUS
filter_weight(const FWP_VALUE0* from, uint64_t* weight)
{
    switch (from->type) {
    case FWP_EMPTY:
        *weight = 0;
        return STATUS_SUCCESS;
    case FWP_UINT8:
        *weight = (uint64_t)from->uint8 << SIM_AUTO_WEIGHT_BITS;
        return from->uint8 <= 15 ? STATUS_SUCCESS : STATUS_FWP_INVALID_WEIGHT;
    case FWP_UINT64:
        *weight = from->uint64 == NULL ? 0 : *from->uint64;
        return from->uint64 == NULL ? STATUS_FWP_INVALID_WEIGHT : STATUS_SUCCESS;
    default:
        return STATUS_FWP_INVALID_WEIGHT;
    }
}

static NTSTATUS
build_conditions(const FWPM_FILTER0* filter, sim_object* object)
{
    object->conditions = sim_allocate(filter->numFilterConditions * sizeof(sim_condition) + 1);
    for (uint32_t i = 0; i < filter->numFilterConditions; i++) {
        NTSTATUS status = sim_condition_build(object->layer, &filter->filterCondition[i], &object->conditions[i]);

        if (!NT_SUCCESS(status)) {
            return status;
        }
        object->condition_count++;
        for (uint32_t j = 0; j + 1 < i; j++) {
            if (object->conditions[j].field == object->conditions[i].field
                && object->conditions[i - 1].field != object->conditions[i].field) {
                return STATUS_FWP_DUPLICATE_CONDITION;
            }
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS
refer_of_filter(const FWPM_FILTER0* filter, const sim_session* session, sim_object* object)
{
    static const GUID zero;
    const GUID* sublayer = sim_is_equal_guid(&filter->subLayerKey, &zero) ? &FWPM_SUBLAYER_UNIVERSAL
                                                                          : &filter->subLayerKey;
    int callout = (filter->action.type & 0x4000) != 0; // FWP_ACTION_FLAG_CALLOUT
    NTSTATUS status = refer(
        SIM_PROVIDER, filter->providerKey, session, STATUS_FWP_PROVIDER_NOT_FOUND, &object->provider);

    if (NT_SUCCESS(status)) {
        status = refer(SIM_SUBLAYER, sublayer, session, STATUS_FWP_SUBLAYER_NOT_FOUND, &object->sublayer);
    }
    if (NT_SUCCESS(status) && callout) {
        status = refer(
            SIM_CALLOUT, &filter->action.calloutKey, session, STATUS_FWP_CALLOUT_NOT_FOUND, &object->callout);
    }
    if (NT_SUCCESS(status) && callout && object->callout->layer != object->layer) {
        status = STATUS_FWP_INCOMPATIBLE_LAYER;
    }
    return status;
}

static NTSTATUS
notify_added(sim_object* object)
{
    const sim_callout_function* function = object->callout == NULL ? NULL : sim_engine_callout(&object->callout->key);

    if (function != NULL
        && !NT_SUCCESS(
            function->callout.notifyFn(FWPS_CALLOUT_NOTIFY_ADD_FILTER, &object->key, &object->run_time))) {
        return STATUS_FWP_CALLOUT_NOTIFICATION_FAILED;
    }
    return STATUS_SUCCESS;
}

static void
fill_run_time(const FWPM_FILTER0* filter, sim_object* object)
{
    object->run_time.filterId = object->id;
    object->run_time.weight.type = FWP_UINT64;
    object->run_time.weight.uint64 = &object->filter_weight;
    object->run_time.subLayerWeight = object->sublayer->weight;
    object->run_time.flags = (filter->flags & FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT) != 0
                                 ? FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT
                                 : 0;
    object->run_time.numFilterConditions = object->condition_count;
    object->run_time.action.type = filter->action.type;
    object->run_time.context = (filter->flags & FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT) != 0 ? 0 : filter->rawContext;
}

static NTSTATUS
build_filter(const FWPM_FILTER0* filter, const sim_session* session, sim_object* object)
{
    static const GUID zero;
    NTSTATUS status = check_filter(filter, &object->layer);

    if (NT_SUCCESS(status)) {
        status = refer_of_filter(filter, session, object);
    }
    if (NT_SUCCESS(status) && !sim_is_equal_guid(&filter->filterKey, &zero)
        && find(SIM_FILTER, &filter->filterKey, session) != NULL) {
        status = STATUS_FWP_ALREADY_EXISTS;
    }
    if (NT_SUCCESS(status)) {
        status = filter_weight(&filter->weight, &object->filter_weight);
    }
    if (NT_SUCCESS(status)) {
        status = build_conditions(filter, object);
    }
    if (NT_SUCCESS(status)) {
        object->kind = SIM_FILTER;
        object->id = ++sim_next_filter_id;
        object->key = filter->filterKey;
        if (sim_is_equal_guid(&object->key, &zero)) {
            object->key.Data1 = 0x51D0F17Eu; // BFE picks one
            memcpy(object->key.Data4, &object->id, sizeof(object->id));
        }
        object->flags = filter->flags;
        object->action = filter->action.type;
        fill_run_time(filter, object);
        status = notify_added(object);
    }
    return status;
}

static NTSTATUS
add_filter(sim_session* session, const FWPM_FILTER0* filter, uint64_t* id)
{
    NTSTATUS status = may_write(session);
    sim_object* object;

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (filter == NULL) {
        return STATUS_FWP_NULL_POINTER;
    }
    object = sim_allocate(sizeof(*object));
    status = build_filter(filter, session, object);
    if (!NT_SUCCESS(status)) {
        for (uint32_t i = 0; i < object->condition_count; i++) {
            sim_condition_free(&object->conditions[i]);
        }
        free(object->conditions);
        free(object);
        return status;
    }
    added(object, session);
    if (id != NULL) {
        *id = object->id;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS
delete_filter(sim_session* session, uint64_t id)
{
    sim_object* object;

    for (object = sim_objects; object != NULL; object = object->next) {
        if (object->kind == SIM_FILTER && object->id == id && is_visible(object, session)) {
            break;
        }
    }
    return delete_object(session, object, STATUS_FWP_FILTER_NOT_FOUND);
}

NTSTATUS
FwpmFilterAdd0(HANDLE engine, const FWPM_FILTER0* filter, PSECURITY_DESCRIPTOR sd, UINT64* id)
{
    (void)sd;
    sim_require_irql(PASSIVE_LEVEL, "FwpmFilterAdd0");
    return add_filter(session_of(engine), filter, id);
}

NTSTATUS
FwpmFilterDeleteById0(HANDLE engine, UINT64 id)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpmFilterDeleteById0");
    return delete_filter(session_of(engine), id);
}

// ---- callout functions ----

const sim_callout_function*
sim_engine_callout(const GUID* key)
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
    if (device == NULL || callout->classifyFn == NULL || callout->notifyFn == NULL) {
        sim_misuse("FwpsCalloutRegister2: device object, classifyFn and notifyFn are needed");
        return STATUS_INVALID_PARAMETER;
    }
    if (sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (sim_engine_callout(&callout->calloutKey) != NULL) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    for (uint32_t i = 0; i < SIM_CALLOUTS; i++) {
        if (!sim_functions[i].used) {
            lock_exclusive();
            sim_functions[i] = (sim_callout_function){1, *callout, ++sim_next_callout_id};
            sim_engine_unlock();
            *id = sim_functions[i].id;
            return STATUS_SUCCESS;
        }
    }
    return STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS
FwpsCalloutUnregisterById0(const UINT32 id)
{
    sim_require_irql(PASSIVE_LEVEL, "FwpsCalloutUnregisterById0");
    for (uint32_t i = 0; i < SIM_CALLOUTS; i++) {
        if (sim_functions[i].used && sim_functions[i].id == id) {
            if (sim_fails_now()) {
                return STATUS_DEVICE_BUSY;
            }
            lock_exclusive(); // waits for every classify in flight
            sim_functions[i].used = 0;
            sim_engine_unlock();
            return STATUS_SUCCESS;
        }
    }
    return STATUS_FWP_CALLOUT_NOT_FOUND;
}

// ---- user mode ----

// FWP_E_* have the numbers of STATUS_FWP_* in another range; the rest are the usual Win32 codes.
static uint32_t
user_error(NTSTATUS status)
{
    if (NT_SUCCESS(status)) {
        return 0;
    }
    if (((uint32_t)status & 0xFFFF0000u) == 0xC0220000u) {
        return 0x80320000u | ((uint32_t)status & 0xFFFFu);
    }
    switch (status) {
    case STATUS_INVALID_HANDLE:
        return 6;
    case STATUS_ACCESS_DENIED:
        return 5;
    case STATUS_INSUFFICIENT_RESOURCES:
        return 1450;
    case STATUS_NOT_SUPPORTED:
        return 1753; // EPT_S_NOT_REGISTERED: what callers see while BFE is stopped
    default:
        return 87;
    }
}

uint32_t
sim_user_engine_open(uint32_t pid, const FWPM_SESSION0* session, HANDLE* engine)
{
    return user_error(sim_process_find(pid) == NULL ? STATUS_INVALID_HANDLE : open_session(pid, session, engine));
}

uint32_t
sim_user_engine_close(HANDLE engine)
{
    sim_session* session = session_of(engine);

    if (session == NULL) {
        return user_error(STATUS_INVALID_HANDLE); // its process died first: rundown has closed it
    }
    close_session(session);
    return 0;
}

uint32_t
sim_user_transaction_begin(HANDLE engine, uint32_t flags)
{
    return user_error(begin(session_of(engine), flags));
}

uint32_t
sim_user_transaction_commit(HANDLE engine)
{
    return user_error(finish(session_of(engine), 1));
}

uint32_t
sim_user_transaction_abort(HANDLE engine)
{
    return user_error(finish(session_of(engine), 0));
}

uint32_t
sim_user_filter_add(HANDLE engine, const FWPM_FILTER0* filter, uint64_t* id)
{
    return user_error(add_filter(session_of(engine), filter, id));
}

uint32_t
sim_user_filter_delete(HANDLE engine, uint64_t id)
{
    return user_error(delete_filter(session_of(engine), id));
}

void
sim_engine_process_exited(uint32_t pid)
{
    sim_session* next;

    for (sim_session* session = sim_sessions; session != NULL; session = next) {
        next = session->next;
        if (session->pid == pid && pid != 0) {
            close_session(session);
        }
    }
}

// ---- life ----

static void
delete_all(int also_builtin)
{
    for (int kind = SIM_FILTER; kind >= SIM_PROVIDER; kind--) {
        sim_object* next;

        for (sim_object* object = sim_objects; object != NULL; object = next) {
            next = object->next;
            if (object->kind == (sim_kind)kind && (also_builtin || !object->builtin)) {
                unlink_object(object);
            }
        }
    }
    rebuild_views();
}

void
sim_bfe_start(void)
{
    tell_bfe_state(FWPM_SERVICE_RUNNING);
}

void
sim_bfe_stop(void)
{
    tell_bfe_state(FWPM_SERVICE_STOP_PENDING);
    while (sim_sessions != NULL) {
        close_session(sim_sessions);
    }
    lock_exclusive();
    delete_all(0); // static objects do not survive it
    sim_engine_unlock();
    tell_bfe_state(FWPM_SERVICE_STOPPED);
}

void
sim_engine_reset(void)
{
    sim_object* universal;

    while (sim_sessions != NULL) {
        close_session(sim_sessions);
    }
    delete_all(1);
    sim_writer = NULL;
    sim_bfe_callback = NULL;
    sim_bfe_state = sim_settings.bfe_stopped ? FWPM_SERVICE_STOPPED : FWPM_SERVICE_RUNNING;
    universal = sim_allocate(sizeof(*universal));
    universal->kind = SIM_SUBLAYER;
    universal->key = FWPM_SUBLAYER_UNIVERSAL;
    universal->weight = 0x8000;
    universal->builtin = 1;
    sim_objects = universal;
}

void
sim_engine_check_unloaded(void)
{
    for (uint32_t i = 0; i < SIM_CALLOUTS; i++) {
        if (sim_functions[i].used) {
            sim_misuse("a callout function is registered after unload: the next connect would crash");
            sim_functions[i].used = 0;
        }
    }
    if (sim_bfe_callback != NULL) {
        sim_misuse("the BFE subscription is left after unload");
        sim_bfe_callback = NULL;
    }
    for (sim_session* session = sim_sessions; session != NULL; session = session->next) {
        if (session->pid == 0) {
            sim_misuse("an engine handle of the driver is left open after unload");
        }
    }
}

uint32_t
sim_object_count(void)
{
    uint32_t count = 0;

    for (sim_object* object = sim_objects; object != NULL; object = object->next) {
        count += object->builtin ? 0 : 1;
    }
    return count;
}
