/* arrays.h - results as arrays that numpy reads in one call: npy, npz and safetensors.
 *
 * All are little-endian floats of single precision. An npz is a zip of npy files, stored: gates do
 * not shrink by compression. No state.
 */
#ifndef SENETD_ARRAYS_H
#define SENETD_ARRAYS_H

#include "error.h"
#include "reply.h"
#include "senet.h"
#include "tensors.h"
#include "writer.h"
#include <stddef.h>

enum arrays_format {
    ARRAYS_NONE, /* JSON */
    ARRAYS_NPY,
    ARRAYS_NPZ,
    ARRAYS_SAFETENSORS,
};

/* The format of that name. Errors: ERROR_USAGE. */
enum error_code arrays_find(const char *name, enum arrays_format *out,
                            struct error *err) MUST_CHECK;

/* The media type: a literal. */
const char *arrays_type(enum arrays_format format);

/* F32 items one after another; ARRAYS_NPY takes exactly one. */
void arrays_write(struct writer *w, enum arrays_format format, const struct tensors_item *items,
                  size_t count);

/* The results of `images` images: excitations[images] point to vectors as senet_run fills them,
 * logits[images] too, or logits is NULL. In npz and safetensors "logits" is [images][classes] and
 * each block of the selection an array of its name, [images][channels], where gates are told
 * relative to a reference also NAME.z. An npy is [images][channels of all these blocks]; without
 * excitations the logits. Errors: ERROR_USAGE (what the format cannot hold), ERROR_MEMORY. */
enum error_code arrays_results(struct writer *w, enum arrays_format format,
                               const struct senet *senet, const struct selection *selection,
                               size_t images, const float *const *excitations,
                               const float *const *logits, struct error *err) MUST_CHECK;

#endif
