/* bignum_memory.c - see bignum_memory.h.
 *
 * The reserve hands out what comes next in it, and begins anew when all of it was given back.
 */
#include "bignum_memory.h"

#include <gmp.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define RESERVE_BYTES ((size_t)1 << 20) /* untouched, it costs none */

static alignas(max_align_t) uint8_t reserve[RESERVE_BYTES];
static size_t used, blocks;                               /* of it */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards them */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool is_reserve(const void *block)
{
    return (uintptr_t)block - (uintptr_t)reserve < RESERVE_BYTES;
}

static void *take_reserve(size_t size)
{
    const size_t unit = alignof(max_align_t);
    void *block = NULL;
    pthread_mutex_lock(&mutex);
    if (size <= RESERVE_BYTES - used) {
        block = reserve + used;
        used += (size + unit - 1) / unit * unit;
        blocks++;
    }
    pthread_mutex_unlock(&mutex);
    return block;
}

static void *allocate(size_t size)
{
    void *block = malloc(size);
    if (block == NULL)
        block = take_reserve(size);
    if (block == NULL)
        __builtin_trap(); /* GMP would write to it all the same */
    return block;
}

static void give_back(void *block, size_t size)
{
    (void)size;
    if (!is_reserve(block)) {
        free(block);
        return;
    }
    pthread_mutex_lock(&mutex);
    if (--blocks == 0)
        used = 0;
    pthread_mutex_unlock(&mutex);
}

static void *reallocate(void *block, size_t old_size, size_t size)
{
    void *moved = is_reserve(block) ? NULL : realloc(block, size);
    if (moved != NULL)
        return moved;
    moved = allocate(size);
    memcpy(moved, block, old_size < size ? old_size : size);
    give_back(block, old_size);
    return moved;
}

static void install(void)
{
    mp_set_memory_functions(allocate, reallocate, give_back);
}

void bignum_memory_reserve(void)
{
    pthread_once(&once, install);
}
