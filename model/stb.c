/* stb.c - BMP, GIF, PSD and TGA by stb_image; see codec.h.
 *
 * Debian's stb_image lacks fixes that later versions have, trusts a header's sizes and reads on
 * past the end of a file, as zeros or as whatever was in memory. So each header is read here first:
 * the library sees only files whose size, depth and length are in order, and only decoders for
 * which no fault is known then.
 */
#include "codec.h"
#include <stdbool.h>
#include <string.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_ONLY_BMP
#define STBI_ONLY_GIF
#define STBI_ONLY_PSD
#define STBI_ONLY_TGA
#include <stb/stb_image.h>

static size_t little(const uint8_t *bytes, size_t count)
{
    size_t value = 0;
    for (size_t i = count; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

static size_t big(const uint8_t *bytes, size_t count)
{
    size_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

static enum error_code short_of(const struct codec_input *in, size_t expected, struct error *err)
{
    return error_set(err, ERROR_UNDECODABLE, "%s: %zu bytes, expected at least %zu by its header",
                     in->name, in->size, expected);
}

/* ---- BMP ----------------------------------------------------------------------------------- */

struct bmp {
    size_t offset, header, width, height, depth, compression;
    size_t stride; /* bytes a row, a multiple of 4 */
};

static size_t magnitude(size_t value32)
{
    int32_t value = (int32_t)(uint32_t)value32;
    return (size_t)(value < 0 ? -(int64_t)value : value);
}

static enum error_code read_bmp(const struct codec_input *in, struct bmp *out, struct error *err)
{
    const uint8_t *bytes = in->bytes;
    if (in->size < 54)
        return short_of(in, 54, err);
    struct bmp bmp = {.offset = little(bytes + 10, 4), .header = little(bytes + 14, 4)};
    bool old = bmp.header == 12;
    if (!old && bmp.header != 40 && bmp.header != 56 && bmp.header != 108 && bmp.header != 124)
        return error_set(err, ERROR_UNDECODABLE,
                         "bmp: a header of %zu bytes, expected 12, 40, 56, 108 or 124", bmp.header);
    bmp.width = old ? little(bytes + 18, 2) : little(bytes + 18, 4);
    bmp.height = old ? little(bytes + 20, 2) : magnitude(little(bytes + 22, 4)); /* < 0: top down */
    bmp.depth = little(bytes + (old ? 24 : 28), 2);
    bmp.compression = old ? 0 : little(bytes + 30, 4);
    if (bmp.depth != 1 && bmp.depth != 4 && bmp.depth != 8 && bmp.depth != 16 && bmp.depth != 24 &&
        bmp.depth != 32)
        return error_set(err, ERROR_UNDECODABLE,
                         "bmp: %zu bits a pixel, expected 1, 4, 8, 16, 24 or 32", bmp.depth);
    if (bmp.compression != 0 && bmp.compression != 3)
        return error_set(err, ERROR_UNDECODABLE,
                         "bmp: compression %zu, expected 0 (none) or 3 (bit masks)",
                         bmp.compression);
    if (!old && bmp.width > INT32_MAX)
        return codec_broken(in, "a negative width", err);
    *out = bmp;
    return ERROR_NONE;
}

/* Every index must be in the palette, or stb_image would look up what it never wrote. */
static enum error_code check_indices(const struct codec_input *in, const struct bmp *bmp,
                                     struct error *err)
{
    size_t entry = bmp->header == 12 ? 3 : 4, begin = 14 + bmp->header;
    size_t entries = bmp->offset > begin ? (bmp->offset - begin) / entry : 0;
    if (entries == 0 || entries > 256)
        return error_set(err, ERROR_UNDECODABLE, "bmp: a palette of %zu colours, expected 1 to 256",
                         entries);
    if (entries >= (size_t)1 << bmp->depth)
        return ERROR_NONE;
    size_t mask = ((size_t)1 << bmp->depth) - 1;
    for (size_t y = 0; y < bmp->height; y++)
        for (size_t x = 0; x < bmp->width; x++) {
            size_t bit = x * bmp->depth;
            uint8_t byte = in->bytes[bmp->offset + y * bmp->stride + bit / 8];
            size_t index = (size_t)byte >> (8 - bmp->depth - bit % 8) & mask;
            if (index >= entries)
                return error_set(err, ERROR_UNDECODABLE,
                                 "bmp: colour %zu in a palette of %zu colours", index, entries);
        }
    return ERROR_NONE;
}

static enum error_code check_bmp(const struct codec_input *in, struct error *err)
{
    struct bmp bmp = {0};
    TRY(read_bmp(in, &bmp, err));
    /* stb_image decodes to RGB at once, except that it may go by RGBA for bit masks. */
    TRY(codec_check(in, bmp.width, bmp.height, 1, bmp.depth == 16 || bmp.depth == 32 ? 7 : 3, err));
    bmp.stride = (bmp.width * bmp.depth + 31) / 32 * 4;
    size_t data = bmp.stride * bmp.height;
    if (bmp.offset < 14 + bmp.header || bmp.offset > in->size || in->size - bmp.offset < data)
        return short_of(in, bmp.offset + data, err);
    return bmp.depth <= 8 ? check_indices(in, &bmp, err) : ERROR_NONE;
}

/* ---- GIF ----------------------------------------------------------------------------------- */

/* Behind a chain of sub-blocks that begins at `at`. */
static size_t skip_sub_blocks(const struct codec_input *in, size_t at)
{
    while (at < in->size && in->bytes[at] != 0)
        at += 1 + (size_t)in->bytes[at];
    return at + 1;
}

static size_t color_table_bytes(uint8_t flags)
{
    return (flags & 0x80) != 0 ? (size_t)3 << ((flags & 7) + 1) : 0;
}

/* Image descriptors up to the trailer or the end of the file. */
static size_t count_frames(const struct codec_input *in)
{
    enum { EXTENSION = 0x21, DESCRIPTOR = 0x2c, DESCRIPTOR_BYTES = 10 };
    size_t frames = 0, at = 13 + color_table_bytes(in->bytes[10]);
    while (at < in->size) {
        if (in->bytes[at] == EXTENSION) {
            at = skip_sub_blocks(in, at + 2);
        } else if (in->bytes[at] == DESCRIPTOR && in->size - at > DESCRIPTOR_BYTES) {
            frames++;
            at += DESCRIPTOR_BYTES + color_table_bytes(in->bytes[at + 9]);
            at = skip_sub_blocks(in, at + 1); /* after the code size */
        } else {
            break;
        }
    }
    return frames;
}

static enum error_code check_gif(const struct codec_input *in, struct error *err)
{
    enum { MEMORY = 12 }; /* RGBA, background and history, then RGB */
    if (in->size < 13)
        return short_of(in, 13, err);
    size_t frames = count_frames(in);
    if (frames == 0)
        return codec_broken(in, "it has no frame", err);
    return codec_check(in, little(in->bytes + 6, 2), little(in->bytes + 8, 2), frames, MEMORY, err);
}

/* ---- PSD ----------------------------------------------------------------------------------- */

enum { PSD_HEADER = 26, PSD_SECTIONS = 3, PSD_CHANNELS = 3 }; /* channels: that are read */

/* What stb_image gets to read of a PSD file: a header of three channels and empty sections, then
 * their data. Of a fourth channel it would take the colour of the paper out of the other three, by
 * sums that leave their range; alpha is dropped here as it is in every format. */
struct psd_stream {
    uint8_t head[PSD_HEADER + PSD_SECTIONS * 4 + 2];
    const uint8_t *rest; /* [rest_size] */
    size_t rest_size, at;
};

static enum error_code open_psd(const struct codec_input *in, struct psd_stream *out,
                                struct error *err)
{
    enum { MEMORY = 7, RGB = 3 }; /* RGBA, then RGB */
    const uint8_t *bytes = in->bytes;
    if (in->size < PSD_HEADER)
        return short_of(in, PSD_HEADER, err);
    size_t version = big(bytes + 4, 2), channels = big(bytes + 12, 2), depth = big(bytes + 22, 2);
    size_t height = big(bytes + 14, 4), width = big(bytes + 18, 4), mode = big(bytes + 24, 2);
    if (version != 1 || channels < 3 || channels > 16 || (depth != 8 && depth != 16) || mode != RGB)
        return error_set(err, ERROR_UNDECODABLE,
                         "psd: version %zu, %zu channels of %zu bits, colour mode %zu; expected "
                         "version 1, 3 to 16 channels of 8 or 16 bits, mode 3 (RGB)",
                         version, channels, depth, mode);
    TRY(codec_check(in, width, height, 1, MEMORY, err));
    size_t at = PSD_HEADER;
    for (int section = 0; section < PSD_SECTIONS; section++) { /* palette, resources, layers */
        if (in->size - at < 4 || in->size - at - 4 < big(bytes + at, 4))
            return codec_broken(in, "it is cut short", err);
        at += 4 + big(bytes + at, 4);
    }
    if (in->size - at < 2)
        return codec_broken(in, "it is cut short", err);
    size_t packed = big(bytes + at, 2);
    at += 2;
    /* Packed: two bytes a row that tell its length, and at least two for 128 equal bytes. */
    size_t lengths = packed ? height * 2 : 0;
    size_t least = packed ? lengths * channels + (width * height / 128) * 2 * PSD_CHANNELS
                          : width * height * channels * (depth / 8);
    if (in->size - at < least)
        return short_of(in, at + least, err);
    at += lengths * (channels - PSD_CHANNELS); /* stb_image skips those of three */
    *out = (struct psd_stream){.rest = bytes + at, .rest_size = in->size - at};
    memcpy(out->head, bytes, PSD_HEADER);
    out->head[12] = 0;
    out->head[13] = PSD_CHANNELS;
    out->head[sizeof out->head - 2] = (uint8_t)(packed >> 8);
    out->head[sizeof out->head - 1] = (uint8_t)packed;
    return ERROR_NONE;
}

static int read_psd(void *user, char *data, int size)
{
    struct psd_stream *stream = user;
    int count = 0;
    for (; count < size && stream->at < sizeof stream->head + stream->rest_size; stream->at++)
        data[count++] = (char)(stream->at < sizeof stream->head
                                   ? stream->head[stream->at]
                                   : stream->rest[stream->at - sizeof stream->head]);
    return count;
}

static void skip_psd(void *user, int count)
{
    struct psd_stream *stream = user;
    stream->at += (size_t)count; /* never back: stb_image asks for what it has not read */
}

static int psd_is_at_end(void *user)
{
    const struct psd_stream *stream = user;
    return stream->at >= sizeof stream->head + stream->rest_size;
}

/* ---- TGA ----------------------------------------------------------------------------------- */

/* Recognising it has settled type, depth and size; see sniff.c. */
static enum error_code check_tga(const struct codec_input *in, struct error *err)
{
    const uint8_t *bytes = in->bytes;
    bool paletted = bytes[1] == 1, packed = bytes[2] >= 8;
    size_t id = bytes[0], colors = little(bytes + 5, 2), color_depth = bytes[7];
    size_t width = little(bytes + 12, 2), height = little(bytes + 14, 2), depth = bytes[16];
    bool used = bytes[2] == 1 || bytes[2] == 9;
    if (paletted &&
        (!used || colors == 0 || little(bytes + 3, 2) != 0 ||
         (color_depth != 15 && color_depth != 16 && color_depth != 24 && color_depth != 32)))
        return error_set(err, ERROR_UNDECODABLE,
                         "tga: a palette of %zu colours of %zu bits from %zu, expected colours of "
                         "15, 16, 24 or 32 bits from 0, and an image of type 1 or 9",
                         colors, color_depth, little(bytes + 3, 2));
    size_t pixel = paletted ? color_depth : depth;
    bool rgb = pixel == 24 || (pixel <= 16 && bytes[2] != 3 && bytes[2] != 11);
    TRY(codec_check(in, width, height, 1, rgb ? 3 : pixel / 8 + 3, err));
    size_t data = packed ? (width * height + 127) / 128 * (1 + (depth + 7) / 8)
                         : width * height * ((depth + 7) / 8);
    size_t least = 18 + id + (paletted ? colors * ((color_depth + 7) / 8) : 0) + data;
    return in->size < least ? short_of(in, least, err) : ERROR_NONE;
}

/* ---- all ----------------------------------------------------------------------------------- */

/* RGB pixels by stb_image, NULL if it failed; or an error in the header. */
static enum error_code load(const struct codec_input *in, int *width, int *height, uint8_t **pixels,
                            struct error *err)
{
    int channels; /* of the file */
    if (in->format == IMAGE_PSD) {
        struct psd_stream stream = {0};
        TRY(open_psd(in, &stream, err));
        const stbi_io_callbacks callbacks = {read_psd, skip_psd, psd_is_at_end};
        *pixels = stbi_load_from_callbacks(&callbacks, &stream, width, height, &channels, 3);
        return ERROR_NONE;
    }
    if (in->format == IMAGE_BMP)
        TRY(check_bmp(in, err));
    else if (in->format == IMAGE_GIF)
        TRY(check_gif(in, err));
    else
        TRY(check_tga(in, err));
    *pixels = stbi_load_from_memory(in->bytes, (int)in->size, width, height, &channels, 3);
    return ERROR_NONE;
}

enum error_code stb_decode(const struct codec_input *in, struct image *out, struct error *err)
{
    int width, height;
    uint8_t *pixels;
    TRY(load(in, &width, &height, &pixels, err));
    if (!pixels && strcmp(stbi_failure_reason(), "outofmem") == 0)
        return error_set(err, ERROR_MEMORY, "%s: out of memory", in->name);
    if (!pixels)
        return codec_broken(in, stbi_failure_reason(), err);
    size_t w = (size_t)width, h = (size_t)height;
    *out = (struct image){.format = in->format,
                          .width = w,
                          .height = h,
                          .full_width = w,
                          .full_height = h,
                          .pixels = pixels};
    return ERROR_NONE;
}
