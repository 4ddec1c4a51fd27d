/* kernels_portable.c - any CPU, in GCC's vectors of 4 floats, which the compiler turns into what
 * there is: SSE2 on x86-64, whose 16 registers hold 12 sums beside an input and its products. On
 * aarch64 the same is kernels_neon.c. */
#if !defined(__aarch64__)
#define SIMD_NAME      "portable"
#define SIMD_SYMBOL    kernels_portable
#define SIMD_SUPPORTED true
#define SIMD_FLOATS    4
#define TILE_1         3
#define TILE_2         0
#define TILE_4         0
#include "kernels_simd_fp32.h"
#else
typedef int kernels_portable_not_for_this_cpu;
#endif
