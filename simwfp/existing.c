// The management calls about what exists: delete, get, enumerate, protect.  The same for every type of object, but for its names.
#define _GNU_SOURCE
#include "templates.h"

static void
require(const char* call)
{
    sim_require_irql(PASSIVE_LEVEL, call);
    sim_slow_call(call);
}

static NTSTATUS
delete_by_key(const char* call, HANDLE engine, sim_kind kind, const GUID* key, NTSTATUS not_found)
{
    sim_session* session = sim_session_of(engine);

    require(call);
    return sim_session_delete(session, sim_object_find(kind, key, session), not_found);
}

static NTSTATUS
delete_by_id(const char* call, HANDLE engine, sim_kind kind, uint64_t id, NTSTATUS not_found)
{
    sim_session* session = sim_session_of(engine);

    require(call);
    return sim_session_delete(session, sim_object_find_id(kind, id, session), not_found);
}

static NTSTATUS
change_security(
    const char* call, HANDLE engine, sim_kind kind, const GUID* key, NTSTATUS not_found,
    SECURITY_INFORMATION information, const ACL* dacl)
{
    sim_session* session = sim_session_of(engine);
    sim_object* object;
    NTSTATUS status;

    require(call);
    status = sim_session_may_read(session);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (key == NULL) {
        return STATUS_NOT_SUPPORTED; // the containers keep what they inherit
    }
    object = sim_object_find(kind, key, session);
    return object == NULL ? not_found : sim_access_change(session, object, information, dacl);
}

// Of one type of object: what is written once above, under the names of Windows.
#define SIM_EXISTING(Name, TYPE, KIND, NOT_FOUND)                                                                     \
    NTSTATUS Fwpm##Name##DeleteByKey0(HANDLE engine, const GUID* key)                                                 \
    {                                                                                                                 \
        return delete_by_key("Fwpm" #Name "DeleteByKey0", engine, KIND, key, NOT_FOUND);                              \
    }                                                                                                                 \
    NTSTATUS Fwpm##Name##GetByKey0(HANDLE engine, const GUID* key, TYPE** object)                                     \
    {                                                                                                                 \
        sim_session* session = sim_session_of(engine);                                                                \
        require("Fwpm" #Name "GetByKey0");                                                                            \
        return sim_object_get(session, sim_object_find(KIND, key, session), NOT_FOUND, (void**)object);               \
    }                                                                                                                 \
    NTSTATUS Fwpm##Name##Enum0(HANDLE engine, HANDLE handle, UINT32 requested, TYPE*** entries, UINT32* returned)     \
    {                                                                                                                 \
        require("Fwpm" #Name "Enum0");                                                                                \
        return sim_enumeration_next(sim_session_of(engine), KIND, handle, requested, (void***)entries, returned);     \
    }                                                                                                                 \
    NTSTATUS Fwpm##Name##DestroyEnumHandle0(HANDLE engine, HANDLE handle)                                             \
    {                                                                                                                 \
        require("Fwpm" #Name "DestroyEnumHandle0");                                                                   \
        return sim_enumeration_close(sim_session_of(engine), KIND, handle);                                           \
    }                                                                                                                 \
    NTSTATUS Fwpm##Name##SetSecurityInfoByKey0(                                                                       \
        HANDLE engine, const GUID* key, SECURITY_INFORMATION information, const SID* owner, const SID* group,         \
        const ACL* dacl, const ACL* sacl)                                                                             \
    {                                                                                                                 \
        (void)owner, (void)group, (void)sacl;                                                                         \
        return change_security(                                                                                       \
            "Fwpm" #Name "SetSecurityInfoByKey0", engine, KIND, key, NOT_FOUND, information, dacl);                   \
    }

#define SIM_BY_ID(Name, TYPE, ID, KIND, NOT_FOUND)                                                                    \
    NTSTATUS Fwpm##Name##DeleteById0(HANDLE engine, ID id)                                                            \
    {                                                                                                                 \
        return delete_by_id("Fwpm" #Name "DeleteById0", engine, KIND, id, NOT_FOUND);                                 \
    }                                                                                                                 \
    NTSTATUS Fwpm##Name##GetById0(HANDLE engine, ID id, TYPE** object)                                                \
    {                                                                                                                 \
        sim_session* session = sim_session_of(engine);                                                                \
        require("Fwpm" #Name "GetById0");                                                                             \
        return sim_object_get(session, sim_object_find_id(KIND, id, session), NOT_FOUND, (void**)object);             \
    }

#define SIM_ENUMERATED(Name, TEMPLATE, KIND, matches)                                                                 \
    NTSTATUS Fwpm##Name##CreateEnumHandle0(HANDLE engine, const TEMPLATE* enum_template, HANDLE* handle)              \
    {                                                                                                                 \
        require("Fwpm" #Name "CreateEnumHandle0");                                                                    \
        return sim_enumeration_open(sim_session_of(engine), KIND, matches, enum_template, 0, handle);                 \
    }

SIM_EXISTING(Provider, FWPM_PROVIDER0, SIM_PROVIDER, STATUS_FWP_PROVIDER_NOT_FOUND)
SIM_EXISTING(ProviderContext, FWPM_PROVIDER_CONTEXT0, SIM_CONTEXT, STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND)
SIM_EXISTING(SubLayer, FWPM_SUBLAYER0, SIM_SUBLAYER, STATUS_FWP_SUBLAYER_NOT_FOUND)
SIM_EXISTING(Callout, FWPM_CALLOUT0, SIM_CALLOUT, STATUS_FWP_CALLOUT_NOT_FOUND)
SIM_EXISTING(Filter, FWPM_FILTER0, SIM_FILTER, STATUS_FWP_FILTER_NOT_FOUND)
SIM_BY_ID(ProviderContext, FWPM_PROVIDER_CONTEXT0, UINT64, SIM_CONTEXT, STATUS_FWP_PROVIDER_CONTEXT_NOT_FOUND)
SIM_BY_ID(Callout, FWPM_CALLOUT0, UINT32, SIM_CALLOUT, STATUS_FWP_CALLOUT_NOT_FOUND)
SIM_BY_ID(Filter, FWPM_FILTER0, UINT64, SIM_FILTER, STATUS_FWP_FILTER_NOT_FOUND)
SIM_ENUMERATED(Provider, FWPM_PROVIDER_ENUM_TEMPLATE0, SIM_PROVIDER, sim_provider_matches)
SIM_ENUMERATED(ProviderContext, FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0, SIM_CONTEXT, sim_context_matches)
SIM_ENUMERATED(SubLayer, FWPM_SUBLAYER_ENUM_TEMPLATE0, SIM_SUBLAYER, sim_sublayer_matches)
SIM_ENUMERATED(Callout, FWPM_CALLOUT_ENUM_TEMPLATE0, SIM_CALLOUT, sim_callout_matches)

NTSTATUS
FwpmFilterCreateEnumHandle0(HANDLE engine, const FWPM_FILTER_ENUM_TEMPLATE0* enum_template, HANDLE* handle)
{
    sim_filter_template built;
    NTSTATUS status;

    require("FwpmFilterCreateEnumHandle0");
    if (enum_template == NULL) {
        return sim_enumeration_open(sim_session_of(engine), SIM_FILTER, NULL, NULL, 0, handle);
    }
    status = sim_filter_template_build(enum_template, &built);
    if (NT_SUCCESS(status)) {
        status = sim_enumeration_open(
            sim_session_of(engine), SIM_FILTER, sim_filter_matches_template, &built, enum_template->flags, handle);
        sim_filter_template_free(&built);
    }
    return status;
}
