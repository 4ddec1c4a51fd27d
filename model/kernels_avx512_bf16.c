/* kernels_avx512_bf16.c - AVX-512 with its bf16 extension: vdpbf16ps adds two products a lane. */
#if defined(__x86_64__)
#include "kernels_avx512.h"
#define SIMD_NAME      "avx512"
#define SIMD_SYMBOL    kernels_avx512_bf16
#define SIMD_FP32      kernels_avx512
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16"))
#define SIMD_FLOATS    16
#define TILE_1         14
#define TILE_2         14
#define TILE_4         7
#define SIMD_ADD       "vdpbf16ps"
#define SIMD_BF16_DOT(sum, value, w)                                                               \
    ((vec)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)_mm512_set1_epi32(value), (__m512bh)(w)))
#include "kernels_simd_bf16.h"
#else
typedef int kernels_avx512_bf16_not_for_this_cpu;
#endif
