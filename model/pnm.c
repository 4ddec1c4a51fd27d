/* pnm.c - see pnm.h. stb_image 2.27 takes a maxval below 255 for 255 and reads past the end of
 * 16-bit files, so this small format is decoded here. */
#include "pnm.h"
#include <stdbool.h>
#include <stdlib.h>

struct reader {
    const uint8_t *bytes;
    size_t size, at;
};

static bool is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* The next decimal number, after white space and # comments; 0 where there is none or it is over
 * a billion. */
static size_t read_number(struct reader *reader)
{
    size_t value = 0;
    while (reader->at < reader->size) {
        uint8_t byte = reader->bytes[reader->at];
        if (byte == '#')
            while (reader->at < reader->size && reader->bytes[reader->at] != '\n')
                reader->at++;
        else if (!is_space(byte))
            break;
        else
            reader->at++;
    }
    for (; reader->at < reader->size; reader->at++) {
        uint8_t byte = reader->bytes[reader->at];
        if (byte < '0' || byte > '9')
            break;
        value = value * 10 + (size_t)(byte - '0');
        if (value > 1000000000)
            return 0;
    }
    return value;
}

static uint8_t sample(const uint8_t *bytes, size_t wide, size_t most)
{
    size_t value = wide == 2 ? (size_t)(bytes[0] << 8 | bytes[1]) : bytes[0];
    if (value > most)
        value = most;
    return (uint8_t)((value * 255 * 2 + most) / (2 * most));
}

enum error_code pnm_decode(const uint8_t *bytes, size_t size, size_t max_pixels, struct image *out,
                           struct error *err)
{
    struct reader reader = {bytes, size, 2};
    size_t width = read_number(&reader), height = read_number(&reader);
    size_t most = read_number(&reader), channels = bytes[1] == '6' ? 3 : 1;
    size_t wide = most > 255 ? 2 : 1; /* bytes a sample */
    if (width == 0 || height == 0 || most == 0 || most > 65535)
        return error_set(err, ERROR_UNDECODABLE,
                         "pnm: broken header: %zu x %zu pixels, largest value %zu (1 to 65535)",
                         width, height, most);
    if (width > max_pixels / height)
        return error_set(err, ERROR_TOO_LARGE, "pnm: %zu x %zu pixels, expected at most %zu in all",
                         width, height, max_pixels);
    /* One byte of white space ends the header. */
    size_t left = size > reader.at ? size - reader.at - 1 : 0, pixel = channels * wide;
    if (width * height > left / pixel)
        return error_set(err, ERROR_UNDECODABLE,
                         "pnm: %zu bytes of pixels, expected %zu x %zu x %zu", left, width, height,
                         pixel);
    uint8_t *pixels = malloc(width * height * 3);
    if (!pixels)
        return error_set(err, ERROR_MEMORY, "pnm: out of memory for %zu x %zu pixels", width,
                         height);
    const uint8_t *from = bytes + reader.at + 1;
    for (size_t i = 0; i < width * height * 3; i++) {
        size_t index = channels == 3 ? i : i / 3;
        pixels[i] = sample(from + index * wide, wide, most);
    }
    *out = (struct image){IMAGE_PNM, width, height, pixels};
    return ERROR_NONE;
}
