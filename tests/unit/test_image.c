/* test_image.c - what is recognised, what is refused and how, limits, and broken content. Pixel
 * values are compared with Pillow's in tests/golden/test_preprocess.c. */
#include "exif.h"
#include "image.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_PIXELS 50000000u

static const struct image_options usual = {.max_pixels = MAX_PIXELS};

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *bytes = malloc(1 << 22);
    *size = fread(bytes, 1, 1 << 22, file);
    fclose(file);
    return bytes;
}

static void expect_refusal(const void *bytes, size_t size, size_t max_pixels,
                           enum error_code expected, const char *word)
{
    struct image image = {0};
    struct error err = {0};
    uint8_t *copy = malloc(size + 1); /* exact size: ASan sees a read past it */
    memcpy(copy, bytes, size);
    const struct image_options options = {.max_pixels = max_pixels};
    enum error_code code = image_decode(copy, size, &options, &image, &err);
    free(copy);
    if (code != expected || !strstr(err.message, word))
        fail_msg("code %d, \"%s\"; expected code %d and \"%s\"", code, err.message, expected, word);
    assert_null(image.pixels);
}

static void test_formats(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        enum image_format format;
    } cases[] = {
        {"landscape.jpg", IMAGE_JPEG}, {"rgb.png", IMAGE_PNG},        {"rgb.bmp", IMAGE_BMP},
        {"lossy.webp", IMAGE_WEBP},    {"lossless.webp", IMAGE_WEBP}, {"still.gif", IMAGE_GIF},
        {"rgb.psd", IMAGE_PSD},        {"rgb.tga", IMAGE_TGA},        {"rle.tga", IMAGE_TGA},
        {"rgb.ppm", IMAGE_PNM},        {"gray.pgm", IMAGE_PNM},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[128];
        size_t size;
        snprintf(path, sizeof path, "tests/golden/preprocess/%s", cases[i].file);
        uint8_t *bytes = read_file(path, &size);
        assert_int_equal(image_sniff(bytes, size), cases[i].format);
        struct image image;
        assert_int_equal(image_decode(bytes, size, &usual, &image, NULL), ERROR_NONE);
        assert_int_equal(image.format, cases[i].format);
        image_free(&image);
        free(bytes);
    }
    assert_string_equal(image_format_name(IMAGE_JPEG), "jpeg");
    assert_string_equal(image_format_name(IMAGE_UNKNOWN), "unknown");
}

/* A PSD file of 2 x 2 pixels, all of the same colour; returns its size. */
static size_t put_psd(uint8_t *file, const uint8_t *color, uint8_t channels, uint8_t packed)
{
    const uint8_t head[] = {
        '8', 'B', 'P', 'S', 0, 1, 0, 0, 0, 0, 0, 0, 0, channels,
        0,   0,   0,   2,   0, 0, 0, 2, 0, 8, 0, 3, /* height, width, depth, RGB */
        0,   0,   0,   0,   0, 0, 0, 0, 0, 0, 0, 0, 0, packed};
    memcpy(file, head, sizeof head);
    size_t size = sizeof head;
    for (size_t row = 0; packed && row < 2 * (size_t)channels; row++) {
        file[size++] = 0;
        file[size++] = 2; /* bytes */
    }
    for (size_t i = 0; i < 2 * (size_t)channels; i++) {
        file[size++] = packed ? 0xff : color[i / 2]; /* packed: twice what follows */
        file[size++] = color[i / 2];
    }
    return size;
}

/* A colour darker than its alpha allows on white paper: stb_image's way to take the paper out of
 * it would leave the range of a byte. */
static void test_psd_alpha(void **state)
{
    (void)state;
    static const uint8_t color[] = {10, 20, 30, 1, 99}; /* red, green, blue, alpha, a spare one */
    uint8_t file[128];
    for (uint8_t channels = 3; channels <= sizeof color; channels++)
        for (uint8_t packed = 0; packed <= 1; packed++) {
            size_t size = put_psd(file, color, channels, packed);
            struct image image;
            assert_int_equal(image_decode(file, size, &usual, &image, NULL), ERROR_NONE);
            for (size_t i = 0; i < (size_t)2 * 2 * 3; i++)
                assert_int_equal(image.pixels[i], color[i % 3]);
            image_free(&image);
        }
}

static void test_unknown(void **state)
{
    (void)state;
    expect_refusal("", 0, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "empty");
    expect_refusal("hello, world, this is some text", 31, MAX_PIXELS, ERROR_UNKNOWN_FORMAT,
                   "no image format");
    expect_refusal("%PDF-1.7 and so on", 18, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is PDF");
    expect_refusal("\n <!DocType HTML>", 17, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is HTML");
    expect_refusal("<?xml?><svg xmlns", 17, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is SVG");
    expect_refusal("<?xml?><a/>", 11, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is XML");
    expect_refusal("\x1f\x8b\x08", 3, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is gzip");
    expect_refusal("PK\3\4", 4, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is a ZIP");
    expect_refusal("data:image/png;base64,", 22, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "data: URL");
    expect_refusal("P3 1 1 255 0 0 0", 16, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "PNM in text");
    expect_refusal("\0\0\0\x20"
                   "ftypavif",
                   12, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is AVIF");
    expect_refusal("\0\0\0\x20"
                   "ftypheic",
                   12, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is HEIC");
    expect_refusal("II*\0\x08\0\0\0", 8, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is TIFF");
    expect_refusal("<svg xmlns", 10, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "is SVG");
    expect_refusal("\x7f"
                   "ELF\2\1\1",
                   7, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "ELF");
    expect_refusal("#?RADIANCE\n", 11, MAX_PIXELS, ERROR_UNKNOWN_FORMAT, "Radiance");
}

static void test_limits(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = read_file("tests/data/cat.jpg", &size);
    struct image image;
    struct error err = {0};
    assert_int_equal(image_decode(bytes, size, &usual, &image, NULL), ERROR_NONE);
    struct image_options options = {.max_pixels = image.width * image.height};
    image_free(&image);
    assert_int_equal(image_decode(bytes, size, &options, &image, NULL), ERROR_NONE);
    image_free(&image);
    options.max_pixels--;
    assert_int_equal(image_decode(bytes, size, &options, &image, &err), ERROR_TOO_LARGE);
    assert_non_null(strstr(err.message, "expected at most"));
    free(bytes);
    /* Headers alone, of images that would take gigabytes; the BMP's height is negative. */
    uint8_t bmp[54] = {'B', 'M', [10] = 54, [14] = 40, [18] = 0x20, 0x4e, [26] = 1, [28] = 24};
    int32_t height = -20000;
    memcpy(bmp + 22, &height, sizeof height);
    expect_refusal(bmp, sizeof bmp, MAX_PIXELS, ERROR_TOO_LARGE, "20000 x 20000 pixels");
    expect_refusal("P6 100000 100000 255\n", 21, MAX_PIXELS, ERROR_TOO_LARGE,
                   "100000 x 100000 pixels");
    expect_refusal("P6 1000 1000 255\n", 17, MAX_PIXELS, ERROR_UNDECODABLE, "pnm: 0 bytes");
}

static void test_broken(void **state)
{
    (void)state;
    expect_refusal("\x89PNG\r\n\x1a\nxxxxxxxxxxxxxxxxxxxx", 28, MAX_PIXELS, ERROR_UNDECODABLE,
                   "png");
    expect_refusal("\xff\xd8\xff\xe0", 4, MAX_PIXELS, ERROR_UNDECODABLE, "jpeg");
    expect_refusal("GIF89a", 6, MAX_PIXELS, ERROR_UNDECODABLE, "gif");
    expect_refusal("BM", 2, MAX_PIXELS, ERROR_UNDECODABLE, "bmp");
    expect_refusal("P5 2 2 65535\n\0\0\0\0\0\0\0", 20, MAX_PIXELS, ERROR_UNDECODABLE,
                   "7 bytes of pixels");
    expect_refusal("P5 2 2 65536\n\0\0\0\0\0\0\0\0", 21, MAX_PIXELS, ERROR_UNDECODABLE,
                   "largest value 65536");
    expect_refusal("P5 2 2 255\nabc", 14, MAX_PIXELS, ERROR_UNDECODABLE, "3 bytes of pixels");
    expect_refusal("P5 0 2 255\n", 11, MAX_PIXELS, ERROR_UNDECODABLE, "pnm");
}

/* Values are scaled to 255 whatever the largest is, in one byte or two. */
static void test_pnm(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        uint8_t pixels[6];
    } cases[] = {
        {"P5 # comment\n2 1 100\n\x32\x64", 23, {128, 128, 128, 255, 255, 255}},
        {"P5\n2\t1\n65535 \x80\0\xff\xff", 17, {128, 128, 128, 255, 255, 255}},
        {"P6 1 1 255\n\1\2\3", 14, {1, 2, 3}},
        {"P6 1 1 1023\n\3\xff\0\0\2\0", 18, {255, 0, 128}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct image image = {0};
        struct error err = {0};
        if (image_decode((const uint8_t *)cases[i].bytes, cases[i].size, &usual, &image, &err) !=
            ERROR_NONE)
            fail_msg("case %zu: %s", i, err.message);
        assert_memory_equal(image.pixels, cases[i].pixels, image.width * image.height * 3);
        image_free(&image);
    }
}

static void test_accepted_formats(void **state)
{
    (void)state;
    unsigned formats = 0;
    struct error err = {0};
    struct image image;
    assert_int_equal(image_parse_formats("jpeg,webp", &formats, &err), ERROR_NONE);
    assert_int_equal(formats, 1U << IMAGE_JPEG | 1U << IMAGE_WEBP);
    const struct image_options options = {.max_pixels = MAX_PIXELS, .formats = formats};
    assert_int_equal(
        image_decode((const uint8_t *)"P6 1 1 255\n\1\2\3", 14, &options, &image, &err),
        ERROR_UNKNOWN_FORMAT);
    assert_string_equal(err.message, "the content is pnm, expected jpeg, webp");
    static const char *const wrong[] = {"", "jpg", "jpeg,", ",jpeg", "unknown", "jpeg png"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(image_parse_formats(wrong[i], &formats, NULL), ERROR_USAGE);
}

/* A JPEG is decoded at a fraction of its size as long as twice the target is left; everything else
 * whole. The photo's own size is told either way. */
static void test_shrinking(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        size_t side, divisor; /* of the network input with a crop of all */
    } cases[] = {{"large.jpg", 107, 1}, {"large.jpg", 106, 2}, {"large.jpg", 54, 2},
                 {"large.jpg", 53, 4},  {"large.jpg", 26, 8},  {"large.jpg", 8, 8},
                 {"rings.png", 8, 1},   {"exif6.jpg", 8, 2},   {"cmyk.jpg", 8, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[128];
        size_t size;
        struct preprocess fit;
        struct image whole, image;
        preprocess_default(&fit);
        fit.width = fit.height = cases[i].side;
        fit.crop_pct = 1;
        snprintf(path, sizeof path, "tests/golden/preprocess/%s", cases[i].file);
        uint8_t *bytes = read_file(path, &size);
        const struct image_options options = {.max_pixels = MAX_PIXELS, .fit = &fit};
        assert_int_equal(image_decode(bytes, size, &usual, &whole, NULL), ERROR_NONE);
        assert_int_equal(image_decode(bytes, size, &options, &image, NULL), ERROR_NONE);
        size_t divisor = cases[i].divisor;
        assert_int_equal(image.full_width, whole.width);
        assert_int_equal(image.full_height, whole.height);
        assert_int_equal(image.width, (whole.width + divisor - 1) / divisor);
        assert_int_equal(image.height, (whole.height + divisor - 1) / divisor);
        image_free(&whole);
        image_free(&image);
        free(bytes);
    }
}

static const char *const jpegs[] = {
    "cmyk.jpg",          "column.jpg",   "exif1.jpg",       "exif2.jpg",       "exif3.jpg",
    "exif4.jpg",         "exif5.jpg",    "exif6.jpg",       "exif7.jpg",       "exif8.jpg",
    "gray.jpg",          "large.jpg",    "odd.jpg",         "panorama.jpg",    "portrait.jpg",
    "progressive.jpg",   "restarts.jpg", "sampling420.jpg", "sampling422.jpg", "sampling444.jpg",
    "rgb_components.jpg"};
#define JPEG_COUNT (sizeof jpegs / sizeof *jpegs)

static uint8_t *read_jpeg(size_t index, size_t *size)
{
    char path[128];
    snprintf(path, sizeof path, "tests/golden/preprocess/%s", jpegs[index]);
    return read_file(path, size);
}

/* The crop of a photo that was decoded for just that, or as a whole. */
static void crop_of(const uint8_t *bytes, size_t size, const struct preprocess *fit, bool whole,
                    uint8_t *out)
{
    struct image image;
    const struct image_options options = {.max_pixels = MAX_PIXELS, .fit = whole ? NULL : fit};
    assert_int_equal(image_decode(bytes, size, &options, &image, NULL), ERROR_NONE);
    assert_int_equal(image_crop(&image, fit, out, NULL), ERROR_NONE);
    image_free(&image);
}

/* The middle `crop` pixels of a photo resized to `resized`. */
static struct preprocess middle(size_t crop, size_t resized, enum interpolation interpolation)
{
    struct preprocess fit;
    preprocess_default(&fit);
    fit.width = fit.height = crop;
    fit.crop_pct = (double)crop / (double)resized;
    fit.interpolation = interpolation;
    return fit;
}

#define MOST 200 /* pixels of a side to which none of them is large enough to be shrunk */

static void compare_crops(const char *file, const uint8_t *bytes, size_t size)
{
    static const size_t crops[] = {MOST, 180, 100, 20};
    static uint8_t crop[MOST * MOST * 3], expected[MOST * MOST * 3];
    for (size_t i = 0; i < 4 * 3 * 2; i++) {
        struct preprocess fit = middle(crops[i % 4], MOST, (enum interpolation)(i / 4 % 3));
        fit.crop_mode = i < 4 * 3 ? CROP_CENTER : CROP_SQUASH;
        crop_of(bytes, size, &fit, true, expected);
        crop_of(bytes, size, &fit, false, crop);
        if (memcmp(crop, expected, fit.width * fit.height * 3) != 0)
            fail_msg("%s: %zu pixels of %d", file, fit.width, MOST);
    }
}

/* Only what a crop reads is decoded, and the crop is that of the whole photo, to the last bit. */
static void test_cropping(void **state)
{
    (void)state;
    for (size_t i = 0; i < JPEG_COUNT; i++) {
        size_t size;
        uint8_t *bytes = read_jpeg(i, &size);
        compare_crops(jpegs[i], bytes, size);
        free(bytes);
    }
}

/* A progressive file may end after any scan; the library then smoothes what it lacks. */
static void test_cropping_smoothed(void **state)
{
    (void)state;
    size_t size;
    int scans = 0;
    uint8_t *bytes = read_file("tests/golden/preprocess/progressive.jpg", &size);
    for (size_t at = 2; at + 1 < size; at++)
        if (bytes[at] == 0xff && bytes[at + 1] == 0xda && scans++ > 0) {
            bytes[at + 1] = 0xd9; /* the end, where the next scan would begin */
            compare_crops("progressive.jpg", bytes, at + 2);
            bytes[at + 1] = 0xda;
        }
    assert_true(scans > 5);
    free(bytes);
}

/* Of a photo that is shrunk too: the middle of a larger crop, which reads all of it. */
static void test_cropping_shrunk(void **state)
{
    (void)state;
    static const size_t resized[] = {8, 24, 50, 106};
    static uint8_t inner[106 * 106 * 3], outer[106 * 106 * 3];
    for (size_t i = 0; i < JPEG_COUNT * 4; i++) {
        size_t bytes_count, size = resized[i % 4], edge = size / 4;
        struct preprocess all = middle(size, size, INTERPOLATION_BILINEAR);
        struct preprocess part = middle(size - 2 * edge, size, INTERPOLATION_BILINEAR);
        all.crop_mode = part.crop_mode = CROP_SQUASH;
        uint8_t *bytes = read_jpeg(i / 4, &bytes_count);
        crop_of(bytes, bytes_count, &all, false, outer);
        crop_of(bytes, bytes_count, &part, false, inner);
        for (size_t y = 0; y < part.height; y++)
            if (memcmp(inner + y * part.width * 3, outer + ((y + edge) * size + edge) * 3,
                       part.width * 3) != 0)
                fail_msg("%s: row %zu of %zu pixels of %zu", jpegs[i / 4], y, part.width, size);
        free(bytes);
    }
}

/* What is broken where the crop does not reach is found all the same. */
static void test_broken_outside_crop(void **state)
{
    (void)state;
    struct preprocess fit;
    preprocess_default(&fit);
    fit.crop_pct = 0.25;
    const struct image_options options = {.max_pixels = MAX_PIXELS, .fit = &fit};
    for (size_t i = 0; i < JPEG_COUNT; i++) {
        size_t size;
        struct image image;
        uint8_t *bytes = read_jpeg(i, &size);
        assert_int_equal(image_decode(bytes, size, &options, &image, NULL), ERROR_NONE);
        image_free(&image);
        for (size_t cut = 3; cut < size / 4; cut += 1 + size / 50) {
            enum error_code code = image_decode(bytes, size - cut, &usual, &image, NULL);
            if (code == ERROR_NONE)
                image_free(&image);
            assert_int_equal(image_decode(bytes, size - cut, &options, &image, NULL), code);
            if (code == ERROR_NONE)
                image_free(&image);
            assert_true(code == ERROR_UNDECODABLE || cut < 8);
        }
        free(bytes);
    }
}

/* Cut short anywhere, a photo is refused or decoded, but never read past its end. */
static void test_truncated(void **state)
{
    (void)state;
    static const char *const files[] = {"exif6.jpg",      "palette.png",     "rle.tga",
                                        "still.gif",      "rgb.bmp",         "rgb.ppm",
                                        "lossy.webp",     "lossless.webp",   "moving.webp",
                                        "interlaced.png", "progressive.jpg", "rgb.psd"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        size_t size;
        snprintf(path, sizeof path, "tests/golden/preprocess/%s", files[i]);
        uint8_t *bytes = read_file(path, &size);
        for (size_t cut = 0; cut < size; cut += 1 + size / 64) {
            uint8_t *part = malloc(cut + 1);
            memcpy(part, bytes, cut);
            struct image image = {0};
            struct error err = {0};
            enum error_code code = image_decode(part, cut, &usual, &image, &err);
            assert_true((code == ERROR_NONE) == (image.pixels != NULL));
            assert_true((code == ERROR_NONE) == (err.message[0] == 0));
            image_free(&image);
            free(part);
        }
        free(bytes);
    }
}

static void test_exif(void **state)
{
    (void)state;
    for (int orientation = 1; orientation <= 8; orientation++) {
        char path[128];
        size_t size;
        snprintf(path, sizeof path, "tests/golden/preprocess/exif%d.jpg", orientation);
        uint8_t *bytes = read_file(path, &size);
        assert_int_equal(exif_orientation(bytes, size), orientation);
        free(bytes);
    }
    /* A segment that lies about its length, and a value out of range: upright. */
    uint8_t jpeg[] = "\xff\xd8\xff\xe1\0\x24"
                     "Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x09\0\0";
    assert_int_equal(exif_orientation(jpeg, sizeof jpeg - 1), 1);
    jpeg[31] = 6;
    assert_int_equal(exif_orientation(jpeg, sizeof jpeg - 1), 1);
    uint8_t whole[sizeof jpeg + 16] = {0};
    memcpy(whole, jpeg, sizeof jpeg - 1);
    assert_int_equal(exif_orientation(whole, sizeof whole), 6);
    whole[31] = 9;
    assert_int_equal(exif_orientation(whole, sizeof whole), 1);
    whole[16] = 0xff; /* the directory's offset points outside */
    assert_int_equal(exif_orientation(whole, sizeof whole), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_pnm),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_exif),
        cmocka_unit_test(test_accepted_formats),
        cmocka_unit_test(test_shrinking),
        cmocka_unit_test(test_psd_alpha),
        cmocka_unit_test(test_cropping),
        cmocka_unit_test(test_cropping_shrunk),
        cmocka_unit_test(test_cropping_smoothed),
        cmocka_unit_test(test_broken_outside_crop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
