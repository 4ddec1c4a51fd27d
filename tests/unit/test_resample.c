/* test_resample.c - the resize against its definition, pixel by pixel, to the last bit; sizes that
 * leave remainders of rows, columns and tiles. What the definition is worth is told by
 * tests/golden/test_preprocess.c. */
#include "image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE (1 << 22)

static double weight(double x, enum interpolation how)
{
    x = fabs(x);
    if (how == INTERPOLATION_BILINEAR)
        return x < 1 ? 1 - x : 0;
    if (how == INTERPOLATION_BICUBIC)
        return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
    const double pi = 3.14159265358979323846;
    double a = x <= 0 ? 1 : sin(pi * x) / (pi * x);
    double b = x <= 0 ? 1 : sin(pi * (x / 3)) / (pi * (x / 3));
    return x < 3 ? a * b : 0;
}

/* out[to] from in[from], bytes `stride` apart in both. */
static void resize_line(const uint8_t *in, size_t from, uint8_t *out, size_t to, size_t stride,
                        enum interpolation how)
{
    static const double supports[] = {1, 2, 3};
    double ratio = (double)from / (double)to, scale = ratio > 1 ? ratio : 1;
    double support = supports[how] * scale;
    for (size_t x = 0; x < to; x++) {
        double center = ((double)x + 0.5) * ratio, sum = 0;
        double low = center - support + 0.5, high = center + support + 0.5;
        size_t begin = low > 0 ? (size_t)low : 0;
        size_t end = high < (double)from ? (size_t)high : from;
        for (size_t i = begin; i < end; i++)
            sum += weight(((double)i - center + 0.5) / scale, how);
        int64_t value = ONE / 2;
        for (size_t i = begin; i < end; i++) {
            double share = weight(((double)i - center + 0.5) / scale, how) / sum * ONE;
            value += in[i * stride] * (int64_t)(share < 0 ? share - 0.5 : share + 0.5);
        }
        value >>= 22;
        out[x * stride] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

/* Lines of `stride` bytes; the horizontal pass first, all of it. */
static void squash(const struct image *image, size_t width, size_t height, enum interpolation how,
                   uint8_t *out)
{
    size_t most = image->width > width ? image->width : width;
    uint8_t *line = malloc(3 * most), *rows = malloc(3 * width * image->height);
    uint8_t *column = malloc(3 * width * (image->height > height ? image->height : height));
    for (size_t y = 0; y < image->height; y++)
        for (size_t c = 0; c < 3; c++) {
            resize_line(image->pixels + 3 * y * image->width + c, image->width, line, width, 3,
                        how);
            for (size_t x = 0; x < width; x++)
                rows[3 * (y * width + x) + c] = line[3 * x];
        }
    for (size_t i = 0; i < 3 * width; i++) {
        resize_line(rows + i, image->height, column, height, 3 * width, how);
        for (size_t y = 0; y < height; y++)
            out[3 * width * y + i] = column[3 * width * y];
    }
    free(line);
    free(rows);
    free(column);
}

static void check(size_t width, size_t height, size_t to, enum interpolation how)
{
    struct error err = {0};
    struct image image = {
        .width = width, .height = height, .full_width = width, .full_height = height};
    struct preprocess preprocess;
    uint32_t random = 1;
    preprocess_default(&preprocess);
    preprocess.width = preprocess.height = to;
    preprocess.crop_pct = 1;
    preprocess.crop_mode = CROP_SQUASH;
    preprocess.interpolation = how;
    image.pixels = malloc(3 * width * height);
    uint8_t *got = malloc(3 * to * to), *expected = malloc(3 * to * to);
    for (size_t i = 0; i < 3 * width * height; i++) {
        random = random * 1664525 + 1013904223;
        image.pixels[i] = random >> 30 != 0 ? (uint8_t)(random >> 16) : random >> 29 & 1 ? 255 : 0;
    }
    squash(&image, to, to, how, expected);
    assert_int_equal(image_crop(&image, &preprocess, got, &err), ERROR_NONE);
    for (size_t i = 0; i < 3 * to * to; i++)
        if (got[i] != expected[i])
            fail_msg("%zu x %zu -> %zu, filter %d: pixel %zu,%zu channel %zu is %u, expected %u",
                     width, height, to, how, i / 3 % to, i / 3 / to, i % 3, got[i], expected[i]);
    free(image.pixels);
    free(got);
    free(expected);
}

static void every_remainder_is_right(void **state)
{
    (void)state;
    for (size_t i = 1; i <= 40; i++)
        for (int how = INTERPOLATION_BILINEAR; how <= INTERPOLATION_LANCZOS; how++) {
            check(i, 41 - i, 1 + i % 27, (enum interpolation)how);
            check(60 + i, 100 - i, 8 + i, (enum interpolation)how);
        }
}

/* More pixels than are transposed at a time; then a window that has more than these. */
static void wide_images_are_right(void **state)
{
    (void)state;
    for (int how = INTERPOLATION_BILINEAR; how <= INTERPOLATION_LANCZOS; how++) {
        check(4095, 9, 30, (enum interpolation)how);
        check(4096, 9, 30, (enum interpolation)how);
        check(9001, 10, 30, (enum interpolation)how);
        check(20000, 3, 2, (enum interpolation)how);
        check(11, 9001, 30, (enum interpolation)how);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_remainder_is_right),
        cmocka_unit_test(wide_images_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
