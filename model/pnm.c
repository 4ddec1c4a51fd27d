/* pnm.c - binary PGM and PPM; see codec.h. stb_image 2.27 takes a maxval below 255 for 255 and
 * reads past the end of 16-bit files, so this small format is decoded here. */
#include "codec.h"
#include <stdbool.h>

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

enum error_code pnm_decode(const struct codec_input *in, struct image *out, struct error *err)
{
    struct reader reader = {in->bytes, in->size, 2};
    size_t width = read_number(&reader), height = read_number(&reader);
    size_t most = read_number(&reader), channels = in->bytes[1] == '6' ? 3 : 1;
    size_t wide = most > 255 ? 2 : 1; /* bytes a sample */
    if (width == 0 || height == 0 || most == 0 || most > 65535)
        return error_set(err, ERROR_UNDECODABLE,
                         "pnm: broken header: %zu x %zu pixels, largest value %zu (1 to 65535)",
                         width, height, most);
    TRY(codec_check(in, width, height, 1, 3, err));
    /* One byte of white space ends the header. */
    size_t left = in->size > reader.at ? in->size - reader.at - 1 : 0, pixel = channels * wide;
    if (width * height > left / pixel)
        return error_set(err, ERROR_UNDECODABLE,
                         "pnm: %zu bytes of pixels, expected %zu x %zu x %zu", left, width, height,
                         pixel);
    TRY(codec_allocate(in, width, height, out, err));
    const uint8_t *from = in->bytes + reader.at + 1;
    for (size_t i = 0; i < width * height * 3; i++) {
        size_t index = channels == 3 ? i : i / 3;
        out->pixels[i] = sample(from + index * wide, wide, most);
    }
    return ERROR_NONE;
}
