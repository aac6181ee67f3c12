// One classification as a callout holds it: classify handles, pending it, and what must be given back when it returns.
#define _GNU_SOURCE
#include "connection.h"

#include <stdlib.h>

#define SIM_CONNECT_MAGIC 0x434F4E4Eu

static uint32_t sim_live_classify;

sim_pending*
sim_pending_of(const void* context, const char* call)
{
    sim_pending* pending = (sim_pending*)context;

    if (pending == NULL || pending->magic != SIM_CONNECT_MAGIC) {
        sim_misuse("%s: not a classify context", call);
        return NULL;
    }
    return pending;
}

NTSTATUS
FwpsAcquireClassifyHandle0(void* classify_context, UINT32 flags, UINT64* handle)
{
    sim_pending* pending = sim_pending_of(classify_context, "FwpsAcquireClassifyHandle0");

    sim_require_irql(DISPATCH_LEVEL, "FwpsAcquireClassifyHandle0");
    if (flags != 0) {
        sim_misuse("FwpsAcquireClassifyHandle0: flags must be 0");
    }
    if (pending == NULL || sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    pending->handles++;
    (void)__atomic_add_fetch(&sim_live_classify, 1, __ATOMIC_RELAXED);
    *handle = (UINT64)(uintptr_t)pending;
    return STATUS_SUCCESS;
}

VOID
FwpsReleaseClassifyHandle0(UINT64 handle)
{
    sim_pending* pending = sim_pending_of((void*)(uintptr_t)handle, "FwpsReleaseClassifyHandle0");

    sim_require_irql(DISPATCH_LEVEL, "FwpsReleaseClassifyHandle0");
    if (pending->handles == 0) {
        sim_misuse("FwpsReleaseClassifyHandle0: released once too often");
        return;
    }
    pending->handles--;
    (void)__atomic_sub_fetch(&sim_live_classify, 1, __ATOMIC_RELAXED);
}

// The handles that a callout lost: it has been told, and the next driver shall not be blamed for them.
static void
forget_handles(sim_pending* pending)
{
    (void)__atomic_sub_fetch(&sim_live_classify, pending->handles, __ATOMIC_RELAXED);
    pending->handles = 0;
}

void
sim_callout_returned(void* classify_context)
{
    sim_pending* pending = classify_context;

    if (pending == NULL) {
        return;
    }
    if (pending->pended) {
        return; // its handle lives until the completion
    }
    if (pending->acquired != NULL) {
        sim_misuse("a callout returned with writable layer data acquired and not applied: the connect would hang");
        free(pending->acquired);
        pending->acquired = NULL;
    }
    if (pending->handles != 0) {
        sim_misuse("a callout returned with %u classify handles", pending->handles);
        forget_handles(pending);
    }
}

uint32_t
sim_open_handles(void)
{
    return __atomic_load_n(&sim_live_classify, __ATOMIC_RELAXED);
}

// ---- pending ----

NTSTATUS
FwpsPendClassify0(UINT64 handle, UINT64 filter_id, UINT32 flags, FWPS_CLASSIFY_OUT0* out)
{
    sim_pending* pending = sim_pending_of((void*)(uintptr_t)handle, "FwpsPendClassify0");

    (void)filter_id;
    sim_require_irql(DISPATCH_LEVEL, "FwpsPendClassify0");
    if (flags != 0 || pending == NULL || pending->handles == 0) {
        sim_misuse("FwpsPendClassify0: flags 0x%X, or no classify handle", flags);
        return STATUS_INVALID_PARAMETER;
    }
    if (!sim_layer_is_redirect(pending->layer) || sim_fails_now()) {
        return STATUS_FWP_CANNOT_PEND; // the redirect layers only: types-of-callouts.md
    }
    pending->pended = 1;
    out->actionType = FWP_ACTION_BLOCK;
    out->rights &= ~(UINT32)FWPS_RIGHT_ACTION_WRITE;
    return STATUS_SUCCESS;
}

VOID
FwpsCompleteClassify0(UINT64 handle, UINT32 flags, const FWPS_CLASSIFY_OUT0* out)
{
    sim_pending* pending = sim_pending_of((void*)(uintptr_t)handle, "FwpsCompleteClassify0");

    sim_require_irql(DISPATCH_LEVEL, "FwpsCompleteClassify0");
    if (flags != 0 || pending == NULL || !pending->pended || pending->completed) {
        sim_misuse("FwpsCompleteClassify0: not a pended classify");
        return;
    }
    if (pending->acquired != NULL) {
        sim_misuse("FwpsCompleteClassify0: writable layer data acquired and not applied");
    }
    pending->has_out = out != NULL;
    if (out != NULL) {
        pending->out = *out;
    }
    pending->completed = 1;
}

NTSTATUS
FwpsPendOperation0(HANDLE completion_handle, HANDLE* completion_context)
{
    sim_pending* pending = sim_pending_of(completion_handle, "FwpsPendOperation0");

    sim_require_irql(DISPATCH_LEVEL, "FwpsPendOperation0");
    if (pending == NULL || pending->reauthorization || sim_layer_is_redirect(pending->layer) || sim_fails_now()) {
        return STATUS_FWP_CANNOT_PEND; // a reauthorization never: nf-fwpsk-fwpspendoperation0
    }
    pending->pended = 1;
    *completion_context = pending;
    return STATUS_SUCCESS;
}

VOID
FwpsCompleteOperation0(HANDLE completion_context, PVOID net_buffer_list)
{
    sim_pending* pending = sim_pending_of(completion_context, "FwpsCompleteOperation0");

    (void)net_buffer_list;
    sim_require_irql(DISPATCH_LEVEL, "FwpsCompleteOperation0");
    if (pending == NULL || !pending->pended || pending->completed) {
        sim_misuse("FwpsCompleteOperation0: not a pended operation");
        return;
    }
    pending->completed = 1;
}

// ---- life ----

void
sim_pending_start(sim_pending* pending, uint16_t layer)
{
    *pending = (sim_pending){.magic = SIM_CONNECT_MAGIC, .layer = layer};
}

void
sim_pending_end(sim_pending* pending)
{
    if (pending->handles != 0) {
        sim_misuse("a pended classify was completed and %u classify handles were not released", pending->handles);
        forget_handles(pending);
    }
    for (uint32_t i = 0; i < pending->version_count; i++) {
        free(pending->versions[i]);
    }
    pending->version_count = 0;
    pending->magic = 0;
}

void
sim_pending_check_unloaded(void)
{
    if (sim_open_handles() != 0) {
        sim_misuse("unloaded with %u classify handles", sim_open_handles());
    }
}
