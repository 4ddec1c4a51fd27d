/* kernels_blas.c - convolution as im2col and one OpenBLAS sgemm per image and group.
 *
 * NHWC makes the lowering a copy of whole pixels, and a 1x1 convolution of stride 1 no copy at
 * all. Each image is a gemm of its own, with the same shape whatever the batch: OpenBLAS picks
 * its code path by the matrix size, and an answer must not depend on its neighbours.
 */
#include "kernels_nhwc.h"
#include <cblas.h>
#include <pthread.h>
#include <string.h>

static bool is_gemm(const struct conv *conv)
{
    return conv->kernel == 1 && conv->stride == 1 && conv->pad == 0 && !conv->planar_in;
}

static size_t conv_scratch(const struct conv *conv, size_t batch, size_t height, size_t width,
                           const struct team *team)
{
    (void)batch, (void)team; /* one image at a time */
    if (is_gemm(conv))       /* one of them may join */
        return conv->relu ? 0 : height * width * conv->out * sizeof(float);
    return conv_out(conv, height) * conv_out(conv, width) * conv->kernel * conv->kernel *
           (conv->in / conv->groups) * sizeof(float);
}

/* One pixel's channels of a group, wherever they lie. */
static void copy_pixel(const struct conv *conv, const float *in, size_t pixel, size_t area,
                       size_t g, float *out)
{
    size_t in_g = conv->in / conv->groups;
    if (!conv->planar_in) {
        memcpy(out, in + pixel * conv->in + g * in_g, in_g * sizeof *in);
        return;
    }
    for (size_t i = 0; i < in_g; i++)
        out[i] = in[(g * in_g + i) * area + pixel];
}

/* columns[oh * ow][kernel][kernel][in_g]: for each output pixel the window it reads. */
static void im2col(const struct conv *conv, size_t height, size_t width, const float *in, size_t g,
                   float *columns)
{
    size_t in_g = conv->in / conv->groups;
    size_t oh = conv_out(conv, height), ow = conv_out(conv, width);
    for (size_t y = 0; y < oh; y++)
        for (size_t x = 0; x < ow; x++)
            for (size_t ky = 0; ky < conv->kernel; ky++)
                for (size_t kx = 0; kx < conv->kernel; kx++, columns += in_g) {
                    /* Unsigned wrap turns "left of the image" into "far right of it". */
                    size_t row = y * conv->stride + ky - conv->pad;
                    size_t column = x * conv->stride + kx - conv->pad;
                    if (row < height && column < width)
                        copy_pixel(conv, in, row * width + column, height * width, g, columns);
                    else
                        memset(columns, 0, in_g * sizeof *columns);
                }
}

static void add_bias(float *out, size_t pixels, size_t channels, const float *bias, bool relu)
{
    for (size_t p = 0; p < pixels; p++, out += channels)
        for (size_t c = 0; c < channels; c++) {
            float value = out[c] + bias[c];
            out[c] = relu && value < 0 ? 0 : value;
        }
}

static void one_thread(void)
{
    openblas_set_num_threads(1);
}

static void conv_gemm(const struct conv *conv, size_t batch, size_t height, size_t width,
                      const void *input, void *scratch, void *output, struct team *team)
{
    const float *in = input;
    float *out = output;
    (void)team; /* one thread a batch */
    /* The workers are the parallelism; OpenBLAS must not add threads of its own. */
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, one_thread);
    size_t in_g = conv->in / conv->groups, out_g = conv->out / conv->groups;
    size_t depth = conv->kernel * conv->kernel * in_g;
    size_t pixels = conv_out(conv, height) * conv_out(conv, width);
    for (size_t n = 0; n < batch; n++) {
        for (size_t g = 0; g < conv->groups; g++) {
            const float *a = in + g * in_g;
            size_t a_stride = conv->in;
            if (!is_gemm(conv)) {
                im2col(conv, height, width, in, g, scratch);
                a = scratch;
                a_stride = depth;
            }
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)pixels, (blasint)out_g,
                        (blasint)depth, 1, a, (blasint)a_stride,
                        packed_weights(conv) + g * depth * out_g, (blasint)out_g, 0,
                        out + g * out_g, (blasint)conv->out);
        }
        add_bias(out, pixels, conv->out, packed_bias(conv), conv->relu);
        in += height * width * conv->in;
        out += pixels * conv->out;
    }
}

static void conv_join(const struct conv *conv, size_t batch, size_t height, size_t width,
                      const void *input, const float *gates, void *scratch, void *shortcut,
                      void *active, struct team *team)
{
    const float *in = input;
    float *x = shortcut;
    (void)active; /* is the same kind */
    for (size_t n = 0; n < batch; n++, in += height * width * conv->in, gates += conv->out) {
        const float *u = scratch;
        conv_gemm(conv, 1, height, width, in, NULL, scratch, team);
        for (size_t p = 0; p < height * width; p++)
            for (size_t c = 0; c < conv->out; c++, u++, x++) {
                float value = *u * gates[c] + *x;
                *x = value > 0 ? value : 0;
            }
    }
}

const struct kernels kernels_blas = NHWC_BACKEND("blas", conv_scratch, conv_gemm, conv_join);
