// The filter engine for user-mode callers: the same calls, with the errors that fwpuclnt.dll returns.
#include "objects.h"

// FWP_E_* have the numbers of STATUS_FWP_* in another range; the rest are the usual Win32 codes.
uint32_t
sim_user_error(NTSTATUS status)
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
    case STATUS_INVALID_SECURITY_DESCR:
        return 1338;
    case STATUS_NOT_SUPPORTED:
        return 1753; // EPT_S_NOT_REGISTERED: what callers see while BFE is stopped
    default:
        return 87;
    }
}

// No call of the driver's: a failure in it is not booked as one.
static sim_session*
session_of_user(HANDLE engine)
{
    sim_now_in(NULL);
    return sim_session_of(engine);
}

uint32_t
sim_user_engine_open(uint32_t pid, const FWPM_SESSION0* session, HANDLE* engine)
{
    return sim_user_error(sim_process_find(pid) == NULL ? STATUS_INVALID_HANDLE : sim_session_open(pid, session, engine));
}

uint32_t
sim_user_engine_close(HANDLE engine)
{
    sim_session* session = session_of_user(engine);

    if (session == NULL) {
        return sim_user_error(STATUS_INVALID_HANDLE); // its process died first: rundown has closed it
    }
    sim_session_close(session);
    return 0;
}

uint32_t
sim_user_transaction_begin(HANDLE engine, uint32_t flags)
{
    return sim_user_error(sim_transaction_begin(session_of_user(engine), flags));
}

uint32_t
sim_user_transaction_commit(HANDLE engine)
{
    return sim_user_error(sim_transaction_finish(session_of_user(engine), 1));
}

uint32_t
sim_user_transaction_abort(HANDLE engine)
{
    return sim_user_error(sim_transaction_finish(session_of_user(engine), 0));
}

uint32_t
sim_user_filter_add(HANDLE engine, const FWPM_FILTER0* filter, uint64_t* id)
{
    return sim_user_error(sim_filter_add(session_of_user(engine), filter, NULL, id));
}

uint32_t
sim_user_filter_delete(HANDLE engine, uint64_t id)
{
    sim_session* session = session_of_user(engine);

    return sim_user_error(
        sim_session_delete(session, sim_object_find_id(SIM_FILTER, id, session), STATUS_FWP_FILTER_NOT_FOUND));
}

uint32_t
sim_user_filter_subscribe(HANDLE engine, FWPM_FILTER_CHANGE_CALLBACK0 callback, void* context, HANDLE* change)
{
    return sim_user_error(sim_session_subscribe(session_of_user(engine), callback, context, change));
}

uint32_t
sim_user_filter_unsubscribe(HANDLE engine, HANDLE change)
{
    return sim_user_error(sim_session_unsubscribe(session_of_user(engine), change));
}

uint32_t
sim_user_provider_add(HANDLE engine, const FWPM_PROVIDER0* provider)
{
    return sim_user_error(FwpmProviderAdd0(engine, provider, NULL));
}

uint32_t
sim_user_provider_delete_by_key(HANDLE engine, const GUID* key)
{
    return sim_user_error(FwpmProviderDeleteByKey0(engine, key));
}

uint32_t
sim_user_sublayer_add(HANDLE engine, const FWPM_SUBLAYER0* sublayer)
{
    return sim_user_error(FwpmSubLayerAdd0(engine, sublayer, NULL));
}

uint32_t
sim_user_sublayer_delete_by_key(HANDLE engine, const GUID* key)
{
    return sim_user_error(FwpmSubLayerDeleteByKey0(engine, key));
}

uint32_t
sim_user_filter_delete_by_key(HANDLE engine, const GUID* key)
{
    return sim_user_error(FwpmFilterDeleteByKey0(engine, key));
}
