/* kernels_ref.c - the oracle: convolution written as its definition, accumulated in double.
 * Slow by design; every other backend is tested against it. */
#include "kernels_nhwc.h"

static size_t conv_scratch(const struct conv *conv, size_t batch, size_t height, size_t width,
                           const struct team *team)
{
    (void)conv, (void)batch, (void)height, (void)width, (void)team;
    return 0;
}

/* One output value: group g, its channel o, at output row y, column x of one image. */
static double conv_at(const struct conv *conv, size_t height, size_t width, const float *in,
                      size_t g, size_t o, size_t y, size_t x)
{
    size_t k = conv->kernel, in_g = conv->in / conv->groups, out_g = conv->out / conv->groups;
    double sum = 0;
    for (size_t ky = 0; ky < k; ky++)
        for (size_t kx = 0; kx < k; kx++) {
            size_t row = y * conv->stride + ky, column = x * conv->stride + kx;
            if (row < conv->pad || row - conv->pad >= height || column < conv->pad ||
                column - conv->pad >= width)
                continue; /* zero padding */
            size_t pixel = (row - conv->pad) * width + column - conv->pad;
            const float *weight = packed_weights(conv) + ((g * k + ky) * k + kx) * in_g * out_g + o;
            for (size_t i = 0; i < in_g; i++) {
                size_t channel = g * in_g + i;
                size_t at =
                    conv->planar_in ? channel * height * width + pixel : pixel * conv->in + channel;
                sum += (double)in[at] * (double)weight[i * out_g];
            }
        }
    return sum;
}

static void conv_direct(const struct conv *conv, size_t batch, size_t height, size_t width,
                        const void *input, void *scratch, void *output, struct team *team)
{
    const float *in = input;
    float *out = output;
    (void)team; /* one thread a batch */
    (void)scratch;
    size_t oh = conv_out(conv, height), ow = conv_out(conv, width);
    size_t out_g = conv->out / conv->groups;
    for (size_t n = 0; n < batch; n++, in += height * width * conv->in)
        for (size_t y = 0; y < oh; y++)
            for (size_t x = 0; x < ow; x++)
                for (size_t c = 0; c < conv->out; c++) {
                    double value = conv_at(conv, height, width, in, c / out_g, c % out_g, y, x) +
                                   (double)packed_bias(conv)[c];
                    *out++ = conv->relu && value < 0 ? 0 : (float)value;
                }
}

static void conv_join(const struct conv *conv, size_t batch, size_t height, size_t width,
                      const void *input, const float *gates, void *scratch, void *shortcut,
                      void *active, struct team *team)
{
    const float *in = input;
    float *x = shortcut;
    (void)team, (void)scratch, (void)active; /* is the same kind */
    for (size_t n = 0; n < batch; n++, in += height * width * conv->in, gates += conv->out)
        for (size_t p = 0; p < height * width; p++)
            for (size_t c = 0; c < conv->out; c++, x++) {
                double value = conv_at(conv, height, width, in, 0, c, p / width, p % width) +
                               (double)packed_bias(conv)[c];
                value = value * (double)gates[c] + (double)*x;
                *x = value > 0 ? (float)value : 0;
            }
}

const struct kernels kernels_ref = NHWC_BACKEND("ref", conv_scratch, conv_direct, conv_join);
