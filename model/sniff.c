/* sniff.c - see sniff.h. Also image_sniff of image.h, which belongs to the same tables. */
#include "sniff.h"
#include <stdbool.h>
#include <string.h>
#include <strings.h>

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

/* Well-known files that people upload. The first that fits wins. */
static const struct {
    struct magic magic;
    const char *name;
} foreign[] = {
    {{MAGIC(4, "ftypavif")}, "AVIF"},
    {{MAGIC(4, "ftypavis")}, "AVIF"},
    {{MAGIC(4, "ftyphei")}, "HEIC"},
    {{MAGIC(4, "ftyphev")}, "HEIC"},
    {{MAGIC(4, "ftypmif1")}, "HEIF"},
    {{MAGIC(4, "ftypmsf1")}, "HEIF"},
    {{MAGIC(4, "ftypcrx")}, "a Canon raw photo"},
    {{MAGIC(4, "ftypqt")}, "a QuickTime video"},
    {{MAGIC(4, "ftyp")}, "MP4 video"},
    {{MAGIC(8, "AVI ")}, "AVI video"},
    {{MAGIC(8, "WAVE")}, "WAV audio"},
    {{MAGIC(0, "\x1a\x45\xdf\xa3")}, "Matroska or WebM video"},
    {{MAGIC(0, "II*\0")}, "TIFF"},
    {{MAGIC(0, "MM\0*")}, "TIFF"},
    {{MAGIC(0, "II+\0")}, "BigTIFF"},
    {{MAGIC(0, "MM\0+")}, "BigTIFF"},
    {{MAGIC(0, "\xff\x0a")}, "JPEG XL"},
    {{MAGIC(4, "JXL ")}, "JPEG XL"},
    {{MAGIC(4, "jP  ")}, "JPEG 2000"},
    {{MAGIC(0, "\xff\x4f\xff\x51")}, "JPEG 2000"},
    {{MAGIC(0, "#?RADIANCE")}, "Radiance HDR"},
    {{MAGIC(0, "#?RGBE")}, "Radiance HDR"},
    {{MAGIC(0, "\x53\x80\xf6\x34")}, "Softimage PIC"},
    {{MAGIC(0, "\x76\x2f\x31\x01")}, "OpenEXR"},
    {{MAGIC(0, "DDS ")}, "DDS"},
    {{MAGIC(0, "qoif")}, "QOI"},
    {{MAGIC(0, "\0\0\1\0")}, "a Windows icon"},
    {{MAGIC(0, "8BPB")}, "PSB (large PSD)"},
    {{MAGIC(0, "P1")}, "PNM in text or with one bit a pixel"},
    {{MAGIC(0, "P2")}, "PNM in text or with one bit a pixel"},
    {{MAGIC(0, "P3")}, "PNM in text or with one bit a pixel"},
    {{MAGIC(0, "P4")}, "PNM in text or with one bit a pixel"},
    {{MAGIC(0, "P7")}, "PAM"},
    {{MAGIC(0, "%PDF")}, "PDF"},
    {{MAGIC(0, "%!PS")}, "PostScript"},
    {{MAGIC(0, "\x7f"
               "ELF")},
     "an ELF program"},
    {{MAGIC(0, "MZ")}, "a Windows program"},
    {{MAGIC(0, "#!")}, "a script"},
    {{MAGIC(0, "PK\3\4")}, "a ZIP archive"},
    {{MAGIC(0, "PK\5\6")}, "a ZIP archive"},
    {{MAGIC(0, "\x1f\x8b")}, "gzip data"},
    {{MAGIC(0, "BZh")}, "bzip2 data"},
    {{MAGIC(0, "\xfd"
               "7zXZ")},
     "xz data"},
    {{MAGIC(0, "\x28\xb5\x2f\xfd")}, "Zstandard data"},
    {{MAGIC(0, "7z\xbc\xaf")}, "a 7-Zip archive"},
    {{MAGIC(0, "Rar!")}, "a RAR archive"},
    {{MAGIC(257, "ustar")}, "a tar archive"},
    {{MAGIC(0, "ID3")}, "MP3 audio"},
    {{MAGIC(0, "OggS")}, "Ogg audio or video"},
    {{MAGIC(0, "data:")}, "a data: URL (send the bytes that it holds)"},
    {{MAGIC(0, "/9j/")}, "base64 (send the bytes, or JSON with \"b64\")"},
    {{MAGIC(0, "iVBORw0KGgo")}, "base64 (send the bytes, or JSON with \"b64\")"},
};

/* Texts, whatever their case and the white space before. "svg" is looked for behind <?xml. */
static const struct {
    const char *begin, *name;
} texts[] = {
    {"<svg", "SVG"},   {"<!doctype svg", "SVG"}, {"<!doctype html", "HTML"},
    {"<html", "HTML"}, {"<head", "HTML"},        {"<body", "HTML"},
    {"<?xml", "XML"},  {"<", "markup text"},     {"{", "JSON"},
    {"[", "JSON"},
};

static bool has_magic(const uint8_t *bytes, size_t size, const struct magic *magic)
{
    return size >= magic->offset + magic->length &&
           memcmp(bytes + magic->offset, magic->bytes, magic->length) == 0;
}

static bool is_webp(const uint8_t *bytes, size_t size)
{
    return size >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0;
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
    if (is_webp(bytes, size))
        return IMAGE_WEBP;
    if (sniff_foreign(bytes, size) != NULL)
        return IMAGE_UNKNOWN;
    return is_tga(bytes, size) ? IMAGE_TGA : IMAGE_UNKNOWN;
}

/* A text whose beginning is one of those above; UTF-8's byte order mark may come first. */
static const char *text_name(const uint8_t *bytes, size_t size)
{
    size_t at = size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < size && (bytes[at] == ' ' || (bytes[at] >= '\t' && bytes[at] <= '\r')))
        at++;
    const char *text = (const char *)bytes + at;
    size_t left = size - at;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t length = strlen(texts[i].begin);
        if (left < length || strncasecmp(text, texts[i].begin, length) != 0)
            continue;
        bool markup = texts[i].begin[1] == '?' || texts[i].begin[1] == '\0';
        if (markup && texts[i].begin[0] == '<' &&
            memmem(text, left < 4096 ? left : 4096, "<svg", 4))
            return "SVG";
        return texts[i].name;
    }
    return NULL;
}

const char *sniff_foreign(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (has_magic(bytes, size, &foreign[i].magic))
            return foreign[i].name;
    return text_name(bytes, size);
}
