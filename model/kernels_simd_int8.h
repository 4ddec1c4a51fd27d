/* kernels_simd_int8.h - a SIMD backend in int8: weights int8 with a scale for each output, active
 * activations uint8 with a scale a layer, sums int32, by the direct convolution of kernels_simd.h.
 *
 * Quantisation is symmetric for weights, w = scale[out] * q, and starts at zero for activations,
 * which a ReLU has made at least 0. A photo's bytes have 128 for zero; what that adds to every sum
 * is known at packing and taken off the bias. So is what rounding the weights adds to an output on
 * average, where the input's means are known (bias correction: Nagel et al., "Data-Free
 * Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2). A word holds
 * the four neighbouring channels 4i..4i+3. The sums are exact, so that all backends agree to the
 * last bit.
 *
 * SIMD_INT8_DOT(sum, word, weights) multiplies four bytes by four and adds, without saturation;
 * without it plain vector code does. SIMD_VECTORS names the fp32 backend for the vectors.
 */
#include "kernels_vector.h"
#include <math.h>

#define GROUP       4
#define HEAD_FLOATS 2 /* packed: scale and bias of each output, in units of the output */
#define PHOTO_ZERO  128
typedef int32_t word __attribute__((may_alias));
typedef int8_t weight;
typedef uint8_t active;
typedef bf16 linear;
typedef ivec sums;

INLINE sums sums_begin(const float *bias)
{
    (void)bias;
    return (sums){0};
}

#ifdef SIMD_INT8_LOAD
/* The including file's own: weights_register, weights_load and sums_add. */
SIMD_INT8_LOAD
#else
typedef ivec weights_register;

INLINE weights_register weights_load(const word *from)
{
    return ILOAD(from);
}

INLINE sums sums_add(sums sum, word value, weights_register w)
{
#ifdef SIMD_INT8_DOT
    return SIMD_INT8_DOT(sum, value, w);
#else
    for (int shift = 0; shift < 32; shift += 8)
        sum += (w << (24 - shift) >> 24) * (value >> shift & 255);
    return sum;
#endif
}
#endif

/* Stores a register of a pixel's block at `out`, whose first channel is `first`. */
INLINE void sums_end(sums sum, const float *bias, size_t head, bool relu, void *out, size_t first)
{
    typedef uint8_t bytes
        __attribute__((vector_size(SIMD_FLOATS), aligned(1), may_alias)); /* a register's worth */
    vec value = __builtin_convertvector(sum, vec) * LOAD(bias - head) + LOAD(bias);
    if (relu) {
        const vec most = (vec){0} + 255;
        value = positive(value);
        ivec above = value > most;
        value = (vec)((ivec)value & ~above) + (vec)((ivec)most & above);
        *(bytes *)(void *)((uint8_t *)out + first) =
            __builtin_convertvector(__builtin_convertvector(value + 0.5F, ivec), bytes);
    } else {
        bf16_store((bf16 *)out + first, value);
    }
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
    float *out_bias = head + blocks_of(conv->out) * LANES;
    for (size_t o = 0; o < conv->out; o++, source += count) {
        float scale = weight_scale(source, count);
        head[o] = scale * conv->in_scale / unit;
        double sum = 0, excess = 0;
        const float *means =
            conv->in_mean ? conv->in_mean + o / (conv->out / conv->groups) * in_g : NULL;
        for (size_t i = 0; i < count; i++) {
            double rounded = quantise(source[i], scale);
            sum += conv->planar_in ? rounded : 0;
            excess +=
                means ? (double)means[i / taps] * (rounded * (double)scale - (double)source[i]) : 0;
        }
        out_bias[o] =
            (float)(((double)bias[o] - excess) / (double)unit - PHOTO_ZERO * sum * (double)head[o]);
    }
}

INLINE weight pack_weight(const struct conv *conv, const float *head, size_t out, float value)
{
    float unit = conv->relu ? conv->out_scale : 1;
    return quantise(value, head[out] * unit / conv->in_scale);
}

static const word photo_zero = (word)(PHOTO_ZERO * 0x01010101u);

/* Words of a photo's row, from `channel` on; its channels are `plane` floats apart. */
static void gather_photo(const struct conv *conv, const float *row, size_t plane, size_t channel,
                         size_t width, word *out)
{
    const float inverse = 1 / conv->in_scale;
    for (size_t x = 0; x < width; x++)
        out[x] = photo_zero;
    for (size_t i = 0; i < GROUP && channel + i < conv->in; i++) {
        const float *values = row + (channel + i) * plane;
        uint8_t *bytes = (uint8_t *)out + i;
        for (size_t x = 0; x < width; x++) {
            float value = values[x] * inverse + (PHOTO_ZERO + 0.5F);
            bytes[x * GROUP] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
    }
}

#include "kernels_simd.h"

#define LINEAR_TO_FLOAT(value)   bf16_to_float(value)
#define LINEAR_FROM_FLOAT(value) bf16_from_float(value)
#define ACTIVE_FROM_FLOAT(value) ((uint8_t)((value) < 255 ? (value) + 0.5F : 255))
#include "kernels_pointwise.h"
POINTWISE_FUNCTIONS(LANES)

const struct kernels SIMD_SYMBOL = {.name = SIMD_NAME,
                                    .precision = PRECISION_INT8,
#ifdef SIMD_INT8_DOT
                                    .native = true,
#endif
                                    .lanes = LANES,
                                    .supported = supported,
                                    .active_bytes = sizeof(active),
                                    .linear_bytes = sizeof(linear),
                                    .vectors = &SIMD_VECTORS,
                                    .packed_bytes = direct_packed_bytes,
                                    .pack = direct_pack,
                                    .conv_scratch = direct_scratch,
                                    .conv = conv_direct,
                                    .max_pool = max_pool,
                                    .average_pool = average_pool,
                                    .scale_add_relu = scale_add_relu,
                                    .peak = peak};
