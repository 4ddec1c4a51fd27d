/* kernels_simd_fp32.h - a SIMD backend in fp32: the direct convolution of kernels_simd.h, Winograd
 * where that takes fewer products, and the table. */
#include "kernels_vector.h"

#define GROUP       1
#define HEAD_FLOATS 1 /* packed: the bias */
typedef float word __attribute__((may_alias));
typedef float weight;
typedef float active;
typedef float linear;
typedef vec active_lanes;
typedef vec sums;
typedef vec weights_register;

INLINE sums sums_begin(const float *bias, size_t head)
{
    (void)head;
    return LOAD(bias);
}

INLINE weights_register weights_load(const word *from)
{
    return LOAD(from);
}

INLINE void weights_forget(weights_register *w)
{
    FORGET(*w);
}

INLINE sums sums_add(sums sum, word value, weights_register w)
{
    return fp32_add(sum, value, w);
}

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
    *(vec *)(void *)((float *)out + first) = relu ? positive(sum) : sum;
}

/* Stores a pixel's block. */
INLINE void block_end(const sums sum[REGISTERS], const float *bias, size_t head, bool relu,
                      void *out)
{
    for (size_t r = 0; r < REGISTERS; r++)
        sums_end(sum[r], bias, head, relu, out, r * SIMD_FLOATS);
}

static void pack_head(const struct conv *conv, const float *source, const float *bias, float *head)
{
    (void)source;
    memcpy(head, bias, conv->out * sizeof *head);
}

INLINE weight pack_weight(const struct conv *conv, const float *head, size_t out, float value)
{
    (void)conv, (void)head, (void)out;
    return value;
}

static const active photo_zero = 0;

INLINE active photo_active(float value, float inverse)
{
    (void)inverse;
    return value;
}

INLINE void linear_swap(vec block[REGISTERS])
{
    (void)block;
}

INLINE void linear_load_block(const linear *from, vec block[REGISTERS])
{
    for (size_t r = 0; r < REGISTERS; r++)
        block[r] = LOAD(from + r * SIMD_FLOATS);
}

INLINE void linear_store_block(linear *to, const vec block[REGISTERS])
{
    for (size_t r = 0; r < REGISTERS; r++)
        *(vec *)(to + r * SIMD_FLOATS) = block[r];
}

/* Active and linear are one, and nothing is stored twice. */
#define APART              false
#define active_sum         linear_sum
#define active_store_block linear_store_block

#include "kernels_simd.h"

/* multiply_pixels for bf16, which multiplies by Winograd's method in fp32. */
#define WINOGRAD_MULTIPLY PASTE(SIMD_SYMBOL, _multiply)
void WINOGRAD_MULTIPLY(const float *v, size_t in_blocks, size_t pixels, const void *weights,
                       size_t blocks, const void *next, void *m);
void WINOGRAD_MULTIPLY(const float *v, size_t in_blocks, size_t pixels, const void *weights,
                       size_t blocks, const void *next, void *m)
{
    multiply_pixels(v, in_blocks, pixels, weights, blocks, next, m);
}

/* The strided form for 512 channels has 7 MiB more weights, which wide registers would wait for. */
#define WINOGRAD_4X4      128
#define WINOGRAD_3X3      256
#define WINOGRAD_2X2      512
#define WINOGRAD_STRIDED  (SIMD_FLOATS < 16 ? 512 : 256)
#define winograd_multiply multiply_pixels
#define winograd_source   pack_weight
typedef float point;
typedef vec patch_lanes;
typedef float point_weight;

INLINE patch_lanes patch_load(const active *from)
{
    return LOAD(from);
}

INLINE point_weight winograd_weight(double value)
{
    return (point_weight)value;
}

INLINE void winograd_end(sums sum, const float *bias, size_t head, bool relu, void *out,
                         size_t first)
{
    sums_end(sum + LOAD(bias), bias, head, relu, out, first);
}

#include "kernels_winograd.h"

#include "kernels_simd_pointwise.h"

const struct kernels SIMD_SYMBOL = {.name = SIMD_NAME,
                                    .precision = PRECISION_FP32,
                                    .native = true,
                                    .lanes = LANES,
                                    .supported = supported,
                                    .active_bytes = sizeof(active),
                                    .linear_bytes = sizeof(linear),
                                    .packed_bytes = form_packed_bytes,
                                    .pack = form_pack,
                                    .conv_scratch = form_scratch,
                                    .conv = form_conv,
                                    .conv_join = conv_join,
                                    .max_pool = max_pool,
                                    .sum_pixels = sum_pixels,
                                    .peak = peak};
