/* v2_scan.h - parts a JSON inference request into a small document and the one large array.
 *
 * The member "data" of an input may hold millions of numbers. A general parser would build a value
 * for each, on the one HTTP thread. This scanner copies the document without that array, so that
 * what remains can be parsed by jansson, and tells where the array lies. It looks only at quotes,
 * brackets and commas; whether the JSON is right is for those who read the two parts. No state.
 */
#ifndef SENETD_V2_SCAN_H
#define SENETD_V2_SCAN_H

#include "error.h"
#include "writer.h"
#include <stddef.h>

#define V2_SCAN_MOST_BYTES ((size_t)64 << 10) /* of the document without its arrays */

struct v2_scan {
    struct writer rest; /* the document, where each data array became "true"; owned */
    const char *data;   /* [data_size], the last such array with its brackets, within the text */
    size_t data_size;
    size_t commas; /* in it, but not in strings */
    size_t arrays; /* how many there were */
};

/* The text must outlive *out, which v2_scan_free releases, also after an error.
 * Errors: ERROR_USAGE, ERROR_TOO_LARGE (over V2_SCAN_MOST_BYTES), ERROR_MEMORY. */
enum error_code v2_scan_text(const char *text, size_t size, struct v2_scan *out,
                             struct error *err) MUST_CHECK;

/* Accepts a zeroed struct. */
void v2_scan_free(struct v2_scan *scan);

/* The end of the string whose opening quote is at `at`: behind its closing quote; NULL where it
 * does not end before `end`. */
const char *v2_scan_string(const char *at, const char *end);

#endif
