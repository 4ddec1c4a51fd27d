/* test_bombs.c - small files that ask for much memory or work, and files that once made decoders
 * write past their arrays. All are made here. What is asserted is the answer and, where pixels
 * could be decoded, the memory that the process took at most; never the time. */
#include "image.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <zlib.h>

#define MAX_PIXELS 50000000u
#define MEMORY_MB  256

struct file {
    uint8_t *bytes;
    size_t size, room;
};

static void put(struct file *file, const void *bytes, size_t size)
{
    if (file->size + size > file->room) {
        file->room = 2 * (file->size + size);
        file->bytes = realloc(file->bytes, file->room);
        assert_non_null(file->bytes);
    }
    if (size > 0)
        memcpy(file->bytes + file->size, bytes, size);
    file->size += size;
}

static void put_big(struct file *file, size_t value, size_t bytes)
{
    while (bytes-- > 0) {
        uint8_t byte = (uint8_t)(value >> 8 * bytes);
        put(file, &byte, 1);
    }
}

static void put_little(struct file *file, size_t value, size_t bytes)
{
    for (; bytes-- > 0; value >>= 8) {
        uint8_t byte = (uint8_t)value;
        put(file, &byte, 1);
    }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* Megabytes of the process at their highest since start. */
static size_t peak_mb(void)
{
    char line[256];
    size_t kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        sscanf(line, "VmHWM: %zu", &kilobytes);
    if (status != NULL)
        fclose(status);
    return kilobytes / 1024;
}
#endif

/* Decodes a copy of exactly that size, and frees the file. */
static enum error_code decode(struct file *file, struct error *err)
{
    struct image image = {0};
    *err = (struct error){0};
    uint8_t *copy = malloc(file->size);
    assert_non_null(copy);
    memcpy(copy, file->bytes, file->size);
    free(file->bytes);
    enum error_code code = image_decode(
        copy, file->size, &(struct image_options){.max_pixels = MAX_PIXELS}, &image, err);
    free(copy);
    assert_true((code == ERROR_NONE) == (image.pixels != NULL));
    image_free(&image);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(peak_mb() < MEMORY_MB);
#endif
    return code;
}

static void refused(struct file *file, enum error_code expected, const char *word)
{
    struct error err;
    enum error_code code = decode(file, &err);
    if (code != expected || strstr(err.message, word) == NULL)
        fail_msg("%s, \"%s\"; expected %s and \"%s\"", error_name(code), err.message,
                 error_name(expected), word);
}

static void served(struct file *file)
{
    struct error err;
    if (decode(file, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
}

/* ---- PNG ----------------------------------------------------------------------------------- */

static void put_chunk(struct file *file, const char *kind, const void *body, size_t size)
{
    put_big(file, size, 4);
    size_t begin = file->size;
    put(file, kind, 4);
    put(file, body, size);
    put_big(file, crc32(0, file->bytes + begin, (uInt)(file->size - begin)), 4);
}

static struct file png_begin(size_t width, size_t height, unsigned depth, unsigned color,
                             unsigned interlaced)
{
    struct file file = {0}, header = {0};
    put(&file, "\x89PNG\r\n\x1a\n", 8);
    put_big(&header, width, 4);
    put_big(&header, height, 4);
    const uint8_t rest[] = {(uint8_t)depth, (uint8_t)color, 0, 0, (uint8_t)interlaced};
    put(&header, rest, sizeof rest);
    put_chunk(&file, "IHDR", header.bytes, header.size);
    free(header.bytes);
    return file;
}

/* A deflate stream of that many zeros. */
static struct file zeros(size_t count)
{
    static const uint8_t nothing[1 << 16];
    static uint8_t piece[1 << 16];
    struct file file = {0};
    z_stream stream = {0};
    assert_int_equal(deflateInit(&stream, 9), Z_OK);
    int state = Z_OK;
    while (state != Z_STREAM_END) {
        if (stream.avail_in == 0 && count > 0) {
            stream.next_in = (Bytef *)(uintptr_t)nothing;
            stream.avail_in = (uInt)(count < sizeof nothing ? count : sizeof nothing);
            count -= stream.avail_in;
        }
        stream.next_out = piece;
        stream.avail_out = sizeof piece;
        state = deflate(&stream, count > 0 ? Z_NO_FLUSH : Z_FINISH);
        put(&file, piece, sizeof piece - stream.avail_out);
    }
    deflateEnd(&stream);
    return file;
}

static void png_end(struct file *file, size_t inflated)
{
    struct file data = zeros(inflated);
    put_chunk(file, "IDAT", data.bytes, data.size);
    put_chunk(file, "IEND", NULL, 0);
    free(data.bytes);
}

/* One pixel, and a gigabyte of rows: what the header does not ask for is not inflated. */
static void png_with_surplus_data_is_not_inflated(void **state)
{
    (void)state;
    struct file file = png_begin(1, 1, 8, 2, 0);
    png_end(&file, (size_t)1 << 30);
    served(&file);
    file = png_begin(1, 1, 8, 2, 1);
    png_end(&file, (size_t)1 << 26);
    served(&file);
}

static void png_of_too_many_pixels_is_refused(void **state)
{
    (void)state;
    struct file file = png_begin(0x7fffffff, 0x7fffffff, 16, 6, 0);
    png_end(&file, 100);
    refused(&file, ERROR_TOO_LARGE, "2147483647 x 2147483647 pixels");
    file = png_begin(0, 5, 8, 2, 0);
    png_end(&file, 100);
    refused(&file, ERROR_UNDECODABLE, "0 x 5 pixels");
}

/* 45 million pixels are within the limit, but a hundred bytes cannot hold them. */
static void png_with_too_little_data_is_refused(void **state)
{
    (void)state;
    struct file file = png_begin(9000, 5000, 8, 2, 0);
    png_end(&file, 50000);
    refused(&file, ERROR_UNDECODABLE, "cannot hold 9000 x 5000");
    file = png_begin(100, 100, 8, 2, 0);
    png_end(&file, 301 * 50);
    refused(&file, ERROR_UNDECODABLE, "png: broken content");
}

/* The largest that may be sent, of one colour: served within the limit of memory. */
static void png_at_the_limit_is_served(void **state)
{
    (void)state;
    struct file file = png_begin(10000, 5000, 8, 2, 0);
    png_end(&file, (size_t)30001 * 5000);
    served(&file);
}

/* Texts and profiles that inflate to megabytes are skipped, however many there are. */
static void png_with_compressed_texts_is_served(void **state)
{
    (void)state;
    struct file text = {0}, data = zeros(1 << 26), file = png_begin(2, 2, 8, 2, 0);
    put(&text, "Comment\0", 9);
    put(&text, data.bytes, data.size);
    for (int i = 0; i < 50; i++) {
        put_chunk(&file, "zTXt", text.bytes, text.size);
        put_chunk(&file, "iCCP", text.bytes, text.size);
    }
    for (int i = 0; i < 100000; i++)
        put_chunk(&file, "tEXt", "a\0b", 3);
    png_end(&file, 14);
    free(text.bytes);
    free(data.bytes);
    served(&file);
}

static void png_headers_that_are_wrong_are_refused(void **state)
{
    (void)state;
    struct file file = png_begin(4, 4, 3, 2, 0);
    png_end(&file, 100);
    refused(&file, ERROR_UNDECODABLE, "png");
    file = png_begin(4, 4, 8, 200, 0);
    png_end(&file, 100);
    refused(&file, ERROR_UNDECODABLE, "png");
    file = png_begin(4, 4, 8, 3, 0); /* no palette */
    png_end(&file, 100);
    refused(&file, ERROR_UNDECODABLE, "png");
    file = png_begin(4, 4, 8, 2, 7);
    png_end(&file, 100);
    refused(&file, ERROR_UNDECODABLE, "png");
}

/* ---- JPEG ---------------------------------------------------------------------------------- */

/* A gray or colour JPEG; scans NULL for the usual one. */
static struct file jpeg(unsigned side, int channels, const jpeg_scan_info *scans, int count)
{
    struct jpeg_compress_struct library;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    library.err = jpeg_std_error(&errors);
    jpeg_create_compress(&library);
    jpeg_mem_dest(&library, &bytes, &size);
    library.image_width = library.image_height = side;
    library.input_components = channels;
    library.in_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&library);
    if (scans != NULL) {
        library.scan_info = scans;
        library.num_scans = count;
    }
    jpeg_start_compress(&library, TRUE);
    uint8_t *row = calloc(side, 3);
    assert_non_null(row);
    for (unsigned y = 0; y < side; y++) {
        for (unsigned x = 0; x < 3 * side; x++)
            row[x] = (uint8_t)(x * y + 40);
        jpeg_write_scanlines(&library, &row, 1);
    }
    free(row);
    jpeg_finish_compress(&library);
    jpeg_destroy_compress(&library);
    struct file file = {0};
    put(&file, bytes, size);
    free(bytes);
    return file;
}

/* DC, then every AC coefficient of every component alone: correct, and 190 scans. */
static void jpeg_of_more_than_100_scans_is_refused(void **state)
{
    (void)state;
    static jpeg_scan_info scans[190] = {{3, {0, 1, 2, 0}, 0, 0, 0, 0}};
    for (int i = 1; i < 190; i++)
        scans[i] = (jpeg_scan_info){1, {(i - 1) / 63}, 1 + (i - 1) % 63, 1 + (i - 1) % 63, 0, 0};
    struct file file = jpeg(64, 3, scans, 90);
    served(&file);
    file = jpeg(64, 3, scans, 190);
    refused(&file, ERROR_UNDECODABLE, "more than 100 scans");
}

static size_t find(const struct file *file, const char *marker, size_t from)
{
    for (size_t at = from; at + 1 < file->size; at++)
        if (memcmp(file->bytes + at, marker, 2) == 0)
            return at;
    fail_msg("the JPEG lacks a marker");
    return 0;
}

/* The last scan again and again: 20,000 of them. */
static void jpeg_that_repeats_a_scan_is_refused(void **state)
{
    (void)state;
    static const jpeg_scan_info scans[] = {{1, {0}, 0, 0, 0, 0}, {1, {0}, 1, 63, 0, 0}};
    struct file file = jpeg(500, 1, scans, 2);
    size_t last = find(&file, "\xff\xda", find(&file, "\xff\xda", 0) + 2);
    size_t end = file.size - 2, length = end - last;
    uint8_t *scan = malloc(length);
    assert_non_null(scan);
    memcpy(scan, file.bytes + last, length);
    file.size = end;
    for (int i = 0; i < 20000 && file.size < (20u << 20); i++)
        put(&file, scan, length);
    put(&file, "\xff\xd9", 2);
    free(scan);
    refused(&file, ERROR_UNDECODABLE, "jpeg");
}

/* 50 million pixels in a header, and data for 64 of them. */
static void jpeg_with_too_little_data_is_refused(void **state)
{
    (void)state;
    struct file file = jpeg(8, 3, NULL, 0);
    size_t frame = find(&file, "\xff\xc0", 0);
    memcpy(file.bytes + frame + 5, "\x1b\x58\x1b\x58", 4); /* 7000 x 7000 */
    refused(&file, ERROR_UNDECODABLE, "jpeg: broken content");
    file = jpeg(8, 3, NULL, 0);
    memcpy(file.bytes + frame + 5, "\xff\xdc\xff\xdc", 4);
    refused(&file, ERROR_TOO_LARGE, "65500 x 65500 pixels");
    file = jpeg(200, 3, NULL, 0);
    file.size -= 30;
    refused(&file, ERROR_UNDECODABLE, "Premature end");
}

/* In several scans every coefficient of the picture is kept: 300 MB here. */
static void jpeg_scans_that_take_too_much_memory_are_refused(void **state)
{
    (void)state;
    static const jpeg_scan_info scans[] = {{3, {0, 1, 2, 0}, 0, 0, 0, 0}, {1, {0}, 1, 63, 0, 0}};
    struct file file = jpeg(8, 3, scans, 2);
    size_t frame = find(&file, "\xff\xc2", 0);
    memcpy(file.bytes + frame + 5, "\x1b\x58\x1b\x58", 4); /* 7000 x 7000 */
    memcpy(file.bytes + frame + 11, "\x11", 1);            /* no component is subsampled */
    refused(&file, ERROR_TOO_LARGE, "several scans");
}

/* Sixteen code lengths whose counts add up to more than the 256 symbols that there are. */
static void jpeg_with_too_many_huffman_codes_is_refused(void **state)
{
    (void)state;
    struct file file = {0};
    put(&file, "\xff\xd8\xff\xc4", 4);
    put_big(&file, 2 + 17 + 16 * 255, 2);
    put_big(&file, 0, 1);
    for (int i = 0; i < 16; i++)
        put_big(&file, 255, 1);
    for (int i = 0; i < 16 * 255; i++)
        put_big(&file, (size_t)i & 255, 1);
    put(&file, "\xff\xd9", 2);
    refused(&file, ERROR_UNDECODABLE, "Huffman");
}

/* ---- WebP ---------------------------------------------------------------------------------- */

static void webp_headers_beyond_the_limit_are_refused(void **state)
{
    (void)state;
    /* Lossless, 16384 x 16384. */
    struct file file = {0};
    put(&file, "RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f\xff\xff\xff\x0f", 25);
    put(&file, "\0\0\0\0\0\0\0\0\0\0\0\0\0", 13);
    refused(&file, ERROR_TOO_LARGE, "16384 x 16384 pixels");
    /* Lossless, 7000 x 7000: takes 7 bytes a pixel to decode. */
    const size_t bits = 0x2f | (size_t)6999 << 8 | (size_t)6999 << 22;
    file = (struct file){0};
    put(&file, "RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0", 20);
    put_little(&file, bits, 5);
    put(&file, "\0\0\0\0\0\0\0\0\0\0\0\0\0", 13);
    refused(&file, ERROR_TOO_LARGE, "7 bytes each");
    file = (struct file){0};
    put(&file, "RIFF\x04\0\0\0WEBP", 12);
    refused(&file, ERROR_UNDECODABLE, "webp");
}

/* ---- what stb_image decodes ---------------------------------------------------------------- */

static struct file bmp(size_t width, size_t height, size_t depth, size_t compression, size_t colors)
{
    struct file file = {0};
    put(&file, "BM", 2);
    put_little(&file, 0, 8);
    put_little(&file, 54 + 4 * colors, 4);
    put_little(&file, 40, 4);
    put_little(&file, width, 4);
    put_little(&file, height, 4);
    put_little(&file, 1, 2);
    put_little(&file, depth, 2);
    put_little(&file, compression, 4);
    put_little(&file, 0, 4 * 5);
    put_little(&file, 0, 4 * colors);
    return file;
}

static void bmp_headers_that_are_wrong_are_refused(void **state)
{
    (void)state;
    struct file file = bmp(20000, (size_t)-20000, 24, 0, 0);
    refused(&file, ERROR_TOO_LARGE, "20000 x 20000 pixels");
    file = bmp(1, 0x80000000, 24, 0, 0);
    refused(&file, ERROR_TOO_LARGE, "1 x 2147483648 pixels");
    file = bmp((size_t)-4, 4, 24, 0, 0);
    refused(&file, ERROR_UNDECODABLE, "negative width");
    file = bmp(0, 4, 24, 0, 0);
    refused(&file, ERROR_UNDECODABLE, "0 x 4 pixels");
    file = bmp(5000, 5000, 24, 0, 0);
    refused(&file, ERROR_UNDECODABLE, "expected at least 75000054");
    file = bmp(4, 4, 7, 0, 0);
    refused(&file, ERROR_UNDECODABLE, "7 bits a pixel");
    file = bmp(4, 4, 8, 1, 256);
    refused(&file, ERROR_UNDECODABLE, "compression 1");
    file = bmp(4, 1, 8, 0, 3);
    put(&file, "\0\1\2\3", 4);
    refused(&file, ERROR_UNDECODABLE, "colour 3 in a palette of 3");
    file = bmp(4, 1, 8, 0, 4);
    put(&file, "\0\1\2\3", 4);
    served(&file);
}

static void gif_frames_count(void **state)
{
    (void)state;
    static const char frame[] = ",\0\0\0\0\1\0\1\0\0\2\2\x44\1"; /* one pixel */
    for (size_t frames = 50; frames <= 51; frames++) {
        struct file file = {0};
        put(&file, "GIF89a\xe8\x03\xe8\x03\x80\0\0\0\0\0\xff\xff\xff", 19); /* 1000 x 1000 */
        for (size_t i = 0; i < frames; i++)
            put(&file, frame, sizeof frame); /* its final zero ends the sub-blocks */
        put(&file, ";", 1);
        if (frames == 50)
            served(&file);
        else
            refused(&file, ERROR_TOO_LARGE, "1000 x 1000 pixels in 51 frames");
    }
    struct file file = {0};
    put(&file, "GIF89a\xff\xff\xff\xff\0\0\0", 13);
    put(&file, frame, sizeof frame);
    refused(&file, ERROR_TOO_LARGE, "65535 x 65535");
    file = (struct file){0};
    put(&file, "GIF89a\1\0\1\0\0\0\0;", 14);
    refused(&file, ERROR_UNDECODABLE, "no frame");
}

static struct file psd(size_t channels, size_t side, size_t depth, size_t mode, size_t packed)
{
    struct file file = {0};
    put(&file, "8BPS\0\1\0\0\0\0\0\0", 12);
    put_big(&file, channels, 2);
    put_big(&file, side, 4);
    put_big(&file, side, 4);
    put_big(&file, depth, 2);
    put_big(&file, mode, 2);
    for (int i = 0; i < 3; i++)
        put_big(&file, 0, 4);
    put_big(&file, packed, 2);
    return file;
}

static void psd_headers_that_are_wrong_are_refused(void **state)
{
    (void)state;
    struct file file = psd(3, 5000, 8, 3, 1);
    refused(&file, ERROR_UNDECODABLE, "expected at least");
    file = psd(3, 5000, 8, 3, 0);
    refused(&file, ERROR_UNDECODABLE, "expected at least 75000040");
    file = psd(3, 30000, 8, 3, 0);
    refused(&file, ERROR_TOO_LARGE, "30000 x 30000");
    file = psd(3, 10, 32, 3, 0);
    refused(&file, ERROR_UNDECODABLE, "channels of 32 bits");
    file = psd(4, 10, 8, 4, 0);
    refused(&file, ERROR_UNDECODABLE, "colour mode 4");
    file = psd(3, 10, 8, 3, 0);
    memcpy(file.bytes + 26, "\xff\xff\xff\xff", 4);
    refused(&file, ERROR_UNDECODABLE, "cut short");
}

static void tga_palettes_that_are_wrong_are_refused(void **state)
{
    (void)state;
    struct file file = {0};
    put(&file, "\0\1\1\0\0\xff\xff\x18\0\0\0\0\2\0\2\0\x08\0abcd", 22); /* 65,535 colours */
    refused(&file, ERROR_UNDECODABLE, "tga: 22 bytes, expected at least");
    file = (struct file){0};
    put(&file, "\0\1\1\0\0\0\0\x18\0\0\0\0\2\0\2\0\x08\0abcd", 22);
    refused(&file, ERROR_UNDECODABLE, "palette of 0 colours");
}

/* stb_image 2.27 reads past the end of this one. */
static void pnm_of_16_bits_is_served(void **state)
{
    (void)state;
    struct file file = {0};
    put(&file, "P5 2 2 65535\n\1\2\3\4\5\6\7\10", 21);
    served(&file);
}

/* A 55-byte file on which stb_image loops for ever. */
static void hdr_is_no_format(void **state)
{
    (void)state;
    struct file file = {0};
    put(&file, "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9999 +X 9999\n\2\2\0\0", 55);
    refused(&file, ERROR_UNKNOWN_FORMAT, "Radiance");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_with_surplus_data_is_not_inflated),
        cmocka_unit_test(png_of_too_many_pixels_is_refused),
        cmocka_unit_test(png_with_too_little_data_is_refused),
        cmocka_unit_test(png_at_the_limit_is_served),
        cmocka_unit_test(png_with_compressed_texts_is_served),
        cmocka_unit_test(png_headers_that_are_wrong_are_refused),
        cmocka_unit_test(jpeg_of_more_than_100_scans_is_refused),
        cmocka_unit_test(jpeg_that_repeats_a_scan_is_refused),
        cmocka_unit_test(jpeg_with_too_little_data_is_refused),
        cmocka_unit_test(jpeg_scans_that_take_too_much_memory_are_refused),
        cmocka_unit_test(jpeg_with_too_many_huffman_codes_is_refused),
        cmocka_unit_test(webp_headers_beyond_the_limit_are_refused),
        cmocka_unit_test(bmp_headers_that_are_wrong_are_refused),
        cmocka_unit_test(gif_frames_count),
        cmocka_unit_test(psd_headers_that_are_wrong_are_refused),
        cmocka_unit_test(tga_palettes_that_are_wrong_are_refused),
        cmocka_unit_test(pnm_of_16_bits_is_served),
        cmocka_unit_test(hdr_is_no_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
