/* upload.c - see upload.h.
 */
#include "upload.h"
#include "base64.h"
#include "envelope.h"
#include "json_pool.h"
#include "multipart.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FILENAME_BYTES 4096 /* as JSON */

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

/* Undoes the escapes that encoders put into base64: "\/" and line ends. Any other stays, and is no
 * base64. Returns the new size. */
static size_t unescape_base64(const char *text, size_t size, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '\\' || i + 1 == size) {
            out[used++] = text[i];
            continue;
        }
        char next = text[++i];
        if (next == '/')
            out[used++] = '/';
        else if (next != 'n' && next != 'r')
            out[used++] = '\\';
    }
    return used;
}

static enum error_code decode_base64(const struct envelope_image *in, size_t number,
                                     struct upload_image *image, struct error *err)
{
    const char *text = in->b64;
    size_t size = in->b64_size;
    char *unescaped = NULL;
    image->owned = malloc(BASE64_ROOM(size));
    if (image->owned == NULL)
        return no_memory(err);
    if (size > 0 && memchr(text, '\\', size) != NULL) {
        unescaped = malloc(size);
        if (unescaped == NULL)
            return no_memory(err);
        size = unescape_base64(text, size, unescaped);
        text = unescaped;
    }
    bool good = base64_decode(text, size, image->owned, &image->size);
    free(unescaped);
    image->bytes = image->owned;
    return good ? ERROR_NONE
                : error_set(err, ERROR_USAGE,
                            "image %zu: b64 is not base64 (RFC 4648, with padding)", number);
}

static enum error_code decode_filename(const struct envelope_image *in, size_t number,
                                       struct upload_image *image, struct error *err)
{
    const json_t *name;
    void *memory;
    char what[64];
    snprintf(what, sizeof what, "image %zu: filename", number);
    if (in->filename_size > FILENAME_BYTES)
        return error_set(err, ERROR_TOO_LARGE, "%s has more than %d bytes", what, FILENAME_BYTES);
    TRY(json_pool_parse(what, in->filename, in->filename_size, ERROR_USAGE, &name, &memory, err));
    enum error_code code = set_filename(image, json_string_value(name), err);
    free(memory);
    return code;
}

enum error_code upload_take_base64(const struct envelope_image *found, size_t count,
                                   struct upload *out, struct error *err)
{
    TRY(reserve(out, count, err));
    for (size_t i = 0; i < count; i++) {
        struct upload_image *image = &out->images[out->count++];
        TRY(decode_base64(&found[i], i, image, err));
        if (found[i].filename != NULL)
            TRY(decode_filename(&found[i], i, image, err));
    }
    return ERROR_NONE;
}

static enum error_code parse_json(const uint8_t *body, size_t size, size_t max_images,
                                  struct upload *out, struct error *err)
{
    struct envelope_image *found = calloc(max_images, sizeof *found);
    if (found == NULL)
        return no_memory(err);
    size_t count;
    enum error_code code = envelope_parse(body, size, found, max_images, &count, err);
    if (code == ERROR_NONE)
        code = upload_take_base64(found, count, out, err);
    free(found);
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
