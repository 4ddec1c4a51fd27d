/* image.c - encoded bytes -> RGB pixels under limits; see image.h.
 *
 * The content is sniffed, handed to the decoder of its format (codec.h), and turned upright.
 */
#include "codec.h"
#include "exif.h"
#include "sniff.h"
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Three are the pixels themselves; the rest is for what a decoder keeps beside them. */
#define BYTES_A_PIXEL 5

static const struct {
    const char *name;
    enum error_code (*decode)(const struct codec_input *in, struct image *out, struct error *err);
} formats[] = {
    [IMAGE_UNKNOWN] = {"unknown", NULL}, [IMAGE_JPEG] = {"jpeg", jpeg_decode},
    [IMAGE_PNG] = {"png", png_decode},   [IMAGE_WEBP] = {"webp", webp_decode},
    [IMAGE_BMP] = {"bmp", stb_decode},   [IMAGE_GIF] = {"gif", stb_decode},
    [IMAGE_PSD] = {"psd", stb_decode},   [IMAGE_TGA] = {"tga", stb_decode},
    [IMAGE_PNM] = {"pnm", pnm_decode},
};
#define FORMAT_COUNT (sizeof formats / sizeof *formats)

const char *image_format_name(enum image_format format)
{
    return formats[format].name;
}

/* ---- which formats ------------------------------------------------------------------------- */

static bool accepts(unsigned accepted, size_t format)
{
    return accepted == 0 || (accepted >> format & 1) != 0;
}

/* "jpeg, png, webp": the accepted ones. */
static void list_formats(unsigned accepted, char *out, size_t room)
{
    size_t used = 0;
    *out = '\0';
    for (size_t i = IMAGE_JPEG; i < FORMAT_COUNT; i++)
        if (accepts(accepted, i) && used < room)
            used += (size_t)snprintf(out + used, room - used, "%s%s", used > 0 ? ", " : "",
                                     formats[i].name);
}

enum error_code image_parse_formats(const char *list, unsigned *out, struct error *err)
{
    unsigned accepted = 0;
    for (const char *word = list;; word++) {
        size_t length = strcspn(word, ","), i = IMAGE_JPEG;
        while (i < FORMAT_COUNT &&
               (strlen(formats[i].name) != length || strncmp(formats[i].name, word, length) != 0))
            i++;
        if (i == FORMAT_COUNT) {
            char all[128];
            list_formats(0, all, sizeof all);
            return error_set(err, ERROR_USAGE,
                             "'%.*s' is no image format, expected some of %s, with commas between",
                             (int)(length < 40 ? length : 40), word, all);
        }
        accepted |= 1U << i;
        word += length;
        if (*word == '\0')
            break;
    }
    *out = accepted;
    return ERROR_NONE;
}

static enum error_code refuse_format(enum image_format format, const uint8_t *bytes, size_t size,
                                     unsigned accepted, struct error *err)
{
    char expected[128];
    list_formats(accepted, expected, sizeof expected);
    if (size == 0)
        return error_set(err, ERROR_UNKNOWN_FORMAT, "the image is empty, expected %s", expected);
    const char *name = format != IMAGE_UNKNOWN ? formats[format].name : sniff_foreign(bytes, size);
    if (name != NULL)
        return error_set(err, ERROR_UNKNOWN_FORMAT, "the content is %s, expected %s", name,
                         expected);
    return error_set(err, ERROR_UNKNOWN_FORMAT,
                     "the content (%zu bytes) is no image format we know, expected %s", size,
                     expected);
}

/* ---- orientation --------------------------------------------------------------------------- */

/* Turns pixels stored in EXIF orientation 2..8 upright. */
static enum error_code turn(const struct codec_input *in, struct image *image, struct error *err)
{
    size_t w = image->width, h = image->height;
    int orientation = in->orientation;
    bool transposed = orientation >= 5;
    /* Reading direction of the stored image for the upright one, after a transposition. */
    bool flip_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    bool flip_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    struct image upright;
    TRY(codec_check(in, w, h, 1, 6, err)); /* there are two of them for a while */
    size_t to_w = transposed ? h : w, to_h = transposed ? w : h;
    TRY(codec_allocate(in, to_w, to_h, &upright, err));
    for (size_t y = 0; y < to_h; y++)
        for (size_t x = 0; x < to_w; x++) {
            size_t u = flip_x ? to_w - 1 - x : x, v = flip_y ? to_h - 1 - y : y;
            size_t from = transposed ? u * w + v : v * w + u;
            memcpy(upright.pixels + (y * to_w + x) * 3, image->pixels + from * 3, 3);
        }
    upright.full_width = transposed ? image->full_height : image->full_width;
    upright.full_height = transposed ? image->full_width : image->full_height;
    image_free(image);
    *image = upright;
    return ERROR_NONE;
}

/* ---- decoding ------------------------------------------------------------------------------ */

enum error_code image_decode(const uint8_t *bytes, size_t size, const struct image_options *options,
                             struct image *out, struct error *err)
{
    enum image_format format = image_sniff(bytes, size);
    if (format == IMAGE_UNKNOWN || !accepts(options->formats, format))
        return refuse_format(format, bytes, size, options->formats, err);
    if (size > INT_MAX)
        return error_set(err, ERROR_TOO_LARGE, "the image has %zu bytes, expected at most %d", size,
                         INT_MAX);
    const struct codec_input in = {
        .format = format,
        .name = formats[format].name,
        .bytes = bytes,
        .size = size,
        .max_pixels = options->max_pixels,
        .max_bytes = BYTES_A_PIXEL * options->max_pixels,
        .orientation = exif_orientation(bytes, size),
        .fit = options->fit,
    };
    struct image image;
    errno = 0; /* see codec_broken */
    TRY(formats[format].decode(&in, &image, err));
    enum error_code code = in.orientation > 1 ? turn(&in, &image, err) : ERROR_NONE;
    if (code != ERROR_NONE)
        image_free(&image);
    else
        *out = image;
    return code;
}

void image_free(struct image *image)
{
    free(image->pixels);
    image->pixels = NULL;
}
