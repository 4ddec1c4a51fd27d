/* kernels_avx512_bf16.c - AVX-512 with its bf16 extension: vdpbf16ps adds two products a lane. */
#if defined(__x86_64__)
#include <immintrin.h>
#define SIMD_NAME      "avx512"
#define SIMD_SYMBOL    kernels_avx512_bf16
#define SIMD_VECTORS   kernels_avx512
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"))
#define SIMD_FLOATS    16
#define TILE_1         14
#define TILE_2         14
#define TILE_4         7
#define SIMD_BF16_DOT(sum, value, w)                                                               \
    ((vec)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)_mm512_set1_epi32(value), (__m512bh)(w)))
#define SIMD_BF16_STORE(out, value)                                                                \
    _mm256_storeu_si256((__m256i *)(out), (__m256i)_mm512_cvtneps_pbh((__m512)(value)))
#include "kernels_simd_bf16.h"
#else
typedef int kernels_avx512_bf16_not_for_this_cpu;
#endif
