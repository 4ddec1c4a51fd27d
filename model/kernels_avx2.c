/* kernels_avx2.c - AVX2 and FMA: 16 registers of 8 floats, a block of channels is two; tiles of
 * up to 12 sums. */
#if defined(__x86_64__)
#include "kernels_avx2.h"
#define SIMD_NAME      "avx2"
#define SIMD_SYMBOL    kernels_avx2
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define SIMD_FLOATS    8
#define TILE_1         6
#define TILE_2         3
#define TILE_4         0
#include "kernels_simd_fp32.h"
#else
typedef int kernels_avx2_not_for_this_cpu;
#endif
