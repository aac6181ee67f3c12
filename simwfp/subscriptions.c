// Who is told of filters that come and go.
#include "objects.h"

// A subscriber hears of other sessions' commits, not of its own (nf-fwpmu-fwpmfiltersubscribechanges0), if it may
// read the filter (access-control.md).
void
sim_tell_subscribers(const sim_session* author, const sim_object* filter, FWPM_CHANGE_TYPE type)
{
    FWPM_FILTER_CHANGE0 change = {type, filter->key, filter->id};

    for (sim_session* session = sim_sessions; session != NULL; session = session->next) {
        for (uint32_t i = 0; session != author && i < SIM_SUBSCRIPTIONS; i++) {
            if (session->subscriptions[i].callback != NULL && sim_may(session, filter, FWPM_ACTRL_READ)) {
                session->subscriptions[i].callback(session->subscriptions[i].context, &change);
            }
        }
    }
}

NTSTATUS
sim_session_subscribe(
    sim_session* session, FWPM_FILTER_CHANGE_CALLBACK0 callback, void* context, HANDLE* change)
{
    if (session == NULL) {
        return STATUS_INVALID_HANDLE;
    }
    if (session->aborted) {
        return STATUS_FWP_SESSION_ABORTED;
    }
    if (session->in_transaction) {
        return STATUS_FWP_TXN_IN_PROGRESS;
    }
    if (!sim_may(session, NULL, FWPM_ACTRL_SUBSCRIBE)) {
        return STATUS_ACCESS_DENIED;
    }
    for (uint32_t i = 0; i < SIM_SUBSCRIPTIONS; i++) {
        if (session->subscriptions[i].callback == NULL) {
            session->subscriptions[i].callback = callback;
            session->subscriptions[i].context = context;
            *change = &session->subscriptions[i];
            return STATUS_SUCCESS;
        }
    }
    return STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS
sim_session_unsubscribe(sim_session* session, HANDLE change)
{
    for (uint32_t i = 0; session != NULL && i < SIM_SUBSCRIPTIONS; i++) {
        if (change == &session->subscriptions[i] && session->subscriptions[i].callback != NULL) {
            session->subscriptions[i].callback = NULL;
            return STATUS_SUCCESS;
        }
    }
    return STATUS_FWP_NOT_FOUND;
}
