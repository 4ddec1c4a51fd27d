/* arena.c - see arena.h. First touch of a 4 KiB page costs microseconds, so huge pages are advised
 * and all of the block is touched here rather than by a request. The kernel gives zeroed pages. */
#include "arena.h"
#include <assert.h>
#include <stdint.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define PIECE     (4 * HUGE_PAGE) /* that a thread touches at a time */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

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

/* Item: a piece of the block. One write a page, by the kernel where it knows how (Linux 5.14). */
static void touch(void *context, size_t item)
{
    const struct arena *arena = context;
    volatile unsigned char *piece = arena->base + item * PIECE;
    size_t size = arena->size - item * PIECE < PIECE ? arena->size - item * PIECE : PIECE;
    if (madvise((void *)(uintptr_t)piece, size, MADV_POPULATE_WRITE) == 0)
        return;
    for (size_t i = 0; i < size; i += 4096)
        piece[i] = 0;
}

enum error_code arena_commit(struct arena *arena, const char *what, struct team *team,
                             struct error *err)
{
    assert(!arena->base);
    if (arena->used > SIZE_MAX / 2)
        return error_set(err, ERROR_MEMORY, "%s: more memory needed than there are addresses",
                         what);
    size_t size = (arena->used + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return error_set(err, ERROR_MEMORY, "%s: cannot allocate %zu MiB", what, size >> 20);
    (void)madvise(base, size, MADV_HUGEPAGE);
    *arena = (struct arena){.base = base, .size = size};
    pool_for(team, (size + PIECE - 1) / PIECE, touch, arena);
    return ERROR_NONE;
}

void arena_free(struct arena *arena)
{
    if (arena->base)
        munmap(arena->base, arena->size);
    *arena = (struct arena){0};
}
