/* upload.c - see upload.h.
 *
 * JSON is parsed by jansson. Because it spends a hundred bytes on a value that takes two in the
 * body ("[[],[],..."), the number of values is counted first and held against what a valid
 * request can have.
 */
#include "upload.h"
#include "multipart.h"

#include <jansson.h>
#include <nettle/base64.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static enum error_code no_memory(struct error *err)
{
    return error_set(err, ERROR_MEMORY, "no memory for the request's images");
}

/* The media type is `type`, whatever parameters follow. */
static bool is_type(const char *content_type, const char *type)
{
    size_t size = strlen(type);
    return strncasecmp(content_type, type, size) == 0 &&
           strchr("; \t", content_type[size]) != NULL; /* finds the terminator, too */
}

static enum error_code reserve(struct upload *out, size_t count, struct error *err)
{
    out->images = calloc(count > 0 ? count : 1, sizeof *out->images);
    return out->images == NULL ? no_memory(err) : ERROR_NONE;
}

static enum error_code set_filename(struct upload_image *image, const char *name, struct error *err)
{
    image->filename = strdup(name);
    return image->filename == NULL ? no_memory(err) : ERROR_NONE;
}

/* ---- multipart ------------------------------------------------------------------------------- */

static enum error_code take_parts(const struct multipart_part *parts, size_t count,
                                  struct upload *out, struct error *err)
{
    TRY(reserve(out, count, err));
    for (size_t i = 0; i < count; i++) {
        const struct multipart_part *part = &parts[i];
        bool named = strcmp(part->name, "image") == 0 || strcmp(part->name, "images") == 0;
        if (!part->has_filename && !named)
            return error_set(err, ERROR_USAGE,
                             "part '%s' is not a file; images go into file parts named image, "
                             "options into the query string",
                             part->name);
        struct upload_image *image = &out->images[out->count++];
        image->bytes = part->bytes;
        image->size = part->size;
        if (part->has_filename)
            TRY(set_filename(image, part->filename, err));
    }
    return ERROR_NONE;
}

static enum error_code parse_multipart(const char *content_type, const uint8_t *body, size_t size,
                                       size_t max_images, struct upload *out, struct error *err)
{
    char boundary[MULTIPART_BOUNDARY_BYTES];
    TRY(multipart_boundary(content_type, boundary, err));
    struct multipart_part *parts = calloc(max_images, sizeof *parts);
    if (parts == NULL)
        return no_memory(err);
    size_t count;
    enum error_code code = multipart_parse(body, size, boundary, parts, max_images, &count, err);
    if (code == ERROR_NONE)
        code = take_parts(parts, count, out, err);
    free(parts);
    return code;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Brackets and commas outside of strings, an upper bound of the values. */
static size_t count_values(const uint8_t *body, size_t size)
{
    size_t values = 0;
    const uint8_t *at = body, *end = body + size;
    while (at < end) {
        if (*at == ',' || *at == '[' || *at == '{')
            values++;
        if (*at++ != '"')
            continue;
        for (bool open = true; open && at < end;) {
            const uint8_t *quote = memchr(at, '"', (size_t)(end - at));
            if (quote == NULL)
                return values;
            size_t slashes = 0;
            while (quote - slashes > at && quote[-1 - (ptrdiff_t)slashes] == '\\')
                slashes++;
            open = slashes % 2 == 1;
            at = quote + 1;
        }
    }
    return values;
}

static enum error_code decode_base64(const char *text, size_t size, struct upload_image *image,
                                     size_t number, struct error *err)
{
    struct base64_decode_ctx context;
    image->owned = malloc(BASE64_DECODE_LENGTH(size) + 1);
    if (image->owned == NULL)
        return no_memory(err);
    base64_decode_init(&context);
    if (!base64_decode_update(&context, &image->size, image->owned, size, text) ||
        !base64_decode_final(&context))
        return error_set(err, ERROR_USAGE, "image %zu: b64 is not base64 (RFC 4648, padded)",
                         number);
    image->bytes = image->owned;
    return ERROR_NONE;
}

/* {"b64":"...", "filename":"..."} */
static enum error_code take_object(const json_t *object, struct upload *out, struct error *err)
{
    size_t number = out->count;
    struct upload_image *image = &out->images[out->count++];
    const json_t *b64 = json_object_get(object, "b64");
    const json_t *filename = json_object_get(object, "filename");
    if (!json_is_string(b64))
        return error_set(err, ERROR_USAGE, "image %zu is not an object {\"b64\":\"...\"}", number);
    if (filename != NULL && !json_is_string(filename))
        return error_set(err, ERROR_USAGE, "image %zu: filename is not a string", number);
    if (json_object_size(object) != 1 + (size_t)(filename != NULL))
        return error_set(err, ERROR_USAGE,
                         "image %zu has an unknown member; expected b64 and filename", number);
    if (filename != NULL)
        TRY(set_filename(image, json_string_value(filename), err));
    return decode_base64(json_string_value(b64), json_string_length(b64), image, number, err);
}

static enum error_code take_document(const json_t *root, size_t max_images, struct upload *out,
                                     struct error *err)
{
    const json_t *image = json_object_get(root, "image");
    const json_t *images = json_object_get(root, "images");
    if (json_object_size(root) != 1 || (image == NULL && images == NULL))
        return error_set(err, ERROR_USAGE,
                         "expected {\"image\":{\"b64\":\"...\"}} or {\"images\":[{\"b64\":\"...\"},"
                         "...]}");
    if (image != NULL) {
        TRY(reserve(out, 1, err));
        return take_object(image, out, err);
    }
    if (!json_is_array(images))
        return error_set(err, ERROR_USAGE, "\"images\" is not an array");
    size_t count = json_array_size(images);
    if (count > max_images)
        return error_set(err, ERROR_TOO_LARGE, "%zu images in one request, at most %zu", count,
                         max_images);
    TRY(reserve(out, count, err));
    for (size_t i = 0; i < count; i++)
        TRY(take_object(json_array_get(images, i), out, err));
    return ERROR_NONE;
}

static enum error_code parse_json(const uint8_t *body, size_t size, size_t max_images,
                                  struct upload *out, struct error *err)
{
    if (count_values(body, size) > 4 * max_images + 16)
        return error_set(err, ERROR_TOO_LARGE,
                         "the JSON body has more values than %zu images can need", max_images);
    json_error_t fault;
    json_t *root = json_loadb((const char *)body, size, JSON_REJECT_DUPLICATES, &fault);
    if (root == NULL)
        return error_set(err, ERROR_USAGE, "the body is not JSON: line %d, column %d: %s",
                         fault.line, fault.column, fault.text);
    enum error_code code = take_document(root, max_images, out, err);
    json_decref(root);
    return code;
}

enum error_code upload_parse(const char *content_type, const uint8_t *body, size_t size,
                             size_t max_images, struct upload *out, struct error *err)
{
    *out = (struct upload){0};
    if (content_type == NULL)
        content_type = "";
    if (size == 0)
        return error_set(err, ERROR_USAGE, "the body is empty, expected an image");
    if (is_type(content_type, "multipart/form-data"))
        TRY(parse_multipart(content_type, body, size, max_images, out, err));
    else if (strncasecmp(content_type, "multipart/", 10) == 0)
        return error_set(err, ERROR_USAGE,
                         "expected multipart/form-data among the multipart types");
    else if (is_type(content_type, "application/json"))
        TRY(parse_json(body, size, max_images, out, err));
    else {
        TRY(reserve(out, 1, err));
        out->images[0].bytes = body;
        out->images[0].size = size;
        out->count = 1;
    }
    if (out->count == 0)
        return error_set(err, ERROR_USAGE, "the body holds no image");
    return ERROR_NONE;
}

void upload_free(struct upload *upload)
{
    for (size_t i = 0; i < upload->count; i++) {
        free(upload->images[i].owned);
        free(upload->images[i].filename);
    }
    free(upload->images);
    *upload = (struct upload){0};
}
