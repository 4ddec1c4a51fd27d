/* kernels_amx_bf16.c - tile registers: tdpbf16ps adds 32 products to each sum. */
#if defined(__x86_64__)
#include "kernels_amx.h"
#define SIMD_SYMBOL                     kernels_amx_bf16
#define TILE_1                          32
#define TILE_2                          0
#define TILE_4                          0
#define SIMD_TILE_DOT(sum, in, weights) _tile_dpbf16ps(sum, in, weights)
#include "kernels_simd_bf16.h"
#else
typedef int kernels_amx_bf16_not_for_this_cpu;
#endif
