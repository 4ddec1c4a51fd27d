/* upload.h - a request's body -> the images in it, whichever of the three forms it has.
 *
 *   multipart/form-data  each part with a file name, or named "image" or "images", is an image
 *   application/json     {"image":{"b64":"...","filename":"..."}} or {"images":[{...},...]}
 *   anything else        the body is one image; curl --data-binary and -T send that
 *
 * What an image is, is told by its content later on, never by these headers. No state.
 */
#ifndef SENETD_UPLOAD_H
#define SENETD_UPLOAD_H

#include "envelope.h"
#include "error.h"
#include <stddef.h>
#include <stdint.h>

struct upload_image {
    const uint8_t *bytes; /* [size], within the body or owned */
    size_t size;
    uint8_t *owned; /* decoded base64, or NULL */
    char *filename; /* owned, may not be UTF-8; NULL where the client gave none */
};

struct upload {
    struct upload_image *images; /* [count], owned */
    size_t count;
};

/* content_type may be NULL. The body must outlive *out, which upload_free releases, also after an
 * error. Errors: ERROR_USAGE, ERROR_TOO_LARGE (over max_images), ERROR_MEMORY. */
enum error_code upload_parse(const char *content_type, const uint8_t *body, size_t size,
                             size_t max_images, struct upload *out, struct error *err) MUST_CHECK;

/* The images of base64 strings that a JSON body holds, count of them, into an empty *out, as
 * above. Errors: ERROR_USAGE (which one), ERROR_MEMORY. */
enum error_code upload_take_base64(const struct envelope_image *found, size_t count,
                                   struct upload *out, struct error *err) MUST_CHECK;

/* Accepts a zeroed struct. */
void upload_free(struct upload *upload);

#endif
