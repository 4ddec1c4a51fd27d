/* pictures.c - see pictures.h. */
#include "pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One channel of one pixel. */
static uint8_t pixel(size_t x, size_t y, size_t c, unsigned seed)
{
    return (uint8_t)(x * (seed % 5 + 1) + y * (seed % 3 + c + 1) + seed * 40);
}

struct picture picture_ppm(size_t width, size_t height, unsigned seed)
{
    struct picture picture = {.bytes = malloc(64 + 3 * width * height)};
    assert_non_null(picture.bytes);
    picture.size = (size_t)snprintf((char *)picture.bytes, 64, "P6 %zu %zu 255\n", width, height);
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++)
                picture.bytes[picture.size++] = pixel(x, y, c, seed);
    return picture;
}

static void put_u32(uint8_t *at, size_t value)
{
    for (size_t i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

/* 24 bits a pixel, bottom row first, blue first, rows padded to four bytes. */
struct picture picture_bmp(size_t width, size_t height, unsigned seed)
{
    size_t stride = (3 * width + 3) / 4 * 4, size = 54 + stride * height;
    struct picture picture = {.bytes = calloc(1, size), .size = size};
    uint8_t *at = picture.bytes;
    assert_non_null(at);
    memcpy(at, "BM", 2);
    put_u32(at + 2, size);
    put_u32(at + 10, 54);
    put_u32(at + 14, 40);
    put_u32(at + 18, width);
    put_u32(at + 22, height);
    at[26] = 1;
    at[28] = 24;
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++)
                at[54 + (height - 1 - y) * stride + 3 * x + 2 - c] = pixel(x, y, c, seed);
    return picture;
}

struct picture picture_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s is missing", path);
    fseek(file, 0, SEEK_END);
    struct picture picture = {.size = (size_t)ftell(file)};
    rewind(file);
    picture.bytes = malloc(picture.size);
    assert_non_null(picture.bytes);
    assert_int_equal(fread(picture.bytes, 1, picture.size, file), picture.size);
    fclose(file);
    return picture;
}

void picture_free(struct picture *picture)
{
    free(picture->bytes);
    *picture = (struct picture){0};
}

char *picture_json(const struct picture *picture)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char head[] = "{\"image\":{\"b64\":\"";
    char *text = malloc(sizeof head + (picture->size + 2) / 3 * 4 + 8);
    assert_non_null(text);
    memcpy(text, head, sizeof head);
    char *at = text + sizeof head - 1;
    for (size_t i = 0; i < picture->size; i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (i + j < picture->size ? picture->bytes[i + j] : 0u);
        for (size_t j = 0; j < 4; j++)
            *at++ = i + j > picture->size ? '=' : digits[bits >> (18 - 6 * j) & 63];
    }
    memcpy(at, "\"}}", 4);
    return text;
}

struct expected picture_expected(const struct senet *model, const struct picture *picture)
{
    const struct senet_info *info = senet_info(model);
    const struct preprocess *preprocess = &info->preprocess;
    struct error err = {0};
    struct image image = {0};
    struct senet_context *context = NULL;
    struct expected expected = {.logits = calloc(info->classes, sizeof(float)),
                                .excitations = calloc(info->excitation_floats + 1, sizeof(float))};
    float *input = calloc(3 * preprocess->width * preprocess->height, sizeof(float));
    assert_true(expected.logits != NULL && expected.excitations != NULL && input != NULL);
    const struct image_options options = {.max_pixels = 100000000, .fit = preprocess};
    if (image_decode(picture->bytes, picture->size, &options, &image, &err) != ERROR_NONE ||
        image_preprocess(&image, preprocess, input, &err) != ERROR_NONE ||
        senet_context_new(model, 1, preprocess->height, preprocess->width, &context, &err) !=
            ERROR_NONE)
        fail_msg("%s", err.message);
    senet_run(context, 1, input, expected.logits, expected.excitations);
    senet_context_free(context);
    image_free(&image);
    free(input);
    return expected;
}

void picture_expected_free(struct expected *expected)
{
    free(expected->logits);
    free(expected->excitations);
    *expected = (struct expected){0};
}
