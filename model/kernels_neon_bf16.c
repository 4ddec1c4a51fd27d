/* kernels_neon_bf16.c - bf16 on 64-bit Arm without instructions for it: halves widened to fp32. */
#if defined(__aarch64__)
#define SIMD_NAME      "neon"
#define SIMD_SYMBOL    kernels_neon_bf16
#define SIMD_FP32      kernels_neon
#define SIMD_SUPPORTED true
#define SIMD_FLOATS    4
#define TILE_1         5
#define TILE_2         0
#define TILE_4         0
#include "kernels_simd_bf16.h"
#else
typedef int kernels_neon_bf16_not_for_this_cpu;
#endif
