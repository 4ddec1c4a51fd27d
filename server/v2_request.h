/* v2_request.h - the body of an inference request -> what is asked for, and where its tensor lies.
 *
 * The document is parsed by jansson but for the array of data, which stays text (v2_scan.h) until
 * a decoder reads it. Sizes are checked against the model and the bytes at hand before anything is
 * computed from them. No state.
 */
#ifndef SENETD_V2_REQUEST_H
#define SENETD_V2_REQUEST_H

#include "error.h"
#include "v2_model.h"
#include "v2_scan.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum v2_form {
    V2_FORM_FLOATS,  /* [images][3][height][width], float, little endian */
    V2_FORM_NUMBERS, /* the same as text: a JSON array, flat or nested */
    V2_FORM_BYTES,   /* encoded images, each behind its length, 4 bytes little endian */
    V2_FORM_STRINGS, /* encoded images as a JSON array of base64 strings */
    V2_FORM_IMAGE,   /* one encoded image as it is */
};

struct v2_wanted {
    struct v2_output output;
    bool binary;
    size_t classification; /* the largest so many as "value:index:label"; 0: all as numbers */
};

struct v2_request {
    struct v2_model model;
    const char *id;      /* to be echoed, or NULL; within root */
    uint64_t priority;   /* 1 high, 2 normal, from 3 low; 0 where not given */
    uint64_t timeout_us; /* 0: none */
    size_t images;       /* at least 1 */
    enum v2_form form;
    const uint8_t *data; /* [size], of that form, within the body */
    size_t size;
    size_t commas;            /* of V2_FORM_NUMBERS: those in the text */
    struct v2_wanted *wanted; /* [wanted_count], owned */
    size_t wanted_count;
    const json_t *root; /* NULL for a raw request */
    void *memory;       /* of root; owned */
};

/* json_size is the value of Inference-Header-Content-Length: the JSON's part of the body, behind
 * which the binary tensor lies; 0 for a raw request, whose body is the tensor alone; NULL where
 * the client sent no such header and the body is JSON. The body must outlive *out, which
 * v2_request_free releases, also after an error. Errors: ERROR_USAGE, ERROR_TOO_LARGE,
 * ERROR_MEMORY. */
enum error_code v2_request_parse(const uint8_t *body, size_t size, const char *json_size,
                                 const struct v2_model *model, size_t max_images,
                                 struct v2_request *out, struct error *err) MUST_CHECK;

/* Accepts a zeroed struct. */
void v2_request_free(struct v2_request *request);

#endif
