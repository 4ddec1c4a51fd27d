/* envelope.c - see envelope.h. */
#include "envelope.h"

#include <string.h>

struct scanner {
    const char *begin, *at, *end;
    struct error *err;
};

struct span {
    const char *text; /* behind the opening quote */
    size_t size;
};

static enum error_code expected(const struct scanner *in, const char *what)
{
    return error_set(in->err, ERROR_USAGE, "byte %zu of the JSON body: expected %s",
                     (size_t)(in->at - in->begin), what);
}

/* The next byte that is not white space, or '\0' at the end. */
static char peek(struct scanner *in)
{
    while (in->at < in->end && strchr(" \t\r\n", *in->at) != NULL && *in->at != '\0')
        in->at++;
    return in->at < in->end ? *in->at : '\0';
}

static bool accept(struct scanner *in, char byte)
{
    if (peek(in) != byte || in->at == in->end)
        return false;
    in->at++;
    return true;
}

/* A string; escapes stay as they are. */
static enum error_code read_string(struct scanner *in, const char *what, struct span *out)
{
    if (!accept(in, '"'))
        return expected(in, what);
    out->text = in->at;
    for (const char *from = in->at;;) {
        const char *quote = memchr(from, '"', (size_t)(in->end - from));
        if (quote == NULL)
            return error_set(in->err, ERROR_USAGE,
                             "byte %zu of the JSON body: the string does not end",
                             (size_t)(in->at - in->begin));
        size_t slashes = 0;
        while (quote - slashes > out->text && *(quote - slashes - 1) == '\\')
            slashes++;
        from = quote + 1;
        if (slashes % 2 == 1)
            continue; /* an escaped quote */
        out->size = (size_t)(quote - out->text);
        in->at = from;
        return ERROR_NONE;
    }
}

static bool span_is(const struct span *span, const char *name)
{
    return span->size == strlen(name) && memcmp(span->text, name, span->size) == 0;
}

static enum error_code read_member(struct scanner *in, struct envelope_image *image)
{
    const char *start = in->at;
    struct span key, value;
    TRY(read_string(in, "\"b64\" or \"filename\"", &key));
    bool b64 = span_is(&key, "b64");
    if ((!b64 && !span_is(&key, "filename")) || (b64 ? image->b64 : image->filename) != NULL) {
        in->at = start;
        return expected(in, "\"b64\" and \"filename\" once each, and no other member");
    }
    if (!accept(in, ':'))
        return expected(in, ":");
    TRY(read_string(in, "a string", &value));
    if (b64) {
        image->b64 = value.text;
        image->b64_size = value.size;
    } else {
        image->filename = value.text - 1;
        image->filename_size = value.size + 2;
    }
    return ERROR_NONE;
}

static enum error_code read_image(struct scanner *in, struct envelope_image *image)
{
    *image = (struct envelope_image){0};
    if (!accept(in, '{'))
        return expected(in, "an object {\"b64\":\"...\"}");
    do
        TRY(read_member(in, image));
    while (accept(in, ','));
    if (!accept(in, '}'))
        return expected(in, ", or }");
    if (image->b64 == NULL)
        return expected(in, "a member \"b64\" in the object that ends here");
    return ERROR_NONE;
}

static enum error_code read_images(struct scanner *in, struct envelope_image *images,
                                   size_t max_images, size_t *count)
{
    if (!accept(in, '['))
        return expected(in, "an array of objects {\"b64\":\"...\"}");
    do {
        if (*count == max_images)
            return error_set(in->err, ERROR_TOO_LARGE, "more than %zu images in one request",
                             max_images);
        TRY(read_image(in, &images[*count]));
        ++*count;
    } while (accept(in, ','));
    return accept(in, ']') ? ERROR_NONE : expected(in, ", or ]");
}

enum error_code envelope_parse(const uint8_t *body, size_t size, struct envelope_image *images,
                               size_t max_images, size_t *count, struct error *err)
{
    const char *text = (const char *)body;
    struct scanner in = {text, text, text + size, err};
    struct span key;
    *count = 0;
    if (!accept(&in, '{'))
        return expected(&in,
                        "{\"image\":{\"b64\":\"...\"}} or {\"images\":[{\"b64\":\"...\"},...]}");
    TRY(read_string(&in, "\"image\" or \"images\"", &key));
    bool one = span_is(&key, "image");
    if (!one && !span_is(&key, "images"))
        return expected(&in, "\"image\" or \"images\" as the only member");
    if (!accept(&in, ':'))
        return expected(&in, ":");
    if (one) {
        TRY(read_image(&in, &images[0]));
        *count = 1;
    } else {
        TRY(read_images(&in, images, max_images, count));
    }
    if (!accept(&in, '}'))
        return expected(&in, "}");
    peek(&in);
    return in.at == in.end ? ERROR_NONE : expected(&in, "nothing more");
}
