/* tensors.h - named arrays of numbers -> a safetensors file, or its head.
 *
 * A file is the head followed by the arrays' bytes in the same order, little-endian, without gaps.
 * The reader's counterpart is model/safetensors.h, and the format is described there. No state.
 */
#ifndef SENETD_TENSORS_H
#define SENETD_TENSORS_H

#include "error.h"
#include <stddef.h>
#include <stdint.h>

struct tensors_item {
    const char *name;
    const char *dtype; /* "F32", "BF16", "U8": letters, and the bits of an element */
    size_t rank;       /* 0..4 */
    size_t shape[4];   /* [rank], outermost first */
    const void *data;  /* [product of the shape], packed */
};

/* A pair of the file's metadata. */
struct tensors_note {
    const char *key, *value;
};

/* Bytes of the item's data. */
size_t tensors_bytes(const struct tensors_item *item);

/* Length field and header, padded so that the data begins at a multiple of 8; the caller frees
 * *out. Errors: ERROR_MEMORY. */
enum error_code tensors_head(const struct tensors_item *items, size_t count,
                             const struct tensors_note *notes, size_t note_count, char **out,
                             size_t *size, struct error *err) MUST_CHECK;

/* Writes the whole file, beside the path at first, so that the path has the old file or the new
 * one. Errors: ERROR_MEMORY, ERROR_IO (names the path). */
enum error_code tensors_write(const char *path, const struct tensors_item *items, size_t count,
                              const struct tensors_note *notes, size_t note_count,
                              struct error *err) MUST_CHECK;

/* IEEE half precision of a value within 0..65504, rounded to nearest even. */
uint16_t tensors_half(float value);

#endif
