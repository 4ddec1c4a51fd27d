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

static const char *const backends[] = {"blas"};

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

static float *run(const struct kernels *kernels, const struct conv *conv, size_t batch,
                  const size_t shape[8], const float *in, bool relu, size_t *count)
{
    size_t height = shape[6], width = shape[7];
    *count = batch * conv_out(conv, height) * conv_out(conv, width) * conv->out;
    float *scratch = filled(kernels->conv_scratch(conv, height, width), 99);
    float *out = filled(*count, 77);
    kernels->conv(conv, batch, height, width, in, scratch, out, relu);
    free(scratch);
    return out;
}

static void compare(const struct kernels *kernels, const size_t shape[8], bool relu)
{
    enum { BATCH = 2 };
    struct conv conv = {.in = shape[0],
                        .out = shape[1],
                        .kernel = shape[2],
                        .stride = shape[3],
                        .pad = shape[4],
                        .groups = shape[5]};
    size_t depth = conv.kernel * conv.kernel * conv.in / conv.groups, count;
    size_t image = shape[6] * shape[7] * conv.in;
    float *weights = filled(depth * conv.out, 1), *bias = filled(conv.out, 2);
    float *in = filled(BATCH * image, 3);
    conv.weights = weights;
    conv.bias = bias;
    float *expected = run(&kernels_ref, &conv, BATCH, shape, in, relu, &count);
    float *found = run(kernels, &conv, BATCH, shape, in, relu, &count);
    float tolerance = 1e-6F * (1 + sqrtf((float)depth));
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(found[i] - expected[i]) <= tolerance))
            fail_msg("%s: %zu -> %zu, kernel %zu, stride %zu, groups %zu, %zu x %zu: value %zu is "
                     "%g, expected %g",
                     kernels->name, conv.in, conv.out, conv.kernel, conv.stride, conv.groups,
                     shape[6], shape[7], i, (double)found[i], (double)expected[i]);
    /* The second image alone, to the last bit. */
    size_t alone_count;
    float *alone = run(kernels, &conv, 1, shape, in + image, relu, &alone_count);
    assert_memory_equal(alone, found + alone_count, alone_count * sizeof *alone);
    free(alone);
    free(found);
    free(expected);
    free(in);
    free(bias);
    free(weights);
}

static void test_backends(void **state)
{
    (void)state;
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) {
        const struct kernels *kernels = NULL;
        assert_int_equal(kernels_find(backends[b], &kernels, NULL), ERROR_NONE);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            compare(kernels, shapes[i], i % 2);
    }
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
    kernels_ref.conv(&conv, 1, 3, 3, in, NULL, out, false);
    assert_memory_equal(out, ((float[]){1, 2, 3, 1, 5, 6, 1, 8, 9}), sizeof out);
    conv.stride = 2;
    kernels_ref.conv(&conv, 1, 3, 3, in, NULL, out, false);
    assert_memory_equal(out, ((float[]){1, 3, 1, 9}), 4 * sizeof *out);
    bias = -5;
    kernels_ref.conv(&conv, 1, 3, 3, in, NULL, out, true);
    assert_memory_equal(out, ((float[]){0, 0, 0, 3}), 4 * sizeof *out);
    /* Two groups: each output sees its own input channel alone. */
    const float pair[2] = {3, 5};
    float twice[2] = {10, 100}, biases[2] = {0, 1};
    struct conv grouped = {.in = 2, .out = 2, .kernel = 1, .stride = 1, .groups = 2};
    grouped.weights = twice;
    grouped.bias = biases;
    kernels_ref.conv(&grouped, 1, 1, 1, pair, NULL, out, false);
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
    assert_int_equal(kernels_find("ref", &kernels, NULL), ERROR_NONE);
    assert_ptr_equal(kernels, &kernels_ref);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_backends),
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
