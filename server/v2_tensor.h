/* v2_tensor.h - the tensor of an inference request -> one network input or encoded image each.
 *
 * On the HTTP thread only the borders between images are found. Turning them into floats is left
 * to the decoder threads, as decoding is: see `prepare` in batch.h. No state.
 */
#ifndef SENETD_V2_TENSOR_H
#define SENETD_V2_TENSOR_H

#include "batch.h"
#include "error.h"
#include "upload.h"
#include "v2_request.h"
#include <stdbool.h>
#include <stddef.h>

/* What all images of a tensor have in common; a batch_image's context. */
struct v2_tensor {
    size_t height, width;
    bool nested; /* text with brackets around each row, plane and image */
    /* For the images of the batch; NULL where they are encoded. */
    enum error_code (*prepare)(const struct batch_image *image, float *input, struct error *err);
};

/* Splits the request's data into out->images, [request->images]; upload_free releases them, also
 * after an error. Errors: ERROR_USAGE (which image, what was expected), ERROR_MEMORY. */
enum error_code v2_tensor_split(const struct v2_request *request, struct v2_tensor *tensor,
                                struct upload *out, struct error *err) MUST_CHECK;

#endif
