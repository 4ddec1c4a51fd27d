/* failing.c - failing.so, an allocator that fails when it is told to; see failing.h.
 *
 * Preloaded, its functions take the place of the C library's for the program and for all its
 * libraries, and go on to the C library by the names that it exports for such purposes. Processes
 * forked off share the file, and so the count.
 */
#include "failing.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static void *map(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

static struct failing unused;
static struct failing *control = &unused;

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("FAILING_CONTROL");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = map(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        control = mapped;
}

static bool fails(void)
{
    if (atomic_load(&control->countdown) <= 0 || atomic_fetch_sub(&control->countdown, 1) != 1)
        return false;
    atomic_fetch_add(&control->failed, 1);
    errno = ENOMEM;
    return true;
}

static void *counted(void *block)
{
    if (block != NULL)
        atomic_fetch_add(&control->live, 1);
    return block;
}

EXPORT void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

EXPORT void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

EXPORT void *realloc(void *block, size_t size)
{
    if (fails())
        return NULL;
    void *moved = __libc_realloc(block, size);
    if (block == NULL)
        return counted(moved);
    if (moved == NULL && size == 0)
        atomic_fetch_sub(&control->live, 1);
    return moved;
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *block = memalign(alignment, size);
    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}

EXPORT void free(void *block)
{
    if (block != NULL)
        atomic_fetch_sub(&control->live, 1);
    __libc_free(block);
}

/* What the program and its libraries map themselves, not the C library. */
EXPORT void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    void *mapped = fails() ? MAP_FAILED : map(at, size, protection, flags, fd, offset);
    if (mapped != MAP_FAILED)
        atomic_fetch_add(&control->live, 1);
    return mapped;
}

EXPORT int munmap(void *at, size_t size)
{
    if (syscall(SYS_munmap, at, size) != 0)
        return -1;
    atomic_fetch_sub(&control->live, 1);
    return 0;
}
