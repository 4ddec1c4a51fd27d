/* kernels_pointwise.h - the operations between convolutions, for inclusion in a backend.
 *
 * Plain loops over planes (see kernels.h) that compile to the including file's instruction set;
 * a backend whose blocks have a fixed width calls them with that constant, and they specialise.
 * The including file defines the types active and linear, LINEAR_TO_FLOAT and LINEAR_FROM_FLOAT,
 * and, where active activations are of another kind, ACTIVE_FROM_FLOAT (of a value in their units).
 */
#include <stddef.h>

#define POINTWISE static inline __attribute__((always_inline))

POINTWISE void max_pool_plane(size_t c, size_t height, size_t width, size_t pad, size_t out_height,
                              size_t out_width, const active *in, active *out)
{
    for (size_t y = 0; y < out_height; y++)
        for (size_t x = 0; x < out_width; x++, out += c) {
            size_t top = y * 2 < pad ? 0 : y * 2 - pad, left = x * 2 < pad ? 0 : x * 2 - pad;
            size_t bottom = y * 2 + 3 - pad, right = x * 2 + 3 - pad;
            bottom = bottom < height ? bottom : height;
            right = right < width ? right : width;
            const active *first = in + (top * width + left) * c;
            for (size_t i = 0; i < c; i++)
                out[i] = first[i];
            for (size_t row = top; row < bottom; row++)
                for (size_t column = left; column < right; column++) {
                    const active *pixel = in + (row * width + column) * c;
                    for (size_t i = 0; i < c; i++)
                        out[i] = pixel[i] > out[i] ? pixel[i] : out[i];
                }
        }
}

/* Sums run over 64 pixels before they are added up, which keeps the rounding error of large
 * images small. */
POINTWISE void average_pool_plane(size_t c, size_t area, const linear *in, float *out)
{
    enum { RUN = 64, WIDTH = 16 };
    for (size_t c0 = 0; c0 < c; c0 += WIDTH) {
        size_t width = c - c0 < WIDTH ? c - c0 : WIDTH;
        float total[WIDTH] = {0};
        for (size_t p0 = 0; p0 < area; p0 += RUN) {
            float sum[WIDTH] = {0};
            size_t end = p0 + RUN < area ? p0 + RUN : area;
            for (size_t p = p0; p < end; p++)
                for (size_t i = 0; i < width; i++)
                    sum[i] += LINEAR_TO_FLOAT(in[p * c + c0 + i]);
            for (size_t i = 0; i < width; i++)
                total[i] += sum[i];
        }
        for (size_t i = 0; i < width; i++)
            out[c0 + i] = total[i] / (float)area;
    }
}

POINTWISE void scale_add_relu_plane(size_t c, size_t area, const linear *u, const float *gate,
                                    const linear *shortcut, linear *y, active *next, float inverse)
{
    for (size_t p = 0; p < area; p++, u += c, shortcut += c, y += c) {
        for (size_t i = 0; i < c; i++) {
            float scaled = gate ? LINEAR_TO_FLOAT(u[i]) * gate[i] : LINEAR_TO_FLOAT(u[i]);
            float value = scaled + LINEAR_TO_FLOAT(shortcut[i]);
            value = value > 0 ? value : 0;
            y[i] = LINEAR_FROM_FLOAT(value);
#ifdef ACTIVE_FROM_FLOAT
            if (next)
                next[p * c + i] = ACTIVE_FROM_FLOAT(value * inverse);
#endif
        }
    }
    (void)next, (void)inverse;
}

/* The three entries of the table. C is the block's width: a constant, or the parameter c. */
#define POINTWISE_FUNCTIONS(C)                                                                     \
    static void max_pool(size_t planes, size_t c, size_t height, size_t width, size_t pad,         \
                         size_t out_height, size_t out_width, const void *in, void *out)           \
    {                                                                                              \
        for (size_t i = 0; i < planes; i++)                                                        \
            max_pool_plane(C, height, width, pad, out_height, out_width,                           \
                           (const active *)in + i * height * width * (C),                          \
                           (active *)out + i * out_height * out_width * (C));                      \
        (void)c;                                                                                   \
    }                                                                                              \
    static void average_pool(size_t planes, size_t c, size_t area, const void *in, float *out)     \
    {                                                                                              \
        for (size_t i = 0; i < planes; i++)                                                        \
            average_pool_plane(C, area, (const linear *)in + i * area * (C), out + i * (C));       \
        (void)c;                                                                                   \
    }                                                                                              \
    static void scale_add_relu(size_t planes, size_t c, size_t area, const void *u,                \
                               const float *gate, const void *shortcut, void *y, void *next,       \
                               float scale)                                                        \
    {                                                                                              \
        for (size_t i = 0; i < planes; i++) {                                                      \
            size_t at = i * area * (C);                                                            \
            const linear *from = (const linear *)u + at, *add = (const linear *)shortcut + at;     \
            linear *to = (linear *)y + at;                                                         \
            active *also = next ? (active *)next + at : NULL;                                      \
            if (gate && also)                                                                      \
                scale_add_relu_plane(C, area, from, gate + i * (C), add, to, also, 1 / scale);     \
            else if (gate)                                                                         \
                scale_add_relu_plane(C, area, from, gate + i * (C), add, to, NULL, 0);             \
            else                                                                                   \
                scale_add_relu_plane(C, area, from, NULL, add, to, also, 1 / scale);               \
        }                                                                                          \
        (void)c;                                                                                   \
    }
