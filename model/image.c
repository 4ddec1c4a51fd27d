/* image.c - encoded bytes -> RGB pixels under limits; see image.h.
 *
 * The content is sniffed, its header's size held against the limit before anything is decoded,
 * and then stb_image does the decoding, HDR and PIC compiled out (PNM: pnm.c).
 */
#include "image.h"
#include "exif.h"
#include "pnm.h"
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_PIC
#define STBI_NO_PNM
#define STBI_NO_LINEAR
#include <stb/stb_image.h>

const char *image_format_name(enum image_format format)
{
    static const char *const names[] = {"unknown", "jpeg", "png", "bmp",
                                        "gif",     "psd",  "tga", "pnm"};
    return names[format];
}

/* ---- recognising ------------------------------------------------------------------------- */

struct magic {
    size_t offset;
    const char *bytes;
    size_t length;
};
#define MAGIC(offset, text) offset, text, sizeof text - 1

static const struct {
    struct magic magic;
    enum image_format format;
} known[] = {
    {{MAGIC(0, "\xff\xd8\xff")}, IMAGE_JPEG},
    {{MAGIC(0, "\x89PNG\r\n\x1a\n")}, IMAGE_PNG},
    {{MAGIC(0, "GIF87a")}, IMAGE_GIF},
    {{MAGIC(0, "GIF89a")}, IMAGE_GIF},
    {{MAGIC(0, "8BPS")}, IMAGE_PSD},
    {{MAGIC(0, "BM")}, IMAGE_BMP},
    {{MAGIC(0, "P5")}, IMAGE_PNM},
    {{MAGIC(0, "P6")}, IMAGE_PNM},
};

/* Well-known files that people upload and that are not decoded here. */
static const struct {
    struct magic magic;
    const char *name;
} foreign[] = {
    {{MAGIC(8, "WEBP")}, "WebP"},
    {{MAGIC(4, "ftypavif")}, "AVIF"},
    {{MAGIC(4, "ftypheic")}, "HEIC"},
    {{MAGIC(4, "ftypmif1")}, "HEIF"},
    {{MAGIC(4, "ftyp")}, "MP4 video"},
    {{MAGIC(0, "II*\0")}, "TIFF"},
    {{MAGIC(0, "MM\0*")}, "TIFF"},
    {{MAGIC(0, "\xff\x0a")}, "JPEG XL"},
    {{MAGIC(4, "JXL ")}, "JPEG XL"},
    {{MAGIC(4, "jP  ")}, "JPEG 2000"},
    {{MAGIC(0, "#?RADIANCE")}, "Radiance HDR"},
    {{MAGIC(0, "\0\0\1\0")}, "Windows icon"},
    {{MAGIC(0, "%PDF")}, "PDF"},
    {{MAGIC(0, "<svg")}, "SVG"},
    {{MAGIC(0, "<?xml")}, "XML or SVG"},
    {{MAGIC(0, "<!DOCTYPE")}, "HTML"},
    {{MAGIC(0, "<!doctype")}, "HTML"},
    {{MAGIC(0, "<html")}, "HTML"},
    {{MAGIC(0, "\x7f"
               "ELF")},
     "an ELF program"},
    {{MAGIC(0, "PK\3\4")}, "a ZIP archive"},
    {{MAGIC(0, "\x1f\x8b")}, "gzip data"},
    {{MAGIC(0, "{")}, "JSON"},
};

static bool has_magic(const uint8_t *bytes, size_t size, const struct magic *magic)
{
    return size >= magic->offset + magic->length &&
           memcmp(bytes + magic->offset, magic->bytes, magic->length) == 0;
}

static size_t little16(const uint8_t *bytes)
{
    return (size_t)(bytes[0] | bytes[1] << 8);
}

/* TGA begins with no magic number: the header must be one that a writer would produce, and the
 * data at least as long as the smallest encoding of that many pixels. */
static bool is_tga(const uint8_t *bytes, size_t size)
{
    if (size < 18)
        return false;
    size_t type = bytes[2], depth = bytes[16], width = little16(bytes + 12),
           height = little16(bytes + 14);
    bool paletted = type == 1 || type == 9, color = type == 2 || type == 10,
         gray = type == 3 || type == 11;
    if (bytes[1] > 1 || (paletted && bytes[1] != 1) || width == 0 || height == 0 ||
        (bytes[17] & 0xc0) != 0)
        return false;
    if (!((paletted && depth == 8) || (gray && (depth == 8 || depth == 16)) ||
          (color && (depth == 15 || depth == 16 || depth == 24 || depth == 32))))
        return false;
    size_t pixel_bytes = (depth + 7) / 8, pixels = width * height;
    size_t least = type < 8 ? pixels * pixel_bytes : (pixels + 127) / 128 * (1 + pixel_bytes);
    return size - 18 >= least;
}

enum image_format image_sniff(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (has_magic(bytes, size, &known[i].magic))
            return known[i].format;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (has_magic(bytes, size, &foreign[i].magic))
            return IMAGE_UNKNOWN;
    return is_tga(bytes, size) ? IMAGE_TGA : IMAGE_UNKNOWN;
}

static enum error_code refuse_unknown(const uint8_t *bytes, size_t size, struct error *err)
{
    static const char formats[] = "JPEG, PNG, BMP, GIF, PSD, TGA or PNM (P5, P6)";
    if (size == 0)
        return error_set(err, ERROR_UNKNOWN_FORMAT, "the image is empty, expected %s", formats);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (has_magic(bytes, size, &foreign[i].magic))
            return error_set(err, ERROR_UNKNOWN_FORMAT, "the content is %s, expected %s",
                             foreign[i].name, formats);
    return error_set(err, ERROR_UNKNOWN_FORMAT,
                     "the content (%zu bytes) is no image format we know, expected %s", size,
                     formats);
}

/* ---- orientation ------------------------------------------------------------------------- */

/* Turns pixels stored in EXIF orientation 2..8 upright. */
static enum error_code turn(struct image *image, int orientation, struct error *err)
{
    size_t w = image->width, h = image->height;
    bool transposed = orientation >= 5;
    /* Reading direction of the stored image for the upright one, after a transposition. */
    bool flip_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    bool flip_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    uint8_t *upright = malloc(w * h * 3);
    if (!upright)
        return error_set(err, ERROR_MEMORY, "orientation: out of memory for %zu x %zu pixels", w,
                         h);
    size_t to_w = transposed ? h : w, to_h = transposed ? w : h;
    for (size_t y = 0; y < to_h; y++)
        for (size_t x = 0; x < to_w; x++) {
            size_t u = flip_x ? to_w - 1 - x : x, v = flip_y ? to_h - 1 - y : y;
            size_t from = transposed ? u * w + v : v * w + u;
            memcpy(upright + (y * to_w + x) * 3, image->pixels + from * 3, 3);
        }
    free(image->pixels);
    image->pixels = upright;
    image->width = to_w;
    image->height = to_h;
    return ERROR_NONE;
}

/* ---- decoding ---------------------------------------------------------------------------- */

static enum error_code check_header(enum image_format format, const uint8_t *bytes, int size,
                                    size_t max_pixels, struct error *err)
{
    int width, height, channels;
    if (!stbi_info_from_memory(bytes, size, &width, &height, &channels))
        return error_set(err, ERROR_UNDECODABLE, "%s: broken header: %s", image_format_name(format),
                         stbi_failure_reason());
    /* A top-down BMP has a negative height. */
    size_t w = (size_t)(width < 0 ? -(int64_t)width : width),
           h = (size_t)(height < 0 ? -(int64_t)height : height);
    if (w == 0 || h == 0)
        return error_set(err, ERROR_UNDECODABLE, "%s: the image is %zu x %zu pixels",
                         image_format_name(format), w, h);
    if (w > max_pixels / h)
        return error_set(err, ERROR_TOO_LARGE, "%s: %zu x %zu pixels, expected at most %zu in all",
                         image_format_name(format), w, h, max_pixels);
    return ERROR_NONE;
}

enum error_code image_decode(const uint8_t *bytes, size_t size, size_t max_pixels,
                             struct image *out, struct error *err)
{
    enum image_format format = image_sniff(bytes, size);
    if (format == IMAGE_UNKNOWN)
        return refuse_unknown(bytes, size, err);
    if (size > INT_MAX)
        return error_set(err, ERROR_TOO_LARGE, "the image has %zu bytes, expected at most %d", size,
                         INT_MAX);
    if (format == IMAGE_PNM)
        return pnm_decode(bytes, size, max_pixels, out, err);
    TRY(check_header(format, bytes, (int)size, max_pixels, err));
    int width, height, channels;
    uint8_t *pixels = stbi_load_from_memory(bytes, (int)size, &width, &height, &channels, 3);
    if (!pixels)
        return error_set(err, ERROR_UNDECODABLE, "%s: broken content: %s",
                         image_format_name(format), stbi_failure_reason());
    struct image image = {format, (size_t)width, (size_t)height, pixels};
    int orientation = exif_orientation(bytes, size);
    enum error_code code = orientation > 1 ? turn(&image, orientation, err) : ERROR_NONE;
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
