/* exif.c - see exif.h. A photo with a broken EXIF block is still a photo, so nothing here is an
 * error; every read is checked against the end of its block. */
#include "exif.h"
#include <stdbool.h>
#include <string.h>

static const char magic[6] = "Exif\0";

struct block {
    const uint8_t *bytes;
    size_t size;
    bool little; /* byte order */
};

static uint32_t read_number(const struct block *block, size_t offset, size_t length)
{
    uint32_t value = 0;
    if (offset > block->size || length > block->size - offset)
        return 0;
    for (size_t i = 0; i < length; i++)
        value = value << 8 | block->bytes[offset + (block->little ? length - 1 - i : i)];
    return value;
}

/* block is a TIFF header with its first image directory. */
static int orientation_of_tiff(struct block block)
{
    enum { TAG = 0x0112, TYPE_SHORT = 3, ENTRY_BYTES = 12 };
    if (block.size < 8)
        return 1;
    block.little = block.bytes[0] == 'I';
    size_t directory = read_number(&block, 4, 4);
    size_t entries = read_number(&block, directory, 2);
    for (size_t i = 0; i < entries; i++) {
        size_t entry = directory + 2 + i * ENTRY_BYTES;
        if (read_number(&block, entry, 2) != TAG)
            continue;
        uint32_t value = read_number(&block, entry + 8, 2);
        bool sane = read_number(&block, entry + 2, 2) == TYPE_SHORT && value >= 1 && value <= 8;
        return sane ? (int)value : 1;
    }
    return 1;
}

static int orientation_of_jpeg(const struct block *file)
{
    for (size_t at = 2; at + 4 <= file->size && file->bytes[at] == 0xff;) {
        uint8_t marker = file->bytes[at + 1];
        size_t length = read_number(file, at + 2, 2);
        if (marker == 0xff) { /* fill byte */
            at++;
            continue;
        }
        if (marker == 0xda || length < 2 || length > file->size - at - 2)
            return 1; /* the scan begins, or the file ends: no EXIF any more */
        const uint8_t *payload = file->bytes + at + 4;
        if (marker == 0xe1 && length >= 8 && memcmp(payload, magic, sizeof magic) == 0)
            return orientation_of_tiff((struct block){payload + 6, length - 8, false});
        at += 2 + length;
    }
    return 1;
}

static int orientation_of_png(const struct block *file)
{
    for (size_t at = 8; at + 12 <= file->size;) {
        size_t length = read_number(file, at, 4);
        if (length > file->size - at - 12)
            return 1;
        if (memcmp(file->bytes + at + 4, "eXIf", 4) == 0)
            return orientation_of_tiff((struct block){file->bytes + at + 8, length, false});
        at += 12 + length;
    }
    return 1;
}

static int orientation_of_webp(const struct block *file)
{
    for (size_t at = 12; at + 8 <= file->size;) {
        struct block header = {file->bytes + at, 8, true};
        size_t length = read_number(&header, 4, 4);
        if (length > file->size - at - 8)
            return 1;
        const uint8_t *payload = file->bytes + at + 8;
        if (memcmp(file->bytes + at, "EXIF", 4) == 0) {
            /* Some writers keep the head that the block has in a JPEG. */
            size_t skip =
                length >= sizeof magic && memcmp(payload, magic, sizeof magic) == 0 ? 6 : 0;
            return orientation_of_tiff((struct block){payload + skip, length - skip, false});
        }
        at += 8 + length + (length & 1);
    }
    return 1;
}

int exif_orientation(const uint8_t *bytes, size_t size)
{
    struct block file = {bytes, size, false};
    if (size >= 2 && bytes[0] == 0xff && bytes[1] == 0xd8)
        return orientation_of_jpeg(&file);
    if (size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0)
        return orientation_of_png(&file);
    if (size >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0)
        return orientation_of_webp(&file);
    return 1;
}
