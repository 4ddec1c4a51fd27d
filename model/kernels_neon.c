/* kernels_neon.c - 64-bit Arm: 32 registers of 4 floats, a block of channels is four; tiles of
 * up to 20 sums, which with the weights and inputs of a step fill them. Every aarch64 CPU has them.
 */
#if defined(__aarch64__)
#define SIMD_NAME      "neon"
#define SIMD_SYMBOL    kernels_neon
#define SIMD_SUPPORTED true
#define SIMD_FLOATS    4
#define TILE_1         6
#define TILE_2         0
#define TILE_4         0
#include "kernels_simd_fp32.h"
#else
typedef int kernels_neon_not_for_this_cpu;
#endif
