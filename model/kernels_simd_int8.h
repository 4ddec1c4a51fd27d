/* kernels_simd_int8.h - a SIMD backend in int8: weights int8 with a scale for each output, active
 * activations uint8 with a scale a layer, sums int32, by the direct convolution of kernels_simd.h.
 *
 * Quantisation is symmetric for weights, w = scale[out] * q, and starts at zero for activations,
 * which a ReLU has made at least 0. A photo's bytes have 128 for zero; what that adds to every sum
 * is known at packing and taken off the bias. So is what rounding the weights adds to an output on
 * average, where the input's means are known (bias correction: Nagel et al., "Data-Free
 * Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2). The sums are
 * exact, so that all backends agree to the last bit.
 *
 * SIMD_INT8_DOT(sum, word, weights) multiplies four bytes by four and adds, without saturation: a
 * word holds the four neighbouring channels 4i..4i+3. Where it multiplies signed bytes only
 * (SIMD_SIGNED), activations are taken less 128, and sums begin with what that takes off them, 128
 * times the weights of an output. Where the CPU cannot do that, the same
 * values lie in 16 bits each, a word holds channels 2i and 2i+1, and SIMD_INT16_DOT multiplies them
 * by two weights, or plain vector code does. Tile registers do it all by SIMD_TILE_DOT, see
 * kernels_amx_tile.h. SIMD_BYTES(value), where the CPU can, makes bytes of a
 * vec of at least 0: rounded to nearest even, saturated.
 */
#include "kernels_vector.h"
#include <math.h>

/* Packed: the scale of each output, where its sums begin if not at zero (an int32), its bias; in
 * units of the output. */
#ifdef SIMD_SIGNED
#define HEAD_FLOATS 3
#define SIGN_BITS   0x80808080u
#else
#define HEAD_FLOATS 2
#endif
#define PHOTO_ZERO 128
typedef int32_t word __attribute__((may_alias));
#if defined(SIMD_INT8_DOT) || defined(SIMD_TILE_DOT)
#define GROUP 4
typedef int8_t weight;
typedef uint8_t active;
#else
#define GROUP 2
typedef int16_t weight;
typedef uint16_t active;
#endif
static const active photo_zero = PHOTO_ZERO;
typedef bf16 linear;
typedef active active_lanes
    __attribute__((vector_size(SIMD_FLOATS * sizeof(active)), aligned(1), may_alias));
/* As they are stored: words alias less than bytes, see bf16_vec. */
typedef uint32_t stored_lanes
    __attribute__((vector_size(SIMD_FLOATS * sizeof(active)), aligned(1)));
typedef uint32_t bytes_block __attribute__((vector_size(LANES), aligned(1)));
typedef ivec sums;

INLINE sums sums_begin(const float *bias, size_t head)
{
#ifdef SIMD_SIGNED
    return ILOAD(bias - head);
#else
    (void)bias, (void)head;
    return (sums){0};
#endif
}

#ifndef SIMD_TILE_DOT
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
#if defined(SIMD_SIGNED)
    return SIMD_INT8_DOT(sum, (word)((uint32_t)value ^ SIGN_BITS), w);
#elif defined(SIMD_INT8_DOT)
    return SIMD_INT8_DOT(sum, value, w);
#elif defined(SIMD_INT16_DOT)
    return SIMD_INT16_DOT(sum, value, w);
#else
    return sum + (w << 16 >> 16) * (int16_t)value + (w >> 16) * (value >> 16);
#endif
}
#endif

/* Values of at least 0 rounded to 0..255: at 2^23 a float's last bit is worth one. */
INLINE ivec rounded(vec value)
{
    const vec most = (vec){0} + 255;
#ifdef SIMD_MIN
    value = SIMD_MIN(value, most);
#else
    ivec above = value > most;
    value = (vec)(((ivec)value & ~above) | ((ivec)most & above));
#endif
#ifdef SIMD_ROUND
    return SIMD_ROUND(value);
#else
    return (ivec)(value + 0x1p23F) & 255;
#endif
}

/* Stores values of at least 0, in units of the activations. */
INLINE void active_store(active *to, vec value)
{
#if GROUP == 2
    *(stored_lanes *)(void *)to = (stored_lanes)narrow((uvec)rounded(value));
#elif defined(SIMD_BYTES)
    *(stored_lanes *)(void *)to = (stored_lanes)SIMD_BYTES(value);
#else
    active_lanes bytes = __builtin_convertvector(rounded(value), active_lanes);
    *(stored_lanes *)(void *)to = (stored_lanes)bytes;
#endif
}

/* The same of a block in swapped registers. */
INLINE void active_store_block(active *to, const vec block[REGISTERS])
{
#if GROUP == 2 && defined(SIMD_PACK_WORDS)
    *(bf16_block *)to = (bf16_block)SIMD_PACK_WORDS(rounded(block[0]), rounded(block[1]));
#elif defined(SIMD_PACK_BYTES)
    *(bytes_block *)(void *)to = (bytes_block)SIMD_PACK_BYTES(rounded(block[0]), rounded(block[1]));
#else
    for (size_t r = 0; r < REGISTERS; r++)
        active_store(to + r * SIMD_FLOATS, block[r]);
#endif
}

/* Sums of activations as 16 bits, of which up to SUM_MOST fit. */
#define SUM_LANES (LANES < 2 * SIMD_FLOATS ? LANES : 2 * SIMD_FLOATS)
#define SUM_MOST  (UINT16_MAX / 255)
typedef uint16_t word_sums __attribute__((vector_size(SUM_LANES * 2)));
typedef active summed
    __attribute__((vector_size(SUM_LANES * sizeof(active)), aligned(1), may_alias));

INLINE void add_actives(const active *from, word_sums sum[LANES / SUM_LANES])
{
    for (size_t i = 0; i < LANES / SUM_LANES; i++) {
        const void *lanes = from + i * SUM_LANES;
        sum[i] += __builtin_convertvector(*(const summed *)lanes, word_sums);
    }
}

/* The sums of so many pixels' blocks, SUM_MOST at most, in order. */
INLINE void active_sum(const active *from, size_t pixels, vec out[REGISTERS])
{
    uint16_t totals[LANES];
    word_sums even[LANES / SUM_LANES] = {0}, odd[LANES / SUM_LANES] = {0}; /* they overlap */
    for (size_t p = 0; p < pixels; p += 2) {
        add_actives(from + p * LANES, even);
        if (p + 1 < pixels)
            add_actives(from + (p + 1) * LANES, odd);
    }
    for (size_t i = 0; i < LANES / SUM_LANES; i++)
        even[i] += odd[i];
    memcpy(totals, even, sizeof totals);
    for (size_t r = 0; r < REGISTERS; r++) {
        uvec wide = __builtin_convertvector(*(const bf16_vec *)(totals + r * SIMD_FLOATS), uvec);
        out[r] = __builtin_convertvector((ivec)wide, vec);
    }
}

/* Sums in units of the output, with the bias. */
INLINE vec sums_value(sums sum, const float *bias, size_t head)
{
    const float *scale = bias - (HEAD_FLOATS - 1) * head;
    return __builtin_convertvector(sum, vec) * LOAD(scale) + LOAD(bias);
}

/* Stores a register of a pixel's block at `out`, whose first channel is `first`. */
INLINE void sums_end(sums sum, const float *bias, size_t head, bool relu, void *out, size_t first)
{
    vec value = sums_value(sum, bias, head);
    if (relu)
        active_store((active *)out + first, positive(value));
    else
        bf16_store((bf16 *)out + first, value);
}

/* Stores a pixel's block. */
INLINE void block_end(const sums sum[REGISTERS], const float *bias, size_t head, bool relu,
                      void *out)
{
    vec block[REGISTERS];
    for (size_t r = 0; r < REGISTERS; r++) {
        vec value = sums_value(sum[r], bias + r * SIMD_FLOATS, head);
        block[r] = relu ? positive(value) : value;
    }
    block_swap(block);
    if (relu)
        active_store_block(out, block);
    else
        bf16_store_block(out, block);
}

/* The scale by which an output's weights become int8. */
static float weight_scale(const float *weights, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmaxf(most, fabsf(weights[i]));
    return most > 0 ? most / 127 : 1;
}

INLINE weight quantise(float value, float scale)
{
    return (weight)lrintf(fminf(fmaxf(value / scale, -127), 127));
}

static void pack_head(const struct conv *conv, const float *source, const float *bias, float *head)
{
    size_t taps = conv->kernel * conv->kernel, in_g = conv->in / conv->groups, count = taps * in_g;
    float unit = conv->relu ? conv->out_scale : 1; /* of the output */
    size_t padded = blocks_of(conv->out) * LANES;
    float *out_bias = head + (HEAD_FLOATS - 1) * padded;
    for (size_t o = 0; o < conv->out; o++, source += count) {
        float scale = weight_scale(source, count);
        head[o] = scale * conv->in_scale / unit;
        double excess = 0;
        int32_t sum = 0; /* of the weights */
        const float *means =
            conv->in_mean ? conv->in_mean + o / (conv->out / conv->groups) * in_g : NULL;
        for (size_t i = 0; i < count; i++) {
            int rounded = quantise(source[i], scale);
            sum += rounded;
            excess +=
                means ? (double)means[i / taps] * (rounded * (double)scale - (double)source[i]) : 0;
        }
        double zero = conv->planar_in ? PHOTO_ZERO * (double)sum * (double)head[o] : 0;
        out_bias[o] = (float)(((double)bias[o] - excess) / (double)unit - zero);
#ifdef SIMD_SIGNED
        sum *= 128;
        memcpy(head + padded + o, &sum, sizeof sum);
#endif
    }
}

INLINE weight pack_weight(const struct conv *conv, const float *head, size_t out, float value)
{
    float unit = conv->relu ? conv->out_scale : 1;
    return quantise(value, head[out] * unit / conv->in_scale);
}

/* A photo's channel in units of 1 / inverse. */
INLINE active photo_active(float value, float inverse)
{
    value = value * inverse + (PHOTO_ZERO + 0.5F);
    return (active)(value < 0 ? 0 : value > 255 ? 255 : value);
}

#define linear_swap        block_swap
#define linear_load_block  bf16_load_block
#define linear_store_block bf16_store_block
#define APART              true

/* Bytes are multiplied as fast as Winograd's 16 bits would be with fewer products. */
#if GROUP == 4
#define DIRECT_ALONE
#endif
#include "kernels_simd.h"

#ifndef DIRECT_ALONE
#define WINOGRAD_4X4      0
#define WINOGRAD_3X3      0
#define WINOGRAD_2X2      512
#define WINOGRAD_STRIDED  512
#define winograd_multiply multiply_pixels
#define winograd_source   pack_weight
typedef active point;
typedef int16_t patch_lanes __attribute__((vector_size(SIMD_FLOATS * 4), aligned(2), may_alias));
typedef weight point_weight;

INLINE patch_lanes patch_load(const active *from)
{
    return *(const patch_lanes *)(const void *)from;
}

INLINE point_weight winograd_weight(double value)
{
    return (point_weight)lrint(4 * value);
}

INLINE void winograd_end(sums sum, const float *bias, size_t head, bool relu, void *out,
                         size_t first)
{
    sums_end(sum >> 2, bias, head, relu, out, first);
}

#include "kernels_winograd.h"
#endif

#include "kernels_simd_pointwise.h"

#include "kernels_dense.h"

const struct kernels SIMD_SYMBOL = {.name = SIMD_NAME,
                                    .precision = PRECISION_INT8,
                                    .native = GROUP == 4,
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
