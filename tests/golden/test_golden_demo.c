/* test_golden_demo.c - the demo model, at full size on real photos, against timm on PyTorch.
 *
 *     test_golden_demo [WEIGHTS_DIRECTORY CASES_FILE]
 *
 * Skips itself with a note where the demo weights are not there. The cases are written by
 * `make_golden.py --demo`; the plain reference backend would take minutes here and is left to
 * the tiny models.
 */
#include "amx/emulator.h"
#include "golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *weights = "weights/demo";
static const char *cases = "tests/golden/fixtures_demo/cases.safetensors";

static void test_agrees(void **state)
{
    const char *backend = *state;
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", weights);
    if (access(path, R_OK) != 0 || access(cases, R_OK) != 0) {
        print_message("skipped: %s or %s is not there\n", path, cases);
        skip();
    }
    struct senet *model = golden_model(weights, backend);
    struct safetensors *file = golden_open(cases);
    assert_int_equal(senet_info(model)->blocks, 16);
    assert_int_equal(senet_info(model)->excitation_floats, 15104);
    struct golden_case golden;
    size_t count = 0;
    while (golden_read(file, count, &senet_info(model)->preprocess, &golden)) {
        golden_check(model, &golden);
        golden_free(&golden);
        count++;
    }
    assert_int_equal(count, 3);
    safetensors_close(file);
    senet_close(model);
}

static float largest(const float *values, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmaxf(most, fabsf(values[i]));
    return most;
}

/* bf16 keeps 8 bits of each value: logits within 2 % of the largest, excitations within 0.01 in
 * the mean, the same class first. */
static void check_bf16(const struct senet *model, const struct golden_case *golden)
{
    size_t logits = golden->batch * golden->classes;
    size_t gates = golden->batch * golden->excitation_floats;
    float *found = malloc((logits + gates) * sizeof *found);
    struct senet_context *context = NULL;
    assert_non_null(found);
    assert_int_equal(
        senet_context_new(model, golden->batch, golden->height, golden->width, &context, NULL),
        ERROR_NONE);
    senet_run(context, golden->batch, golden->input, found, found + logits);
    float tolerance = 0.02F * largest(golden->logits, logits);
    double difference = 0;
    for (size_t i = 0; i < logits; i++)
        assert_true(fabsf(found[i] - golden->logits[i]) <= tolerance);
    for (size_t i = 0; i < gates; i++)
        difference += fabs((double)found[logits + i] - (double)golden->excitations[i]);
    assert_true(difference / (double)gates <= 0.01);
    for (size_t n = 0; n < golden->batch; n++) {
        struct senet_top ours, theirs;
        senet_top_k(found + n * golden->classes, golden->classes, 1, &ours);
        senet_top_k(golden->logits + n * golden->classes, golden->classes, 1, &theirs);
        assert_int_equal(ours.index, theirs.index);
    }
    senet_context_free(context);
    free(found);
}

/* On the backend of that name, or the fastest. */
static void test_bf16(void **state)
{
    const char *backend = *state;
    if (backend && strcmp(backend, "amx") == 0 && !amx_emulate())
        skip();
    if (access(weights, R_OK) != 0 || access(cases, R_OK) != 0)
        skip();
    struct senet_options options = {.kernels = backend, .precision = SENET_BF16};
    struct senet *model = NULL;
    struct error err = {0};
    if (senet_open(weights, &options, &model, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    assert_string_equal(senet_info(model)->precision, "bf16");
    struct safetensors *file = golden_open(cases);
    struct golden_case golden;
    size_t count = 0, most = 3;
    while (count < most && golden_read(file, count, &senet_info(model)->preprocess, &golden)) {
        check_bf16(model, &golden);
        golden_free(&golden);
        count++;
        most = amx_emulated() > 0 ? 1 : 3; /* it is slow */
    }
    assert_int_equal(count, most);
    safetensors_close(file);
    senet_close(model);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        weights = argv[1];
        cases = argv[2];
    }
    static struct CMUnitTest tests[9] = {
        cmocka_unit_test(test_bf16),
        cmocka_unit_test_prestate(test_bf16, (void *)"amx"),
    };
    size_t count = 2;
    for (size_t b = 0; golden_backend(b) && count < 9; b++)
        if (strcmp(golden_backend(b), "ref") != 0)
            tests[count++] = (struct CMUnitTest){.name = golden_backend(b),
                                                 .test_func = test_agrees,
                                                 .initial_state = (void *)golden_backend(b)};
    return cmocka_run_group_tests_name("golden demo", tests, NULL, NULL);
}
