// Sessions: who is there, who may read and write now, and what ends with one.
#define _GNU_SOURCE
#include "classify.h"

#include <stdlib.h>
#include <string.h>

#define SIM_TXN_LIMIT 36000000000ull // 100 ns: a user's transaction is aborted after an hour

sim_session* sim_sessions;
sim_session* sim_writer; // session that holds the write transaction

sim_session*
sim_session_of(HANDLE engine)
{
    for (sim_session* session = sim_sessions; session != NULL; session = session->next) {
        if (session == engine) {
            return session;
        }
    }
    return NULL;
}

// A zero key stands for one that the service makes, which is nobody else's.
static int
key_is_taken(const GUID* key)
{
    static const GUID zero;

    for (const sim_session* session = sim_sessions; session != NULL; session = session->next) {
        if (!session->aborted && !sim_is_equal_guid(key, &zero) && sim_is_equal_guid(&session->key, key)) {
            return 1;
        }
    }
    return 0;
}

NTSTATUS
sim_session_open(uint32_t pid, const FWPM_SESSION0* from, HANDLE* engine)
{
    sim_session* session;

    if (sim_phase != SIM_BFE_RUNNING) {
        return STATUS_NOT_SUPPORTED;
    }
    if (sim_fails_now()) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (from != NULL && key_is_taken(&from->sessionKey)) {
        return STATUS_FWP_ALREADY_EXISTS;
    }
    session = sim_allocate(sizeof(*session));
    session->key = from == NULL ? (GUID){0} : from->sessionKey;
    session->pid = pid;
    session->token = sim_token_of(pid); // as it is now: a later change of the process changes no session
    if (!sim_may(session, NULL, FWPM_ACTRL_OPEN)) {
        free(session);
        return STATUS_ACCESS_DENIED;
    }
    session->dynamic = from != NULL && (from->flags & FWPM_SESSION_FLAG_DYNAMIC) != 0;
    session->next = sim_sessions;
    sim_sessions = session;
    *engine = session;
    return STATUS_SUCCESS;
}

// ---- what every call asks first ----

// The service ends what a user-mode client holds too long; kernel callers are trusted (object-management.md).
static void
watch_writer(void)
{
    sim_session* writer = sim_writer;

    if (writer != NULL && writer->pid != 0 && sim_now() - writer->began > SIM_TXN_LIMIT) {
        sim_transaction_end(writer, 0);
        writer->was_aborted = 1;
    }
}

NTSTATUS
sim_session_status(sim_session* session)
{
    if (session == NULL) {
        return STATUS_INVALID_HANDLE;
    }
    if (session->aborted) {
        return STATUS_FWP_SESSION_ABORTED;
    }
    watch_writer();
    if (session->was_aborted) {
        session->was_aborted = 0;
        return STATUS_FWP_TXN_ABORTED;
    }
    return STATUS_SUCCESS;
}

NTSTATUS
sim_session_may_read(sim_session* session)
{
    NTSTATUS status = sim_session_status(session);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (sim_phase != SIM_BFE_RUNNING) {
        return STATUS_NOT_SUPPORTED;
    }
    return sim_fails_now() ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
}

NTSTATUS
sim_session_may_write(sim_session* session)
{
    NTSTATUS status = sim_session_status(session);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (sim_phase != SIM_BFE_RUNNING) {
        return STATUS_NOT_SUPPORTED;
    }
    if (session->read_only) {
        return STATUS_FWP_INCOMPATIBLE_TXN;
    }
    if (sim_writer != NULL && sim_writer != session) {
        return STATUS_FWP_TIMEOUT;
    }
    return sim_transaction_fails(0) || sim_fails_now() ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
}

// ---- the end of a session ----

// What a session leaves when it ends, by its own will or not: nothing.
static void
empty(sim_session* session)
{
    sim_enumerations_end(session);
    if (session->in_transaction) {
        sim_transaction_end(session, 0);
    }
    for (int kind = SIM_FILTER; kind >= SIM_PROVIDER; kind--) { // what is referred to must outlive what refers
        for (sim_object* object = session->objects; object != NULL; object = object->session_next) {
            if (object->kind == (sim_kind)kind) {
                object->deleted_by = session;
                sim_object_refer(object, -1);
                sim_transaction_note(session, object);
            }
        }
    }
    sim_transaction_end(session, 1);
    memset(session->subscriptions, 0, sizeof(session->subscriptions));
}

void
sim_session_close(sim_session* session)
{
    sim_session** at = &sim_sessions;

    empty(session);
    while (*at != session) {
        at = &(*at)->next;
    }
    *at = session->next;
    free(session->changed);
    free(session);
}

// The service goes, and every session with it; but its handle has still to be closed (wfp-error-codes.md).
void
sim_sessions_abort_all(void)
{
    for (sim_session* session = sim_sessions; session != NULL; session = session->next) {
        if (!session->aborted) {
            empty(session);
            session->aborted = 1;
        }
    }
    sim_writer = NULL;
}

void
sim_engine_process_exited(uint32_t pid)
{
    sim_session* next;

    for (sim_session* session = sim_sessions; session != NULL; session = next) {
        next = session->next;
        if (session->pid == pid && pid != 0) {
            sim_session_close(session);
        }
    }
    sim_results_of_process_exited(pid);
}

void
sim_sessions_close_all(void)
{
    while (sim_sessions != NULL) {
        sim_session_close(sim_sessions);
    }
    sim_writer = NULL;
}

int
sim_sessions_of_kernel(void)
{
    int count = 0;

    for (const sim_session* session = sim_sessions; session != NULL; session = session->next) {
        count += session->pid == 0;
    }
    return count;
}
