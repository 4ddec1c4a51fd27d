/* kernels_avx512f_bf16.c - bf16 on AVX-512 by its fp32 instructions: halves widened to fp32, for
 * CPUs without vdpbf16ps, and those on which it is no faster. */
#if defined(__x86_64__)
#include "kernels_avx512.h"
#define SIMD_NAME      "avx512f"
#define SIMD_SYMBOL    kernels_avx512f_bf16
#define SIMD_FP32      kernels_avx512
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
#define SIMD_FLOATS    16
#define TILE_1         12
#define TILE_2         12
#define TILE_4         5
#include "kernels_simd_bf16.h"
#else
typedef int kernels_avx512f_bf16_not_for_this_cpu;
#endif
