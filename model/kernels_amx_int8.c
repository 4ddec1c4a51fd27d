/* kernels_amx_int8.c - tile registers: tdpbusd adds 64 products to each sum, of bytes without and
 * with sign. */
#if defined(__x86_64__)
#include "kernels_amx.h"
#define SIMD_SYMBOL                     kernels_amx_int8
#define TILE_1                          32
#define TILE_2                          0
#define TILE_4                          0
#define SIMD_TILE_DOT(sum, in, weights) _tile_dpbusd(sum, in, weights)
#include "kernels_simd_int8.h"
#else
typedef int kernels_amx_int8_not_for_this_cpu;
#endif
