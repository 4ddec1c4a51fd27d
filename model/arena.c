/* arena.c - see arena.h. First touch of a 4 KiB page costs microseconds, so the block is aligned
 * to 2 MiB, huge pages are advised, and all of it is touched here rather than by a request. */
#include "arena.h"
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

float *arena_floats(struct arena *arena, size_t count)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, sizeof(float), &bytes) ||
        __builtin_add_overflow(bytes, ARENA_ALIGNMENT - 1, &bytes) ||
        __builtin_add_overflow(arena->used, bytes / ARENA_ALIGNMENT * ARENA_ALIGNMENT,
                               &arena->used)) {
        assert(!arena->base);
        arena->used = SIZE_MAX; /* every later addition overflows too; commit refuses */
        return NULL;
    }
    if (!arena->base)
        return NULL;
    assert(arena->used <= arena->size);
    return (float *)(void *)(arena->base + arena->used - bytes / ARENA_ALIGNMENT * ARENA_ALIGNMENT);
}

enum error_code arena_commit(struct arena *arena, const char *what, struct error *err)
{
    assert(!arena->base);
    if (arena->used > SIZE_MAX / 2)
        return error_set(err, ERROR_MEMORY, "%s: more memory needed than there are addresses",
                         what);
    size_t size = (arena->used + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
    void *base = aligned_alloc(HUGE_PAGE, size);
    if (!base)
        return error_set(err, ERROR_MEMORY, "%s: cannot allocate %zu MiB", what, size >> 20);
    (void)madvise(base, size, MADV_HUGEPAGE);
    memset(base, 0, arena->used);
    *arena = (struct arena){.base = base, .size = size};
    return ERROR_NONE;
}

void arena_free(struct arena *arena)
{
    free(arena->base);
    *arena = (struct arena){0};
}
