/* activations.c - see activations.h. */
#include "activations.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Values in [-1, 1) from a fixed linear congruential sequence. */
static void fill(float *values, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525 + 1013904223;
        values[i] = (float)(int32_t)seed * 0x1p-31F;
    }
}

float *activations_filled(size_t count, uint32_t seed)
{
    float *values = malloc(count * sizeof *values + 1);
    assert_non_null(values);
    fill(values, count, seed);
    return values;
}

float activations_bf16_value(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

uint16_t activations_bf16_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

unsigned activations_quantised(const struct kernels *kernels, const void *from, size_t at)
{
    return kernels->active_bytes == 1 ? ((const uint8_t *)from)[at] : ((const uint16_t *)from)[at];
}

float activations_get(const struct kernels *kernels, bool active, const void *from, size_t at,
                      float scale)
{
    if (kernels->precision == PRECISION_FP32)
        return ((const float *)from)[at];
    if (kernels->precision == PRECISION_INT8 && active)
        return (float)activations_quantised(kernels, from, at) * scale;
    return activations_bf16_value(((const uint16_t *)from)[at]);
}

void activations_put(const struct kernels *kernels, bool active, void *to, size_t at, float value,
                     float scale)
{
    if (kernels->precision == PRECISION_FP32)
        ((float *)to)[at] = value;
    else if (kernels->precision == PRECISION_INT8 && active && kernels->active_bytes == 1)
        ((uint8_t *)to)[at] = (uint8_t)lrintf(fminf(fmaxf(value / scale, 0), 255));
    else if (kernels->precision == PRECISION_INT8 && active)
        ((uint16_t *)to)[at] = (uint16_t)lrintf(fminf(fmaxf(value / scale, 0), 255));
    else
        ((uint16_t *)to)[at] = activations_bf16_bits(value);
}

size_t activations_bytes(const struct kernels *kernels, bool active)
{
    return active ? kernels->active_bytes : kernels->linear_bytes;
}

void activations_to_blocks(const struct kernels *kernels, bool active, float scale,
                           const float *planar, size_t channels, size_t area, void *blocked)
{
    size_t c = kernels_block(kernels, channels);
    memset(blocked, 0,
           kernels_padded(kernels, channels) * area * activations_bytes(kernels, active));
    for (size_t i = 0; i < channels; i++)
        for (size_t p = 0; p < area; p++)
            activations_put(kernels, active, blocked, (i / c * area + p) * c + i % c,
                            planar[i * area + p], scale);
}

void activations_from_blocks(const struct kernels *kernels, bool active, float scale,
                             const void *blocked, size_t channels, size_t area, float *planar)
{
    size_t c = kernels_block(kernels, channels);
    for (size_t i = 0; i < channels; i++)
        for (size_t p = 0; p < area; p++)
            planar[i * area + p] =
                activations_get(kernels, active, blocked, (i / c * area + p) * c + i % c, scale);
}

void *activations_dirty(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 64) / 64 * 64);
    assert_non_null(memory);
    memset(memory, 0x5a, bytes);
    return memory;
}
