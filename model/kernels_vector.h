/* kernels_vector.h - registers and lanes, for the SIMD backends of all precisions; see
 * kernels_simd.h for what SIMD_... is.
 *
 * Beside those a backend may define, where its CPU has an instruction and GCC does not find it,
 *   SIMD_MAX(a, b), SIMD_MIN(a, b)   the larger and the smaller, lane by lane; b beside a NaN
 *   SIMD_FP32_ADD(sum, value, w)     a vec's products with a float, added to another
 *   SIMD_BF16_LOAD(from)             a vec from bf16
 *   SIMD_BF16(value)                 a vec rounded to bf16_vec
 *   SIMD_NARROW(lanes)               a uvec of values of 16 bits as those
 */
#include "kernels.h"
#include <stdint.h>
#include <string.h>

#ifndef LANES
#define LANES 16 /* channels in a block */
#endif
#define REGISTERS (LANES / SIMD_FLOATS) /* that hold the sums of a block of one pixel */

/* A register of 32-bit lanes, wherever it lies in memory. */
typedef float vec __attribute__((vector_size(SIMD_FLOATS * sizeof(float)), aligned(4), may_alias));
typedef int32_t ivec
    __attribute__((vector_size(SIMD_FLOATS * sizeof(int32_t)), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(SIMD_FLOATS * sizeof(uint32_t))));

#define LOAD(from)  (*(const vec *)(const void *)(from))
#define ILOAD(from) (*(const ivec *)(const void *)(from))
#define INLINE      static inline __attribute__((always_inline))

#define PASTE(a, b)  PASTE_(a, b)
#define PASTE_(a, b) a##b

static bool supported(void)
{
    return SIMD_SUPPORTED;
}

static size_t divide_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t blocks_of(size_t channels)
{
    return divide_up(channels, LANES);
}

/* Makes the compiler forget what a register holds, so that it does not see that two are alike. */
#if defined(__x86_64__)
#define FORGET(vector) __asm__ volatile("" : "+v"(vector))
#elif defined(__aarch64__)
#define FORGET(vector) __asm__ volatile("" : "+w"(vector))
#else
#define FORGET(vector) __asm__ volatile("" : "+m"(vector))
#endif

/* A vec's products with a float, added to another. */
INLINE vec fp32_add(vec sum, float value, vec w)
{
#ifdef SIMD_FP32_ADD
    return SIMD_FP32_ADD(sum, value, w);
#else
    return sum + value * w;
#endif
}

INLINE vec positive(vec value)
{
    const vec zero = {0};
#ifdef SIMD_MAX
    return SIMD_MAX(value, zero);
#else
    return (vec)((ivec)value & (value > zero));
#endif
}

/* ---- bf16: the upper half of an fp32, rounded to nearest even ------------------------------- */

typedef uint16_t bf16;
/* Not may_alias, or whoever stores it would have to read everything else from memory again. */
typedef bf16 bf16_vec __attribute__((vector_size(SIMD_FLOATS * sizeof(bf16)), aligned(2)));

INLINE bf16 bf16_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* A register's values from bf16. */
INLINE vec bf16_load(const bf16 *from)
{
#ifdef SIMD_BF16_LOAD
    return SIMD_BF16_LOAD(from);
#else
    return (vec)(__builtin_convertvector(*(const bf16_vec *)from, uvec) << 16);
#endif
}

/* Lanes of at most 0xffff as 16 bits each. */
INLINE bf16_vec narrow(uvec lanes)
{
#ifdef SIMD_NARROW
    return SIMD_NARROW(lanes);
#else
    return __builtin_convertvector(lanes, bf16_vec);
#endif
}

/* The bf16 of each lane in its upper half; of the lower half no more is to be expected. */
INLINE uvec bf16_round(vec value)
{
    uvec bits = (uvec)value;
    return bits + 0x7fff + (bits >> 16 & 1);
}

/* Stores a register's values as bf16. */
INLINE void bf16_store(void *out, vec value)
{
#if defined(SIMD_BF16)
    *(bf16_vec *)out = SIMD_BF16(value);
#else
    *(bf16_vec *)out = narrow(bf16_round(value) >> 16);
#endif
}
