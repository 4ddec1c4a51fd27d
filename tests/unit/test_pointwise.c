/* test_pointwise.c - what lies between convolutions, and how int8 rounds, on every backend. Tile
 * registers are emulated where the CPU has none. */
#include "activations.h"
#include "amx/emulator.h"
#include "kernels.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { H = 5, W = 7, PLANES = 2, MOST_C = 64, FLOATS = PLANES * H * W * MOST_C };

/* Channels of a plane. */
static size_t block_of(const struct kernels *kernels)
{
    return kernels_block(kernels, 16);
}

/* A copy of values as active or linear activations; values become what they hold. */
static void *held(const struct kernels *kernels, bool active, float *values)
{
    void *out = activations_dirty(FLOATS * sizeof(float));
    for (size_t i = 0; i < FLOATS; i++) {
        activations_put(kernels, active, out, i, values[i], 1.0F / 255);
        values[i] = activations_get(kernels, active, out, i, 1.0F / 255);
    }
    return out;
}

static void check_max_pool(const struct kernels *kernels, const float *values, const void *in)
{
    static const size_t pools[][3] = {{1, 3, 4}, {0, 2, 3}, {0, 3, 4}}; /* pad, out h, out w */
    const size_t C = block_of(kernels);
    void *out = activations_dirty(FLOATS * sizeof(float));
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        const size_t pad = pools[i][0], oh = pools[i][1], ow = pools[i][2];
        kernels->max_pool(PLANES, C, H, W, pad, oh, ow, in, out);
        for (size_t at = 0; at < PLANES * oh * ow * C; at++) {
            size_t c = at % C, x = at / C % ow, y = at / C / ow % oh, n = at / C / ow / oh;
            float most = -2;
            for (size_t row = 0; row < H; row++)
                for (size_t column = 0; column < W; column++)
                    if (row + pad >= 2 * y && row + pad < 2 * y + 3 && column + pad >= 2 * x &&
                        column + pad < 2 * x + 3)
                        most = fmaxf(most, values[((n * H + row) * W + column) * C + c]);
            assert_true(activations_get(kernels, true, out, at, 1.0F / 255) == most);
        }
    }
    free(out);
}

static void check_sums(const struct kernels *kernels, bool active, const float *values,
                       const void *in)
{
    const size_t C = block_of(kernels);
    const double unit = active && kernels->precision == PRECISION_INT8 ? 1.0 / 255 : 1;
    float sums[PLANES * MOST_C];
    kernels->sum_pixels(active, PLANES, C, H * W, 1, H * W, in, sums);
    for (size_t n = 0; n < PLANES; n++)
        for (size_t c = 0; c < C; c++) {
            double sum = 0;
            for (size_t p = 1; p < H * W; p++)
                sum += (double)values[(n * H * W + p) * C + c];
            assert_true(fabs(sum - (double)sums[n * C + c] * unit) < 1e-6 * H * W);
        }
}

/* Every int8 backend rounds what lies in the middle to even, and keeps to 0..255. */
static void check_rounding(const struct kernels *kernels)
{
    enum { COUNT = 16 };
    static const float values[COUNT] = {-1e30F, -1,    0,      0.25F,  0.5F, 0.75F, 1.5F, 2.5F,
                                        3.5F,   64.5F, 126.5F, 127.5F, 254,  256,   1e5F, 1e30F};
    static const unsigned expected[COUNT] = {0, 0,  0,   0,   0,   1,   2,   2,
                                             4, 64, 126, 128, 254, 255, 255, 255};
    static const float weights[COUNT], bias[COUNT];
    struct conv conv = {.in = 1, .out = COUNT, .kernel = 1, .stride = 1, .groups = 1};
    uint16_t in[MOST_C] = {0}, x[MOST_C] = {0}, next[MOST_C];
    const float gates[MOST_C] = {0};
    conv.in_scale = conv.out_scale = 1;
    void *packed = calloc(1, kernels->packed_bytes(&conv));
    assert_non_null(packed);
    kernels->pack(&conv, weights, bias, packed);
    conv.packed = packed;
    for (size_t c = 0; c < COUNT; c++)
        x[c] = activations_bf16_bits(values[c]);
    kernels->conv_join(&conv, 1, 1, 1, in, gates, NULL, x, next, NULL);
    free(packed);
    for (size_t c = 0; c < COUNT; c++)
        assert_int_equal(activations_quantised(kernels, next, c), expected[c]);
}

/* The operations between convolutions, on planes of a block of channels. */
static void test_pointwise(void **state)
{
    (void)state;
    amx_emulate();
    for (size_t b = 0; kernels_at(b); b++) {
        const struct kernels *kernels = kernels_at(b);
        if (!kernels->supported())
            continue;
        float *values = activations_filled(FLOATS, 5);
        void *in = held(kernels, false, values);
        check_sums(kernels, false, values, in);
        for (size_t i = 0; i < FLOATS; i++)
            values[i] = fabsf(values[i]);
        void *active = held(kernels, true, values);
        check_sums(kernels, true, values, active);
        check_max_pool(kernels, values, active);
        if (kernels->precision == PRECISION_INT8)
            check_rounding(kernels);
        free(active);
        free(in);
        free(values);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
