/* v2_tensor.c - see v2_tensor.h.
 *
 * A value that is not finite is refused: it would reach every output, and the statistics that are
 * kept of them.
 */
#include "v2_tensor.h"
#include "envelope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_DIGITS 64 /* characters of a number; a double needs 25 */

/* The text of one image's numbers. */
struct numbers {
    const char *begin, *at, *end;
    float *out; /* the next value's place */
    struct error *err;
};

/* ---- on a decoder thread --------------------------------------------------------------------- */

static enum error_code not_finite(size_t index, struct error *err)
{
    return error_set(err, ERROR_USAGE, "value %zu of the tensor is not a finite number", index);
}

static enum error_code read_floats(const struct batch_image *image, float *input, struct error *err)
{
    size_t count = image->size / sizeof(float);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(input, image->bytes, image->size);
#else
    for (size_t i = 0; i < count; i++) {
        uint32_t value = 0;
        for (size_t b = 0; b < 4; b++)
            value |= (uint32_t)image->bytes[4 * i + b] << 8 * b;
        memcpy(input + i, &value, sizeof value);
    }
#endif
    for (size_t i = 0; i < count; i++)
        if (!isfinite(input[i]))
            return not_finite(i, err);
    return ERROR_NONE;
}

static bool accept(struct numbers *in, char byte)
{
    while (in->at < in->end &&
           (*in->at == ' ' || *in->at == '\t' || *in->at == '\r' || *in->at == '\n'))
        in->at++;
    if (in->at == in->end || *in->at != byte)
        return false;
    in->at++;
    return true;
}

static enum error_code expected(const struct numbers *in, const char *what)
{
    return error_set(in->err, ERROR_USAGE, "byte %zu of the image's data: expected %s",
                     (size_t)(in->at - in->begin), what);
}

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* The end of a number in JSON's grammar (RFC 8259, section 6); NULL where there is none. */
static const char *number_end(const char *at, const char *end)
{
    at += at < end && *at == '-';
    const char *whole = at;
    at = skip_digits(at, end);
    if (at == whole || (*whole == '0' && at - whole > 1))
        return NULL;
    if (at < end && *at == '.') {
        const char *fraction = ++at;
        at = skip_digits(at, end);
        if (at == fraction)
            return NULL;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        const char *exponent = at;
        at = skip_digits(at, end);
        if (at == exponent)
            return NULL;
    }
    return at;
}

static enum error_code read_number(struct numbers *in, size_t index)
{
    char text[MOST_DIGITS + 1];
    accept(in, ' '); /* white space before it */
    const char *end = number_end(in->at, in->end);
    if (end == NULL || end - in->at > MOST_DIGITS)
        return expected(in, "a number of at most 64 characters");
    memcpy(text, in->at, (size_t)(end - in->at));
    text[end - in->at] = '\0';
    *in->out = strtof(text, NULL);
    if (!isfinite(*in->out++))
        return not_finite(index, in->err);
    in->at = end;
    return ERROR_NONE;
}

static enum error_code read_numbers(const struct batch_image *image, float *input,
                                    struct error *err)
{
    const struct v2_tensor *tensor = image->context;
    const char *text = (const char *)image->bytes;
    struct numbers in = {text, text, text + image->size, input, err};
    size_t row = tensor->width, plane = row * tensor->height, all = 3 * plane;
    for (size_t i = 0; i < all; i++) {
        size_t brackets = !tensor->nested ? 0 : i == 0 ? 3 : i % plane == 0 ? 2 : i % row == 0;
        /* Of the arrays that end before this value, then of those that begin. */
        for (size_t b = 0; i > 0 && b < brackets; b++)
            if (!accept(&in, ']'))
                return expected(&in, "] after a row or plane of the shape's size");
        if (i > 0 && !accept(&in, ','))
            return expected(&in, ", between two values");
        for (size_t b = 0; b < brackets; b++)
            if (!accept(&in, '['))
                return expected(&in, "[ before a row, plane or image");
        TRY(read_number(&in, i));
    }
    for (size_t b = 0; tensor->nested && b < 3; b++)
        if (!accept(&in, ']'))
            return expected(&in, "] after the last value");
    accept(&in, ' ');
    return in.at == in.end ? ERROR_NONE : expected(&in, "nothing more");
}

/* ---- on the HTTP thread ---------------------------------------------------------------------- */

static enum error_code split_floats(const struct v2_request *request, struct upload *out)
{
    size_t bytes = request->size / request->images;
    for (size_t i = 0; i < request->images; i++)
        out->images[out->count++] =
            (struct upload_image){.bytes = request->data + i * bytes, .size = bytes};
    return ERROR_NONE;
}

/* The text is an array, [values, values, ...], with the outermost brackets around all images. */
static enum error_code split_numbers(const struct v2_request *request, struct v2_tensor *tensor,
                                     struct upload *out, struct error *err)
{
    const char *begin = (const char *)request->data + 1, *end = begin + request->size - 2;
    size_t depth = 1, commas = (request->commas + 1) / request->images;
    const char *at = begin;
    for (; at < end && strchr(" \t\r\n[", *at) != NULL && *at != '\0'; at++)
        depth += *at == '[';
    if (depth != 1 && depth != 4)
        return error_set(err, ERROR_USAGE,
                         "input '%s' is nested %zu deep, expected a flat array or one nested like "
                         "its shape, 4 deep",
                         V2_MODEL_INPUT, depth);
    tensor->nested = depth == 4;
    for (size_t i = 0; i < request->images; i++) {
        size_t left = commas;
        for (at = begin; at < end && (*at != ',' || --left > 0);)
            at++;
        out->images[out->count++] =
            (struct upload_image){.bytes = (const uint8_t *)begin, .size = (size_t)(at - begin)};
        begin = at < end ? at + 1 : end;
    }
    return ERROR_NONE;
}

static enum error_code split_bytes(const struct v2_request *request, struct upload *out,
                                   struct error *err)
{
    const uint8_t *at = request->data;
    size_t left = request->size;
    for (size_t i = 0; i < request->images; i++) {
        size_t size = 0;
        for (size_t b = 0; left >= 4 && b < 4; b++)
            size |= (size_t)at[b] << 8 * b;
        if (left < 4 || size > left - 4)
            return error_set(err, ERROR_USAGE,
                             "image %zu: expected its length in 4 bytes and as many bytes behind "
                             "it, %zu bytes are left",
                             i, left);
        out->images[out->count++] = (struct upload_image){.bytes = at + 4, .size = size};
        at += 4 + size;
        left -= 4 + size;
    }
    return left == 0 ? ERROR_NONE
                     : error_set(err, ERROR_USAGE, "%zu bytes follow the last of %zu images", left,
                                 request->images);
}

/* Finds the strings in [ "...", ... ] or [ ["..."], ... ]. */
static enum error_code find_strings(const struct v2_request *request, struct envelope_image *found,
                                    struct error *err)
{
    const char *text = (const char *)request->data;
    struct numbers in = {text, text, text + request->size, NULL, err};
    bool good = accept(&in, '['), nested = good && accept(&in, '[');
    for (size_t i = 0; i < request->images && good; i++) {
        good = i == 0 || (accept(&in, ',') && (!nested || accept(&in, '[')));
        if (good && accept(&in, '"')) {
            const char *end = v2_scan_string(in.at - 1, in.end);
            found[i] = (struct envelope_image){.b64 = in.at, .b64_size = (size_t)(end - 1 - in.at)};
            in.at = end; /* not NULL: the scanner has passed it before */
            good = !nested || accept(&in, ']');
        } else {
            good = false;
        }
    }
    if (!good || !accept(&in, ']') || in.at != in.end)
        return error_set(err, ERROR_USAGE,
                         "input '%s' of BYTES: expected an array of %zu images as base64 strings",
                         V2_MODEL_INPUT, request->images);
    return ERROR_NONE;
}

static enum error_code split_strings(const struct v2_request *request, struct upload *out,
                                     struct error *err)
{
    struct envelope_image *found = calloc(request->images, sizeof *found);
    if (found == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for %zu images", request->images);
    enum error_code code = find_strings(request, found, err);
    if (code == ERROR_NONE)
        code = upload_take_base64(found, request->images, out, err);
    free(found);
    return code;
}

enum error_code v2_tensor_split(const struct v2_request *request, struct v2_tensor *tensor,
                                struct upload *out, struct error *err)
{
    const struct preprocess *preprocess = &senet_info(request->model.senet)->preprocess;
    *tensor = (struct v2_tensor){.height = preprocess->height, .width = preprocess->width};
    *out = (struct upload){0};
    if (request->form == V2_FORM_STRINGS)
        return split_strings(request, out, err);
    out->images = calloc(request->images, sizeof *out->images);
    if (out->images == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for %zu images", request->images);
    switch (request->form) {
    case V2_FORM_FLOATS:
        tensor->prepare = read_floats;
        return split_floats(request, out);
    case V2_FORM_NUMBERS:
        tensor->prepare = read_numbers;
        return split_numbers(request, tensor, out, err);
    case V2_FORM_BYTES:
        return split_bytes(request, out, err);
    case V2_FORM_STRINGS:
        break;
    case V2_FORM_IMAGE:
        out->images[out->count++] =
            (struct upload_image){.bytes = request->data, .size = request->size};
        break;
    }
    return ERROR_NONE;
}
