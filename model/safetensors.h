/* safetensors.h - named tensors of a safetensors file (Hugging Face).
 *
 * Format: 8 bytes little-endian header length N, N bytes of JSON
 * {"name":{"dtype","shape","data_offsets":[begin,end]}, "__metadata__":{...}}, then the data, which
 * the tensors cover without overlap or hole. Every size is checked before arithmetic on it.
 *
 * A struct safetensors is read-only after opening and may be shared by threads. Tensor names,
 * shapes and data live until safetensors_close.
 */
#ifndef SENETD_SAFETENSORS_H
#define SENETD_SAFETENSORS_H

#include "error.h"
#include <stddef.h>
#include <stdint.h>

#define TENSOR_MAX_RANK 8

struct tensor {
    const char *name;
    char dtype[12];                /* as in the file: "F32", "F16", "BF16", "I64", "U8", ... */
    size_t rank;                   /* 0 for a scalar */
    size_t shape[TENSOR_MAX_RANK]; /* [rank], outermost first */
    size_t count;                  /* product of the shape: elements */
    const uint8_t *data;           /* count elements, little-endian, packed, unaligned */
    size_t bytes;
};

struct safetensors;

/* Errors: ERROR_IO, ERROR_WEIGHTS, ERROR_MEMORY; the message names the file, tensor and fault. */
enum error_code safetensors_open(const char *path, struct safetensors **out,
                                 struct error *err) MUST_CHECK;

/* The same on bytes in memory, which stay the caller's and must outlive *out; name is used in
 * messages. */
enum error_code safetensors_parse(const char *name, const uint8_t *bytes, size_t size,
                                  struct safetensors **out, struct error *err) MUST_CHECK;

/* Accepts NULL. */
void safetensors_close(struct safetensors *file);

/* The whole file's bytes, for hashing. */
const uint8_t *safetensors_bytes(const struct safetensors *file, size_t *size);

size_t safetensors_count(const struct safetensors *file);

/* Tensors in the order of their names (strcmp). index < safetensors_count. */
const struct tensor *safetensors_at(const struct safetensors *file, size_t index);

/* NULL where there is no tensor of that name. */
const struct tensor *safetensors_find(const struct safetensors *file, const char *name);

/* A text of the file's metadata, or NULL where it has none of that key. */
const char *safetensors_note(const struct safetensors *file, const char *key);

/* Widens an F32, F16 or BF16 tensor into out[count]. Errors: ERROR_WEIGHTS where the dtype is
 * another one or a value is NaN or infinite (says which element). */
enum error_code tensor_to_float(const struct tensor *tensor, float *out,
                                struct error *err) MUST_CHECK;

#endif
