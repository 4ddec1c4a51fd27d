/* kernels_nhwc.h - what the NHWC backends share: always supported, and the packed order, the bias
 * [out], then [groups][kernel][kernel][in / groups][out / groups], a matrix of [window][outputs] a
 * group. */
#include "kernels.h"
#include <string.h>

/* The operations between convolutions; a plane is a whole image. */

static void max_pool(size_t planes, size_t c, size_t height, size_t width, size_t pad,
                     size_t out_height, size_t out_width, const void *input, void *output)
{
    const float *in = input;
    float *out = output;
    for (size_t n = 0; n < planes; n++, in += height * width * c)
        for (size_t y = 0; y < out_height; y++)
            for (size_t x = 0; x < out_width; x++, out += c) {
                size_t top = y * 2 < pad ? 0 : y * 2 - pad, left = x * 2 < pad ? 0 : x * 2 - pad;
                size_t bottom = y * 2 + 3 - pad, right = x * 2 + 3 - pad;
                bottom = bottom < height ? bottom : height;
                right = right < width ? right : width;
                memcpy(out, in + (top * width + left) * c, c * sizeof *out);
                for (size_t row = top; row < bottom; row++)
                    for (size_t column = left; column < right; column++) {
                        const float *pixel = in + (row * width + column) * c;
                        for (size_t i = 0; i < c; i++)
                            out[i] = pixel[i] > out[i] ? pixel[i] : out[i];
                    }
            }
}

/* Sums run over 64 pixels before they are added up, which keeps the rounding error of large
 * images small. */
static void sum_pixels(bool active, size_t planes, size_t c, size_t area, size_t begin, size_t end,
                       const void *input, float *sums)
{
    enum { RUN = 64, WIDTH = 16 };
    const float *in = input;
    (void)active; /* both are fp32 */
    for (size_t n = 0; n < planes; n++, in += area * c, sums += c)
        for (size_t c0 = 0; c0 < c; c0 += WIDTH) {
            size_t width = c - c0 < WIDTH ? c - c0 : WIDTH;
            float total[WIDTH] = {0};
            for (size_t p0 = begin; p0 < end; p0 += RUN) {
                float sum[WIDTH] = {0};
                size_t stop = p0 + RUN < end ? p0 + RUN : end;
                for (size_t p = p0; p < stop; p++)
                    for (size_t i = 0; i < width; i++)
                        sum[i] += in[p * c + c0 + i];
                for (size_t i = 0; i < width; i++)
                    total[i] += sum[i];
            }
            for (size_t i = 0; i < width; i++)
                sums[c0 + i] = total[i];
        }
}

static bool supported(void)
{
    return true;
}

static size_t packed_bytes(const struct conv *conv)
{
    size_t window = conv->kernel * conv->kernel * (conv->in / conv->groups);
    return (1 + window) * conv->out * sizeof(float);
}

static const float *packed_bias(const struct conv *conv)
{
    return conv->packed;
}

static const float *packed_weights(const struct conv *conv)
{
    return packed_bias(conv) + conv->out;
}

static void pack(const struct conv *conv, const float *source, const float *bias, void *packed)
{
    size_t in_g = conv->in / conv->groups, out_g = conv->out / conv->groups;
    size_t taps = conv->kernel * conv->kernel;
    float *weights = (float *)packed + conv->out;
    memcpy(packed, bias, conv->out * sizeof *bias);
    for (size_t o = 0; o < conv->out; o++)
        for (size_t i = 0; i < in_g; i++)
            for (size_t t = 0; t < taps; t++)
                weights[((o / out_g * taps + t) * in_g + i) * out_g + o % out_g] = *source++;
}

#define NHWC_BACKEND(NAME, CONV_SCRATCH, CONV, CONV_JOIN)                                          \
    {                                                                                              \
        .name = NAME, .precision = PRECISION_FP32, .native = true, .lanes = 0,                     \
        .supported = supported, .active_bytes = sizeof(float), .linear_bytes = sizeof(float),      \
        .packed_bytes = packed_bytes, .pack = pack, .conv_scratch = CONV_SCRATCH, .conv = CONV,    \
        .conv_join = CONV_JOIN, .max_pool = max_pool, .sum_pixels = sum_pixels                     \
    }
