/* test_calibration.c - calibrating the tiny model for int8, and the bias correction it feeds. */
#include "amx/emulator.h"
#include "calibration.h"
#include "kernels.h"
#include "safetensors.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TINY   "tests/golden/fixtures/tiny_timm"
#define PHOTOS 4

static char directory[] = "/tmp/calibration.XXXXXX";
static struct senet *model;
static float *inputs; /* [PHOTOS][3][height][width] */
static size_t input_floats;

static const char *written(const char *name)
{
    static char path[64];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static float next_noise(void)
{
    static uint32_t seed = 1;
    seed = seed * 1664525 + 1013904223;
    return (float)(int32_t)seed * 0x1p-30F; /* [-2, 2) */
}

static struct senet *open_on(const char *path, enum senet_precision precision, const char *kernels)
{
    struct senet *opened = NULL;
    struct error err = {0};
    const struct senet_options options = {.precision = precision, .kernels = kernels};
    if (senet_open(path, &options, &opened, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return opened;
}

static struct senet *open_as(const char *path, enum senet_precision precision)
{
    return open_on(path, precision, NULL);
}

static struct calibration *look(size_t photos)
{
    struct calibration *calibration = NULL;
    assert_int_equal(calibration_new(model, &calibration, NULL), ERROR_NONE);
    for (size_t i = 0; i < photos; i++)
        calibration_see(calibration, inputs + i * input_floats);
    return calibration;
}

static struct safetensors *write_and_open(const struct calibration *calibration,
                                          enum calibration_method method, const char *from,
                                          const char *name)
{
    struct error err = {0};
    struct safetensors *file = NULL;
    size_t layers = 0;
    if (calibration_write(calibration, method, from, written(name), &layers, &err) != ERROR_NONE ||
        safetensors_open(written(name), &file, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    assert_int_equal(layers, 1 + 3 * senet_info(model)->residual_blocks);
    return file;
}

static float first_of(const struct safetensors *file, const char *name)
{
    const struct tensor *tensor = safetensors_find(file, name);
    assert_non_null(tensor);
    float *values = malloc(tensor->count * sizeof *values);
    assert_non_null(values);
    assert_int_equal(tensor_to_float(tensor, values, NULL), ERROR_NONE);
    float first = values[0];
    free(values);
    return first;
}

/* The stem's input is the photo, whose largest value and means are known. */
static void the_stem_shows_the_photos_own_figures(void **state)
{
    (void)state;
    struct calibration *calibration = look(PHOTOS);
    struct safetensors *file =
        write_and_open(calibration, CALIBRATION_MAX, TINY "/model.safetensors", "max");
    float most = 0;
    double sum = 0;
    for (size_t i = 0; i < PHOTOS * input_floats; i++)
        most = fmaxf(most, fabsf(inputs[i]));
    for (size_t p = 0; p < PHOTOS; p++)
        for (size_t i = 0; i < input_floats / 3; i++)
            sum += (double)inputs[p * input_floats + i];
    float scale = first_of(file, "conv1.input_scale");
    assert_true(scale * 127 >= most && scale * 127 <= most * 1.002F);
    assert_true(fabs((double)first_of(file, "conv1.input_mean") -
                     sum / (PHOTOS * (double)input_floats / 3)) < 1e-5);
    assert_string_equal(safetensors_note(file, "calibration"), "max");
    assert_string_equal(safetensors_note(file, "calibration_photos"), "4");
    assert_null(safetensors_find(file, "layer1.0.downsample.0.input_scale"));
    safetensors_close(file);
    calibration_free(calibration);
}

static void every_method_makes_weights_that_int8_runs(void **state)
{
    (void)state;
    const struct senet_info *info = senet_info(model);
    size_t classes = info->classes, height = info->preprocess.height;
    float *expected = malloc(classes * sizeof *expected), *got = malloc(classes * sizeof *got);
    struct senet_context *context = NULL;
    struct calibration *calibration = look(PHOTOS);
    assert_true(expected && got);
    assert_int_equal(senet_context_new(model, 1, height, info->preprocess.width, &context, NULL),
                     ERROR_NONE);
    senet_run(context, 1, inputs, expected, NULL);
    senet_context_free(context);
    float most = 0;
    for (size_t i = 0; i < classes; i++)
        most = fmaxf(most, fabsf(expected[i]));
    for (int method = CALIBRATION_MSE; method <= CALIBRATION_MAX; method++) {
        struct safetensors *file = write_and_open(calibration, (enum calibration_method)method,
                                                  TINY "/model.safetensors", "any.safetensors");
        assert_true(first_of(file, "conv1.input_scale") > 0);
        safetensors_close(file);
        /* Histograms of so few values are ragged, which makes the entropy clip early. */
        float share = method == CALIBRATION_ENTROPY ? 0.4F : 0.1F;
        struct senet *int8 = open_as(written("any.safetensors"), SENET_INT8);
        assert_int_equal(senet_context_new(int8, 1, height, info->preprocess.width, &context, NULL),
                         ERROR_NONE);
        senet_run(context, 1, inputs, got, NULL);
        for (size_t i = 0; i < classes; i++)
            if (!(fabsf(got[i] - expected[i]) < share * most))
                fail_msg("method %d, logit %zu: %g, expected %g", method, i, (double)got[i],
                         (double)expected[i]);
        senet_context_free(context);
        senet_close(int8);
    }
    free(expected);
    free(got);
    calibration_free(calibration);
}

/* Sums of int8 are exact, so the layout and the order in which they are taken change nothing. */
static void tile_registers_give_what_vectors_give(void **state)
{
    (void)state;
    if (!amx_emulate())
        skip();
    static const char *const backends[] = {"avx512", "amx"};
    const struct senet_info *info = senet_info(model);
    size_t floats = info->classes + info->excitation_floats;
    float *found[2];
    struct calibration *calibration = look(PHOTOS);
    safetensors_close(
        write_and_open(calibration, CALIBRATION_MSE, TINY "/model.safetensors", "any.safetensors"));
    calibration_free(calibration);
    for (size_t i = 0; i < 2; i++) {
        struct senet *int8 = open_on(written("any.safetensors"), SENET_INT8, backends[i]);
        struct senet_context *context = NULL;
        found[i] = malloc(floats * sizeof(float));
        assert_non_null(found[i]);
        assert_int_equal(senet_context_new(int8, 1, info->preprocess.height, info->preprocess.width,
                                           &context, NULL),
                         ERROR_NONE);
        senet_run(context, 1, inputs, found[i], found[i] + info->classes);
        senet_context_free(context);
        senet_close(int8);
    }
    assert_memory_equal(found[0], found[1], floats * sizeof(float));
    free(found[0]);
    free(found[1]);
}

/* Of several images the last stage runs at once; what lies between is in 8 bits. */
static void images_at_once_give_what_each_gives(void **state)
{
    (void)state;
    const struct senet_info *info = senet_info(model);
    size_t classes = info->classes, gates = info->excitation_floats, floats = classes + gates;
    float *together = malloc(PHOTOS * floats * sizeof *together);
    float *alone = malloc(PHOTOS * floats * sizeof *alone);
    assert_true(together && alone);
    struct calibration *calibration = look(PHOTOS);
    safetensors_close(
        write_and_open(calibration, CALIBRATION_MSE, TINY "/model.safetensors", "any.safetensors"));
    calibration_free(calibration);
    struct senet *int8 = open_as(written("any.safetensors"), SENET_INT8);
    struct senet_context *context = NULL;
    assert_int_equal(senet_context_new(int8, PHOTOS, info->preprocess.height,
                                       info->preprocess.width, &context, NULL),
                     ERROR_NONE);
    senet_run(context, PHOTOS, inputs, together, together + PHOTOS * classes);
    for (size_t i = 0; i < PHOTOS; i++)
        senet_run(context, 1, inputs + i * input_floats, alone + i * classes,
                  alone + PHOTOS * classes + i * gates);
    assert_memory_equal(together, alone, PHOTOS * floats * sizeof *alone);
    senet_context_free(context);
    senet_close(int8);
    free(together);
    free(alone);
}

static void a_second_calibration_replaces_the_first(void **state)
{
    (void)state;
    struct calibration *calibration = look(1);
    struct safetensors *first =
        write_and_open(calibration, CALIBRATION_MSE, TINY "/model.safetensors", "first");
    size_t count = safetensors_count(first);
    char from[64];
    snprintf(from, sizeof from, "%s", written("first"));
    struct safetensors *second = write_and_open(calibration, CALIBRATION_MAX, from, "second");
    assert_int_equal(safetensors_count(second), count);
    safetensors_close(first);
    safetensors_close(second);
    calibration_free(calibration);
}

static void faults_are_told(void **state)
{
    (void)state;
    struct error err = {0};
    size_t layers;
    struct calibration *calibration = look(0), *other = NULL;
    assert_int_equal(calibration_write(calibration, CALIBRATION_MSE, TINY "/model.safetensors",
                                       written("none"), &layers, &err),
                     ERROR_USAGE);
    calibration_see(calibration, inputs);
    assert_int_equal(calibration_write(calibration, CALIBRATION_MSE, "/nonexistent",
                                       written("none"), &layers, &err),
                     ERROR_IO);
    err = (struct error){0};
    assert_int_equal(calibration_write(calibration, CALIBRATION_MSE, TINY "/model.safetensors",
                                       "/nonexistent/x", &layers, &err),
                     ERROR_IO);
    assert_non_null(strstr(err.message, "/nonexistent/x"));
    calibration_free(calibration);
    struct senet *bf16 = open_as(TINY, SENET_BF16);
    err = (struct error){0};
    assert_int_equal(calibration_new(bf16, &other, &err), ERROR_USAGE);
    assert_non_null(strstr(err.message, "bf16"));
    senet_close(bf16);
}

/* A convolution whose inputs all equal their means, and whose bias cancels it: what is left of the
 * output is the weights' rounding, and the correction takes that away. */
static void the_bias_takes_off_what_rounding_adds(void **state)
{
    (void)state;
    enum { IN = 64, OUT = 16, WIDEST = 64, LEVEL = 3 };
    float weights[OUT * IN], bias[OUT], means[IN], left[2] = {0};
    for (size_t i = 0; i < IN; i++)
        means[i] = LEVEL;
    for (size_t o = 0; o < OUT; o++) {
        double sum = 0;
        for (size_t i = 0; i < IN; i++)
            sum += (double)(weights[o * IN + i] = next_noise());
        bias[o] = (float)(-LEVEL * sum);
    }
    const struct kernels *kernels = NULL;
    assert_int_equal(kernels_find(NULL, PRECISION_INT8, &kernels, NULL), ERROR_NONE);
    uint16_t wide[IN]; /* or bytes, as the backend has it */
    for (size_t i = 0; i < IN; i++)
        wide[i] = kernels->active_bytes == 1 ? LEVEL * 0x101 : LEVEL;
    for (size_t corrected = 0; corrected < 2; corrected++) {
        struct conv conv = {.in = IN,
                            .out = OUT,
                            .kernel = 1,
                            .stride = 1,
                            .groups = 1,
                            .in_scale = 1,
                            .in_mean = corrected ? means : NULL};
        uint16_t out[WIDEST]; /* bf16, a block of them */
        void *packed = calloc(1, kernels->packed_bytes(&conv));
        assert_non_null(packed);
        kernels->pack(&conv, weights, bias, packed);
        conv.packed = packed;
        kernels->conv(&conv, 1, 1, 1, wide, NULL, out, NULL);
        for (size_t o = 0; o < OUT; o++) {
            uint32_t bits = (uint32_t)out[o] << 16;
            float value;
            memcpy(&value, &bits, sizeof value);
            left[corrected] = fmaxf(left[corrected], fabsf(value));
        }
        free(packed);
    }
    assert_true(left[0] > 0.05F);
    assert_true(left[1] < 1e-3F);
}

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    model = open_as(TINY, SENET_FP32);
    const struct preprocess *preprocess = &senet_info(model)->preprocess;
    input_floats = 3 * preprocess->height * preprocess->width;
    inputs = malloc(PHOTOS * input_floats * sizeof *inputs);
    assert_non_null(inputs);
    for (size_t i = 0; i < PHOTOS * input_floats; i++)
        inputs[i] = next_noise();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"max", "any.safetensors", "first", "second"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(written(names[i]));
    senet_close(model);
    free(inputs);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stem_shows_the_photos_own_figures),
        cmocka_unit_test(every_method_makes_weights_that_int8_runs),
        cmocka_unit_test(images_at_once_give_what_each_gives),
        cmocka_unit_test(tile_registers_give_what_vectors_give),
        cmocka_unit_test(a_second_calibration_replaces_the_first),
        cmocka_unit_test(faults_are_told),
        cmocka_unit_test(the_bias_takes_off_what_rounding_adds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
