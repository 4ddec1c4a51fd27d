/* arena.c - see arena.h. First touch of a 4 KiB page costs microseconds, so huge pages are advised
 * and all of the block is touched here rather than by a request. The kernel gives zeroed pages. */
#include "arena.h"
#include <assert.h>
#include <stdint.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)
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

/* One write a page, by the kernel where it knows how (Linux 5.14). */
static void touch(volatile unsigned char *base, size_t size)
{
    if (madvise((void *)(uintptr_t)base, size, MADV_POPULATE_WRITE) == 0)
        return;
    for (size_t i = 0; i < size; i += 4096)
        base[i] = 0;
}

enum error_code arena_commit(struct arena *arena, const char *what, struct error *err)
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
    touch(base, size);
    *arena = (struct arena){.base = base, .size = size};
    return ERROR_NONE;
}

void arena_free(struct arena *arena)
{
    if (arena->base)
        munmap(arena->base, arena->size);
    *arena = (struct arena){0};
}
