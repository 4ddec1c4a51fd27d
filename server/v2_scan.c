/* v2_scan.c - see v2_scan.h. */
#include "v2_scan.h"

#include <stdbool.h>
#include <string.h>

struct scanner {
    const char *begin, *at, *end;
    const char *copied; /* up to here the text is in out->rest, or left out */
    size_t depth;       /* brackets open */
    bool inputs;        /* the last key of the outermost object was "inputs" */
    struct v2_scan *out;
    struct error *err;
};

const char *v2_scan_string(const char *at, const char *end)
{
    const char *from = at + 1;
    while (from < end) {
        const char *quote = memchr(from, '"', (size_t)(end - from));
        if (quote == NULL)
            return NULL;
        size_t slashes = 0;
        while (quote - slashes > at + 1 && *(quote - slashes - 1) == '\\')
            slashes++;
        from = quote + 1;
        if (slashes % 2 == 0)
            return from;
    }
    return NULL;
}

static enum error_code no_end(const struct scanner *in, const char *what)
{
    return error_set(in->err, ERROR_USAGE, "byte %zu of the JSON: the %s does not end",
                     (size_t)(in->at - in->begin), what);
}

static enum error_code copy(struct scanner *in)
{
    size_t size = (size_t)(in->at - in->copied);
    if (size > V2_SCAN_MOST_BYTES - in->out->rest.size)
        return error_set(in->err, ERROR_TOO_LARGE,
                         "the JSON has more than %zu bytes besides the data of its input",
                         V2_SCAN_MOST_BYTES);
    writer_raw(&in->out->rest, in->copied, size);
    in->copied = in->at;
    return ERROR_NONE;
}

static void skip_space(struct scanner *in)
{
    while (in->at < in->end &&
           (*in->at == ' ' || *in->at == '\t' || *in->at == '\r' || *in->at == '\n'))
        in->at++;
}

/* From '[' to behind its ']'. */
static enum error_code skip_array(struct scanner *in)
{
    size_t depth = 0, commas = 0;
    for (const char *at = in->at; at < in->end; at++) {
        if (*at == '"') {
            at = v2_scan_string(at, in->end);
            if (at == NULL)
                break;
            at--;
        } else if (*at == ',') {
            commas++;
        } else if (*at == '[') {
            depth++;
        } else if (*at == ']' && --depth == 0) {
            in->out->data = in->at;
            in->out->data_size = (size_t)(at + 1 - in->at);
            in->out->commas = commas;
            in->out->arrays++;
            in->at = in->copied = at + 1;
            return ERROR_NONE;
        }
    }
    return no_end(in, "array of data");
}

static bool is_key(const char *text, const char *end, const char *name)
{
    size_t size = strlen(name);
    return (size_t)(end - text) == size + 2 && memcmp(text + 1, name, size) == 0;
}

/* A string, and the data array behind it where it is the key of one. */
static enum error_code take_string(struct scanner *in)
{
    const char *key = in->at, *end = v2_scan_string(in->at, in->end);
    if (end == NULL)
        return no_end(in, "string");
    in->at = end;
    skip_space(in);
    if (in->at == in->end || *in->at != ':')
        return ERROR_NONE; /* a value */
    in->at++;
    if (in->depth == 1)
        in->inputs = is_key(key, end, "inputs");
    if (in->depth != 3 || !in->inputs || !is_key(key, end, "data"))
        return ERROR_NONE;
    skip_space(in);
    if (in->at == in->end || *in->at != '[')
        return ERROR_NONE;
    TRY(copy(in));
    writer_raw(&in->out->rest, "true", 4);
    return skip_array(in);
}

enum error_code v2_scan_text(const char *text, size_t size, struct v2_scan *out, struct error *err)
{
    struct scanner in = {
        .begin = text, .at = text, .end = text + size, .copied = text, .out = out, .err = err};
    *out = (struct v2_scan){0};
    while (in.at < in.end) {
        if (*in.at == '"') {
            TRY(take_string(&in));
        } else {
            in.depth += *in.at == '{' || *in.at == '[';
            in.depth -= in.depth > 0 && (*in.at == '}' || *in.at == ']');
            in.at++;
        }
        if ((size_t)(in.at - in.copied) > V2_SCAN_MOST_BYTES)
            break; /* copy tells of it */
    }
    TRY(copy(&in));
    return out->rest.failed ? error_set(err, ERROR_MEMORY, "no memory for the request's JSON")
                            : ERROR_NONE;
}

void v2_scan_free(struct v2_scan *scan)
{
    writer_free(&scan->rest);
    *scan = (struct v2_scan){0};
}
