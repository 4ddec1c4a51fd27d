/* network.c - see network.h. Everything between the convolutions is plain C here; the
 * convolutions and fully connected layers go through the backend's table. */
#include "network.h"
#include <assert.h>
#include <math.h>
#include <string.h>

struct extent {
    size_t height, width;
};

static struct extent after(const struct conv *conv, struct extent in)
{
    return (struct extent){conv_out(conv, in.height), conv_out(conv, in.width)};
}

static size_t pixels(struct extent extent)
{
    return extent.height * extent.width;
}

/* Size after the 3x3 max-pool of stride 2. Rounded up, the last window must still begin inside
 * the image, as in PyTorch. */
static size_t pooled_side(const struct architecture *net, size_t side)
{
    size_t room = side + 2 * net->pool_pad - 3;
    size_t out = (room + (net->pool_ceil ? 1 : 0)) / 2 + 1;
    if (net->pool_ceil && (out - 1) * 2 >= side + net->pool_pad)
        out--;
    return out;
}

static struct extent after_pool(const struct architecture *net, struct extent in)
{
    return (struct extent){pooled_side(net, in.height), pooled_side(net, in.width)};
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- layout ------------------------------------------------------------------------------ */

struct sizes {
    size_t block, t1, t2, t3, scratch, channels, reduced; /* floats, of one image */
};

static void measure_conv(const struct kernels *kernels, const struct conv *conv, struct extent in,
                         struct sizes *sizes)
{
    sizes->scratch = max_size(sizes->scratch, kernels->conv_scratch(conv, in.height, in.width));
}

static struct extent measure_block(const struct kernels *kernels, const struct block *block,
                                   struct extent in, struct sizes *sizes)
{
    struct extent e1 = after(&block->conv1, in), e2 = after(&block->conv2, e1);
    measure_conv(kernels, &block->conv1, in, sizes);
    measure_conv(kernels, &block->conv2, e1, sizes);
    measure_conv(kernels, &block->conv3, e2, sizes);
    if (block->has_downsample)
        measure_conv(kernels, &block->downsample, in, sizes);
    sizes->t1 = max_size(sizes->t1, pixels(e1) * block->conv1.out);
    sizes->t2 = max_size(sizes->t2, pixels(e2) * block->conv2.out);
    sizes->t3 = max_size(sizes->t3, pixels(e2) * block->conv3.out);
    sizes->block = max_size(sizes->block, pixels(e2) * block->conv3.out);
    sizes->channels = max_size(sizes->channels, block->conv3.out);
    if (block->has_se)
        sizes->reduced = max_size(sizes->reduced, block->fc1.out);
    return e2;
}

void network_layout(const struct architecture *net, const struct kernels *kernels,
                    struct network_buffers *buffers, struct arena *arena)
{
    struct sizes sizes = {0};
    struct extent input = {buffers->height, buffers->width}, stem = after(&net->stem, input);
    struct extent extent = after_pool(net, stem);
    measure_conv(kernels, &net->stem, input, &sizes);
    sizes.t1 = pixels(input) * 3; /* the input in NHWC */
    sizes.t3 = pixels(stem) * net->stem.out;
    sizes.block = pixels(extent) * net->stem.out;
    for (size_t i = 0; i < net->block_count; i++)
        extent = measure_block(kernels, &net->blocks[i], extent, &sizes);
    size_t n = buffers->images;
    buffers->x = arena_floats(arena, n * sizes.block);
    buffers->y = arena_floats(arena, n * sizes.block);
    buffers->t1 = arena_floats(arena, n * sizes.t1);
    buffers->t2 = arena_floats(arena, n * sizes.t2);
    buffers->t3 = arena_floats(arena, n * sizes.t3);
    buffers->scratch = arena_floats(arena, sizes.scratch);
    buffers->squeezed = arena_floats(arena, n * sizes.channels);
    buffers->reduced = arena_floats(arena, n * sizes.reduced);
    buffers->excitation = arena_floats(arena, n * sizes.channels);
}

/* ---- the operations between the convolutions --------------------------------------------- */

static void to_nhwc(const float *nchw, size_t images, size_t area, float *nhwc)
{
    for (size_t n = 0; n < images; n++, nchw += 3 * area)
        for (size_t p = 0; p < area; p++)
            for (size_t c = 0; c < 3; c++)
                *nhwc++ = nchw[c * area + p];
}

static void max_pool_pixel(const struct architecture *net, const float *image, struct extent in,
                           size_t y, size_t x, float *out)
{
    size_t channels = net->stem.out;
    bool first = true;
    for (size_t ky = 0; ky < 3; ky++)
        for (size_t kx = 0; kx < 3; kx++) {
            size_t row = 2 * y + ky - net->pool_pad, column = 2 * x + kx - net->pool_pad;
            if (row >= in.height || column >= in.width) /* unsigned: also left of 0 */
                continue;
            const float *pixel = image + (row * in.width + column) * channels;
            for (size_t c = 0; c < channels; c++)
                out[c] = first || pixel[c] > out[c] ? pixel[c] : out[c];
            first = false;
        }
}

static void max_pool(const struct architecture *net, size_t images, const float *in,
                     struct extent from, float *out)
{
    struct extent to = after_pool(net, from);
    for (size_t n = 0; n < images; n++, in += pixels(from) * net->stem.out)
        for (size_t y = 0; y < to.height; y++)
            for (size_t x = 0; x < to.width; x++, out += net->stem.out)
                max_pool_pixel(net, in, from, y, x, out);
}

/* out[images][channels] = mean over the pixels: the squeeze, and the final average pool. Sums run
 * over at most a row of 64 pixels in fp32 before they are added up, which keeps the rounding
 * error of large inputs small. */
static void average_pool(const float *in, size_t images, size_t area, size_t channels, float *out)
{
    enum { ROW = 64, LANES = 64 };
    for (size_t n = 0; n < images; n++, in += area * channels, out += channels)
        for (size_t c0 = 0; c0 < channels; c0 += LANES) {
            size_t lanes = channels - c0 < LANES ? channels - c0 : LANES;
            float total[LANES] = {0};
            for (size_t p0 = 0; p0 < area; p0 += ROW) {
                float row[LANES] = {0};
                size_t end = p0 + ROW < area ? p0 + ROW : area;
                for (size_t p = p0; p < end; p++)
                    for (size_t c = 0; c < lanes; c++)
                        row[c] += in[p * channels + c0 + c];
                for (size_t c = 0; c < lanes; c++)
                    total[c] += row[c];
            }
            for (size_t c = 0; c < lanes; c++)
                out[c0 + c] = total[c] / (float)area;
        }
}

static void sigmoid(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[i] = 1 / (1 + expf(-values[i]));
}

/* y = relu(scale * u + shortcut); y may be the shortcut itself. excitation is [images][channels],
 * NULL for blocks without. */
static void scale_add_relu(const float *u, const float *excitation, const float *shortcut,
                           size_t images, size_t area, size_t channels, float *y)
{
    for (size_t n = 0; n < images; n++)
        for (size_t p = 0; p < area; p++) {
            const float *gate = excitation ? excitation + n * channels : NULL;
            for (size_t c = 0; c < channels; c++) {
                float value = (gate ? u[c] * gate[c] : u[c]) + shortcut[c];
                y[c] = value > 0 ? value : 0;
            }
            u += channels;
            shortcut += channels;
            y += channels;
        }
}

/* ---- the network ------------------------------------------------------------------------- */

/* Squeeze and excitation of u[images][h][w][C] into buffers->excitation. */
static void excite(const struct kernels *kernels, const struct block *block,
                   const struct network_buffers *buffers, size_t images, const float *u,
                   size_t area)
{
    average_pool(u, images, area, block->conv3.out, buffers->squeezed);
    kernels->conv(&block->fc1, images, 1, 1, buffers->squeezed, buffers->scratch, buffers->reduced,
                  true);
    kernels->conv(&block->fc2, images, 1, 1, buffers->reduced, buffers->scratch,
                  buffers->excitation, false);
    sigmoid(buffers->excitation, images * block->conv3.out);
}

/* y = relu(SE(conv3(conv2(conv1(x)))) + shortcut(x)); returns the extent of y. */
static struct extent run_block(const struct kernels *kernels, const struct block *block,
                               const struct network_buffers *b, size_t images, const float *x,
                               struct extent e0, float *y)
{
    struct extent e1 = after(&block->conv1, e0), e2 = after(&block->conv2, e1);
    kernels->conv(&block->conv1, images, e0.height, e0.width, x, b->scratch, b->t1, true);
    kernels->conv(&block->conv2, images, e1.height, e1.width, b->t1, b->scratch, b->t2, true);
    kernels->conv(&block->conv3, images, e2.height, e2.width, b->t2, b->scratch, b->t3, false);
    if (block->has_se)
        excite(kernels, block, b, images, b->t3, pixels(e2));
    if (block->has_downsample)
        kernels->conv(&block->downsample, images, e0.height, e0.width, x, b->scratch, y, false);
    scale_add_relu(b->t3, block->has_se ? b->excitation : NULL, block->has_downsample ? y : x,
                   images, pixels(e2), block->conv3.out, y);
    return e2;
}

static void keep(const float *excitation, size_t images, size_t channels, float *out, size_t stride)
{
    for (size_t n = 0; n < images; n++)
        memcpy(out + n * stride, excitation + n * channels, channels * sizeof *out);
}

void network_forward(const struct architecture *net, const struct kernels *kernels,
                     const struct network_buffers *buffers, size_t images, const float *input,
                     float *logits, float *excitations, size_t excitation_stride)
{
    assert(images >= 1 && images <= buffers->images);
    const struct network_buffers *b = buffers;
    struct extent extent = {b->height, b->width}, stem = after(&net->stem, extent);
    to_nhwc(input, images, pixels(extent), b->t1);
    kernels->conv(&net->stem, images, extent.height, extent.width, b->t1, b->scratch, b->t3, true);
    max_pool(net, images, b->t3, stem, b->x);
    extent = after_pool(net, stem);
    float *x = b->x, *y = b->y;
    size_t offset = 0;
    for (size_t i = 0; i < net->block_count; i++) {
        const struct block *block = &net->blocks[i];
        extent = run_block(kernels, block, b, images, x, extent, y);
        if (block->has_se && excitations)
            keep(b->excitation, images, block->conv3.out, excitations + offset, excitation_stride);
        offset += block->conv3.out;
        float *swap = x;
        x = y;
        y = swap;
    }
    average_pool(x, images, pixels(extent), net->fc.in, b->squeezed);
    kernels->conv(&net->fc, images, 1, 1, b->squeezed, b->scratch, logits, false);
}

static double conv_multiply_adds(const struct conv *conv, struct extent in)
{
    return (double)pixels(after(conv, in)) * (double)conv->out *
           (double)(conv->kernel * conv->kernel * (conv->in / conv->groups));
}

double network_multiply_adds(const struct architecture *net, size_t height, size_t width)
{
    const struct extent one = {1, 1};
    struct extent extent = {height, width};
    double sum = conv_multiply_adds(&net->stem, extent) + conv_multiply_adds(&net->fc, one);
    extent = after_pool(net, after(&net->stem, extent));
    for (size_t i = 0; i < net->block_count; i++) {
        const struct block *block = &net->blocks[i];
        struct extent e1 = after(&block->conv1, extent), e2 = after(&block->conv2, e1);
        sum += conv_multiply_adds(&block->conv1, extent) + conv_multiply_adds(&block->conv2, e1) +
               conv_multiply_adds(&block->conv3, e2);
        if (block->has_downsample)
            sum += conv_multiply_adds(&block->downsample, extent);
        if (block->has_se)
            sum += conv_multiply_adds(&block->fc1, one) + conv_multiply_adds(&block->fc2, one);
        extent = e2;
    }
    return sum;
}
