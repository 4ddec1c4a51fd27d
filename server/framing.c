/* framing.c - see framing.h. */
#include "framing.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define VERSION_BYTES 8 /* "HTTP/1.1" */
#define LINE_END      2 /* CR LF */

/* The first fault wins. */
static void refuse(struct framing *framing, unsigned status, const char *what)
{
    if (framing->status != 0)
        return;
    framing->status = status;
    error_set(&framing->fault, ERROR_USAGE, "%s", what);
}

static void check_gap(struct framing *framing, uintptr_t next, size_t expected)
{
    if (framing->exact && next != framing->end + expected)
        refuse(framing, 400,
               "the header holds a zero byte, a folded line, a line that ends without CR LF, or "
               "superfluous spaces");
}

static bool is_token(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)text[i]) &&
            (text[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text[i]) == NULL))
            return false;
    return size > 0;
}

/* No control character but, in a field's value, the tab. */
static bool is_visible(const char *text, size_t size, bool blanks)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bool blank = c == ' ' || c == '\t';
        if (blank ? !blanks : c < ' ' || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_name(const char *name, size_t size, const char *known)
{
    return strlen(known) == size && strncasecmp(name, known, size) == 0;
}

/* Of scheme and authority at the beginning of an absolute target; 0 where it is none. False where
 * the authority is empty, or holds what another server may read otherwise: a user, escapes. */
static bool measure_origin(const char *uri, size_t *bytes)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-._~!$&'()*+,;=:[]";
    size_t scheme = strncasecmp(uri, "http://", 7) == 0    ? 7
                    : strncasecmp(uri, "https://", 8) == 0 ? 8
                                                           : 0;
    *bytes = 0;
    if (scheme == 0)
        return true;
    size_t authority = strspn(uri + scheme, letters);
    if (authority == 0 || strchr("/?", uri[scheme + authority]) == NULL) /* or the end */
        return false;
    *bytes = scheme + authority;
    return true;
}

/* A zero byte that is escaped would end the path for the library, which hands out C strings. */
struct framing_target framing_target(const char *uri)
{
    size_t size = strlen(uri);
    struct framing_target target = {.begin = (uintptr_t)uri, .size = size};
    target.visible = is_visible(uri, size, false) && strstr(uri, "%00") == NULL;
    target.proper = measure_origin(uri, &target.origin_bytes);
    return target;
}

void framing_begin(struct framing *framing, bool exact, const char *method,
                   const struct framing_target *target, const char *version)
{
    *framing = (struct framing){.exact = exact, .begin = (uintptr_t)method};
    if (strcmp(version, "HTTP/1.0") == 0)
        framing->old = true;
    else if (strcmp(version, "HTTP/1.1") != 0)
        refuse(framing, 505, "expected HTTP/1.1 or HTTP/1.0");
    if (!is_token(method, strlen(method)))
        refuse(framing, 400, "the method is not a token");
    if (!target->visible)
        refuse(framing, 400,
               "the request target holds a space, a control character or a zero byte (%00)");
    if (!target->proper)
        refuse(framing, 400, "the request target's host is not a plain host with or without port");
    framing->end = framing->begin + strlen(method);
    check_gap(framing, target->begin, 1);
    framing->end = target->begin + target->size;
    check_gap(framing, (uintptr_t)version, 1);
    framing->end = (uintptr_t)version + VERSION_BYTES;
}

static void read_length(struct framing *framing, const char *value, size_t size)
{
    framing->length = 0;
    for (size_t i = 0; i < size; i++) {
        if (!isdigit((unsigned char)value[i])) {
            refuse(framing, 400, "Content-Length is not one decimal number");
            return;
        }
        uint64_t digit = (uint64_t)(value[i] - '0');
        if (framing->length > (UINT64_MAX - digit) / 10)
            framing->length = UINT64_MAX; /* and stays there: no digit can be added to it */
        else
            framing->length = framing->length * 10 + digit;
    }
    if (size == 0)
        refuse(framing, 400, "Content-Length is empty");
}

void framing_header(struct framing *framing, const char *name, size_t name_size, const char *value,
                    size_t value_size)
{
    if (value == NULL) {
        value = "";
        framing->exact = false; /* not of the library's making */
    }
    check_gap(framing, (uintptr_t)name, LINE_END);
    framing->end = (uintptr_t)value + value_size;
    if (!is_token(name, name_size))
        refuse(framing, 400, "a header's name is not a token directly before the colon");
    if (!is_visible(value, value_size, true))
        refuse(framing, 400, "a header's value holds a control character");
    if (is_name(name, name_size, "Content-Length")) {
        framing->lengths++;
        framing->has_length = true;
        read_length(framing, value, value_size);
    } else if (is_name(name, name_size, "Transfer-Encoding")) {
        framing->encodings++;
        framing->chunked = is_name(value, value_size, "chunked");
    } else if (is_name(name, name_size, "Host")) {
        framing->hosts++;
    } else if (is_name(name, name_size, "Expect") && !framing->old) {
        if (is_name(value, value_size, "100-continue"))
            framing->expects_continue = true;
        else
            framing->expects_other = true;
    }
}

unsigned framing_end(struct framing *framing, size_t header_bytes, struct error *err)
{
    check_gap(framing, framing->begin + header_bytes, 2 * LINE_END);
    if (framing->lengths > 1)
        refuse(framing, 400, "Content-Length is given twice");
    if (framing->encodings > 0 && framing->lengths > 0)
        refuse(framing, 400, "both Transfer-Encoding and Content-Length are given");
    if (framing->encodings > 1)
        refuse(framing, 400, "Transfer-Encoding is given twice");
    if (framing->encodings > 0 && framing->old)
        refuse(framing, 400, "HTTP/1.0 has no Transfer-Encoding");
    if (framing->encodings > 0 && !framing->chunked)
        refuse(framing, 501, "the only Transfer-Encoding known here is chunked");
    if (framing->hosts > 1 || (framing->hosts == 0 && !framing->old))
        refuse(framing, 400, "expected one Host header");
    if (framing->expects_other)
        refuse(framing, 417, "the only expectation known here is 100-continue");
    if (framing->status != 0)
        error_set(err, framing->fault.code, "%s", framing->fault.message);
    return framing->status;
}
