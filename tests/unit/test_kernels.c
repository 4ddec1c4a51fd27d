/* test_kernels.c - every backend agrees with the double-precision reference on the shapes of
 * SE-ResNet-50 (cut to small images) and on awkward ones; the reference itself is checked
 * against numbers worked out by hand. Tile registers are emulated where the CPU has none. */
#include "activations.h"
#include "amx/emulator.h"
#include "kernels.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    {261, 7, 3, 1, 1, 1, 5, 3},    {16, 256, 3, 1, 1, 1, 24, 24},  {16, 200, 3, 2, 1, 1, 41, 39},
    {256, 256, 3, 1, 1, 1, 8, 8},  {140, 130, 3, 1, 1, 1, 7, 13},  {16, 250, 3, 1, 1, 1, 1, 5},
    {64, 64, 3, 1, 1, 2, 5, 6},    {24, 48, 3, 1, 1, 3, 4, 5},     {96, 32, 1, 1, 0, 4, 3, 5},
    {40, 64, 3, 2, 1, 4, 6, 5},    {256, 128, 3, 1, 1, 2, 4, 4},   {16, 100, 1, 1, 0, 1, 25, 33},
    {8, 100, 1, 1, 0, 1, 25, 33},  {40, 130, 1, 1, 0, 1, 14, 14},  {40, 130, 1, 1, 0, 1, 20, 20},
};

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

/* The problem's weights and bias as the backend packs them, the caller's to free. */
static void *packed(const struct kernels *kernels, const struct problem *p)
{
    size_t bytes = kernels->packed_bytes(&p->conv);
    void *memory = activations_dirty(bytes);
    memset(memory, 0, bytes);
    kernels->pack(&p->conv, p->source, p->bias, memory);
    return memory;
}

/* Runs the problem, packed, on a backend; the result is [batch][out][oh][ow], the caller's to free.
 */
static float *run(const struct kernels *kernels, const struct problem *p, struct team *team)
{
    struct conv conv = p->conv;
    size_t area = p->height * p->width, out_area = out_floats(p) / conv.out;
    size_t image = conv.in * area;
    size_t in_bytes = kernels_padded(kernels, conv.in) * area * kernels->active_bytes;
    size_t out_bytes =
        kernels_padded(kernels, conv.out) * out_area * activations_bytes(kernels, conv.relu);
    unsigned char *in = activations_dirty(p->batch * in_bytes),
                  *out = activations_dirty(p->batch * out_bytes);
    void *scratch = NULL;
    if (kernels->conv_scratch) /* which fully connected layers have no use for */
        scratch =
            activations_dirty(kernels->conv_scratch(&conv, p->batch, p->height, p->width, team));
    float *result = malloc(p->batch * out_floats(p) * sizeof *result);
    for (size_t n = 0; n < p->batch && !conv.planar_in; n++)
        activations_to_blocks(kernels, true, conv.in_scale, p->input + n * image, conv.in, area,
                              in + n * in_bytes);
    kernels->conv(&conv, p->batch, p->height, p->width,
                  conv.planar_in ? (const void *)p->input : in, scratch, out, team);
    for (size_t n = 0; n < p->batch; n++)
        activations_from_blocks(kernels, conv.relu, conv.out_scale, out + n * out_bytes, conv.out,
                                out_area, result + n * out_floats(p));
    free(out);
    free(scratch);
    free(in);
    return result;
}

/* Rounds what goes into the reference to what the precision can hold, so that only its sums and
 * its output are judged. */
static void round_problem(const struct problem *p, enum precision precision, float *source,
                          float *input)
{
    size_t row = p->conv.kernel * p->conv.kernel * p->conv.in / p->conv.groups;
    size_t inputs = p->batch * p->conv.in * p->height * p->width;
    for (size_t i = 0; i < inputs && !p->conv.planar_in; i++)
        input[i] = fabsf(input[i]); /* active: after a ReLU */
    if (precision == PRECISION_BF16) {
        for (size_t i = 0; i < row * p->conv.out; i++)
            source[i] = activations_bf16_value(activations_bf16_bits(source[i]));
        for (size_t i = 0; i < inputs; i++)
            input[i] = activations_bf16_value(activations_bf16_bits(input[i]));
    } else if (precision == PRECISION_INT8) {
        for (size_t o = 0; o < p->conv.out; o++) {
            float most = 0;
            for (size_t i = 0; i < row; i++)
                most = fmaxf(most, fabsf(source[o * row + i]));
            for (size_t i = 0; i < row; i++)
                source[o * row + i] = rintf(source[o * row + i] * 127 / most) * most / 127;
        }
        for (size_t i = 0; i < inputs; i++)
            input[i] = rintf(input[i] / p->conv.in_scale) * p->conv.in_scale;
    }
}

/* How far a result of that precision may be from the exact one. */
static float tolerance_of(const struct problem *p, enum precision precision, float expected)
{
    size_t depth = p->conv.kernel * p->conv.kernel * p->conv.in / p->conv.groups;
    /* Sums grow with the root of the depth, and so does the rounding's random walk. Winograd's
     * transforms cost about a digit. */
    float sums = 1e-6F + 4e-7F * (float)depth;
    if (precision == PRECISION_FP32)
        return sums;
    if (precision == PRECISION_INT8 && p->conv.relu)
        return p->conv.out_scale * 0.501F + 1e-4F;
    return sums + 1e-5F + fabsf(expected) * 0x1.01p-8F; /* half a unit of bf16, and a little */
}

enum { CORES = 3 };

/* Leaves some of the cores to others. */
static void begin_beside(size_t others, struct team *const teams[CORES])
{
    for (size_t i = 0; i <= others; i++)
        pool_begin(teams[i]);
    while (pool_room(teams[0]) < CORES - others) /* those that led before have just ended */
        usleep(100);
}

static void end_beside(size_t others, struct team *const teams[CORES])
{
    for (size_t i = 0; i <= others; i++)
        pool_end(teams[i]);
}

/* The results of a problem, to the last bit, whatever share of the cores is left by others. */
static void compare_rooms(const struct kernels *kernels, const struct problem *p,
                          const float *expected, struct team *const teams[CORES])
{
    for (size_t others = 0; others < CORES; others++) {
        begin_beside(others, teams);
        float *found = run(kernels, p, teams[0]);
        end_beside(others, teams);
        assert_memory_equal(found, expected, p->batch * out_floats(p) * sizeof *found);
        free(found);
    }
}

/* The backend's results of a problem beside the exact ones. */
static void compare(const struct kernels *kernels, struct problem p, const float *expected,
                    struct team *const teams[CORES])
{
    size_t image = p.height * p.width * p.conv.in, count = out_floats(&p);
    void *weights = packed(kernels, &p);
    p.conv.packed = weights;
    float *found = run(kernels, &p, NULL);
    for (size_t i = 0; i < p.batch * count; i++) {
        float value = expected[i];
        if (kernels->precision == PRECISION_INT8 && p.conv.relu)
            value = fminf(value, 255 * p.conv.out_scale);
        if (!(fabsf(found[i] - value) <= tolerance_of(&p, kernels->precision, value)))
            fail_msg("%s %s: %zu -> %zu, kernel %zu, stride %zu, groups %zu, %zu x %zu: value %zu "
                     "is %g, expected %g",
                     kernels->name, kernels_precision_name(kernels->precision), p.conv.in,
                     p.conv.out, p.conv.kernel, p.conv.stride, p.conv.groups, p.height, p.width, i,
                     (double)found[i], (double)value);
    }
    /* The last image alone. */
    p.input += (p.batch - 1) * image;
    size_t last = (p.batch - 1) * count;
    p.batch = 1;
    compare_rooms(kernels, &p, found + last, teams);
    free(found);
    free(weights);
}

/* Compares all backends of a precision, and returns how many; the reference is slow, so it runs
 * once. */
static size_t compare_all(enum precision precision, const size_t shape[8], bool relu, bool planar,
                          struct team *const teams[CORES])
{
    struct problem p = {.conv = {.in = shape[0],
                                 .out = shape[1],
                                 .kernel = shape[2],
                                 .stride = shape[3],
                                 .pad = shape[4],
                                 .groups = shape[5],
                                 .planar_in = planar,
                                 .relu = relu,
                                 .in_scale = 1.0F / (planar ? 127 : 255)},
                        .height = shape[6],
                        .width = shape[7],
                        .batch = 3};
    size_t depth = p.conv.kernel * p.conv.kernel * p.conv.in / p.conv.groups;
    float *source = activations_filled(depth * p.conv.out, 1),
          *bias = activations_filled(p.conv.out, 2);
    float *input = activations_filled(p.batch * p.height * p.width * p.conv.in, 3);
    p.source = source;
    p.bias = bias;
    p.input = input;
    round_problem(&p, precision, source, input);
    p.conv.out_scale = 0.06F * sqrtf((float)depth) / 8;
    void *weights = packed(&kernels_ref, &p);
    p.conv.packed = weights;
    float *expected = run(&kernels_ref, &p, NULL);
    size_t compared = 0;
    for (size_t b = 0; kernels_at(b); b++) {
        const struct kernels *kernels = kernels_at(b);
        if (kernels->precision != precision || kernels == &kernels_ref || !kernels->supported())
            continue;
        compare(kernels, p, expected, teams);
        compared++;
    }
    free(expected);
    free(weights);
    free(input);
    free(bias);
    free(source);
    return compared;
}

/* CORES teams of a pool of as many cores, which is returned. */
static struct pool *new_teams(struct team *teams[CORES])
{
    struct pool *pool = NULL;
    assert_int_equal(pool_new(CORES, &pool, NULL), ERROR_NONE);
    for (size_t i = 0; i < CORES; i++)
        assert_int_equal(pool_team_new(pool, &teams[i], NULL), ERROR_NONE);
    return pool;
}

static void free_teams(struct pool *pool, struct team *teams[CORES])
{
    for (size_t i = 0; i < CORES; i++)
        pool_team_free(teams[i]);
    pool_free(pool);
}

static void test_backends(void **state)
{
    (void)state;
    bool tiles = amx_emulate();
    struct team *teams[CORES];
    struct pool *pool = new_teams(teams);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (enum precision p = PRECISION_FP32; p <= PRECISION_INT8; p++)
            assert_true(compare_all(p, shapes[i], i % 2, shapes[i][2] == 7, teams) > 0);
    size_t on_tiles = 0;
    for (size_t b = 0; kernels_at(b); b++)
        on_tiles += strcmp(kernels_at(b)->name, "amx") == 0 && kernels_at(b)->supported();
    assert_int_equal(on_tiles, tiles ? 2 : 0); /* bf16 and int8 */
    free_teams(pool, teams);
}

/* Fully connected layers of the reduced precisions: bf16 weights, all else fp32. */
static void compare_dense(size_t in, size_t out, bool relu, struct team *const teams[CORES])
{
    struct problem p = {
        .conv = {.in = in, .out = out, .kernel = 1, .stride = 1, .groups = 1, .relu = relu},
        .height = 1,
        .width = 1,
        .batch = 3};
    float *source = activations_filled(in * out, 1), *bias = activations_filled(out, 2),
          *input = activations_filled(p.batch * in, 3);
    p.source = source;
    p.bias = bias;
    p.input = input;
    for (size_t i = 0; i < in * out; i++)
        source[i] = activations_bf16_value(activations_bf16_bits(source[i]));
    void *weights = packed(&kernels_ref, &p);
    p.conv.packed = weights;
    float *expected = run(&kernels_ref, &p, NULL);
    for (size_t b = 0; kernels_at(b); b++)
        if (kernels_at(b)->vectors && kernels_at(b)->supported())
            compare(kernels_at(b)->vectors, p, expected, teams);
    free(expected);
    free(weights);
    free(input);
    free(bias);
    free(source);
}

static void test_dense(void **state)
{
    (void)state;
    struct team *teams[CORES];
    struct pool *pool = new_teams(teams);
    amx_emulate();
    compare_dense(256, 16, true, teams);
    compare_dense(16, 256, false, teams);
    compare_dense(2048, 128, true, teams);
    compare_dense(128, 2048, false, teams);
    compare_dense(512, 1000, false, teams);
    compare_dense(7, 11, true, teams);
    compare_dense(1, 1, false, teams);
    free_teams(pool, teams);
}

/* ---- convolutions that are joined with the shortcut ------------------------------------------ */

enum { JOINED_IMAGES = 2 };

/* What conv_join gives for a problem and a shortcut [images][out][area], as fp32 of that form: x,
 * and the active form, which is all zero where there is none. */
struct joined {
    float *x, *active;
};

static void free_joined(struct joined joined)
{
    free(joined.x);
    free(joined.active);
}

static struct joined run_join(const struct kernels *kernels, const struct problem *p,
                              const float *shortcut, const float *gates, struct team *team)
{
    const struct conv *conv = &p->conv;
    size_t area = p->height * p->width, in_image = conv->in * area, image = conv->out * area;
    size_t padded = kernels_padded(kernels, conv->out);
    size_t in_bytes = kernels_padded(kernels, conv->in) * area * kernels->active_bytes;
    size_t x_bytes = padded * area * kernels->linear_bytes;
    size_t active_bytes = padded * area * kernels->active_bytes;
    bool apart = kernels->precision == PRECISION_INT8;
    unsigned char *in = activations_dirty(p->batch * in_bytes),
                  *x = activations_dirty(p->batch * x_bytes);
    unsigned char *active = activations_dirty(p->batch * active_bytes);
    float *padded_gates = calloc(p->batch * padded, sizeof *padded_gates);
    void *scratch =
        activations_dirty(kernels->conv_scratch(conv, p->batch, p->height, p->width, team));
    struct joined out = {malloc(p->batch * image * sizeof(float)),
                         calloc(p->batch * image, sizeof(float))};
    for (size_t n = 0; n < p->batch; n++) {
        activations_to_blocks(kernels, true, conv->in_scale, p->input + n * in_image, conv->in,
                              area, in + n * in_bytes);
        activations_to_blocks(kernels, false, 1, shortcut + n * image, conv->out, area,
                              x + n * x_bytes);
        memcpy(padded_gates + n * padded, gates + n * conv->out, conv->out * sizeof *gates);
    }
    kernels->conv_join(conv, p->batch, p->height, p->width, in, padded_gates, scratch, x,
                       apart ? active : NULL, team);
    for (size_t n = 0; n < p->batch; n++) {
        activations_from_blocks(kernels, false, 1, x + n * x_bytes, conv->out, area,
                                out.x + n * image);
        if (apart)
            activations_from_blocks(kernels, true, conv->out_scale, active + n * active_bytes,
                                    conv->out, area, out.active + n * image);
    }
    free(scratch);
    free(padded_gates);
    free(active);
    free(x);
    free(in);
    return out;
}

/* A backend's results beside the exact ones, and by any share of the cores to the last bit. */
static void compare_join(const struct kernels *kernels, struct problem p, const float *shortcut,
                         const float *gates, const float *expected, struct team *const teams[CORES])
{
    size_t count = p.batch * out_floats(&p);
    void *weights = packed(kernels, &p);
    p.conv.packed = weights;
    struct joined found = run_join(kernels, &p, shortcut, gates, NULL);
    for (size_t i = 0; i < count; i++) {
        float most = fminf(expected[i], 255 * p.conv.out_scale);
        float tolerance = tolerance_of(&p, kernels->precision, expected[i]);
        bool apart = kernels->precision == PRECISION_INT8;
        if (!(fabsf(found.x[i] - expected[i]) <= tolerance) ||
            (apart && !(fabsf(found.active[i] - most) <= p.conv.out_scale * 0.501F + 1e-4F)))
            fail_msg("%s %s: %zu -> %zu, %zu x %zu, joined: value %zu is %g, %g, expected %g",
                     kernels->name, kernels_precision_name(kernels->precision), p.conv.in,
                     p.conv.out, p.height, p.width, i, (double)found.x[i], (double)found.active[i],
                     (double)expected[i]);
    }
    for (size_t others = 0; others < CORES; others++) {
        begin_beside(others, teams);
        struct joined again = run_join(kernels, &p, shortcut, gates, teams[0]);
        end_beside(others, teams);
        assert_memory_equal(again.x, found.x, count * sizeof(float));
        assert_memory_equal(again.active, found.active, count * sizeof(float));
        free_joined(again);
    }
    free_joined(found);
    free(weights);
}

static void compare_joins(enum precision precision, const size_t shape[4],
                          struct team *const teams[CORES])
{
    struct problem p = {.conv = {.in = shape[0],
                                 .out = shape[1],
                                 .kernel = 1,
                                 .stride = 1,
                                 .groups = 1,
                                 .in_scale = 1.0F / 255},
                        .height = shape[2],
                        .width = shape[3],
                        .batch = JOINED_IMAGES};
    size_t count = p.batch * out_floats(&p);
    float *source = activations_filled(p.conv.in * p.conv.out, 1),
          *bias = activations_filled(p.conv.out, 2);
    float *input = activations_filled(p.batch * p.height * p.width * p.conv.in, 3);
    float *shortcut = activations_filled(count, 4),
          *gates = activations_filled(p.batch * p.conv.out, 5);
    p.source = source;
    p.bias = bias;
    p.input = input;
    round_problem(&p, precision, source, input);
    for (size_t i = 0; i < count && precision != PRECISION_FP32; i++)
        shortcut[i] = activations_bf16_value(activations_bf16_bits(shortcut[i]));
    p.conv.out_scale = 0.06F * sqrtf((float)p.conv.in) / 8;
    void *weights = packed(&kernels_ref, &p);
    p.conv.packed = weights;
    struct joined expected = run_join(&kernels_ref, &p, shortcut, gates, NULL);
    for (size_t b = 0; kernels_at(b); b++)
        if (kernels_at(b)->precision == precision && kernels_at(b) != &kernels_ref &&
            kernels_at(b)->supported())
            compare_join(kernels_at(b), p, shortcut, gates, expected.x, teams);
    free_joined(expected);
    free(weights);
    free(gates);
    free(shortcut);
    free(input);
    free(bias);
    free(source);
}

static void test_join(void **state)
{
    /* in, out, height, width */
    static const size_t joins[][4] = {{64, 256, 8, 8},   {128, 512, 14, 14}, {512, 2048, 7, 7},
                                      {512, 64, 7, 5},   {17, 33, 3, 5},     {16, 100, 25, 33},
                                      {40, 130, 20, 20}, {1, 1, 1, 1}};
    struct team *teams[CORES];
    struct pool *pool = new_teams(teams);
    (void)state;
    amx_emulate();
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++)
        for (enum precision p = PRECISION_FP32; p <= PRECISION_INT8; p++)
            compare_joins(p, joins[i], teams);
    free_teams(pool, teams);
}

/* A convolution on the reference, its weights and bias packed together. */
static void on_reference(struct conv conv, size_t side, const float *weights, const float *bias,
                         const float *in, float *out)
{
    float packed[16];
    assert_true(kernels_ref.packed_bytes(&conv) <= sizeof packed);
    kernels_ref.pack(&conv, weights, bias, packed);
    conv.packed = packed;
    kernels_ref.conv(&conv, 1, side, side, in, NULL, out, NULL);
}

/* A 3x3 image of 1..9, one channel, a 3x3 kernel that picks the left neighbour, bias 1. */
static void test_reference(void **state)
{
    (void)state;
    const float in[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    float weights[9] = {0, 0, 0, 1, 0, 0, 0, 0, 0}, bias = 1, out[9];
    struct conv conv = {.in = 1, .out = 1, .kernel = 3, .stride = 1, .pad = 1, .groups = 1};
    on_reference(conv, 3, weights, &bias, in, out);
    assert_memory_equal(out, ((float[]){1, 2, 3, 1, 5, 6, 1, 8, 9}), sizeof out);
    conv.stride = 2;
    on_reference(conv, 3, weights, &bias, in, out);
    assert_memory_equal(out, ((float[]){1, 3, 1, 9}), 4 * sizeof *out);
    bias = -5;
    conv.relu = true;
    on_reference(conv, 3, weights, &bias, in, out);
    assert_memory_equal(out, ((float[]){0, 0, 0, 3}), 4 * sizeof *out);
    /* Two groups: each output sees its own input channel alone. */
    const float pair[2] = {3, 5};
    float twice[2] = {10, 100}, biases[2] = {0, 1};
    struct conv grouped = {.in = 2, .out = 2, .kernel = 1, .stride = 1, .groups = 2};
    on_reference(grouped, 1, twice, biases, pair, out);
    assert_memory_equal(out, ((float[]){30, 501}), 2 * sizeof *out);
    /* Joined with a shortcut: half of 3 * 2 + 1, and of -5 * 2 + 1, added to 4 and to 1. */
    struct conv last = {.in = 1, .out = 1, .kernel = 1, .stride = 1, .groups = 1};
    float packed[2], x[2] = {4, 1}, weight = 2;
    const float inputs[2] = {3, -5}, half = 0.5F;
    bias = 1;
    kernels_ref.pack(&last, &weight, &bias, packed);
    last.packed = packed;
    kernels_ref.conv_join(&last, 1, 1, 2, inputs, &half, NULL, x, NULL, NULL);
    assert_memory_equal(x, ((float[]){7.5F, 0}), sizeof x);
}

static void test_find(void **state)
{
    (void)state;
    const struct kernels *kernels = NULL;
    struct error err = {0};
    assert_int_equal(kernels_find("cuda", PRECISION_FP32, &kernels, &err), ERROR_USAGE);
    assert_non_null(strstr(err.message, "cuda"));
    assert_non_null(strstr(err.message, "blas"));
    assert_int_equal(kernels_find(NULL, PRECISION_FP32, &kernels, NULL), ERROR_NONE);
    assert_true(kernels->supported());
    assert_int_equal(kernels_find("ref", PRECISION_FP32, &kernels, NULL), ERROR_NONE);
    assert_ptr_equal(kernels, &kernels_ref);
    /* A precision has backends of its own. */
    err = (struct error){0};
    assert_int_equal(kernels_find("ref", PRECISION_INT8, &kernels, &err), ERROR_USAGE);
    assert_non_null(strstr(err.message, "int8"));
    assert_int_equal(kernels_find(NULL, PRECISION_BF16, &kernels, NULL), ERROR_NONE);
    assert_int_equal(kernels->precision, PRECISION_BF16);
}

/* A backend that multiplies no faster than fp32 is found by its name alone, if there is another. */
static void test_pay(void **state)
{
    (void)state;
    for (size_t i = 0; kernels_at(i); i++) {
        const struct kernels *kernels = kernels_at(i), *named = NULL, *chosen = NULL;
        if (!kernels->supported())
            continue;
        bool pays = kernels_pay(kernels);
        if (!kernels->native)
            assert_false(pays);
        assert_int_equal(kernels_pay(kernels), pays); /* for good */
        assert_int_equal(kernels_find(kernels->name, kernels->precision, &named, NULL), ERROR_NONE);
        assert_string_equal(named->name, kernels->name);
        assert_int_equal(kernels_find(NULL, kernels->precision, &chosen, NULL), ERROR_NONE);
        if (kernels->native && !pays)
            assert_ptr_not_equal(chosen, kernels);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_backends),
        cmocka_unit_test(test_dense),     cmocka_unit_test(test_join),
        cmocka_unit_test(test_find),      cmocka_unit_test(test_pay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
