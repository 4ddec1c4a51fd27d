/* kernels_avx2_bf16.c - bf16 without instructions for it: halves widened to fp32, as in fp32 but
 * for half of the memory. */
#if defined(__x86_64__)
#include "kernels_avx2.h"
#define SIMD_NAME      "avx2"
#define SIMD_SYMBOL    kernels_avx2_bf16
#define SIMD_FP32      kernels_avx2
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define SIMD_FLOATS    8
#define TILE_1         5
#define TILE_2         0
#define TILE_4         0
#include "kernels_simd_bf16.h"
#else
typedef int kernels_avx2_bf16_not_for_this_cpu;
#endif
