/* jpeg.c - JPEG by libjpeg-turbo; see codec.h.
 *
 * Slow integer DCT and fancy upsampling, the library's defaults, are also Pillow's: pixels are the
 * same to the last bit. A progressive file is small for the work that it asks for, each scan going
 * over the whole picture again, so scans are counted while they are read. Where it is known what
 * the pixels are for, only those that the resize will read are computed; the coefficients of the
 * others are read all the same, as they tell whether the file is whole. The library leaves by
 * longjmp on an error; whatever must be released afterwards lives in struct reader.
 */
#include "codec.h"
#include "resample.h"
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#define MAX_SCANS 100
/* All scans together may go over this many times the pixel limit: writers use about ten scans. */
#define MAX_SCANNED 20

/* Upsampling blends a colour with its neighbours', of which one may be two pixels wide. */
#define BLENDED 2

/* What the library keeps beside the picture. */
#define SMALL_POOLS (1 << 20)

struct reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    const struct codec_input *in;
    int max_scans;
    struct image image;
    uint8_t *row; /* of a CMYK image */
    enum error_code code;
    struct error *err;
};

/* ---- the library's callbacks --------------------------------------------------------------- */

static void leave(struct reader *reader, enum error_code code)
{
    reader->code = code;
    longjmp(reader->escape, 1);
}

static void on_error(j_common_ptr library)
{
    struct reader *reader = library->client_data;
    const struct codec_input *in = reader->in;
    char why[JMSG_LENGTH_MAX];
    library->err->format_message(library, why);
    if (library->err->msg_code == JERR_OUT_OF_MEMORY)
        leave(reader, error_set(reader->err, ERROR_MEMORY, "jpeg: %s", why));
    if (library->err->msg_code == JERR_NO_BACKING_STORE)
        leave(reader,
              error_set(reader->err, ERROR_TOO_LARGE,
                        "jpeg: %u x %u pixels in several scans take more than the %zu "
                        "bytes that decoding may take",
                        reader->jpeg.image_width, reader->jpeg.image_height, in->max_bytes));
    leave(reader, codec_broken(in, why, reader->err));
}

/* Level -1 is a warning, of data that is not as it should be; above are traces. Those listed cost
 * no pixel; after any other, what follows is made up. */
static void on_message(j_common_ptr library, int level)
{
    if (level >= 0)
        return;
    switch (library->err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_TOO_MUCH_DATA:
        return;
    default:
        on_error(library);
    }
}

static void on_progress(j_common_ptr library)
{
    struct reader *reader = library->client_data;
    if (reader->jpeg.input_scan_number > reader->max_scans)
        leave(reader, error_set(reader->err, ERROR_UNDECODABLE,
                                "jpeg: more than %d scans of %u x %u pixels", reader->max_scans,
                                reader->jpeg.image_width, reader->jpeg.image_height));
}

/* ---- reading ------------------------------------------------------------------------------- */

static void check(struct reader *reader, enum error_code code)
{
    if (code != ERROR_NONE)
        leave(reader, code);
}

/* Limits, from the header. */
static void prepare(struct reader *reader)
{
    struct jpeg_decompress_struct *library = &reader->jpeg;
    const struct codec_input *in = reader->in;
    size_t width = library->image_width, height = library->image_height;
    int channels = library->num_components;
    check(reader, codec_check(in, width, height, 1, 3, reader->err));
    if (channels != 1 && channels != 3 && channels != 4)
        leave(reader, error_set(reader->err, ERROR_UNDECODABLE,
                                "jpeg: %d colour components, expected 1, 3 or 4", channels));
    library->out_color_space = channels == 4 ? JCS_CMYK : JCS_RGB;
    if (in->fit != NULL) {
        bool transposed = in->orientation >= 5;
        library->scale_num = 1;
        library->scale_denom = (unsigned)resample_shrink(transposed ? height : width,
                                                         transposed ? width : height, in->fit);
    }
    jpeg_calc_output_dimensions(library);
    size_t pixels = (size_t)library->output_width * library->output_height;
    library->mem->max_memory_to_use = (long)(in->max_bytes - 3 * pixels + SMALL_POOLS);
    size_t scans = MAX_SCANNED * in->max_pixels / (width * height);
    reader->max_scans = scans < MAX_SCANS ? (int)scans : MAX_SCANS;
    reader->progress.progress_monitor = on_progress;
    library->progress = &reader->progress;
}

static uint8_t product(uint8_t a, uint8_t b)
{
    unsigned tmp = (unsigned)a * b + 128; /* a * b / 255, rounded */
    return (uint8_t)((tmp + (tmp >> 8)) >> 8);
}

/* As Pillow: the values are taken to be inverted, which is what Adobe writes. */
static void convert_cmyk(const uint8_t *cmyk, size_t width, uint8_t *rgb)
{
    for (size_t x = 0; x < width; x++, cmyk += 4, rgb += 3)
        for (size_t c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(cmyk[3] - product((uint8_t)(255 - cmyk[c]), cmyk[3]));
}

/* A progressive file that lacks scans: the library makes up for them from the blocks around. */
static bool lacks_scans(const struct jpeg_decompress_struct *library)
{
    if (library->coef_bits == NULL)
        return false;
    for (int c = 0; c < library->num_components; c++)
        for (int i = 0; i < DCTSIZE2; i++)
            if (library->coef_bits[c][i] != 0)
                return true;
    return false;
}

/* The columns at either side, and the rows above and below, that need not be computed. */
static void margins(const struct reader *reader, size_t *columns, size_t *rows)
{
    const struct image *image = &reader->image;
    const struct codec_input *in = reader->in;
    *columns = *rows = 0;
    if (in->fit == NULL || lacks_scans(&reader->jpeg))
        return;
    const struct image turned = {.width = image->height,
                                 .height = image->width,
                                 .full_width = image->full_height,
                                 .full_height = image->full_width};
    if (in->orientation >= 5)
        resample_margins(&turned, in->fit, rows, columns);
    else
        resample_margins(image, in->fit, columns, rows);
    *columns -= *columns < BLENDED ? *columns : BLENDED;
}

/* The next row, from column `left` on. */
static void read_row(struct reader *reader, size_t left)
{
    struct jpeg_decompress_struct *library = &reader->jpeg;
    size_t at = library->output_scanline * reader->image.width + left;
    uint8_t *rgb = reader->image.pixels + 3 * at;
    uint8_t *row = reader->row != NULL ? reader->row : rgb;
    jpeg_read_scanlines(library, &row, 1);
    if (reader->row != NULL)
        convert_cmyk(reader->row, library->output_width, rgb);
}

static void read_rows(struct reader *reader)
{
    struct jpeg_decompress_struct *library = &reader->jpeg;
    JDIMENSION width = library->output_width, height = library->output_height;
    struct image *image = &reader->image;
    check(reader, codec_allocate(reader->in, width, height, image, reader->err));
    image->full_width = library->image_width;
    image->full_height = library->image_height;
    if (library->out_color_space == JCS_CMYK) {
        reader->row = malloc((size_t)width * 4);
        if (reader->row == NULL)
            leave(reader, error_set(reader->err, ERROR_MEMORY, "jpeg: out of memory"));
    }
    size_t columns, rows;
    margins(reader, &columns, &rows);
    JDIMENSION left = (JDIMENSION)columns, top = (JDIMENSION)rows, kept = width - 2 * left;
    if (left > 0 || top > 0)
        memset(image->pixels, 0, 3 * (size_t)width * height);
    if (left > 0)
        jpeg_crop_scanline(library, &left, &kept); /* widens it to whole blocks */
    jpeg_skip_scanlines(library, top);
    while (library->output_scanline < height - top)
        read_row(reader, left);
    if (top > 1) /* not the last row: to skip to the end is to leave the rest unread */
        jpeg_skip_scanlines(library, top - 1);
    if (top > 0)
        read_row(reader, left);
}

enum error_code jpeg_decode(const struct codec_input *in, struct image *out, struct error *err)
{
    struct reader reader = {.in = in, .err = err};
    reader.jpeg.err = jpeg_std_error(&reader.errors);
    reader.jpeg.client_data = &reader;
    reader.errors.error_exit = on_error;
    reader.errors.emit_message = on_message;
    if (setjmp(reader.escape) == 0) {
        jpeg_create_decompress(&reader.jpeg);
        jpeg_mem_src(&reader.jpeg, in->bytes, in->size);
        jpeg_read_header(&reader.jpeg, TRUE);
        prepare(&reader);
        jpeg_start_decompress(&reader.jpeg);
        read_rows(&reader);
    }
    jpeg_destroy_decompress(&reader.jpeg);
    free(reader.row);
    if (reader.code == ERROR_NONE)
        *out = reader.image;
    else
        image_free(&reader.image);
    return reader.code;
}
