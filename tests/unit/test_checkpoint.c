/* test_checkpoint.c - one fault at a time in a right checkpoint: the message names the tensor,
 * what was found and what was expected, and nothing stays loaded. */
#include "senet.h"
#include "tensor_file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMM   "tests/golden/fixtures/tiny_timm/model.safetensors"
#define LEGACY "tests/golden/fixtures/tiny_legacy/model.safetensors"

static const struct fault {
    const char *from;
    struct edit edit;
    const char *words[3];
} faults[] = {
    {TIMM, {.drop = "conv1.weight"}, {"neither conv1.weight"}},
    {TIMM, {.drop = "bn1.bias"}, {"tensor bn1.bias is missing", "expected shape [64]"}},
    {TIMM,
     {.drop = "layer1.0.conv2.weight"},
     {"tensor layer1.0.conv2.weight is missing", "[*, *, 3, 3]"}},
    {TIMM,
     {.drop = "layer1.0.conv1.weight"},
     {"tensor layer1.0.conv1.weight is missing", "[*, 64, 1, 1]"}},
    {TIMM,
     {.drop = "layer1.0.se.fc1.weight"},
     {"tensor layer1.0.se.fc1.weight is missing", "[*, 32]"}},
    {TIMM, {.drop = "layer2.0.se.fc2.bias"}, {"tensor layer2.0.se.fc2.bias is missing"}},
    {TIMM,
     {.drop = "layer3.0.downsample.0.weight"},
     {"tensor layer3.0.downsample.0.weight is missing"}},
    {TIMM, {.drop = "fc.weight"}, {"tensor fc.weight is missing", "[*, 112]"}},
    {LEGACY, {.drop = "last_linear.bias"}, {"tensor last_linear.bias is missing", "[11]"}},
    {LEGACY,
     {.drop = "layer1.0.se_module.fc2.weight"},
     {"tensor layer1.0.se_module.fc2.weight is missing"}},
    {TIMM, {.add = "conv1.bias"}, {"tensor conv1.bias, shape [2], is surplus"}},
    {TIMM,
     {.rename = "layer1.0.bn1.weight", .rename_to = "layer1.0.bn9.weight"},
     {"tensor layer1.0.bn1.weight is missing"}},
    {TIMM,
     {.flatten = "conv1.weight"},
     {"tensor conv1.weight: shape is [9408]", "expected [*, 3, 7, 7]"}},
    {TIMM,
     {.flatten = "layer1.0.conv1.weight"},
     {"tensor layer1.0.conv1.weight: shape is [512]", "expected [*, 64, 1, 1]"}},
    {TIMM, {.flatten = "fc.weight"}, {"tensor fc.weight: shape is [1232]", "expected [*, 112]"}},
    {TIMM,
     {.dtype_of = "layer1.0.bn1.weight", .dtype = "I32"},
     {"tensor layer1.0.bn1.weight: dtype is I32", "expected F32, F16 or BF16"}},
    {TIMM,
     {.poke = "layer1.0.conv2.weight", .element = 17, .value = __builtin_nanf("")},
     {"tensor layer1.0.conv2.weight: element 17 is NaN"}},
    {TIMM,
     {.poke = "fc.bias", .element = 2, .value = __builtin_inff()},
     {"tensor fc.bias: element 2 is infinite"}},
    {TIMM,
     {.poke = "bn1.running_var", .element = 5, .value = -1},
     {"tensor bn1.running_var: element 5 is -1", "not negative"}},
    {TIMM,
     {.poke = "conv1.weight", .element = 54 * 147, .value = 3e38F},
     {"folding its BatchNorm in overflows fp32"}},
    {TIMM,
     {.poke = "layer1.0.se.fc1.weight", .element = 3, .value = 3e38F},
     {"tensor layer1.0.se.fc1.weight: folding layer1.0.conv3.weight in overflows fp32"}},
};

static void expect_words(const struct error *err, const char *const words[3])
{
    for (size_t i = 0; i < 3 && words[i]; i++)
        if (!strstr(err->message, words[i]))
            fail_msg("\"%s\" lacks \"%s\"", err->message, words[i]);
}

static void test_faults(void **state)
{
    const char *path = *state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        tensor_file_copy(faults[i].from, path, &faults[i].edit);
        struct senet *model = NULL;
        struct error err = {0};
        enum error_code code = senet_open(path, NULL, &model, &err);
        if (code != ERROR_WEIGHTS)
            fail_msg("fault %zu: code %d, \"%s\"", i, code, err.message);
        assert_null(model);
        expect_words(&err, faults[i].words);
        assert_null(strchr(err.message, '\n'));
    }
}

/* The copy without a fault loads: the faults above are the only reason for the refusals. */
static void test_right(void **state)
{
    const char *path = *state;
    static const char *const sources[] = {TIMM, LEGACY};
    for (size_t i = 0; i < 2; i++) {
        tensor_file_copy(sources[i], path, NULL);
        struct senet *model = NULL;
        struct error err = {0};
        if (senet_open(path, NULL, &model, &err) != ERROR_NONE)
            fail_msg("%s", err.message);
        assert_string_equal(senet_info(model)->layout, i == 0 ? "timm" : "legacy");
        assert_string_equal(senet_label(model, 3), "class 3"); /* a bare file has no labels */
        senet_close(model);
    }
}

static int set_up(void **state)
{
    static char path[] = "/tmp/senetd-checkpoint-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    *state = path;
    return 0;
}

static int tear_down(void **state)
{
    return unlink(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_right),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
