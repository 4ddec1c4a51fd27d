/* kernels_neondot_int8.c - 64-bit Arm with the dot product of Armv8.2, which adds four products of
 * signed bytes to a lane. */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <stdbool.h>
#include <sys/auxv.h>
#define SIMD_NAME      "neondot"
#define SIMD_SYMBOL    kernels_neondot_int8
#define SIMD_SUPPORTED ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0)
#define SIMD_FLOATS    4
#define TILE_1         6
#define TILE_2         0
#define TILE_4         0
#define SIMD_SIGNED
#define SIMD_INT8_DOT(sum, value, w)                                                               \
    ((ivec)vdotq_s32((int32x4_t)(sum), (int8x16_t)(w), (int8x16_t)vdupq_n_s32(value)))
#include "kernels_simd_int8.h"
#else
typedef int kernels_neondot_int8_not_for_this_cpu;
#endif
