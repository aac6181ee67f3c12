// Enumerating objects: a snapshot at CreateEnumHandle, read in portions, and gone with its handle or its session.
#define _GNU_SOURCE
#include "classify.h"

#include <stdlib.h>

typedef struct sim_snapshot_entry {
    const sim_object* object; // while the snapshot is taken; never looked at later
    uint64_t weight, order;
    void* copy;
    void* block;
} sim_snapshot_entry;

typedef struct sim_enumeration {
    const sim_session* session;
    sim_kind kind;
    uint32_t count, at;
    sim_snapshot_entry* entries;
    struct sim_enumeration* next;
} sim_enumeration;

static sim_enumeration* sim_enumerations;

// What only the engine knows: it is written into the copy.
static void
fill_output(sim_kind kind, const sim_object* object, void* copy)
{
    if (kind == SIM_PROVIDER && object->disabled) {
        ((FWPM_PROVIDER0*)copy)->flags |= FWPM_PROVIDER_FLAG_DISABLED;
    }
    if (kind == SIM_FILTER && object->disabled) {
        ((FWPM_FILTER0*)copy)->flags |= FWPM_FILTER_FLAG_DISABLED;
    }
    if (kind == SIM_CALLOUT && sim_callout_of(&object->key) != NULL) {
        ((FWPM_CALLOUT0*)copy)->flags |= FWPM_CALLOUT_FLAG_REGISTERED;
    }
}

static int
by_weight(const void* a, const void* b)
{
    const sim_snapshot_entry* left = a;
    const sim_snapshot_entry* right = b;

    if (left->weight != right->weight) {
        return left->weight < right->weight ? 1 : -1;
    }
    return left->order < right->order ? -1 : left->order > right->order;
}

static int
is_terminating(const sim_object* filter)
{
    return (filter->action & FWP_ACTION_FLAG_TERMINATING) != 0;
}

static void
choose(
    sim_enumeration* enumeration, const sim_session* session, sim_template_matches* matches,
    const void* enum_template, uint32_t flags)
{
    uint32_t room = 0;

    for (const sim_object* object = sim_objects; object != NULL; object = object->next) {
        room += object->kind == enumeration->kind;
    }
    enumeration->entries = sim_allocate((room + 1) * sizeof(*enumeration->entries));
    for (const sim_object* object = sim_objects; object != NULL; object = object->next) {
        if (object->kind != enumeration->kind || object->original == NULL || !sim_object_is_visible(object, session)
            || !sim_may(session, object, FWPM_ACTRL_READ)
            || (enum_template != NULL && !matches(object, enum_template))
            || ((flags & FWP_FILTER_ENUM_FLAG_BEST_TERMINATING_MATCH) != 0 && !is_terminating(object))) {
            continue;
        }
        enumeration->entries[enumeration->count++] =
            (sim_snapshot_entry){object, object->filter_weight, object->order, NULL, NULL};
    }
    if ((flags & (FWP_FILTER_ENUM_FLAG_SORTED | FWP_FILTER_ENUM_FLAG_BEST_TERMINATING_MATCH)) != 0) {
        qsort(enumeration->entries, enumeration->count, sizeof(*enumeration->entries), by_weight);
    }
    if ((flags & FWP_FILTER_ENUM_FLAG_BEST_TERMINATING_MATCH) != 0 && enumeration->count > 1) {
        enumeration->count = 1;
    }
}

NTSTATUS
sim_enumeration_open(
    sim_session* session, sim_kind kind, sim_template_matches* matches, const void* enum_template, uint32_t flags,
    HANDLE* handle)
{
    sim_enumeration* enumeration;
    NTSTATUS status = sim_session_may_read(session);

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (handle == NULL) {
        return STATUS_FWP_NULL_POINTER;
    }
    if (!sim_may(session, NULL, FWPM_ACTRL_ENUM)) {
        return STATUS_ACCESS_DENIED;
    }
    enumeration = sim_allocate(sizeof(*enumeration));
    enumeration->session = session;
    enumeration->kind = kind;
    choose(enumeration, session, matches, enum_template, flags);
    for (uint32_t i = 0; i < enumeration->count; i++) {
        sim_snapshot_entry* entry = &enumeration->entries[i];

        entry->copy = sim_copy(kind, entry->object->original, &entry->block);
        fill_output(kind, entry->object, entry->copy);
    }
    enumeration->next = sim_enumerations;
    sim_enumerations = enumeration;
    *handle = enumeration;
    return STATUS_SUCCESS;
}

static sim_enumeration**
find(const sim_session* session, sim_kind kind, HANDLE handle)
{
    sim_enumeration** at = &sim_enumerations;

    while (*at != NULL && !(*at == handle && (*at)->session == session && (*at)->kind == kind)) {
        at = &(*at)->next;
    }
    return at;
}

NTSTATUS
sim_enumeration_next(
    sim_session* session, sim_kind kind, HANDLE handle, uint32_t wanted, void*** entries, uint32_t* returned)
{
    sim_enumeration* enumeration = *find(session, kind, handle);
    NTSTATUS status = sim_session_may_read(session);
    void** sources;
    void* block;
    uint32_t count;

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (entries == NULL || returned == NULL) {
        return STATUS_FWP_NULL_POINTER;
    }
    if (enumeration == NULL) {
        return STATUS_FWP_NOT_FOUND;
    }
    count = enumeration->count - enumeration->at < wanted ? enumeration->count - enumeration->at : wanted;
    sources = sim_allocate((count + 1) * sizeof(*sources));
    for (uint32_t i = 0; i < count; i++) {
        sources[i] = enumeration->entries[enumeration->at + i].copy;
    }
    *entries = sim_copy_all(kind, sources, count, &block);
    free(sources);
    if (count == 0) {
        free(block);
    } else {
        sim_result_give(session->pid, *entries, block);
    }
    enumeration->at += count;
    *returned = count;
    return STATUS_SUCCESS;
}

static void
end(sim_enumeration** at)
{
    sim_enumeration* enumeration = *at;

    *at = enumeration->next;
    for (uint32_t i = 0; i < enumeration->count; i++) {
        free(enumeration->entries[i].block);
    }
    free(enumeration->entries);
    free(enumeration);
}

NTSTATUS
sim_enumeration_close(sim_session* session, sim_kind kind, HANDLE handle)
{
    sim_enumeration** at = find(session, kind, handle);

    if (session == NULL) {
        return STATUS_INVALID_HANDLE;
    }
    if (*at == NULL) {
        return STATUS_FWP_NOT_FOUND;
    }
    end(at);
    return STATUS_SUCCESS;
}

uint32_t
sim_enumerations_of(const sim_session* session)
{
    uint32_t count = 0;

    for (const sim_enumeration* at = sim_enumerations; at != NULL; at = at->next) {
        count += session == NULL || at->session == session;
    }
    return count;
}

uint32_t
sim_open_enumerations(void)
{
    return sim_enumerations_of(NULL);
}

void
sim_enumerations_end(const sim_session* session)
{
    sim_enumeration** at = &sim_enumerations;

    while (*at != NULL) {
        if ((*at)->session == session) {
            end(at);
        } else {
            at = &(*at)->next;
        }
    }
}

// One object, by its key or id.
NTSTATUS
sim_object_get(sim_session* session, const sim_object* object, NTSTATUS not_found, void** copy)
{
    NTSTATUS status = sim_session_may_read(session);
    void* block;

    if (!NT_SUCCESS(status)) {
        return status;
    }
    if (copy == NULL) {
        return STATUS_FWP_NULL_POINTER;
    }
    if (object == NULL || object->original == NULL) {
        return not_found;
    }
    if (!sim_may(session, object, FWPM_ACTRL_READ)) {
        return STATUS_ACCESS_DENIED;
    }
    *copy = sim_copy(object->kind, object->original, &block);
    fill_output(object->kind, object, *copy);
    sim_result_give(session->pid, *copy, block);
    return STATUS_SUCCESS;
}
