/* kernels_avx512vnni_int8.c - the CPUs with AVX-512 and VNNI but without bf16, such as Cascade Lake
 * and Ice Lake. */
#if defined(__x86_64__)
#include "kernels_avx512.h"
#define SIMD_NAME      "avx512vnni"
#define SIMD_SYMBOL    kernels_avx512vnni_int8
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"))
#define SIMD_FLOATS    16
#define TILE_1         14
#define TILE_2         14
#define TILE_4         7
#define SIMD_ADD       "vpdpbusd"
#define SIMD_INT8_DOT(sum, value, w)                                                               \
    ((ivec)_mm512_dpbusd_epi32((__m512i)(sum), _mm512_set1_epi32(value), (__m512i)(w)))
#include "kernels_simd_int8.h"
#else
typedef int kernels_avx512vnni_int8_not_for_this_cpu;
#endif
