/* tensor_file.h - builds safetensors files for tests: right ones, and ones with a single fault. */
#ifndef SENETD_TESTS_TENSOR_FILE_H
#define SENETD_TESTS_TENSOR_FILE_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of a file with this JSON header followed by data_bytes bytes, each of value 0x3c.
 * The caller frees them. */
uint8_t *tensor_file_raw(const char *header, size_t data_bytes, size_t *size);

/* One change made while a checkpoint is copied. */
struct edit {
    const char *drop;      /* this tensor is left out */
    const char *rename;    /* this tensor ... */
    const char *rename_to; /* ... gets this name */
    const char *add;       /* an F32 tensor of shape [2] is added under this name */
    const char *flatten;   /* this tensor's shape becomes [count] */
    const char *dtype_of;  /* this tensor's dtype (of the same size) ... */
    const char *dtype;     /* ... becomes this */
    const char *poke;      /* in this F32 tensor the element ... */
    size_t element;        /* ... of this index ... */
    float value;           /* ... gets this value */
};

/* Copies the checkpoint at `from` to `to` with one edit (NULL for none). Asserts on failure. */
void tensor_file_copy(const char *from, const char *to, const struct edit *edit);

#endif
