/* kernels_amx.c - fp32 in the layout of the backends on tile registers, for their vectors: AVX-512,
 * as tiles hold no fp32. */
#if defined(__x86_64__)
#include "kernels_amx.h"
#define SIMD_SYMBOL kernels_amx
#define TILE_1      7
#define TILE_2      0
#define TILE_4      0
#include "kernels_simd_fp32.h"
#else
typedef int kernels_amx_not_for_this_cpu;
#endif
