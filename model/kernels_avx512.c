/* kernels_avx512.c - AVX-512F: 32 registers of 16 floats; tiles of up to 28 sums. */
#if defined(__x86_64__)
#include "kernels_avx512.h"
#define SIMD_NAME      "avx512"
#define SIMD_SYMBOL    kernels_avx512
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma"))
#define SIMD_FLOATS    16
#define TILE_1         14
#define TILE_2         14
#define TILE_4         7
#define SIMD_ADD       "vfmadd231ps"
#include "kernels_simd_fp32.h"
#else
typedef int kernels_avx512_not_for_this_cpu;
#endif
