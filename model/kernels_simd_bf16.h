/* kernels_simd_bf16.h - a SIMD backend in bf16: weights and activations bf16, sums fp32, by the
 * direct convolution of kernels_simd.h.
 *
 * A word holds the neighbouring channels 2i (lower half) and 2i + 1. Where the CPU can multiply
 * pairs, SIMD_BF16_DOT(sum, word, weights) does; elsewhere each half is widened to fp32, which
 * gives the same products but no speed. Tile registers do it by SIMD_TILE_DOT, see
 * kernels_amx_tile.h. SIMD_FP32 names the fp32 backend whose tiles do Winograd's products.
 */
#include "kernels_vector.h"

#define GROUP       2
#define HEAD_FLOATS 1 /* packed: the bias */
typedef int32_t word __attribute__((may_alias));
typedef bf16 weight;
typedef bf16 active;
typedef bf16 linear;
typedef bf16_vec active_lanes; /* at least 0, so they compare like the integers of their bits */
typedef vec sums;

INLINE sums sums_begin(const float *bias, size_t head)
{
    (void)head;
    return LOAD(bias);
}

#if defined(SIMD_TILE_DOT)
#define IS_NATIVE true
#elif defined(SIMD_BF16_DOT)
#define IS_NATIVE true
typedef ivec weights_register;

INLINE weights_register weights_load(const word *from)
{
    return ILOAD(from);
}

INLINE void weights_forget(weights_register *w)
{
    FORGET(*w);
}

INLINE sums sums_add(sums sum, word value, weights_register w)
{
    return SIMD_BF16_DOT(sum, value, w);
}
#else
#define IS_NATIVE false
typedef struct {
    vec lower, upper;
} weights_register;

INLINE weights_register weights_load(const word *from)
{
    ivec both = ILOAD(from);
    return (weights_register){(vec)(both << 16), (vec)(both & (int32_t)0xffff0000)};
}

INLINE void weights_forget(weights_register *w)
{
    FORGET(w->lower);
    FORGET(w->upper);
}

INLINE sums sums_add(sums sum, word value, weights_register w)
{
    const ivec none = {0};
    ivec both = none + value;
    sum += (vec)(both << 16) * w.lower;
    return sum + (vec)(both & (int32_t)0xffff0000) * w.upper;
}
#endif

/* What a register of sums stands for. */
INLINE vec sums_value(sums sum, const float *bias, size_t head)
{
    (void)bias, (void)head;
    return sum;
}

/* Stores a register of a pixel's block at `out`, whose first channel is `first`. */
INLINE void sums_end(sums sum, const float *bias, size_t head, bool relu, void *out, size_t first)
{
    (void)bias, (void)head;
    bf16_store((bf16 *)out + first, relu ? positive(sum) : sum);
}

/* Stores a pixel's block. */
INLINE void block_end(const sums sum[REGISTERS], const float *bias, size_t head, bool relu,
                      void *out)
{
    vec block[REGISTERS];
    (void)bias, (void)head;
    for (size_t r = 0; r < REGISTERS; r++)
        block[r] = relu ? positive(sum[r]) : sum[r];
    block_swap(block);
    bf16_store_block(out, block);
}

static void pack_head(const struct conv *conv, const float *source, const float *bias, float *head)
{
    (void)source;
    memcpy(head, bias, conv->out * sizeof *head);
}

INLINE weight pack_weight(const struct conv *conv, const float *head, size_t out, float value)
{
    (void)conv, (void)head, (void)out;
    return bf16_from_float(value);
}

static const active photo_zero = 0;

INLINE active photo_active(float value, float inverse)
{
    (void)inverse;
    return bf16_from_float(value);
}

#define linear_swap        block_swap
#define linear_load_block  bf16_load_block
#define linear_store_block bf16_store_block
/* Active and linear are one, and nothing is stored twice. */
#define APART              false
#define active_sum         linear_sum
#define active_store       bf16_store
#define active_store_block bf16_store_block

/* Tile registers multiply bf16 sixteen times as fast as vectors do fp32. */
#ifdef SIMD_TILE_DOT
#define DIRECT_ALONE
#endif
#include "kernels_simd.h"

#ifndef DIRECT_ALONE
/* Winograd's method in fp32, as its transforms would lose bf16's digits. An fp32 product costs as
 * much as two of bf16, so where the CPU multiplies bf16 only the form that saves most pays. */
#define WINOGRAD_4X4     128
#define WINOGRAD_3X3     0
#define WINOGRAD_2X2     (IS_NATIVE ? 0 : 512)
#define WINOGRAD_STRIDED (IS_NATIVE ? 0 : SIMD_FLOATS < 16 ? 512 : 256)
typedef float point;
typedef vec patch_lanes;
typedef float point_weight;

INLINE patch_lanes patch_load(const active *from)
{
    return bf16_load(from);
}

INLINE float winograd_source(const struct conv *conv, const float *head, size_t out, float value)
{
    (void)conv, (void)head, (void)out;
    return value;
}

INLINE point_weight winograd_weight(double value)
{
    return (point_weight)value;
}

#define WINOGRAD_MULTIPLY PASTE(SIMD_FP32, _multiply)
void WINOGRAD_MULTIPLY(const float *v, size_t in_blocks, size_t pixels, const void *weights,
                       size_t blocks, const void *next, void *m);

INLINE void winograd_multiply(const point *v, size_t in_blocks, size_t pixels, const word *weights,
                              size_t blocks, const word *next, sums *m)
{
    WINOGRAD_MULTIPLY(v, in_blocks, pixels, weights, blocks, next, m);
}

INLINE void winograd_end(sums sum, const float *bias, size_t head, bool relu, void *out,
                         size_t first)
{
    sums_end(sum + LOAD(bias), bias, head, relu, out, first);
}

#include "kernels_winograd.h"
#endif

#include "kernels_simd_pointwise.h"

#include "kernels_dense.h"

const struct kernels SIMD_SYMBOL = {.name = SIMD_NAME,
                                    .precision = PRECISION_BF16,
                                    .native = IS_NATIVE,
                                    .lanes = LANES,
                                    .supported = supported,
                                    .active_bytes = sizeof(active),
                                    .linear_bytes = sizeof(linear),
                                    .vectors = &dense_layers,
                                    .packed_bytes = form_packed_bytes,
                                    .pack = form_pack,
                                    .conv_scratch = form_scratch,
                                    .conv = form_conv,
                                    .conv_join = conv_join,
                                    .max_pool = max_pool,
                                    .sum_pixels = sum_pixels,
                                    .peak = peak};
