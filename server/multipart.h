/* multipart.h - splits a multipart/form-data body (RFC 7578, RFC 2046 section 5.1).
 *
 * Works on the whole body in memory and copies no content: a part points into the body. Strict,
 * and says what is wrong: a body without its closing boundary was cut off, not small. Bounded in
 * parts, headers and their length. No state: thread-safe.
 */
#ifndef SENETD_MULTIPART_H
#define SENETD_MULTIPART_H

#include "error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MULTIPART_BOUNDARY_BYTES 71 /* RFC 2046: up to 70 characters, and the terminator */

struct multipart_part {
    const uint8_t *bytes; /* [size], within the body */
    size_t size;
    char name[128];     /* the form field's; longer names are cut */
    char filename[256]; /* as the client gave it, not checked to be UTF-8; longer names are cut */
    bool has_filename;
};

/* The boundary of a Content-Type value such as `multipart/form-data; boundary="x y"`.
 * Errors: ERROR_USAGE. */
enum error_code multipart_boundary(const char *content_type, char out[MULTIPART_BOUNDARY_BYTES],
                                   struct error *err) MUST_CHECK;

/* Fills parts[0..*count-1]. Errors: ERROR_USAGE (malformed), ERROR_TOO_LARGE (over max_parts). */
enum error_code multipart_parse(const uint8_t *body, size_t size, const char *boundary,
                                struct multipart_part *parts, size_t max_parts, size_t *count,
                                struct error *err) MUST_CHECK;

#endif
