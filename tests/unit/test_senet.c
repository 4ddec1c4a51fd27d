/* test_senet.c - a model directory: config.json, labels, options; contexts; top-k. */
#include "senet.h"
#include "tensor_file.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMM  "tests/golden/fixtures/tiny_timm"
#define PLAIN "tests/golden/fixtures/tiny_resnet"

static const char *directory; /* of the test's own, with a copy of tiny_timm's checkpoint */

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
}

static void expect_fault(enum error_code expected, const struct senet_options *options,
                         const char *word, const char *other_word)
{
    struct senet *model = NULL;
    struct error err = {0};
    enum error_code code = senet_open(directory, options, &model, &err);
    if (code != expected)
        fail_msg("code %d (%s), expected one about \"%s\"", code, err.message, word);
    assert_null(model);
    if (!strstr(err.message, word) || !strstr(err.message, other_word))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", err.message, word, other_word);
}

static void test_config_faults(void **state)
{
    (void)state;
    static const char *const faults[][3] = {
        {"{", "config.json", "not valid JSON"},
        {"[]", "config.json", "not a JSON object"},
        {"{\"num_classes\":1000}", "num_classes is 1000", "has 11 rows"},
        {"{\"num_classes\":\"11\"}", "num_classes is \"11\"", "whole number"},
        {"{\"num_classes\":0}", "num_classes is 0", "whole number"},
        {"{\"pretrained_cfg\":1}", "pretrained_cfg is 1", "object"},
        {"{\"pretrained_cfg\":{\"input_size\":[1,224,224]}}", "input_size is [1,224,224]",
         "[3, height, width]"},
        {"{\"pretrained_cfg\":{\"input_size\":[3,224]}}", "input_size", "[3, height, width]"},
        {"{\"pretrained_cfg\":{\"input_size\":[3,224,100000]}}", "input_size", "4096"},
        {"{\"pretrained_cfg\":{\"crop_pct\":0}}", "crop_pct is 0", "0.1 to 1"},
        {"{\"pretrained_cfg\":{\"crop_pct\":\"big\"}}", "crop_pct is \"big\"", "number"},
        {"{\"pretrained_cfg\":{\"interpolation\":\"nearest\"}}", "interpolation is \"nearest\"",
         "bicubic"},
        {"{\"pretrained_cfg\":{\"crop_mode\":\"border\"}}", "crop_mode is \"border\"", "squash"},
        {"{\"pretrained_cfg\":{\"mean\":[0.5,0.5]}}", "mean is [0.5,0.5]", "three numbers"},
        {"{\"pretrained_cfg\":{\"std\":[0.2,0,0.2]}}", "std is", "above 0"},
        {"{\"pretrained_cfg\":{\"std\":[0.2,\"x\",0.2]}}", "std is", "three numbers"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        write_file("config.json", faults[i][0]);
        expect_fault(ERROR_WEIGHTS, NULL, faults[i][1], faults[i][2]);
    }
    unlink(path_of("config.json"));
}

static void test_config_overrides(void **state)
{
    (void)state;
    write_file("config.json",
               "{\"architecture\":\"x\",\"pretrained_cfg\":{\"input_size\":[3,96,64],"
               "\"crop_pct\":1.0,\"interpolation\":\"lanczos\",\"crop_mode\":\"squash\","
               "\"mean\":[0.5,0.25,0],\"std\":[1,2,4],\"num_classes\":1000},\"num_classes\":11}");
    struct senet *model = NULL;
    struct error err = {0};
    if (senet_open(directory, NULL, &model, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    const struct preprocess *p = &senet_info(model)->preprocess;
    assert_string_equal(senet_info(model)->architecture, "x");
    assert_int_equal(p->height, 96);
    assert_int_equal(p->width, 64);
    assert_int_equal(p->crop_mode, CROP_SQUASH);
    assert_int_equal(p->interpolation, INTERPOLATION_LANCZOS);
    assert_true(p->crop_pct == 1 && p->mean[1] == 0.25F && p->std[2] == 4);
    senet_close(model);
    unlink(path_of("config.json"));
    /* Without config.json: the SENet evaluation protocol. */
    assert_int_equal(senet_open(directory, NULL, &model, NULL), ERROR_NONE);
    p = &senet_info(model)->preprocess;
    assert_int_equal(p->height, 224);
    assert_int_equal(floor((double)p->width / p->crop_pct), 256);
    assert_string_equal(senet_info(model)->architecture, "seresnet20");
    senet_close(model);
}

static void test_labels(void **state)
{
    (void)state;
    struct senet *model = NULL;
    write_file("labels.txt", "one\ntwo\n");
    expect_fault(ERROR_WEIGHTS, NULL, "labels.txt: 2 labels", "expected 11");
    write_file("labels.txt", "");
    expect_fault(ERROR_WEIGHTS, NULL, "labels.txt: 0 labels", "expected 11");
    write_file("labels.txt", "a\nb\n\nd\ne\nf\ng\nh\ni\nj\nk\n");
    expect_fault(ERROR_WEIGHTS, NULL, "labels.txt: line 3", "empty");
    write_file("labels.txt", "a\nb\n\xff\nd\ne\nf\ng\nh\ni\nj\nk\n");
    expect_fault(ERROR_WEIGHTS, NULL, "labels.txt: line 3", "not UTF-8");
    write_file("labels.txt", "n01\ta cat\r\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk");
    assert_int_equal(senet_open(directory, NULL, &model, NULL), ERROR_NONE);
    assert_string_equal(senet_label(model, 0), "a cat");
    assert_string_equal(senet_label(model, 10), "k");
    senet_close(model);
    unlink(path_of("labels.txt"));
    mkdir(path_of("labels.txt"), 0700);
    expect_fault(ERROR_IO, NULL, "labels.txt", "cannot read: Is a directory");
    rmdir(path_of("labels.txt"));
    struct senet_options options = {.labels_path = "/nonexistent/labels"};
    expect_fault(ERROR_IO, &options, "/nonexistent/labels", "No such file");
    options = (struct senet_options){.kernels = "cuda"};
    expect_fault(ERROR_USAGE, &options, "cuda", "blas");
}

static void test_plain_resnet(void **state)
{
    (void)state;
    struct senet *model = NULL;
    assert_int_equal(senet_open(PLAIN, NULL, &model, NULL), ERROR_NONE);
    assert_int_equal(senet_info(model)->blocks, 0);
    assert_int_equal(senet_info(model)->excitation_floats, 0);
    assert_true(senet_info(model)->residual_blocks > 0);
    senet_close(model);
}

static void test_context_limits(void **state)
{
    (void)state;
    struct senet *model = NULL;
    struct senet_context *context = NULL;
    assert_int_equal(senet_open(TIMM, NULL, &model, NULL), ERROR_NONE);
    static const size_t bad[][3] = {{0, 64, 64}, {1, 31, 64}, {1, 64, 31}, {1, 4097, 64}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        assert_int_equal(senet_context_new(model, bad[i][0], bad[i][1], bad[i][2], &context, &err),
                         ERROR_USAGE);
        assert_non_null(strstr(err.message, "32 to 4096"));
    }
    /* The smallest and a thin image run. */
    static const size_t good[][2] = {{32, 32}, {32, 33}, {47, 200}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t floats = 3 * good[i][0] * good[i][1];
        float *input = calloc(floats, sizeof *input), logits[11];
        assert_int_equal(senet_context_new(model, 1, good[i][0], good[i][1], &context, NULL),
                         ERROR_NONE);
        assert_true(senet_context_bytes(context) > 0);
        senet_run(context, 1, input, logits, NULL);
        for (size_t c = 0; c < 11; c++)
            assert_true(isfinite(logits[c]));
        senet_context_free(context);
        free(input);
    }
    senet_close(model);
}

static void test_top_k(void **state)
{
    (void)state;
    const float logits[6] = {1, 3, -2, 3, 0, 5};
    struct senet_top top[6];
    senet_top_k(logits, 6, 6, top);
    static const size_t order[6] = {5, 1, 3, 0, 4, 2}; /* the tie by the lower index */
    float sum = 0;
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(top[i].index, order[i]);
        assert_true(top[i].logit == logits[order[i]]);
        sum += top[i].probability;
    }
    assert_true(fabsf(sum - 1) < 1e-6F);
    assert_true(fabsf(top[0].probability / top[1].probability - expf(2)) < 1e-4F);
    struct senet_top two[2];
    senet_top_k(logits, 6, 2, two);
    assert_int_equal(two[1].index, 1);
    assert_true(two[0].probability == top[0].probability);
    const float huge[2] = {-1e30F, 1e30F}; /* exp must not overflow */
    senet_top_k(huge, 2, 2, two);
    assert_true(two[0].probability == 1 && two[1].probability == 0);
}

static int set_up(void **state)
{
    (void)state;
    static char path[] = "/tmp/senetd-model-XXXXXX";
    directory = mkdtemp(path);
    if (!directory)
        return -1;
    tensor_file_copy(TIMM "/model.safetensors", path_of("model.safetensors"), NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path_of("model.safetensors"));
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_faults),  cmocka_unit_test(test_config_overrides),
        cmocka_unit_test(test_labels),         cmocka_unit_test(test_plain_resnet),
        cmocka_unit_test(test_context_limits), cmocka_unit_test(test_top_k),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
