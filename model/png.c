/* png.c - PNG by libpng; see codec.h.
 *
 * The header and the lengths of the IDAT chunks tell how many bytes of rows there must be and may
 * be, before anything is inflated. Chunks that do not change the pixels are skipped unread. After
 * the last row the library would inflate what the stream still holds, however much that is: its
 * next wish for input ends the reading instead. The library leaves by longjmp; whatever must be
 * released afterwards lives in struct reader.
 */
#include "codec.h"
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

#include <png.h>

/* The most that a byte of deflate can become. */
#define DEFLATE_RATIO   1032
#define HEADER_BYTES    33 /* signature and IHDR chunk */
#define MAX_CHUNKS      1000
#define MAX_CHUNK_BYTES (1 << 20)

struct header {
    size_t width, height;
    int depth, color, interlaced;
};

struct reader {
    const struct codec_input *in;
    size_t at; /* next byte of in->bytes */
    png_structp png;
    png_infop info;
    struct header header;
    struct image image;
    jmp_buf escape;
    enum error_code code;
    struct error *err;
};

/* ---- the header ---------------------------------------------------------------------------- */

static enum error_code read_header(const struct codec_input *in, struct header *out,
                                   struct error *err)
{
    const uint8_t *bytes = in->bytes;
    if (in->size < HEADER_BYTES || memcmp(bytes + 12, "IHDR", 4) != 0)
        return codec_broken(in, "it does not begin with an IHDR chunk", err);
    *out = (struct header){png_get_uint_32(bytes + 16), png_get_uint_32(bytes + 20), bytes[24],
                           bytes[25], bytes[28]};
    return codec_check(in, out->width, out->height, 1, 3, err);
}

/* Bytes of all rows with their filter bytes, before compression. */
static size_t row_bytes(const struct header *header)
{
    static const size_t channels[] = {1, 0, 3, 1, 2, 0, 4};
    size_t bits = (size_t)header->depth * (header->color <= 6 ? channels[header->color] : 0);
    size_t width = header->width, height = header->height;
    if (!header->interlaced)
        return height * (1 + (width * bits + 7) / 8);
    size_t sum = 0;
    for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; pass++) {
        size_t columns = PNG_PASS_COLS(width, pass), rows = PNG_PASS_ROWS(height, pass);
        sum += columns > 0 ? rows * (1 + (columns * bits + 7) / 8) : 0;
    }
    return sum;
}

/* Whether the data can be that many rows: refused before memory is spent on them. */
static enum error_code check_data(const struct codec_input *in, const struct header *header,
                                  struct error *err)
{
    size_t found = 0, expected = row_bytes(header);
    for (size_t at = HEADER_BYTES; at < in->size && in->size - at > 8;) {
        size_t length = png_get_uint_32(in->bytes + at), left = in->size - at - 8;
        if (memcmp(in->bytes + at + 4, "IDAT", 4) == 0)
            found += length < left ? length : left;
        if (length >= left || left - length < 4)
            break;
        at += 12 + length;
    }
    if (expected / DEFLATE_RATIO > found)
        return error_set(err, ERROR_UNDECODABLE,
                         "png: %zu bytes of IDAT cannot hold %zu x %zu pixels", found,
                         header->width, header->height);
    return ERROR_NONE;
}

/* ---- the library's callbacks --------------------------------------------------------------- */

static void leave(struct reader *reader, enum error_code code)
{
    reader->code = code;
    longjmp(reader->escape, 1);
}

static void on_error(png_structp library, png_const_charp why)
{
    struct reader *reader = png_get_error_ptr(library);
    leave(reader, codec_broken(reader->in, why, reader->err));
}

/* Warnings are about chunks that do not change the pixels. */
static void on_warning(png_structp library, png_const_charp why)
{
    (void)library;
    (void)why;
}

static bool has_all_rows(const struct reader *reader)
{
    if (reader->image.pixels == NULL)
        return false;
    return reader->header.interlaced
               ? png_get_current_pass_number(reader->png) == PNG_INTERLACE_ADAM7_PASSES
               : png_get_current_row_number(reader->png) == reader->header.height;
}

static void on_read(png_structp library, png_bytep out, size_t size)
{
    struct reader *reader = png_get_io_ptr(library);
    if (has_all_rows(reader))
        leave(reader, ERROR_NONE);
    if (size > reader->in->size - reader->at)
        png_error(library, "it is cut short");
    memcpy(out, reader->in->bytes + reader->at, size);
    reader->at += size;
}

/* ---- reading ------------------------------------------------------------------------------- */

static void check(struct reader *reader, enum error_code code)
{
    if (code != ERROR_NONE)
        leave(reader, code);
}

/* 8-bit RGB, whatever the file has. */
static void ask_for_rgb(png_structp library, png_infop info)
{
    png_set_palette_to_rgb(library);
    png_set_expand_gray_1_2_4_to_8(library);
    png_set_strip_16(library);
    png_set_strip_alpha(library);
    if ((png_get_color_type(library, info) & PNG_COLOR_MASK_COLOR) == 0)
        png_set_gray_to_rgb(library);
}

static void read_rows(struct reader *reader)
{
    png_structp library = reader->png;
    png_infop info = reader->info;
    const struct header *header = &reader->header;
    png_set_keep_unknown_chunks(library, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_chunk_cache_max(library, MAX_CHUNKS);
    png_set_chunk_malloc_max(library, MAX_CHUNK_BYTES);
    png_set_user_limits(library, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours are checked already */
    png_set_read_fn(library, reader, on_read);
    png_read_info(library, info);
    ask_for_rgb(library, info);
    int passes = png_set_interlace_handling(library);
    png_read_update_info(library, info);
    if (png_get_rowbytes(library, info) != 3 * header->width)
        png_error(library, "rows are not of RGB");
    check(reader,
          codec_allocate(reader->in, header->width, header->height, &reader->image, reader->err));
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < header->height; y++)
            png_read_row(library, reader->image.pixels + 3 * header->width * y, NULL);
}

enum error_code png_decode(const struct codec_input *in, struct image *out, struct error *err)
{
    struct reader reader = {.in = in, .err = err};
    TRY(read_header(in, &reader.header, err));
    TRY(check_data(in, &reader.header, err));
    if (setjmp(reader.escape) == 0) {
        reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
        if (reader.png != NULL)
            reader.info = png_create_info_struct(reader.png);
        if (reader.info == NULL)
            leave(&reader, error_set(err, ERROR_MEMORY, "png: out of memory"));
        read_rows(&reader);
    }
    png_destroy_read_struct(&reader.png, &reader.info, NULL);
    if (reader.code == ERROR_NONE)
        *out = reader.image;
    else
        image_free(&reader.image);
    return reader.code;
}
