/* kernels_vector.h - registers and lanes, for the SIMD backends of all precisions; see
 * kernels_simd.h for what SIMD_... is. */
#include "kernels.h"
#include <stdint.h>
#include <string.h>

#define LANES     16                    /* channels in a block */
#define REGISTERS (LANES / SIMD_FLOATS) /* that hold the sums of a block of one pixel */

/* A register of 32-bit lanes, wherever it lies in memory. */
typedef float vec __attribute__((vector_size(SIMD_FLOATS * sizeof(float)), aligned(4), may_alias));
typedef int32_t ivec
    __attribute__((vector_size(SIMD_FLOATS * sizeof(int32_t)), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(SIMD_FLOATS * sizeof(uint32_t))));

#define LOAD(from)  (*(const vec *)(const void *)(from))
#define ILOAD(from) (*(const ivec *)(const void *)(from))
#define INLINE      static inline __attribute__((always_inline))

/* kernels_<name>_multiply, of an fp32 backend: multiply_pixels (kernels_simd.h) for those of other
 * precisions with the same registers, which name it SIMD_VECTORS. */
#define PASTE(a, b)      PASTE_(a, b)
#define PASTE_(a, b)     a##b
#define MULTIPLY(symbol) PASTE(symbol, _multiply)
#ifdef SIMD_VECTORS
void MULTIPLY(SIMD_VECTORS)(const float *v, size_t in_blocks, size_t pixels, const void *weights,
                            size_t blocks, void *m);
#else
void MULTIPLY(SIMD_SYMBOL)(const float *v, size_t in_blocks, size_t pixels, const void *weights,
                           size_t blocks, void *m);
#endif

static bool supported(void)
{
    return SIMD_SUPPORTED;
}

static size_t divide_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
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

INLINE vec positive(vec value)
{
    const vec zero = {0};
    return (vec)((ivec)value & (value > zero));
}

/* ---- bf16: the upper half of an fp32, rounded to nearest even ------------------------------- */

typedef uint16_t bf16;
typedef bf16 bf16_vec
    __attribute__((vector_size(SIMD_FLOATS * sizeof(bf16)), aligned(2), may_alias));

INLINE bf16 bf16_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* A register's values from bf16. */
INLINE vec bf16_load(const bf16 *from)
{
    return (vec)(__builtin_convertvector(*(const bf16_vec *)from, uvec) << 16);
}

/* Stores a register's values as bf16. */
INLINE void bf16_store(void *out, vec value)
{
#ifdef SIMD_BF16_STORE
    SIMD_BF16_STORE(out, value);
#else
    uvec bits = (uvec)value;
    bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    *(bf16_vec *)out = __builtin_convertvector(bits, bf16_vec);
#endif
}
