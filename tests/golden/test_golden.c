/* test_golden.c - every tiny model under fixtures/, on every backend, against timm on PyTorch.
 *
 * The fixtures are written by make_golden.py; the working directory is the repository's root. A
 * test per model and backend is made up at start from what the directory holds.
 */
#include "golden.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES  "tests/golden/fixtures"
#define MAX_TESTS 64

struct pairing {
    char fixture[48];
    const char *backend;
    char name[80];
};

static struct pairing pairings[MAX_TESTS];
static struct CMUnitTest tests[MAX_TESTS + 8]; /* cmocka passes over the empty ones */

static void test_agrees(void **state)
{
    const struct pairing *pairing = *state;
    char path[128];
    snprintf(path, sizeof path, FIXTURES "/%s", pairing->fixture);
    struct senet *model = golden_model(path, pairing->backend);
    assert_string_equal(senet_info(model)->kernels, pairing->backend);
    snprintf(path, sizeof path, FIXTURES "/%s/cases.safetensors", pairing->fixture);
    struct safetensors *file = golden_open(path);

    struct golden_case golden;
    size_t count = 0;
    while (golden_read(file, count, &senet_info(model)->preprocess, &golden)) {
        golden_check(model, &golden);
        golden_free(&golden);
        count++;
    }
    assert_true(count > 0);
    safetensors_close(file);
    senet_close(model);
}

/* What a checkpoint's shapes and names tell, for the models whose making is known. */
static void test_facts(void **state)
{
    (void)state;
    static const struct {
        const char *fixture, *architecture, *layout;
        size_t blocks, residual_blocks, cardinality, excitation_floats, reduced0;
    } facts[] = {
        {"tiny_timm", "seresnet_tiny", "timm", 6, 6, 1, 384, 8},
        {"tiny_legacy", "legacy_seresnet_tiny", "legacy", 6, 6, 1, 328, 6},
        {"tiny_legacy_seresnext", "legacy_seresnext_tiny", "legacy", 5, 5, 4, 480, 8},
        {"tiny_seresnext", "seresnext_tiny", "timm", 5, 5, 4, 304, 8},
        {"tiny_resnet", "resnet_tiny", "timm", 0, 5, 1, 0, 0},
        {"tiny_f16", "seresnet_tiny", "timm", 4, 4, 1, 152, 6},
    };
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        char path[128];
        snprintf(path, sizeof path, FIXTURES "/%s", facts[i].fixture);
        struct senet *model = golden_model(path, NULL);
        const struct senet_info *info = senet_info(model);
        assert_string_equal(info->name, facts[i].fixture);
        assert_string_equal(info->architecture, facts[i].architecture);
        assert_string_equal(info->layout, facts[i].layout);
        assert_string_equal(info->precision, "fp32");
        assert_int_equal(info->classes, 11);
        assert_int_equal(info->blocks, facts[i].blocks);
        assert_int_equal(info->residual_blocks, facts[i].residual_blocks);
        assert_int_equal(info->cardinality, facts[i].cardinality);
        assert_int_equal(info->excitation_floats, facts[i].excitation_floats);
        assert_int_equal(info->preprocess.width, 64);
        assert_int_equal(info->preprocess.height, 64);
        assert_float_equal(info->preprocess.crop_pct, 0.95, 1e-9);
        assert_int_equal(info->preprocess.interpolation, INTERPOLATION_BICUBIC);
        assert_float_equal(info->preprocess.mean[2], 0.406, 1e-6);
        assert_float_equal(info->preprocess.std[0], 0.229, 1e-6);
        size_t offset = 0;
        for (size_t b = 0; b < info->blocks; b++) {
            const struct senet_block *block = senet_block(model, b);
            assert_int_equal(block->offset, offset);
            offset += block->channels;
        }
        assert_int_equal(offset, info->excitation_floats);
        if (info->blocks)
            assert_int_equal(senet_block(model, 0)->reduced, facts[i].reduced0);
        senet_close(model);
    }
}

/* Blocks are named in network order, both ways. */
static void test_block_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *paper_name;
        size_t stage, block, channels;
    } expected[] = {
        {"layer1.0", "SE_2_1", 2, 1, 32}, {"layer1.1", "SE_2_2", 2, 2, 32},
        {"layer2.0", "SE_3_1", 3, 1, 48}, {"layer3.0", "SE_4_1", 4, 1, 80},
        {"layer3.1", "SE_4_2", 4, 2, 80}, {"layer4.0", "SE_5_1", 5, 1, 112},
    };
    struct senet *model = golden_model(FIXTURES "/tiny_timm", NULL);
    assert_int_equal(senet_info(model)->blocks, 6);
    for (size_t b = 0; b < 6; b++) {
        const struct senet_block *block = senet_block(model, b);
        assert_string_equal(block->name, expected[b].name);
        assert_string_equal(block->paper_name, expected[b].paper_name);
        assert_int_equal(block->stage, expected[b].stage);
        assert_int_equal(block->block, expected[b].block);
        assert_int_equal(block->channels, expected[b].channels);
    }
    senet_close(model);
}

static void test_labels(void **state)
{
    (void)state;
    struct senet *model = golden_model(FIXTURES "/tiny_timm", NULL);
    assert_string_equal(senet_label(model, 0), "apple");
    assert_string_equal(senet_label(model, 10), "kiwi");
    senet_close(model);
    model = golden_model(FIXTURES "/tiny_legacy", NULL);
    assert_string_equal(senet_label(model, 10), "class 10");
    senet_close(model);
}

static int by_name(const void *a, const void *b)
{
    const struct pairing *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static size_t find_pairings(void)
{
    size_t count = 0;
    DIR *directory = opendir(FIXTURES);
    if (!directory) {
        perror(FIXTURES);
        exit(1);
    }
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.')
            continue;
        for (size_t b = 0; golden_backend(b) && count < MAX_TESTS; b++) {
            struct pairing *pairing = &pairings[count++];
            pairing->backend = golden_backend(b);
            snprintf(pairing->fixture, sizeof pairing->fixture, "%.47s", entry->d_name);
            snprintf(pairing->name, sizeof pairing->name, "%s on %s", pairing->fixture,
                     pairing->backend);
        }
    }
    closedir(directory);
    qsort(pairings, count, sizeof *pairings, by_name);
    return count;
}

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_block_names),
        cmocka_unit_test(test_labels),
    };
    size_t count = find_pairings();
    for (size_t i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){
            .name = pairings[i].name, .test_func = test_agrees, .initial_state = &pairings[i]};
    memcpy(tests + count, others, sizeof others);
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
