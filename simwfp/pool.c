// Non-paged pool: every block is in the books until it is freed, or given to WFP with a redirect.
#include "sim.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SIM_POOL_MAGIC 0x4C4F4F50u

typedef struct sim_block {
    uint32_t magic;
    uint32_t tag;
    size_t size;
    int wfp_owned;
    struct sim_block* next;
    struct sim_block* previous;
} sim_block;

static pthread_mutex_t sim_books = PTHREAD_MUTEX_INITIALIZER;
static sim_block* sim_blocks;
static uint32_t sim_block_count; // owned by the driver

PVOID
ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T size, ULONG tag)
{
    sim_block* block;

    sim_require_irql(DISPATCH_LEVEL, "ExAllocatePoolWithTag");
    sim_slow_call("ExAllocatePoolWithTag");
    if (type != NonPagedPoolNx || tag == 0 || size == 0) {
        sim_misuse("ExAllocatePoolWithTag: type %d, size %zu, tag 0x%X", (int)type, (size_t)size, tag);
    }
    if (sim_fails_now()) {
        return NULL;
    }
    block = malloc(sizeof(*block) + size);
    if (block == NULL) {
        return NULL;
    }
    memset(block + 1, 0xA5, size); // uninitialised, as on Windows
    pthread_mutex_lock(&sim_books);
    *block = (sim_block){SIM_POOL_MAGIC, tag, size, 0, sim_blocks, NULL};
    if (sim_blocks != NULL) {
        sim_blocks->previous = block;
    }
    sim_blocks = block;
    sim_block_count++;
    pthread_mutex_unlock(&sim_books);
    return block + 1;
}

static void
free_block(sim_block* block)
{
    if (block->previous != NULL) {
        block->previous->next = block->next;
    } else {
        sim_blocks = block->next;
    }
    if (block->next != NULL) {
        block->next->previous = block->previous;
    }
    sim_block_count -= block->wfp_owned ? 0 : 1;
    memset(block, 0xDD, sizeof(*block) + block->size);
    free(block);
}

VOID
ExFreePoolWithTag(PVOID memory, ULONG tag)
{
    sim_block* block = (sim_block*)memory - 1;

    sim_require_irql(DISPATCH_LEVEL, "ExFreePoolWithTag");
    if (memory == NULL || block->magic != SIM_POOL_MAGIC || block->tag != tag) {
        sim_misuse("ExFreePoolWithTag: not a live block of that tag");
        return;
    }
    if (block->wfp_owned) {
        sim_misuse("ExFreePoolWithTag: WFP owns that redirect context since it was applied");
        return;
    }
    pthread_mutex_lock(&sim_books);
    free_block(block);
    pthread_mutex_unlock(&sim_books);
}

int
sim_pool_give_to_wfp(void* memory, SIZE_T size)
{
    sim_block* found = NULL;

    pthread_mutex_lock(&sim_books);
    for (sim_block* block = sim_blocks; block != NULL && found == NULL; block = block->next) {
        found = block + 1 == memory && !block->wfp_owned && block->size >= size ? block : NULL;
    }
    if (found != NULL) {
        found->wfp_owned = 1;
        sim_block_count--;
    }
    pthread_mutex_unlock(&sim_books);
    return found != NULL;
}

void
sim_pool_free_by_wfp(void* memory)
{
    pthread_mutex_lock(&sim_books);
    free_block((sim_block*)memory - 1);
    pthread_mutex_unlock(&sim_books);
}

uint32_t
sim_live_allocations(void)
{
    return sim_block_count;
}

void
sim_pool_check_unloaded(void)
{
    if (sim_block_count != 0) {
        sim_misuse("unloaded with %u pool blocks allocated", sim_block_count);
    }
}
