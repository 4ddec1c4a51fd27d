/* kernels_amx.h - what the backends on Intel's tile registers (AMX) share; see kernels_amx_tile.h.
 * A row of a tile is 64 bytes: a pixel's 64 channels in int8, half of them in bf16. */
#include "amx.h"
#include "kernels_avx512.h"
#define SIMD_NAME "amx"
#define SIMD_SUPPORTED                                                                             \
    (amx_supported() && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16"))
#define SIMD_FLOATS 16
#define LANES       64
