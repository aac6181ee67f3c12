// Transactions: what a commit makes real, what an abort undoes, and who is told.
#define _GNU_SOURCE
#include "classify.h"

#include <stdlib.h>
#include <string.h>

enum { SIM_TO_GO = 1, SIM_GONE = 2 }; // sim_object.leaving

static uint64_t sim_next_order;

void
sim_transaction_note(sim_session* session, sim_object* object)
{
    if (session->changed_count == session->changed_room) {
        uint32_t room = session->changed_room == 0 ? 16 : session->changed_room * 2;
        sim_object** bigger = sim_allocate(room * sizeof(*bigger));

        if (session->changed_count != 0) {
            memcpy(bigger, session->changed, session->changed_count * sizeof(*bigger));
        }
        free(session->changed);
        session->changed = bigger;
        session->changed_room = room;
    }
    session->changed[session->changed_count++] = object;
}

static int
is_leaving(const sim_object* object, const sim_session* session, int commit)
{
    return commit ? object->deleted_by == session : object->added_by == session;
}

// In the engine's exclusive lock: all at once, a classify sees everything of it or nothing.
static void
make_real(sim_session* session, int commit)
{
    sim_index_lock_exclusive();
    for (uint32_t i = 0; i < session->changed_count; i++) {
        sim_object* object = session->changed[i];

        if (is_leaving(object, session, commit)) {
            object->leaving = SIM_TO_GO;
            if (object->indexed) {
                sim_index_remove(object);
            }
        } else if (object->added_by == session) {
            object->added_by = NULL;
            if (object->kind == SIM_FILTER && sim_object_is_live(object)) {
                sim_index_add(object);
            }
        } else if (object->deleted_by == session) { // aborted deletion: it refers again
            object->deleted_by = NULL;
            sim_object_refer(object, 1);
        }
    }
    sim_index_publish();
    sim_index_unlock();
}

void
sim_transaction_end(sim_session* session, int commit)
{
    uint32_t count = session->changed_count;
    sim_object** gone = sim_allocate((count + 1) * sizeof(*gone));
    uint32_t gone_count = 0;

    make_real(session, commit);
    for (uint32_t i = 0; i < count; i++) {
        sim_object* object = session->changed[i];

        if (object->leaving == SIM_TO_GO) { // once, though it was added and deleted in one transaction
            object->leaving = SIM_GONE;
            if (object->deleted_by != session) {
                sim_object_refer(object, -1); // an addition that was aborted; a deletion gave its references back
            }
            gone[gone_count++] = object;
        } else if (!object->leaving && object->kind == SIM_FILTER && commit) {
            sim_notify_committed(object);
            sim_tell_subscribers(session, object, FWPM_CHANGE_ADD);
        }
    }
    session->changed_count = 0;
    session->in_transaction = 0;
    session->read_only = 0;
    sim_writer = sim_writer == session ? NULL : sim_writer;
    for (uint32_t i = 0; i < gone_count; i++) { // after the last classify that could see it has left
        if (gone[i]->kind == SIM_FILTER) {
            sim_notify_deleted(gone[i]);
            if (commit && gone[i]->added_by == NULL) {
                sim_tell_subscribers(session, gone[i], FWPM_CHANGE_DELETE);
            }
        }
    }
    for (uint32_t i = 0; i < gone_count; i++) {
        sim_object_unlink(gone[i]);
        sim_object_free(gone[i]);
    }
    free(gone);
}

void
sim_session_added(sim_session* session, sim_object* object)
{
    uint64_t x = object->order = sim_next_order++;

    if (sim_settings.tie_order == 0) { // nobody may rely on the order of equals
        x = (x + sim_settings.tie_seed + 1) * 0x9E3779B97F4A7C15ull;
        x ^= x >> 29;
    }
    object->tie = sim_settings.tie_order == 2 ? ~x : x;
    object->added_by = session;
    object->session = session->dynamic ? session : NULL;
    sim_object_link(object);
    sim_object_refer(object, 1);
    sim_transaction_note(session, object);
    if (!session->in_transaction) {
        sim_transaction_end(session, 1);
    }
}

NTSTATUS
sim_session_delete(sim_session* session, sim_object* object, NTSTATUS not_found)
{
    NTSTATUS status = sim_session_may_write(session);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (object == NULL) {
        return not_found;
    }
    if (object->lifetime == SIM_BUILTIN) {
        return STATUS_FWP_BUILTIN_OBJECT;
    }
    if (!sim_may(session, object, DELETE)) {
        return STATUS_ACCESS_DENIED;
    }
    if (session->dynamic && object->session != session) {
        return object->session == NULL ? STATUS_FWP_DYNAMIC_SESSION_IN_PROGRESS : STATUS_FWP_WRONG_SESSION;
    }
    if (object->references != 0) {
        return STATUS_FWP_IN_USE;
    }
    object->deleted_by = session;
    sim_object_refer(object, -1);
    sim_transaction_note(session, object);
    if (!session->in_transaction) {
        sim_transaction_end(session, 1);
    }
    return STATUS_SUCCESS;
}

// ---- begin, commit, abort ----

NTSTATUS
sim_transaction_begin(sim_session* session, uint32_t flags)
{
    NTSTATUS status = sim_session_status(session);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (session->in_transaction) {
        return STATUS_FWP_TXN_IN_PROGRESS;
    }
    if (!sim_may(session, NULL,
                 FWPM_ACTRL_BEGIN_READ_TXN
                     | ((flags & FWPM_TXN_READ_ONLY) == 0 ? FWPM_ACTRL_BEGIN_WRITE_TXN : 0u))) {
        return STATUS_ACCESS_DENIED;
    }
    if (sim_fails_now() || (sim_writer != NULL && (flags & FWPM_TXN_READ_ONLY) == 0)) {
        return STATUS_FWP_TIMEOUT; // Windows waits first; one thread could wait for ever
    }
    session->in_transaction = 1;
    session->read_only = (flags & FWPM_TXN_READ_ONLY) != 0;
    session->began = sim_now();
    if (!session->read_only) {
        sim_writer = session;
    }
    return STATUS_SUCCESS;
}

NTSTATUS
sim_transaction_finish(sim_session* session, int commit)
{
    NTSTATUS status = sim_session_status(session);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (!session->in_transaction) {
        return STATUS_FWP_NO_TXN_IN_PROGRESS;
    }
    if (commit && sim_fails_now()) {
        return STATUS_ACCESS_DENIED; // observed on Windows
    }
    sim_transaction_end(session, commit);
    return !commit && sim_transaction_fails(1) ? STATUS_FWP_TXN_ABORTED : STATUS_SUCCESS;
}
