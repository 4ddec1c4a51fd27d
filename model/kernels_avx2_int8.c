/* kernels_avx2_int8.c - int8 on AVX2 alone, in 16 bits: vpmaddwd adds pairs of products without
 * saturating (vpmaddubsw on bytes would), and does as many in a cycle. */
#if defined(__x86_64__)
#include "kernels_avx2.h"
#define SIMD_NAME      "avx2"
#define SIMD_SYMBOL    kernels_avx2_int8
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define SIMD_FLOATS    8
#define TILE_1         6
#define TILE_2         0
#define TILE_4         0
#define SIMD_INT16_DOT(sum, value, w)                                                              \
    ((sum) + (ivec)_mm256_madd_epi16(_mm256_set1_epi32(value), (__m256i)(w)))
#include "kernels_simd_int8.h"
#else
typedef int kernels_avx2_int8_not_for_this_cpu;
#endif
