// The filters as classify reads them: per layer a list of sublayers, per sublayer an index.
//
// Each filter is found by its most selective exact key: an app id, a remote port, or a remote address prefix, whichever
// bucket is the shortest when it is added; what has no such key is in the residual bucket and always tried.  A run of OR-ed
// conditions puts the filter into one bucket for each alternative.  So a classify looks at the few filters that can match,
// however many there are.
#define _GNU_SOURCE
#include "index.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SIM_MAX_ALTERNATIVES 4096u
#define SIM_FIRST_SLOTS 64u

static pthread_rwlock_t sim_lock = PTHREAD_RWLOCK_INITIALIZER;
static _Thread_local int sim_reading;
sim_layer_view sim_views[SIM_LAYERS];
static sim_bucket** sim_dirty;
static uint32_t sim_dirty_count, sim_dirty_room;

// ---- the lock between classifies and commits ----

void
sim_index_lock_shared(void)
{
    pthread_rwlock_rdlock(&sim_lock);
    sim_reading++;
}

void
sim_index_lock_exclusive(void)
{
    if (sim_reading != 0) {
        sim_misuse("a change of the filter engine from inside a classify: it waits for this very classify (deadlock)");
    }
    pthread_rwlock_wrlock(&sim_lock);
}

void
sim_index_unlock(void)
{
    sim_reading -= sim_reading != 0;
    pthread_rwlock_unlock(&sim_lock);
}

// ---- order ----

int
sim_by_weight(const sim_object* a, const sim_object* b)
{
    uint64_t left = a->kind == SIM_SUBLAYER ? a->weight : a->filter_weight;
    uint64_t right = b->kind == SIM_SUBLAYER ? b->weight : b->filter_weight;

    if (left != right) {
        return left > right ? -1 : 1;
    }
    return a->tie < b->tie ? -1 : a->tie > b->tie;
}

int
sim_compare_filters(const void* left, const void* right)
{
    return sim_by_weight(*(sim_object* const*)left, *(sim_object* const*)right);
}

// ---- buckets ----

sim_bucket*
sim_bucket_of(const sim_index* index, uint64_t hash)
{
    for (uint32_t i = (uint32_t)hash & (index->slot_count - 1); index->slot_count != 0;
         i = (i + 1) & (index->slot_count - 1)) {
        if (index->slots[i].hash == hash) {
            return index->slots[i].bucket;
        }
        if (index->slots[i].hash == 0) {
            break;
        }
    }
    return NULL;
}

static void
place(sim_index* index, uint64_t hash, sim_bucket* bucket)
{
    uint32_t i = (uint32_t)hash & (index->slot_count - 1);

    while (index->slots[i].hash != 0) {
        i = (i + 1) & (index->slot_count - 1);
    }
    index->slots[i] = (sim_slot){hash, bucket};
    index->slots_used++;
}

static void
free_bucket(sim_bucket* bucket)
{
    free(bucket->filters);
    free(bucket);
}

// Twice the room, or the same if most buckets have become empty meanwhile.
static void
grow(sim_index* index)
{
    sim_slot* old = index->slots;
    uint32_t count = index->slot_count;
    uint32_t live = 0;

    for (uint32_t i = 0; i < count; i++) {
        live += old[i].hash != 0 && (old[i].bucket->count != 0 || old[i].bucket->dirty);
    }
    index->slot_count = count == 0 ? SIM_FIRST_SLOTS : live * 4 >= count ? count * 2 : count;
    index->slots = sim_allocate(index->slot_count * sizeof(*index->slots));
    index->slots_used = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (old[i].hash == 0) {
            continue;
        }
        if (old[i].bucket->count != 0 || old[i].bucket->dirty) {
            place(index, old[i].hash, old[i].bucket);
        } else {
            free_bucket(old[i].bucket);
        }
    }
    free(old);
}

static sim_bucket*
bucket_for(sim_index* index, uint64_t hash)
{
    sim_bucket* bucket = sim_bucket_of(index, hash);

    if (bucket == NULL) {
        if (index->slots_used * 2 >= index->slot_count) {
            grow(index);
        }
        bucket = sim_allocate(sizeof(*bucket));
        place(index, hash, bucket);
    }
    return bucket;
}

static void
mark_dirty(sim_bucket* bucket)
{
    if (bucket->dirty) {
        return;
    }
    bucket->dirty = 1;
    if (sim_dirty_count == sim_dirty_room) {
        uint32_t room = sim_dirty_room == 0 ? 64 : sim_dirty_room * 2;
        sim_bucket** bigger = sim_allocate(room * sizeof(*bigger));

        if (sim_dirty_count != 0) {
            memcpy(bigger, sim_dirty, sim_dirty_count * sizeof(*bigger));
        }
        free(sim_dirty);
        sim_dirty = bigger;
        sim_dirty_room = room;
    }
    sim_dirty[sim_dirty_count++] = bucket;
}

static void
append(sim_bucket* bucket, sim_object* filter)
{
    if (bucket->count == bucket->room) {
        uint32_t room = bucket->room == 0 ? 4 : bucket->room * 2;
        sim_object** bigger = sim_allocate(room * sizeof(*bigger));

        if (bucket->count != 0) {
            memcpy(bigger, bucket->filters, bucket->count * sizeof(*bigger));
        }
        free(bucket->filters);
        bucket->filters = bigger;
        bucket->room = room;
    }
    bucket->filters[bucket->count++] = filter;
    mark_dirty(bucket);
}

// Drops what leaves, sorts what came, merges both: as many pointer copies as the bucket is long, not more.
static void
settle(sim_bucket* bucket)
{
    uint32_t kept = 0, sorted = 0;
    sim_object** merged;
    uint32_t left = 0, right, out = 0;

    for (uint32_t i = 0; i < bucket->count; i++) {
        if (bucket->filters[i]->indexed) {
            bucket->filters[kept++] = bucket->filters[i];
            sorted += i < bucket->sorted;
        }
    }
    bucket->count = kept;
    bucket->dirty = 0;
    bucket->sorted = kept;
    if (sorted == kept) {
        return;
    }
    qsort(bucket->filters + sorted, kept - sorted, sizeof(*bucket->filters), sim_compare_filters);
    if (sorted == 0) {
        return;
    }
    merged = sim_allocate(bucket->room * sizeof(*merged));
    for (right = sorted; left < sorted || right < kept;) {
        int take_left = right == kept
                        || (left < sorted && sim_by_weight(bucket->filters[left], bucket->filters[right]) <= 0);
        merged[out++] = take_left ? bucket->filters[left++] : bucket->filters[right++];
    }
    free(bucket->filters);
    bucket->filters = merged;
}

// ---- adding and removing ----

static sim_index*
index_for(sim_layer_view* layer, sim_object* sublayer)
{
    sim_index** bigger;
    sim_index* created;
    uint32_t at = 0;

    while (at < layer->count && layer->indexes[at]->sublayer != sublayer) {
        at++;
    }
    if (at < layer->count) {
        return layer->indexes[at];
    }
    created = sim_allocate(sizeof(*created));
    created->sublayer = sublayer;
    bigger = sim_allocate((layer->count + 1) * sizeof(*bigger));
    for (at = 0; at < layer->count && sim_by_weight(layer->indexes[at]->sublayer, sublayer) <= 0; at++) {
        bigger[at] = layer->indexes[at];
    }
    bigger[at] = created;
    for (; at < layer->count; at++) {
        bigger[at + 1] = layer->indexes[at];
    }
    free(layer->indexes);
    layer->indexes = bigger;
    layer->count++;
    return created;
}

// The run whose longest bucket is the shortest; none: residual.
static void
choose_run(const sim_index* index, sim_object* filter)
{
    uint32_t best = UINT32_MAX;

    filter->index_count = 0;
    for (uint32_t first = 0, end; first < filter->condition_count; first = end) {
        uint32_t longest = 0;
        int usable = 1;

        for (end = first; end < filter->condition_count
                          && filter->conditions[end].field == filter->conditions[first].field;
             end++) {
            sim_key_kind kind;
            uint32_t bits;
            uint64_t hash = usable ? sim_key_of(filter->layer, &filter->conditions[end], &kind, &bits) : 0;
            const sim_bucket* bucket = hash == 0 ? NULL : sim_bucket_of(index, hash);

            usable = hash != 0;
            longest = bucket != NULL && bucket->count > longest ? bucket->count : longest;
        }
        if (usable && longest < best && end - first <= SIM_MAX_ALTERNATIVES) {
            best = longest;
            filter->index_first = first;
            filter->index_count = end - first;
        }
    }
}

static void
count_prefix(sim_index* index, sim_key_kind kind, uint32_t bits, uint32_t by)
{
    if (kind == SIM_KEY_V4) {
        index->v4_lengths[bits] += by;
    } else if (kind == SIM_KEY_V6) {
        index->v6_lengths[bits] += by;
    }
}

void
sim_index_add(sim_object* filter)
{
    sim_layer_view* layer = &sim_views[sim_layer_position(filter->layer)];
    sim_index* index = index_for(layer, filter->sublayer);

    filter->indexed = 1;
    index->filters++;
    layer->generation++;
    choose_run(index, filter);
    if (filter->index_count == 0) {
        append(&index->residual, filter);
    }
    for (uint32_t i = 0; i < filter->index_count; i++) {
        sim_key_kind kind = SIM_KEY_APP;
        uint32_t bits;
        uint64_t hash = sim_key_of(filter->layer, &filter->conditions[filter->index_first + i], &kind, &bits);

        append(bucket_for(index, hash), filter);
        count_prefix(index, kind, bits, 1);
    }
}

void
sim_index_remove(sim_object* filter)
{
    sim_layer_view* layer = &sim_views[sim_layer_position(filter->layer)];
    sim_index* index = index_for(layer, filter->sublayer);

    filter->indexed = 0;
    index->filters--;
    layer->generation++;
    if (filter->index_count == 0) {
        mark_dirty(&index->residual);
    }
    for (uint32_t i = 0; i < filter->index_count; i++) {
        sim_key_kind kind = SIM_KEY_APP;
        uint32_t bits;
        uint64_t hash = sim_key_of(filter->layer, &filter->conditions[filter->index_first + i], &kind, &bits);

        mark_dirty(sim_bucket_of(index, hash));
        count_prefix(index, kind, bits, UINT32_MAX);
    }
}

static void
free_index(sim_index* index)
{
    for (uint32_t i = 0; i < index->slot_count; i++) {
        if (index->slots[i].hash != 0) {
            free_bucket(index->slots[i].bucket);
        }
    }
    free(index->slots);
    free(index->residual.filters);
    free(index);
}

void
sim_index_publish(void)
{
    for (uint32_t i = 0; i < sim_dirty_count; i++) {
        settle(sim_dirty[i]);
    }
    sim_dirty_count = 0;
    for (uint32_t i = 0; i < SIM_LAYERS; i++) {
        uint32_t kept = 0;

        for (uint32_t j = 0; j < sim_views[i].count; j++) {
            if (sim_views[i].indexes[j]->filters == 0) {
                free_index(sim_views[i].indexes[j]); // its sublayer may go now
            } else {
                sim_views[i].indexes[kept++] = sim_views[i].indexes[j];
            }
        }
        sim_views[i].count = kept;
    }
}

void
sim_index_reset(void)
{
    for (uint32_t i = 0; i < SIM_LAYERS; i++) {
        free(sim_views[i].indexes);
        sim_views[i] = (sim_layer_view){0};
    }
    free(sim_dirty);
    sim_dirty = NULL;
    sim_dirty_room = 0;
}
