/* kernels_avxvnni_int8.c - the CPUs with AVX-VNNI but without AVX-512: vpdpbusd on 8 lanes. */
#if defined(__x86_64__)
#include "kernels_avx2.h"
#define SIMD_NAME      "avxvnni"
#define SIMD_SYMBOL    kernels_avxvnni_int8
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx2") && cpu_has_avxvnni())
#define SIMD_FLOATS    8
#define TILE_1         6
#define TILE_2         3
#define TILE_4         0
#define SIMD_INT8_DOT(sum, value, w)                                                               \
    ((ivec)_mm256_dpbusd_avx_epi32((__m256i)(sum), _mm256_set1_epi32(value), (__m256i)(w)))
#include <cpuid.h>
#include <stdbool.h>

/* GCC 12's __builtin_cpu_supports does not know the name: leaf 7, subleaf 1, EAX bit 4. */
static bool cpu_has_avxvnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#include "kernels_simd_int8.h"
#else
typedef int kernels_avxvnni_int8_not_for_this_cpu;
#endif
