/* amx.c - see amx.h. */
#include "amx.h"
#if defined(__x86_64__)
#include <cpuid.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef ARCH_REQ_XCOMP_PERM
#define ARCH_REQ_XCOMP_PERM 0x1023
#endif
#define XFEATURE_TILE_CONFIG 17
#define XFEATURE_TILE_DATA   18

static bool granted;

static bool cpu_has_tiles(void)
{
    const unsigned bf16 = 1U << 22, tile = 1U << 24, int8 = 1U << 25;
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (d & (bf16 | tile | int8)) == (bf16 | tile | int8);
}

/* XCR0: the registers that the kernel saves. */
static bool kernel_saves_tiles(void)
{
    const unsigned both = 1U << XFEATURE_TILE_CONFIG | 1U << XFEATURE_TILE_DATA,
                   os_xsave = 1U << 27;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & os_xsave))
        return false;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & both) == both;
}

/* A process may use the 8 KiB of tile registers only after it has asked to (Linux 5.16). It is
 * asked once, as the running daemon's sandbox allows no such call. */
static void ask(void)
{
    granted = cpu_has_tiles() && kernel_saves_tiles() &&
              syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA) == 0;
}

bool amx_supported(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ask);
    return granted;
}
#else
bool amx_supported(void)
{
    return false;
}
#endif
