/* kernels_neon_int8.c - int8 on every 64-bit Arm, in plain vector code. */
#if defined(__aarch64__)
#define SIMD_NAME      "neon"
#define SIMD_SYMBOL    kernels_neon_int8
#define SIMD_SUPPORTED true
#define SIMD_FLOATS    4
#define TILE_1         5
#define TILE_2         0
#define TILE_4         0
#include "kernels_simd_int8.h"
#else
typedef int kernels_neon_int8_not_for_this_cpu;
#endif
