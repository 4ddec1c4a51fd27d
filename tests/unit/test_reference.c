/* test_reference.c - a reference written and read again, files that are none, half precision. */
#include "reference.h"
#include "safetensors.h"
#include "tensors.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct senet *model, *other;
static char folder[] = "/tmp/senetd-reference-XXXXXX";
static char path[256];

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    reference_path(folder, path, sizeof path);
    return senet_open("tests/golden/fixtures/tiny_timm", NULL, &model, NULL) == ERROR_NONE &&
                   senet_open("tests/golden/fixtures/tiny_legacy", NULL, &other, NULL) == ERROR_NONE
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    senet_close(model);
    senet_close(other);
    unlink(path);
    return rmdir(folder);
}

static void write_one(void)
{
    struct reference *reference;
    struct error err = {0};
    assert_int_equal(reference_new(model, &reference, &err), ERROR_NONE);
    for (size_t i = 0; i < reference->floats; i++) {
        reference->mean[i] = (float)i / 1000;
        reference->std[i] = 0.1F + (float)i / 5000;
        for (size_t q = 0; q < REFERENCE_LEVELS; q++)
            reference->quantiles[q * reference->floats + i] = (float)(q + 1) / 8;
        for (size_t c = 0; c < reference->classes; c++) {
            reference->class_mean[c * reference->floats + i] = (float)c / 16;
            reference->class_std[c * reference->floats + i] = (float)(i % 32) / 64;
        }
    }
    reference->images = 123;
    reference->class_images[3] = 7;
    strcpy(reference->source, "photos \"of\" mine");
    strcpy(reference->grouping, "folder");
    if (reference_write(reference, model, path, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    reference_free(reference);
}

static void a_reference_comes_back_as_it_was(void **state)
{
    struct reference *read;
    struct error err = {0};
    (void)state;
    write_one();
    if (reference_read(path, model, &read, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    assert_int_equal(read->images, 123);
    assert_string_equal(read->source, "photos \"of\" mine");
    assert_string_equal(read->grouping, "folder");
    assert_true(read->class_images[3] == 7 && read->class_images[4] == 0);
    for (size_t i = 0; i < read->floats; i++) {
        assert_true(read->mean[i] == (float)i / 1000);
        assert_true(read->std[i] == 0.1F + (float)i / 5000);
        assert_true(read->quantiles[3 * read->floats + i] == 0.5F);
    }
    const struct senet_block *block = senet_block(model, 2);
    float *mean = calloc(2 * read->classes * block->channels, sizeof *mean);
    assert_non_null(mean);
    float *std = mean + read->classes * block->channels;
    assert_int_equal(reference_read_class(read, model, 2, mean, std, &err), ERROR_NONE);
    assert_true(mean[5 * block->channels + 9] == 5.0F / 16);
    assert_true(std[5 * block->channels + 9] == (float)((block->offset + 9) % 32) / 64);
    free(mean);
    reference_free(read);
}

static void expect_fault(const char *file, const struct senet *of, enum error_code code,
                         const char *word)
{
    struct reference *read = NULL;
    struct error err = {0};
    assert_int_equal(reference_read(file, of, &read, &err), code);
    assert_null(read);
    if (strstr(err.message, word) == NULL)
        fail_msg("'%s' lacks '%s'", err.message, word);
}

static void what_is_no_reference_is_refused(void **state)
{
    (void)state;
    write_one();
    expect_fault(path, other, ERROR_WEIGHTS, "made for weights of SHA-256");
    expect_fault("/nonexistent/reference", model, ERROR_IO, "No such file");
    expect_fault("tests/golden/fixtures/tiny_timm/model.safetensors", model, ERROR_WEIGHTS,
                 "format is");
    assert_int_equal(truncate(path, 5000), 0);
    expect_fault(path, model, ERROR_WEIGHTS, "");
}

static void the_file_lies_beside_the_weights(void **state)
{
    char found[256];
    (void)state;
    reference_path("tests/golden/fixtures/tiny_timm", found, sizeof found);
    assert_string_equal(found, "tests/golden/fixtures/tiny_timm/" REFERENCE_FILE);
    reference_path("tests/golden/fixtures/tiny_timm/model.safetensors", found, sizeof found);
    assert_string_equal(found, "tests/golden/fixtures/tiny_timm/" REFERENCE_FILE);
    reference_path("model.safetensors", found, sizeof found);
    assert_string_equal(found, REFERENCE_FILE);
}

/* Every half that is not negative, and the points between two of them. */
static void halves_round_to_the_nearest(void **state)
{
    (void)state;
    double before = 0;
    for (unsigned bits = 1; bits < 0x7c00; bits++) {
        int exponent = (int)(bits >> 10);
        double value = exponent ? ldexp(1024 + (bits & 1023), exponent - 25) : ldexp(bits, -24);
        assert_int_equal(tensors_half((float)value), bits);
        double middle = (before + value) / 2;
        assert_int_equal(tensors_half((float)middle), bits & 1 ? bits - 1 : bits);
        assert_int_equal(tensors_half(nextafterf((float)middle, 1e9F)), bits);
        before = value;
    }
    assert_int_equal(tensors_half(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reference_comes_back_as_it_was),
        cmocka_unit_test(what_is_no_reference_is_refused),
        cmocka_unit_test(the_file_lies_beside_the_weights),
        cmocka_unit_test(halves_round_to_the_nearest),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
