/* kernels_simd_pointwise.h - the operations between convolutions (see kernels.h) for the SIMD
 * backends, a register's worth of channels at a time; included by a precision's header, which
 * defines
 *   active_lanes         as many active channels as a register holds fp32
 *   active_sum           like linear_sum below, of active channels, if those are APART
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

INLINE void add_block(const linear *from, vec sum[REGISTERS])
{
    vec block[REGISTERS];
    linear_load_block(from, block);
#pragma GCC unroll 4
    for (size_t r = 0; r < REGISTERS; r++)
        sum[r] += block[r];
}

/* The sums of some pixels' blocks, so many at a time that additions overlap. */
INLINE void linear_sum(const linear *from, size_t pixels, vec out[REGISTERS])
{
    enum { CHAINS = 4 };
    vec sum[CHAINS][REGISTERS] = {0}, rest[REGISTERS] = {0};
    size_t p = 0;
    for (; p + CHAINS <= pixels; p += CHAINS)
#pragma GCC unroll 4
        for (size_t k = 0; k < CHAINS; k++)
            add_block(from + (p + k) * LANES, sum[k]);
    for (; p < pixels; p++)
        add_block(from + p * LANES, rest);
#pragma GCC unroll 4
    for (size_t r = 0; r < REGISTERS; r++)
        out[r] = (sum[0][r] + sum[1][r]) + (sum[2][r] + sum[3][r]) + rest[r];
    linear_swap(out);
}

/* Sums run over 64 pixels before they are added up, which keeps the rounding error of large
 * images small. */
static void sum_pixels(bool is_active, size_t planes, size_t c, size_t area, size_t begin,
                       size_t end, const void *in, float *out)
{
    enum { RUN = 64 };
    (void)c;
    for (size_t i = 0; i < planes; i++, out += LANES) {
        vec total[REGISTERS] = {0}, sum[REGISTERS];
        for (size_t p = begin; p < end; p += RUN) {
            size_t at = (i * area + p) * LANES, count = min_size(RUN, end - p);
            if (APART && is_active)
                active_sum((const active *)in + at, count, sum);
            else
                linear_sum((const linear *)in + at, count, sum);
            for (size_t r = 0; r < REGISTERS; r++)
                total[r] += sum[r];
        }
        for (size_t r = 0; r < REGISTERS; r++)
            *(vec *)(out + r * SIMD_FLOATS) = total[r];
    }
}
