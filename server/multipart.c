/* multipart.c - see multipart.h.
 *
 * A delimiter is CRLF "--" boundary at the begin of a line (the body's first needs no CRLF before
 * it); after it come "--" for the last one, or optional blanks and CRLF.
 */
#include "multipart.h"

#include <string.h>
#include <strings.h>

#define MAX_HEADERS      16
#define MAX_HEADER_BYTES 4096

/* Bytes not yet read. */
struct cursor {
    const uint8_t *at, *end;
};

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Copies a quoted string or token that begins at *at, up to room bytes with the terminator. Moves
 * *at behind it. Within quotes only \" and \\ are escapes: browsers send \ as it is. */
static bool read_value(const char **at, const char *end, char *out, size_t room)
{
    const char *p = *at;
    size_t size = 0;
    bool quoted = p < end && *p == '"';
    p += quoted;
    while (p < end && (quoted ? *p != '"' : *p != ';' && !is_blank(*p))) {
        if (quoted && *p == '\\' && end - p > 1 && (p[1] == '"' || p[1] == '\\'))
            p++;
        if (size + 1 < room)
            out[size++] = *p;
        p++;
    }
    out[size] = '\0';
    if (quoted && p++ >= end)
        return false;
    *at = p;
    return true;
}

/* Finds `name=value` among the parameters `; a=b; c="d"` that begin at text. Returns 1 if found,
 * 0 if absent, -1 if malformed. */
static int find_parameter(const char *text, const char *end, const char *name, char *out,
                          size_t room)
{
    char ignored[2];
    while (text < end) {
        while (text < end && (is_blank(*text) || *text == ';'))
            text++;
        const char *begin = text;
        while (text < end && *text != '=' && *text != ';')
            text++;
        if (text == begin && text == end)
            break;
        if (text == end || *text == ';')
            return -1;
        size_t size = (size_t)(text++ - begin);
        bool wanted = size == strlen(name) && strncasecmp(begin, name, size) == 0;
        if (!read_value(&text, end, wanted ? out : ignored, wanted ? room : sizeof ignored))
            return -1;
        if (wanted)
            return 1;
    }
    return 0;
}

enum error_code multipart_boundary(const char *content_type, char out[MULTIPART_BOUNDARY_BYTES],
                                   struct error *err)
{
    char value[256];
    const char *parameters = strchr(content_type, ';');
    const char *end = content_type + strlen(content_type);
    int found =
        parameters == NULL ? 0 : find_parameter(parameters, end, "boundary", value, sizeof value);
    if (found <= 0)
        return error_set(err, ERROR_USAGE,
                         "the Content-Type of a multipart body names no boundary");
    size_t size = strlen(value);
    if (size == 0 || size >= MULTIPART_BOUNDARY_BYTES)
        return error_set(err, ERROR_USAGE,
                         "the multipart boundary has %zu characters, expected 1 to %d", size,
                         MULTIPART_BOUNDARY_BYTES - 1);
    memcpy(out, value, size + 1);
    return ERROR_NONE;
}

/* Content-Disposition: form-data; name="image"; filename="cat.jpg" */
static enum error_code read_disposition(const char *value, const char *end,
                                        struct multipart_part *part, size_t number,
                                        struct error *err)
{
    const char *parameters = memchr(value, ';', (size_t)(end - value));
    const char *kind_end = parameters != NULL ? parameters : end;
    while (kind_end > value && is_blank(kind_end[-1]))
        kind_end--;
    if (kind_end - value != 9 || strncasecmp(value, "form-data", 9) != 0)
        return error_set(err, ERROR_USAGE, "part %zu: its Content-Disposition is not form-data",
                         number);
    int named = 0, filed = 0;
    if (parameters != NULL) {
        named = find_parameter(parameters, end, "name", part->name, sizeof part->name);
        filed = find_parameter(parameters, end, "filename", part->filename, sizeof part->filename);
    }
    if (named < 0 || filed < 0)
        return error_set(err, ERROR_USAGE, "part %zu: malformed Content-Disposition", number);
    if (named == 0)
        return error_set(err, ERROR_USAGE, "part %zu: its Content-Disposition gives no name",
                         number);
    part->has_filename = filed > 0;
    return ERROR_NONE;
}

/* One header line without its CRLF. */
static enum error_code read_header(const char *line, const char *end, struct multipart_part *part,
                                   bool *disposed, size_t number, struct error *err)
{
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (colon == NULL || colon == line)
        return error_set(err, ERROR_USAGE, "part %zu: a header line without a colon", number);
    size_t name = (size_t)(colon - line);
    const char *value = colon + 1;
    while (value < end && is_blank(*value))
        value++;
    if (name == 19 && strncasecmp(line, "Content-Disposition", 19) == 0) {
        if (*disposed)
            return error_set(err, ERROR_USAGE, "part %zu: two Content-Disposition headers", number);
        *disposed = true;
        return read_disposition(value, end, part, number, err);
    }
    if (name == 25 && strncasecmp(line, "Content-Transfer-Encoding", 25) == 0) {
        size_t size = (size_t)(end - value);
        bool plain = (size == 6 && strncasecmp(value, "binary", 6) == 0) ||
                     (size == 4 &&
                      (strncasecmp(value, "8bit", 4) == 0 || strncasecmp(value, "7bit", 4) == 0));
        if (!plain)
            return error_set(err, ERROR_USAGE,
                             "part %zu: Content-Transfer-Encoding '%.*s', expected binary", number,
                             size < 40 ? (int)size : 40, value);
    }
    return ERROR_NONE;
}

/* The headers up to and with the empty line. */
static enum error_code read_headers(struct cursor *in, struct multipart_part *part, size_t number,
                                    struct error *err)
{
    bool disposed = false;
    for (size_t headers = 0;; headers++) {
        size_t left = (size_t)(in->end - in->at);
        size_t window = left < MAX_HEADER_BYTES ? left : MAX_HEADER_BYTES;
        const char *line = (const char *)in->at, *end = memmem(line, window, "\r\n", 2);
        if (end == NULL)
            return error_set(err, ERROR_USAGE, "part %zu: a header line %s", number,
                             left > window ? "is too long" : "is cut off");
        in->at += end + 2 - line;
        if (end == line)
            break;
        if (headers == MAX_HEADERS)
            return error_set(err, ERROR_USAGE, "part %zu: more than %d headers", number,
                             MAX_HEADERS);
        TRY(read_header(line, end, part, &disposed, number, err));
    }
    if (!disposed)
        return error_set(err, ERROR_USAGE, "part %zu has no Content-Disposition", number);
    return ERROR_NONE;
}

/* After a delimiter: *last tells whether it was the closing one. */
static enum error_code end_delimiter(struct cursor *in, bool *last, struct error *err)
{
    if (in->end - in->at >= 2 && memcmp(in->at, "--", 2) == 0) {
        *last = true;
        return ERROR_NONE;
    }
    while (in->at < in->end && is_blank((char)*in->at))
        in->at++;
    if (in->end - in->at < 2 || memcmp(in->at, "\r\n", 2) != 0)
        return error_set(err, ERROR_USAGE, "a multipart boundary is not followed by a line end");
    in->at += 2;
    *last = false;
    return ERROR_NONE;
}

/* Moves behind the first delimiter; text before it is a preamble that nobody reads. */
static enum error_code skip_preamble(struct cursor *in, const char *delimiter, size_t size,
                                     struct error *err)
{
    size_t left = (size_t)(in->end - in->at);
    if (left >= size - 2 && memcmp(in->at, delimiter + 2, size - 2) == 0) {
        in->at += size - 2;
        return ERROR_NONE;
    }
    const uint8_t *found = memmem(in->at, left, delimiter, size);
    if (found == NULL)
        return error_set(err, ERROR_USAGE, "the multipart body does not contain its boundary");
    in->at = found + size;
    return ERROR_NONE;
}

enum error_code multipart_parse(const uint8_t *body, size_t size, const char *boundary,
                                struct multipart_part *parts, size_t max_parts, size_t *count,
                                struct error *err)
{
    char delimiter[MULTIPART_BOUNDARY_BYTES + 4] = "\r\n--";
    strncat(delimiter, boundary, MULTIPART_BOUNDARY_BYTES - 1);
    size_t delimiter_size = strlen(delimiter);
    struct cursor in = {body, body + size};
    bool last = false;
    *count = 0;
    TRY(skip_preamble(&in, delimiter, delimiter_size, err));
    TRY(end_delimiter(&in, &last, err));
    while (!last) {
        if (*count == max_parts)
            return error_set(err, ERROR_TOO_LARGE, "more than %zu parts in one request", max_parts);
        struct multipart_part *part = &parts[*count];
        *part = (struct multipart_part){0};
        TRY(read_headers(&in, part, *count + 1, err));
        /* The headers' last CRLF may be the delimiter's first: an empty part. */
        const uint8_t *from = in.at - 2;
        const uint8_t *end = memmem(from, (size_t)(in.end - from), delimiter, delimiter_size);
        if (end == NULL)
            return error_set(err, ERROR_USAGE,
                             "the multipart body ends within part %zu: no closing boundary",
                             *count + 1);
        part->bytes = in.at;
        part->size = end > in.at ? (size_t)(end - in.at) : 0;
        in.at = end + delimiter_size;
        ++*count;
        TRY(end_delimiter(&in, &last, err));
    }
    return ERROR_NONE;
}
