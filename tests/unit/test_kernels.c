/* test_kernels.c - every backend agrees with the double-precision reference on the shapes of
 * SE-ResNet-50 (cut to small images) and on awkward ones; the reference itself is checked
 * against numbers worked out by hand. */
#include "kernels.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* in, out, kernel, stride, pad, groups, height, width */
static const size_t shapes[][8] = {
    {3, 64, 7, 2, 3, 1, 32, 32},   {64, 64, 1, 1, 0, 1, 8, 8},     {64, 64, 3, 1, 1, 1, 8, 8},
    {64, 256, 1, 1, 0, 1, 8, 8},   {256, 128, 1, 1, 0, 1, 8, 8},   {128, 128, 3, 2, 1, 1, 8, 8},
    {256, 512, 1, 2, 0, 1, 8, 8},  {256, 256, 3, 2, 1, 1, 7, 7},   {512, 1024, 1, 2, 0, 1, 7, 7},
    {512, 512, 3, 1, 1, 1, 7, 7},  {2048, 512, 1, 1, 0, 1, 2, 2},  {2048, 128, 1, 1, 0, 1, 1, 1},
    {128, 2048, 1, 1, 0, 1, 1, 1}, {2048, 1000, 1, 1, 0, 1, 1, 1}, {128, 128, 3, 1, 1, 32, 7, 7},
    {256, 256, 3, 2, 1, 32, 9, 9}, {1, 1, 1, 1, 0, 1, 1, 1},       {1, 1, 3, 1, 1, 1, 1, 1},
    {1, 2, 3, 2, 1, 1, 2, 3},      {5, 7, 3, 1, 1, 1, 1, 9},       {5, 7, 3, 2, 1, 1, 9, 1},
    {6, 9, 3, 1, 1, 3, 5, 4},      {3, 5, 7, 2, 3, 1, 3, 2},       {13, 11, 1, 2, 0, 1, 5, 6},
    {17, 15, 1, 1, 0, 1, 3, 5},    {31, 33, 3, 1, 1, 1, 4, 7},     {33, 31, 3, 2, 1, 1, 15, 2},
    {15, 17, 1, 1, 0, 1, 13, 1},   {8, 16, 3, 1, 1, 8, 6, 6},      {63, 65, 1, 1, 0, 1, 2, 7},
};

/* Values in [-1, 1) from a fixed linear congruential sequence. */
static void fill(float *values, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525 + 1013904223;
        values[i] = (float)(int32_t)seed * 0x1p-31F;
    }
}

static float *filled(size_t count, uint32_t seed)
{
    float *values = malloc(count * sizeof *values + 1);
    assert_non_null(values);
    fill(values, count, seed);
    return values;
}

/* One convolution as a backend wants it, from the plain forms: photo[batch][channels][area]. */
struct problem {
    struct conv conv;
    size_t height, width, batch;
    const float *source; /* [out][in / groups][kernel][kernel] */
    const float *bias;   /* [out] */
    const float *input;  /* [batch][in][height][width] */
};

static size_t out_floats(const struct problem *p)
{
    return conv_out(&p->conv, p->height) * conv_out(&p->conv, p->width) * p->conv.out;
}

/* Between [channels][area] and the backend's [blocks][area][c]; the lanes of padding are zero. */
static void to_blocks(const struct kernels *kernels, const float *planar, size_t channels,
                      size_t area, float *blocked)
{
    size_t c = kernels_block(kernels, channels);
    memset(blocked, 0, kernels_padded(kernels, channels) * area * sizeof *blocked);
    for (size_t i = 0; i < channels; i++)
        for (size_t p = 0; p < area; p++)
            blocked[(i / c * area + p) * c + i % c] = planar[i * area + p];
}

static void from_blocks(const struct kernels *kernels, const float *blocked, size_t channels,
                        size_t area, float *planar)
{
    size_t c = kernels_block(kernels, channels);
    for (size_t i = 0; i < channels; i++)
        for (size_t p = 0; p < area; p++)
            planar[i * area + p] = blocked[(i / c * area + p) * c + i % c];
}

/* Runs the problem on a backend; the result is [batch][out][oh][ow], the caller's to free. */
static float *run(const struct kernels *kernels, const struct problem *p, bool relu,
                  struct team *team)
{
    struct conv conv = p->conv;
    size_t area = p->height * p->width, out_area = out_floats(p) / conv.out;
    size_t in_padded = conv.planar_in ? conv.in : kernels_padded(kernels, conv.in);
    size_t out_padded = kernels_padded(kernels, conv.out);
    float *packed = calloc(kernels->packed_floats(&conv), sizeof *packed);
    float *bias = calloc(out_padded, sizeof *bias);
    float *in = malloc(p->batch * area * in_padded * sizeof *in);
    float *scratch = filled(kernels->conv_scratch(&conv, p->batch, p->height, p->width), 99);
    float *out = filled(p->batch * out_area * out_padded, 77);
    float *result = malloc(p->batch * out_floats(p) * sizeof *result);
    kernels->pack(&conv, p->source, packed);
    memcpy(bias, p->bias, conv.out * sizeof *bias);
    conv.weights = packed;
    conv.bias = bias;
    for (size_t n = 0; n < p->batch; n++) {
        const float *image = p->input + n * conv.in * area;
        if (conv.planar_in)
            memcpy(in + n * conv.in * area, image, conv.in * area * sizeof *in);
        else
            to_blocks(kernels, image, conv.in, area, in + n * in_padded * area);
    }
    kernels->conv(&conv, p->batch, p->height, p->width, in, scratch, out, relu, team);
    for (size_t n = 0; n < p->batch; n++)
        from_blocks(kernels, out + n * out_padded * out_area, conv.out, out_area,
                    result + n * out_floats(p));
    free(out);
    free(scratch);
    free(in);
    free(bias);
    free(packed);
    return result;
}

static void compare(const struct kernels *kernels, const size_t shape[8], bool relu, bool planar,
                    struct team *team)
{
    struct problem p = {.conv = {.in = shape[0],
                                 .out = shape[1],
                                 .kernel = shape[2],
                                 .stride = shape[3],
                                 .pad = shape[4],
                                 .groups = shape[5],
                                 .planar_in = planar},
                        .height = shape[6],
                        .width = shape[7],
                        .batch = 3};
    size_t depth = p.conv.kernel * p.conv.kernel * p.conv.in / p.conv.groups;
    size_t image = p.height * p.width * p.conv.in, count = out_floats(&p);
    float *source = filled(depth * p.conv.out, 1), *bias = filled(p.conv.out, 2);
    float *input = filled(p.batch * image, 3);
    p.source = source;
    p.bias = bias;
    p.input = input;
    float *expected = run(&kernels_ref, &p, relu, NULL), *found = run(kernels, &p, relu, NULL);
    /* Sums grow with the root of the depth, and so does the rounding's random walk. Winograd's
     * transforms cost about a digit. */
    float tolerance = 1e-6F + 4e-7F * (float)depth;
    for (size_t i = 0; i < p.batch * count; i++)
        if (!(fabsf(found[i] - expected[i]) <= tolerance))
            fail_msg("%s: %zu -> %zu, kernel %zu, stride %zu, groups %zu, %zu x %zu: value %zu is "
                     "%g, expected %g",
                     kernels->name, p.conv.in, p.conv.out, p.conv.kernel, p.conv.stride,
                     p.conv.groups, p.height, p.width, i, (double)found[i], (double)expected[i]);
    /* The last image alone, with helpers: the same to the last bit. */
    p.batch = 1;
    p.input = input + 2 * image;
    float *alone = run(kernels, &p, relu, team);
    assert_memory_equal(alone, found + 2 * count, count * sizeof *alone);
    free(alone);
    free(found);
    free(expected);
    free(input);
    free(bias);
    free(source);
}

static void test_backends(void **state)
{
    (void)state;
    size_t compared = 0;
    struct pool *pool = NULL;
    struct team *team = NULL;
    assert_int_equal(pool_new(3, &pool, NULL), ERROR_NONE);
    assert_int_equal(pool_team_new(pool, &team, NULL), ERROR_NONE);
    pool_begin(team);
    for (size_t b = 0; kernels_at(b); b++) {
        const struct kernels *kernels = kernels_at(b);
        if (kernels == &kernels_ref || !kernels->supported())
            continue;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            compare(kernels, shapes[i], i % 2, shapes[i][2] == 7, team);
        compared++;
    }
    assert_true(compared > 0);
    pool_end(team);
    pool_team_free(team);
    pool_free(pool);
}

/* The operations between convolutions, on one plane of three channels or a block of them. */
static void test_pointwise(void **state)
{
    (void)state;
    enum { C = 16, H = 5, W = 7 };
    static const size_t pools[][3] = {{1, 3, 4}, {0, 2, 3}, {0, 3, 4}}; /* pad, out h, out w */
    float *in = filled(2 * H * W * C, 5), *other = filled(2 * H * W * C, 6);
    for (size_t b = 0; kernels_at(b); b++) {
        const struct kernels *kernels = kernels_at(b);
        if (!kernels->supported())
            continue;
        float out[2 * H * W * C];
        for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
            const size_t pad = pools[i][0], oh = pools[i][1], ow = pools[i][2];
            kernels->max_pool(2, C, H, W, pad, oh, ow, in, out);
            for (size_t at = 0; at < 2 * oh * ow * C; at++) {
                size_t c = at % C, x = at / C % ow, y = at / C / ow % oh, n = at / C / ow / oh;
                float most = -2;
                for (size_t row = 0; row < H; row++)
                    for (size_t column = 0; column < W; column++)
                        if (row + pad >= 2 * y && row + pad < 2 * y + 3 && column + pad >= 2 * x &&
                            column + pad < 2 * x + 3)
                            most = fmaxf(most, in[((n * H + row) * W + column) * C + c]);
                assert_true(out[at] == most);
            }
        }
        kernels->average_pool(2, C, H * W, in, out);
        for (size_t n = 0; n < 2; n++)
            for (size_t c = 0; c < C; c++) {
                double sum = 0;
                for (size_t p = 0; p < H * W; p++)
                    sum += (double)in[(n * H * W + p) * C + c];
                assert_true(fabs(sum / (H * W) - (double)out[n * C + c]) < 1e-6);
            }
        const float *gates[2] = {other, NULL};
        for (size_t i = 0; i < 2; i++) {
            kernels->scale_add_relu(2, C, H * W, in, gates[i], other, out);
            for (size_t at = 0; at < 2 * H * W * C; at++) {
                float gate = gates[i] ? other[at / C / (H * W) * C + at % C] : 1;
                assert_true(fabsf(out[at] - fmaxf(in[at] * gate + other[at], 0)) < 1e-6F);
            }
        }
    }
    free(in);
    free(other);
}

/* A 3x3 image of 1..9, one channel, a 3x3 kernel that picks the left neighbour, bias 1. */
static void test_reference(void **state)
{
    (void)state;
    const float in[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    float weights[9] = {0, 0, 0, 1, 0, 0, 0, 0, 0}, bias = 1, out[9];
    struct conv conv = {.in = 1,
                        .out = 1,
                        .kernel = 3,
                        .stride = 1,
                        .pad = 1,
                        .groups = 1,
                        .weights = weights,
                        .bias = &bias};
    kernels_ref.conv(&conv, 1, 3, 3, in, NULL, out, false, NULL);
    assert_memory_equal(out, ((float[]){1, 2, 3, 1, 5, 6, 1, 8, 9}), sizeof out);
    conv.stride = 2;
    kernels_ref.conv(&conv, 1, 3, 3, in, NULL, out, false, NULL);
    assert_memory_equal(out, ((float[]){1, 3, 1, 9}), 4 * sizeof *out);
    bias = -5;
    kernels_ref.conv(&conv, 1, 3, 3, in, NULL, out, true, NULL);
    assert_memory_equal(out, ((float[]){0, 0, 0, 3}), 4 * sizeof *out);
    /* Two groups: each output sees its own input channel alone. */
    const float pair[2] = {3, 5};
    float twice[2] = {10, 100}, biases[2] = {0, 1};
    struct conv grouped = {.in = 2, .out = 2, .kernel = 1, .stride = 1, .groups = 2};
    grouped.weights = twice;
    grouped.bias = biases;
    kernels_ref.conv(&grouped, 1, 1, 1, pair, NULL, out, false, NULL);
    assert_memory_equal(out, ((float[]){30, 501}), 2 * sizeof *out);
}

static void test_find(void **state)
{
    (void)state;
    const struct kernels *kernels = NULL;
    struct error err = {0};
    assert_int_equal(kernels_find("cuda", &kernels, &err), ERROR_USAGE);
    assert_non_null(strstr(err.message, "cuda"));
    assert_non_null(strstr(err.message, "blas"));
    assert_int_equal(kernels_find(NULL, &kernels, NULL), ERROR_NONE);
    assert_true(kernels->supported());
    assert_int_equal(kernels_find("ref", &kernels, NULL), ERROR_NONE);
    assert_ptr_equal(kernels, &kernels_ref);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_backends),
        cmocka_unit_test(test_pointwise),
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
