/* test_preprocess.c - decoding, resampling and cropping against Pillow and timm's transform.
 *
 * Pictures, protocols and expected pixels are written by make_preprocess.py. Every picture decodes
 * to the same pixels, and its crop is the same, to the last bit.
 */
#include "golden.h"
#include <jansson.h>
#include <math.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "tests/golden/preprocess/"

static const struct image_options exact = {.max_pixels = 1 << 20};

static struct safetensors *expected_file;
static struct CMUnitTest tests[256]; /* cmocka passes over the empty ones */

static const char *text(const json_t *entry, const char *key)
{
    const char *value = json_string_value(json_object_get(entry, key));
    if (!value)
        fail_msg("cases.json: no text under \"%s\"", key);
    return value;
}

static size_t number(const json_t *entry, const char *key)
{
    return (size_t)json_integer_value(json_object_get(entry, key));
}

static uint8_t *read_file(const char *name, size_t *size)
{
    char path[256];
    snprintf(path, sizeof path, FOLDER "%s", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    uint8_t *bytes = malloc(1U << 20);
    assert_non_null(bytes);
    *size = fread(bytes, 1, 1U << 20, file);
    fclose(file);
    return bytes;
}

static struct image decode(const json_t *entry)
{
    struct error err = {0};
    struct image image = {0};
    size_t size;
    uint8_t *bytes = read_file(text(entry, "file"), &size);
    if (image_decode(bytes, size, &exact, &image, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    assert_string_equal(image_format_name(image.format), text(entry, "format"));
    free(bytes);
    return image;
}

static const struct tensor *expected(const json_t *entry, size_t height, size_t width)
{
    const struct tensor *tensor = safetensors_find(expected_file, text(entry, "tensor"));
    assert_non_null(tensor);
    assert_int_equal(tensor->rank, 3);
    assert_int_equal(tensor->shape[0], height);
    assert_int_equal(tensor->shape[1], width);
    return tensor;
}

static void check_sum(const struct image *image, const char *sum)
{
    struct sha256_ctx context;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char hex[2 * SHA256_DIGEST_SIZE + 1];
    sha256_init(&context);
    sha256_update(&context, 3 * image->width * image->height, image->pixels);
    sha256_digest(&context, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(hex, sum);
}

static void test_decode(void **state)
{
    const json_t *entry = *state;
    struct image image = decode(entry);
    assert_int_equal(image.width, number(entry, "width"));
    assert_int_equal(image.height, number(entry, "height"));
    if (json_object_get(entry, "sha256") != NULL) {
        check_sum(&image, text(entry, "sha256"));
        image_free(&image);
        return;
    }
    const struct tensor *pixels = expected(entry, image.height, image.width);
    for (size_t i = 0; i < pixels->count; i++)
        if (image.pixels[i] != pixels->data[i])
            fail_msg("pixel %zu,%zu channel %zu is %u, Pillow has %u", i / 3 % image.width,
                     i / 3 / image.width, i % 3, image.pixels[i], pixels->data[i]);
    image_free(&image);
}

static struct preprocess protocol(const json_t *entry)
{
    struct preprocess preprocess = {
        .width = number(entry, "width"),
        .height = number(entry, "height"),
        .crop_pct = json_number_value(json_object_get(entry, "crop_pct")),
        .mean = {0, 0, 0},
        .std = {1, 1, 1},
    };
    const char *how = text(entry, "interpolation");
    preprocess.interpolation = strcmp(how, "bilinear") == 0  ? INTERPOLATION_BILINEAR
                               : strcmp(how, "bicubic") == 0 ? INTERPOLATION_BICUBIC
                                                             : INTERPOLATION_LANCZOS;
    preprocess.crop_mode =
        strcmp(text(entry, "crop_mode"), "squash") == 0 ? CROP_SQUASH : CROP_CENTER;
    return preprocess;
}

/* [3][height][width] in 0..1 */
static float *run(const struct image *image, const struct preprocess *preprocess)
{
    struct error err = {0};
    float *out = calloc(3 * preprocess->width * preprocess->height, sizeof *out);
    assert_non_null(out);
    if (image_preprocess(image, preprocess, out, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return out;
}

static void test_preprocess(void **state)
{
    const json_t *entry = *state;
    struct preprocess preprocess = protocol(entry);
    struct image image = decode(entry);
    const struct tensor *pixels = expected(entry, preprocess.height, preprocess.width);
    float *out = run(&image, &preprocess);

    size_t area = preprocess.width * preprocess.height;
    for (size_t i = 0; i < pixels->count; i++) {
        float level = out[i % 3 * area + i / 3] * 255;
        if (fabsf(level - (float)pixels->data[i]) > 1e-3F)
            fail_msg("pixel %zu,%zu channel %zu is %.2f, Pillow has %u", i / 3 % preprocess.width,
                     i / 3 / preprocess.width, i % 3, (double)level, pixels->data[i]);
    }
    free(out);
    image_free(&image);
}

/* Mean and deviation are applied per channel to pixels scaled to 0..1. */
static void test_normalise(void **state)
{
    const json_t *entry = *state;
    struct preprocess preprocess = protocol(entry);
    struct image image = decode(entry);
    float *plain = run(&image, &preprocess);
    struct preprocess usual;
    preprocess_default(&usual);
    memcpy(preprocess.mean, usual.mean, sizeof usual.mean);
    memcpy(preprocess.std, usual.std, sizeof usual.std);
    float *normal = run(&image, &preprocess);
    size_t area = preprocess.width * preprocess.height;
    for (size_t i = 0; i < 3 * area; i++) {
        float by_hand = (plain[i] - usual.mean[i / area]) / usual.std[i / area];
        assert_float_equal(normal[i], by_hand, 1e-5);
    }
    free(plain);
    free(normal);
    image_free(&image);
}

/* The header's size is held against the limit before anything is decoded. */
static void test_limit(void **state)
{
    (void)state;
    for (const char **name = (const char *[]){"rgb.png", "odd.jpg", "still.gif", "rgb.bmp",
                                              "rgb.tga", "rgb.psd", "rgb.ppm", NULL};
         *name; name++) {
        struct error err = {0};
        struct image image = {0};
        size_t size;
        uint8_t *bytes = read_file(*name, &size);
        const struct image_options options = {.max_pixels = 61 * 40 - 1};
        assert_int_equal(image_decode(bytes, size, &options, &image, &err), ERROR_TOO_LARGE);
        assert_null(image.pixels);
        assert_true(err.message[0] != '\0');
        free(bytes);
    }
}

int main(void)
{
    json_error_t fault;
    json_t *cases = json_load_file(FOLDER "cases.json", 0, &fault);
    struct error err = {0};
    if (!cases) {
        fprintf(stderr, "%s:%d: %s\n", FOLDER "cases.json", fault.line, fault.text);
        return 1;
    }
    if (safetensors_open(FOLDER "expected.safetensors", &expected_file, &err) != ERROR_NONE) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    size_t count = 0, index;
    json_t *entry;
    const size_t room = sizeof tests / sizeof *tests - 2;
    json_array_foreach(json_object_get(cases, "decode"), index, entry)
    {
        if (count < room)
            tests[count++] = (struct CMUnitTest){
                .name = text(entry, "file"), .test_func = test_decode, .initial_state = entry};
    }
    json_array_foreach(json_object_get(cases, "preprocess"), index, entry)
    {
        if (count < room)
            tests[count++] = (struct CMUnitTest){.name = text(entry, "tensor"),
                                                 .test_func = test_preprocess,
                                                 .initial_state = entry};
    }
    json_t *first = json_array_get(json_object_get(cases, "preprocess"), 0);
    tests[count++] = (struct CMUnitTest){
        .name = "test_normalise", .test_func = test_normalise, .initial_state = first};
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(test_limit);
    int failed = cmocka_run_group_tests_name("preprocess", tests, NULL, NULL);
    safetensors_close(expected_file);
    json_decref(cases);
    return failed;
}
