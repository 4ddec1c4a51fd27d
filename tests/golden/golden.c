/* golden.c - reading golden fixtures and holding the network against them; see golden.h. */
#include "golden.h"
#include "kernels.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOGIT_ABSOLUTE      1e-3F
#define LOGIT_RELATIVE      1e-4F
#define EXCITATION_ABSOLUTE 1e-4F

const char *golden_backend(size_t index)
{
    for (size_t i = 0; kernels_at(i); i++)
        if (kernels_at(i)->precision == PRECISION_FP32 && kernels_at(i)->supported() &&
            index-- == 0)
            return kernels_at(i)->name;
    return NULL;
}

bool golden_verbose(void)
{
    const char *value = getenv("VERBOSE");
    return value && *value && strcmp(value, "0") != 0;
}

static void *grab(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    assert_non_null(memory);
    return memory;
}

struct safetensors *golden_open(const char *path)
{
    struct safetensors *file = NULL;
    struct error err = {0};
    if (safetensors_open(path, &file, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return file;
}

struct senet *golden_model(const char *path, const char *backend)
{
    struct senet_options options = {.kernels = backend};
    struct senet *model = NULL;
    struct error err = {0};
    if (senet_open(path, &options, &model, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return model;
}

static const struct tensor *find(const struct safetensors *file, size_t index, const char *what)
{
    char name[32];
    snprintf(name, sizeof name, "case%zu.%s", index, what);
    return safetensors_find(file, name);
}

static float *floats(const struct tensor *tensor)
{
    struct error err = {0};
    float *values = grab(tensor->count, sizeof *values);
    if (tensor_to_float(tensor, values, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return values;
}

/* U8 [batch][height][width][3] -> [batch][3][height][width], normalised. */
static float *normalise(const struct tensor *pixels, const struct preprocess *preprocess)
{
    size_t area = pixels->shape[1] * pixels->shape[2];
    float *input = grab(pixels->count, sizeof *input);
    for (size_t image = 0; image < pixels->shape[0]; image++) {
        const uint8_t *from = pixels->data + image * area * 3;
        float *to = input + image * area * 3;
        for (size_t i = 0; i < area * 3; i++) {
            size_t channel = i % 3;
            float value = (float)from[i] / 255;
            to[channel * area + i / 3] =
                (value - preprocess->mean[channel]) / preprocess->std[channel];
        }
    }
    return input;
}

bool golden_read(const struct safetensors *file, size_t index, const struct preprocess *preprocess,
                 struct golden_case *out)
{
    const struct tensor *input = find(file, index, "input");
    const struct tensor *pixels = find(file, index, "pixels");
    const struct tensor *logits = find(file, index, "logits");
    const struct tensor *excitations = find(file, index, "excitations");
    if (!input && !pixels)
        return false;

    assert_non_null(logits);
    assert_int_equal(logits->rank, 2);
    *out = (struct golden_case){.classes = logits->shape[1]};
    snprintf(out->name, sizeof out->name, "case%zu", index);
    const size_t *shape;
    if (input) {
        shape = input->shape;
        assert_int_equal(input->rank, 4);
        assert_int_equal(shape[1], 3);
        out->height = shape[2], out->width = shape[3];
        out->input = floats(input);
    } else {
        shape = pixels->shape;
        assert_int_equal(pixels->rank, 4);
        assert_int_equal(shape[3], 3);
        assert_string_equal(pixels->dtype, "U8");
        out->height = shape[1], out->width = shape[2];
        out->input = normalise(pixels, preprocess);
    }
    out->batch = shape[0];
    assert_int_equal(logits->shape[0], out->batch);
    out->logits = floats(logits);
    if (excitations) {
        assert_int_equal(excitations->rank, 2);
        assert_int_equal(excitations->shape[0], out->batch);
        out->excitation_floats = excitations->shape[1];
        out->excitations = floats(excitations);
    }
    return true;
}

void golden_free(struct golden_case *golden)
{
    free(golden->input);
    free(golden->logits);
    free(golden->excitations);
    *golden = (struct golden_case){0};
}

static float logit_tolerance(float expected)
{
    return fmaxf(LOGIT_ABSOLUTE, LOGIT_RELATIVE * fabsf(expected));
}

/* The largest difference, once every one is within its tolerance. */
static float compare(const struct golden_case *golden, const char *what, const float *found,
                     const float *expected, size_t row, bool logits)
{
    float worst = 0;
    for (size_t i = 0; i < golden->batch * row; i++) {
        float tolerance = logits ? logit_tolerance(expected[i]) : EXCITATION_ABSOLUTE;
        float difference = fabsf(found[i] - expected[i]);
        if (!(difference <= tolerance)) /* catches NaN as well */
            fail_msg("%s: %s[%zu][%zu] is %.7g, timm has %.7g", golden->name, what, i / row,
                     i % row, (double)found[i], (double)expected[i]);
        worst = fmaxf(worst, difference);
    }
    return worst;
}

static void compare_top(const struct golden_case *golden, size_t image, const float *found)
{
    const float *expected = golden->logits + image * golden->classes;
    struct senet_top ours[5], theirs[5];
    size_t k = golden->classes < 5 ? golden->classes : 5;
    senet_top_k(found, golden->classes, k, ours);
    senet_top_k(expected, golden->classes, k, theirs);
    for (size_t i = 0; i < k; i++) {
        if (ours[i].index == theirs[i].index)
            continue;
        float gap = fabsf(expected[ours[i].index] - theirs[i].logit);
        if (!(gap <= 2 * logit_tolerance(theirs[i].logit)))
            fail_msg("%s: image %zu has class %zu at place %zu, timm has %zu", golden->name, image,
                     ours[i].index, i + 1, theirs[i].index);
    }
}

void golden_check(const struct senet *model, const struct golden_case *golden)
{
    const struct senet_info *info = senet_info(model);
    assert_int_equal(info->classes, golden->classes);
    assert_int_equal(info->excitation_floats, golden->excitation_floats);
    size_t classes = golden->classes, gates = golden->excitation_floats;
    size_t image_floats = 3 * golden->height * golden->width;

    struct error err = {0};
    struct senet_context *context = NULL, *single = NULL;
    if (senet_context_new(model, golden->batch, golden->height, golden->width, &context, &err) ||
        senet_context_new(model, 1, golden->height, golden->width, &single, &err))
        fail_msg("%s", err.message);
    float *logits = grab(golden->batch * classes, sizeof *logits);
    float *excitations = gates ? grab(golden->batch * gates, sizeof *excitations) : NULL;
    float *alone_logits = grab(classes, sizeof *alone_logits);
    float *alone_gates = gates ? grab(gates, sizeof *alone_gates) : NULL;

    senet_run(context, golden->batch, golden->input, logits, excitations);
    float worst_logit = compare(golden, "logits", logits, golden->logits, classes, true);
    float worst_gate = 0;
    if (gates)
        worst_gate = compare(golden, "excitations", excitations, golden->excitations, gates, false);
    if (golden_verbose())
        print_message("    %s %zux3x%zux%zu %s: largest difference %.2g in logits, %.2g in "
                      "excitations\n",
                      golden->name, golden->batch, golden->height, golden->width, info->kernels,
                      (double)worst_logit, (double)worst_gate);

    for (size_t image = 0; image < golden->batch; image++) {
        compare_top(golden, image, logits + image * classes);
        senet_run(single, 1, golden->input + image * image_floats, alone_logits, alone_gates);
        assert_memory_equal(alone_logits, logits + image * classes, classes * sizeof *alone_logits);
        if (gates)
            assert_memory_equal(alone_gates, excitations + image * gates,
                                gates * sizeof *alone_gates);
    }

    /* The context made for a batch serves a smaller one, and excitations may be left out. */
    memset(alone_logits, 0, classes * sizeof *alone_logits);
    senet_run(context, 1, golden->input, alone_logits, NULL);
    assert_memory_equal(alone_logits, logits, classes * sizeof *alone_logits);

    free(logits);
    free(excitations);
    free(alone_logits);
    free(alone_gates);
    senet_context_free(single);
    senet_context_free(context);
}
