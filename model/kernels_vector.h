/* kernels_vector.h - registers and lanes, for the SIMD backends of all precisions; see
 * kernels_simd.h for what SIMD_... is.
 *
 * Beside those a backend may define, where its CPU has an instruction and GCC does not find it,
 *   SIMD_MAX(a, b), SIMD_MIN(a, b)   the larger and the smaller, lane by lane; b beside a NaN
 *   SIMD_FP32_ADD(sum, value, w)     a vec's products with a float, added to another
 *   SIMD_BF16_LOAD(from)             a vec from bf16
 *   SIMD_BF16(value)                 a vec rounded to bf16_vec
 *   SIMD_NARROW(lanes)               a uvec of values of 16 bits as those
 *   SIMD_ROUND(value)                an ivec, rounded to nearest even
 * and, where a block of channels is two registers whose CPU packs and unpacks both at once,
 *   SIMD_LOWER(a, b), SIMD_UPPER(a, b)  the lower halves of two vec, and the upper ones
 *   SIMD_UNPACK_BF16(from, lo | hi)  one of two vec that hold a block, swapped (see block_swap)
 *   SIMD_PACK_WORDS(a, b)            such a pair's values of 16 bits
 *   SIMD_PACK_BYTES(a, b)            such a pair's integers, saturated to 0..255, as bytes
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

/* A value joined with the shortcut, see conv_join in kernels.h. */
INLINE vec join(vec value, vec gate, vec shortcut)
{
    return positive(value * gate + shortcut);
}

/* ---- bf16: the upper half of an fp32, rounded to nearest even ------------------------------- */

typedef uint16_t bf16;
/* Not may_alias, or whoever stores it would have to read everything else from memory again. */
typedef bf16 bf16_vec __attribute__((vector_size(SIMD_FLOATS * sizeof(bf16)), aligned(2)));
typedef bf16 bf16_block __attribute__((vector_size(LANES * sizeof(bf16)), aligned(2)));

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

/* ---- a block of channels of a pixel, in REGISTERS registers --------------------------------- */

/* What unpacks 16 bits, and packs to them, takes the halves of registers apart: so the first of two
 * registers has channels 0 to 3 and 8 to 11. Between that and channels in order; back by the same.
 */
INLINE void block_swap(vec block[REGISTERS])
{
#ifdef SIMD_LOWER
    vec lower = SIMD_LOWER(block[0], block[1]), upper = SIMD_UPPER(block[0], block[1]);
    block[0] = lower;
    block[1] = upper;
#else
    (void)block;
#endif
}

/* Swapped. */
INLINE void bf16_load_block(const bf16 *from, vec block[REGISTERS])
{
#ifdef SIMD_UNPACK_BF16
    block[0] = SIMD_UNPACK_BF16(from, lo);
    block[1] = SIMD_UNPACK_BF16(from, hi);
#else
    for (size_t r = 0; r < REGISTERS; r++)
        block[r] = bf16_load(from + r * SIMD_FLOATS);
#endif
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

/* Of swapped registers. */
INLINE void bf16_store_block(bf16 *out, const vec block[REGISTERS])
{
#ifdef SIMD_PACK_WORDS
    *(bf16_block *)out =
        (bf16_block)SIMD_PACK_WORDS(bf16_round(block[0]) >> 16, bf16_round(block[1]) >> 16);
#else
    for (size_t r = 0; r < REGISTERS; r++)
        bf16_store(out + r * SIMD_FLOATS, block[r]);
#endif
}
