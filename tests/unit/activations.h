/* activations.h - activations of every precision and backend, to and from fp32, for tests of the
 * kernels. Memory that is handed out is the caller's to free. */
#ifndef SENETD_TESTS_ACTIVATIONS_H
#define SENETD_TESTS_ACTIVATIONS_H

#include "kernels.h"
#include <stdint.h>

/* Values in [-1, 1), always the same for a seed. */
float *activations_filled(size_t count, uint32_t seed);

float activations_bf16_value(uint16_t bits);
uint16_t activations_bf16_bits(float value);

/* An active element of int8, which some backends keep in 16 bits. */
unsigned activations_quantised(const struct kernels *kernels, const void *from, size_t at);

/* An element of active (or else linear) activations. */
float activations_get(const struct kernels *kernels, bool active, const void *from, size_t at,
                      float scale);
void activations_put(const struct kernels *kernels, bool active, void *to, size_t at, float value,
                     float scale);
size_t activations_bytes(const struct kernels *kernels, bool active);

/* Between [channels][area] and the backend's [blocks][area][c]; the lanes of padding are zero. */
void activations_to_blocks(const struct kernels *kernels, bool active, float scale,
                           const float *planar, size_t channels, size_t area, void *blocked);
void activations_from_blocks(const struct kernels *kernels, bool active, float scale,
                             const void *blocked, size_t channels, size_t area, float *planar);

/* Memory with something in it, so that what a kernel leaves unwritten shows. */
void *activations_dirty(size_t bytes);

#endif
