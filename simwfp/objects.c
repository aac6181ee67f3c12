// The objects of the Base Filtering Engine: a list of all, two hash tables to find them, and who refers to whom.
//
// A change inside a transaction is marked on the object (added_by, deleted_by) and becomes real, or goes away, at its
// end: other sessions see nothing before the commit.  References are counted as the one writer sees them, so that "in use"
// is a comparison with zero.
#include "classify.h"

#include <stdlib.h>
#include <string.h>

#define SIM_FIRST_BUCKETS 256u

typedef struct sim_table {
    sim_object** buckets;
    size_t size; // a power of two
    size_t count;
} sim_table;

sim_object* sim_objects;
uint32_t sim_object_counts[SIM_KINDS];
static sim_table sim_by_key;
static sim_table sim_by_id;

static uint64_t
mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xFF51AFD7ED558CCDull;
    return x ^ x >> 33;
}

static uint64_t
key_hash(sim_kind kind, const GUID* key)
{
    uint64_t halves[2];

    memcpy(halves, key, sizeof(halves));
    return mix(halves[0] + mix(halves[1] + (uint64_t)kind));
}

static sim_object**
key_link(sim_object* object)
{
    return &object->key_next;
}

static sim_object**
id_link(sim_object* object)
{
    return &object->id_next;
}

static uint64_t
hash_by_key(const sim_object* object)
{
    return key_hash(object->kind, &object->key);
}

static uint64_t
id_hash(sim_kind kind, uint64_t id)
{
    return mix(id + ((uint64_t)kind << 60));
}

static uint64_t
hash_by_id(const sim_object* object)
{
    return id_hash(object->kind, object->id);
}

static int
has_id(const sim_object* object)
{
    return object->kind == SIM_FILTER || object->kind == SIM_CALLOUT || object->kind == SIM_CONTEXT;
}

static void
table_insert(
    sim_table* table, sim_object* object, uint64_t (*hash)(const sim_object*), sim_object** (*link)(sim_object*))
{
    if (table->count >= table->size) {
        sim_table bigger = {NULL, table->size == 0 ? SIM_FIRST_BUCKETS : table->size * 2, table->count};

        bigger.buckets = sim_allocate(bigger.size * sizeof(*bigger.buckets));
        for (size_t i = 0; i < table->size; i++) {
            sim_object* next;

            for (sim_object* at = table->buckets[i]; at != NULL; at = next) {
                sim_object** slot = &bigger.buckets[hash(at) & (bigger.size - 1)];

                next = *link(at);
                *link(at) = *slot;
                *slot = at;
            }
        }
        free(table->buckets);
        *table = bigger;
    }
    sim_object** slot = &table->buckets[hash(object) & (table->size - 1)];

    *link(object) = *slot;
    *slot = object;
    table->count++;
}

static void
table_remove(sim_table* table, sim_object* object, uint64_t hash, sim_object** (*link)(sim_object*))
{
    sim_object** at = &table->buckets[hash & (table->size - 1)];

    while (*at != object) {
        at = link(*at);
    }
    *at = *link(object);
    if (--table->count == 0) {
        free(table->buckets);
        *table = (sim_table){0};
    }
}

int
sim_object_is_visible(const sim_object* object, const sim_session* session)
{
    if (object->added_by != NULL && object->added_by != session) {
        return 0;
    }
    return object->deleted_by == NULL || object->deleted_by != session;
}

sim_object*
sim_object_find(sim_kind kind, const GUID* key, const sim_session* session)
{
    if (sim_by_key.count == 0) {
        return NULL;
    }
    sim_object* object = sim_by_key.buckets[key_hash(kind, key) & (sim_by_key.size - 1)];

    while (object != NULL
           && !(object->kind == kind && sim_is_equal_guid(&object->key, key) && sim_object_is_visible(object, session))) {
        object = object->key_next;
    }
    return object;
}

sim_object*
sim_object_find_id(sim_kind kind, uint64_t id, const sim_session* session)
{
    if (sim_by_id.count == 0) {
        return NULL;
    }
    sim_object* object = sim_by_id.buckets[id_hash(kind, id) & (sim_by_id.size - 1)];

    while (object != NULL
           && !(object->kind == kind && object->id == id
                && (session == NULL || sim_object_is_visible(object, session)))) {
        object = object->id_next;
    }
    return object;
}

void
sim_object_link(sim_object* object)
{
    object->next = sim_objects;
    if (sim_objects != NULL) {
        sim_objects->previous = object;
    }
    sim_objects = object;
    sim_object_counts[object->kind]++;
    table_insert(&sim_by_key, object, hash_by_key, key_link);
    if (has_id(object)) {
        table_insert(&sim_by_id, object, hash_by_id, id_link);
    }
    if (object->session != NULL) {
        object->session_next = object->session->objects;
        if (object->session_next != NULL) {
            object->session_next->session_previous = object;
        }
        object->session->objects = object;
    }
}

static void
leave_session(sim_object* object)
{
    if (object->session == NULL) {
        return;
    }
    if (object->session_previous != NULL) {
        object->session_previous->session_next = object->session_next;
    } else {
        object->session->objects = object->session_next;
    }
    if (object->session_next != NULL) {
        object->session_next->session_previous = object->session_previous;
    }
}

void
sim_object_unlink(sim_object* object)
{
    table_remove(&sim_by_key, object, hash_by_key(object), key_link);
    if (has_id(object)) {
        table_remove(&sim_by_id, object, hash_by_id(object), id_link);
    }
    leave_session(object);
    sim_object_counts[object->kind]--;
    if (object->previous != NULL) {
        object->previous->next = object->next;
    } else {
        sim_objects = object->next;
    }
    if (object->next != NULL) {
        object->next->previous = object->previous;
    }
}

void
sim_object_free(sim_object* object)
{
    for (uint32_t i = 0; i < object->condition_count; i++) {
        sim_condition_free(&object->conditions[i]);
    }
    free(object->conditions);
    free(object->service);
    free(object->original_block);
    free(object->dacl);
    free(object);
}

void
sim_object_refer(const sim_object* object, int by)
{
    sim_object* const targets[] = {object->provider, object->sublayer, object->callout, object->context};

    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        if (targets[i] != NULL) {
            targets[i]->references += (uint32_t)by;
        }
    }
}

void
sim_key_choose(sim_object* object)
{
    static const GUID zero;

    if (sim_is_equal_guid(&object->key, &zero)) {
        object->key.Data1 = 0x51D0F17Eu;
        object->key.Data2 = (uint16_t)object->kind;
        memcpy(object->key.Data4, &object->id, sizeof(object->id));
    }
}

// Boot-time filters hold the line from the start of the stack until BFE has initialised; all others need BFE.
int
sim_object_is_live(const sim_object* filter)
{
    sim_bfe_phase needed = filter->lifetime == SIM_BOOT_TIME ? SIM_BFE_BOOT : SIM_BFE_RUNNING;

    return filter->added_by == NULL && !filter->disabled && sim_phase == needed;
}

uint32_t
sim_object_count(void)
{
    uint32_t count = 0;

    for (const sim_object* object = sim_objects; object != NULL; object = object->next) {
        count += object->lifetime == SIM_BUILTIN ? 0 : 1;
    }
    return count;
}

int
sim_filter_effective_weight(uint64_t id, uint64_t* weight)
{
    const sim_object* filter = sim_object_find_id(SIM_FILTER, id, NULL);

    if (filter != NULL) {
        *weight = filter->filter_weight;
    }
    return filter != NULL;
}

int
sim_filter_disabled(uint64_t id)
{
    const sim_object* filter = sim_object_find_id(SIM_FILTER, id, NULL);

    return filter != NULL && filter->disabled;
}
