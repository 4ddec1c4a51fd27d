/* envelope.h - the JSON form of an upload: finds the base64 strings and file names in it.
 *
 *   {"image":{"b64":"...","filename":"..."}}   or   {"images":[{"b64":"..."},...]}
 *
 * A scanner for exactly this grammar. A general parser builds a value for every bracket that a
 * client sends and copies the strings byte by byte, a second for 15 MB; this one copies nothing
 * and finds the end of a long string with memchr. No state: thread-safe.
 */
#ifndef SENETD_ENVELOPE_H
#define SENETD_ENVELOPE_H

#include "error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct envelope_image {
    const char *b64; /* [b64_size], within the body, as it stands between the quotes */
    size_t b64_size;
    const char *filename; /* [filename_size], within the body, with its quotes; NULL if absent */
    size_t filename_size;
};

/* Fills images[0..*count-1]. Errors: ERROR_USAGE (which byte, what was expected), ERROR_TOO_LARGE
 * (more than max_images). */
enum error_code envelope_parse(const uint8_t *body, size_t size, struct envelope_image *images,
                               size_t max_images, size_t *count, struct error *err) MUST_CHECK;

#endif
