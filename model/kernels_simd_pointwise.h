/* kernels_simd_pointwise.h - the operations between convolutions (see kernels.h) for the SIMD
 * backends, a register's worth of channels at a time; included by a precision's header, which
 * defines
 *   linear_load_block, linear_store_block   a block's linear channels as fp32, in registers whose
 *                        order is that of linear_swap (see block_swap)
 *   active_store_block   active ones, from such registers, of at least 0 in their units
 *   active_lanes         as many active ones as a register holds fp32
 *
 * Loads and stores are written out because the compiler may not reorder plain loops where elements
 * are bytes: those may alias everything.
 */

/* Of two vectors the larger, lane by lane. */
INLINE active_lanes larger(active_lanes a, active_lanes b)
{
    __typeof__(a > b) mask = a > b;
    return (active_lanes)(((__typeof__(mask))a & mask) | ((__typeof__(mask))b & ~mask));
}

INLINE active_lanes active_load(const active *from)
{
    return *(const active_lanes *)(const void *)from;
}

/* The windows of one output pixel: rows top..bottom-1, columns left..right-1. */
INLINE void pool_window(const active *in, size_t width, size_t top, size_t bottom, size_t left,
                        size_t right, active *out)
{
    for (size_t c = 0; c < LANES; c += SIMD_FLOATS) {
        active_lanes most = active_load(in + (top * width + left) * LANES + c);
        for (size_t row = top; row < bottom; row++)
            for (size_t column = left; column < right; column++)
                most = larger(active_load(in + (row * width + column) * LANES + c), most);
        *(active_lanes *)(void *)(out + c) = most;
    }
}

static void max_pool(size_t planes, size_t c, size_t height, size_t width, size_t pad,
                     size_t out_height, size_t out_width, const void *input, void *output)
{
    const active *in = input;
    active *out = output;
    (void)c;
    for (size_t i = 0; i < planes; i++, in += height * width * LANES)
        for (size_t y = 0; y < out_height; y++)
            for (size_t x = 0; x < out_width; x++, out += LANES) {
                size_t top = y * 2 < pad ? 0 : y * 2 - pad, left = x * 2 < pad ? 0 : x * 2 - pad;
                size_t bottom = min_size(y * 2 + 3 - pad, height);
                size_t right = min_size(x * 2 + 3 - pad, width);
                if (bottom - top == 3 && right - left == 3) /* so that it is unrolled */
                    pool_window(in, width, top, top + 3, left, left + 3, out);
                else
                    pool_window(in, width, top, bottom, left, right, out);
            }
}

INLINE void add_block(const linear *in, vec sum[REGISTERS])
{
    vec block[REGISTERS];
    linear_load_block(in, block);
#pragma GCC unroll 4
    for (size_t r = 0; r < REGISTERS; r++)
        sum[r] += block[r];
}

/* Sums run over 64 pixels before they are added up, which keeps the rounding error of large
 * images small; so many at a time that additions overlap. */
static void sum_pixels(size_t planes, size_t c, size_t area, size_t begin, size_t end,
                       const void *input, float *out)
{
    enum { RUN = 64, CHAINS = 4 };
    const linear *in = input;
    (void)c;
    for (size_t i = 0; i < planes; i++, in += area * LANES, out += LANES) {
        vec total[REGISTERS] = {0};
        for (size_t p0 = begin; p0 < end; p0 += RUN) {
            vec sum[CHAINS][REGISTERS] = {0}, rest[REGISTERS] = {0};
            size_t p = p0, stop = min_size(p0 + RUN, end);
            for (; p + CHAINS <= stop; p += CHAINS)
#pragma GCC unroll 4
                for (size_t k = 0; k < CHAINS; k++)
                    add_block(in + (p + k) * LANES, sum[k]);
            for (; p < stop; p++)
                add_block(in + p * LANES, rest);
#pragma GCC unroll 4
            for (size_t r = 0; r < REGISTERS; r++)
                total[r] += (sum[0][r] + sum[1][r]) + (sum[2][r] + sum[3][r]) + rest[r];
        }
        linear_swap(total);
        for (size_t r = 0; r < REGISTERS; r++)
            *(vec *)(out + r * SIMD_FLOATS) = total[r];
    }
}

/* Of one plane; `next` may be NULL. */
INLINE void scale_add_relu_plane(size_t area, const linear *u, const float *gate,
                                 const linear *shortcut, linear *y, active *next, float inverse)
{
    vec gates[REGISTERS];
    for (size_t r = 0; r < REGISTERS; r++) {
        gates[r] = (vec){0} + 1;
        if (gate)
            gates[r] = LOAD(gate + r * SIMD_FLOATS);
    }
    linear_swap(gates);
    for (size_t at = 0; at < area * LANES; at += LANES) {
        vec block[REGISTERS], add[REGISTERS];
        linear_load_block(u + at, block);
        linear_load_block(shortcut + at, add);
        for (size_t r = 0; r < REGISTERS; r++)
            block[r] = positive(block[r] * gates[r] + add[r]);
        linear_store_block(y + at, block);
        if (!next)
            continue;
        for (size_t r = 0; r < REGISTERS; r++)
            block[r] *= inverse;
        active_store_block(next + at, block);
    }
}

static void scale_add_relu(size_t planes, size_t c, size_t area, const void *u, const float *gate,
                           const void *shortcut, void *y, void *next, float scale)
{
    (void)c;
    for (size_t i = 0; i < planes; i++) {
        size_t at = i * area * LANES;
        const float *gates = gate ? gate + i * LANES : NULL;
        const linear *from = (const linear *)u + at, *add = (const linear *)shortcut + at;
        if (next)
            scale_add_relu_plane(area, from, gates, add, (linear *)y + at, (active *)next + at,
                                 1 / scale);
        else
            scale_add_relu_plane(area, from, gates, add, (linear *)y + at, NULL, 0);
    }
}
