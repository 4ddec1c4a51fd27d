/* kernels_portable_int8.c - int8 on any CPU, in 16 bits; every x86-64 CPU adds pairs of products.
 */
#if !defined(__aarch64__)
#if defined(__SSE2__)
#include <emmintrin.h>
#define SIMD_INT16_DOT(sum, value, w)                                                              \
    ((sum) + (ivec)_mm_madd_epi16(_mm_set1_epi32(value), (__m128i)(w)))
#endif
#define SIMD_NAME      "portable"
#define SIMD_SYMBOL    kernels_portable_int8
#define SIMD_SUPPORTED true
#define SIMD_FLOATS    4
#define TILE_1         3
#define TILE_2         0
#define TILE_4         0
#include "kernels_simd_int8.h"
#else
typedef int kernels_portable_int8_not_for_this_cpu;
#endif
