/* kernels_winograd.h - Winograd's minimal filtering for 3x3 convolutions in the SIMD backends.
 *
 * Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308,
 * section 4. An input patch is transformed (B), multiplied by the transformed weights (G, at load),
 * and transformed back (A) to an output of WINOGRAD_STEP pixels a side.
 *
 * 4, for floats: F(4x4, 3x3), points 0, 1, -1, 2, -2, infinity. A patch is 6x6, and takes 36
 * products a channel pair instead of 144.
 *
 * 2, for integers: F(2x2, 3x3), points 0, 1, -1, infinity. A patch is 4x4, and takes 16 products
 * instead of 36. The transforms only add, and halve the weights twice: with those taken fourfold
 * all of it is exact in 16 bits (at most 4 * 255 and 9 * 127), the sums are so modulo 2^32, and a
 * quarter of them is the result.
 *
 * Summed over channels the products are independent matrix multiplications, which run on the
 * register tiles of 1x1 convolutions with patches for pixels.
 *
 * Included after kernels_simd.h by a precision's header, which defines WINOGRAD_STEP and
 *   patch_lanes       a register of active channels, to be added and subtracted
 *   winograd_weight   a transformed weight as it is packed
 *   winograd_end      like sums_end, of the sums that the transform back gives
 *
 * Rows of patches are taken in chunks, so that what lies between the three steps stays in the
 * cache:
 *   v         [points][in blocks][patches][words]: transformed input
 *   m         [points][out blocks][patches][16]: products
 *   weights   [points][out blocks][in blocks][words][16], after the head
 */

#define STEP   WINOGRAD_STEP
#define PATCH  (STEP + 2)      /* input pixels that a patch reads along a side */
#define POINTS (PATCH * PATCH) /* of a transformed patch */

/* Deeper layers see few pixels, where patches overlap the edge and larger weights are all there is
 * to read: there the direct form is faster. */
#define WINOGRAD_MOST_CHANNELS (STEP == 4 ? 256 : 512)

/* Bytes of v and m of a chunk that together still fit a core's second-level cache. */
#define WINOGRAD_CHUNK_BYTES ((size_t)1280 << 10)

#define PATCH_LANES (sizeof(patch_lanes) / sizeof(active))
_Static_assert(PATCH_LANES <= LANES, "a register of patch_lanes lies within a block");

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static bool is_winograd(const struct conv *conv)
{
    return conv->kernel == 3 && conv->stride == 1 && conv->pad == 1 && conv->groups == 1 &&
           !conv->planar_in && conv->in <= WINOGRAD_MOST_CHANNELS &&
           conv->out <= WINOGRAD_MOST_CHANNELS;
}

/* Words of the weights of one point of one output block. */
static size_t winograd_panel(const struct conv *conv)
{
    return blocks_of(conv->in) * WORDS * LANES;
}

static size_t winograd_packed_bytes(const struct conv *conv)
{
    return (head_floats(conv) + POINTS * blocks_of(conv->out) * winograd_panel(conv)) *
           sizeof(word);
}

/* u = G g G^T. */
static void transform_weights(const double g[9], double u[POINTS])
{
#if WINOGRAD_STEP == 4
    static const double G[PATCH][3] = {{1.0 / 4, 0, 0},
                                       {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                       {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                       {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                       {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                       {0, 0, 1}};
#else
    static const double G[PATCH][3] = {
        {1, 0, 0}, {1.0 / 2, 1.0 / 2, 1.0 / 2}, {1.0 / 2, -1.0 / 2, 1.0 / 2}, {0, 0, 1}};
#endif
    double half[PATCH][3];
    for (size_t i = 0; i < PATCH; i++)
        for (size_t x = 0; x < 3; x++)
            half[i][x] = G[i][0] * g[x] + G[i][1] * g[3 + x] + G[i][2] * g[6 + x];
    for (size_t i = 0; i < PATCH; i++)
        for (size_t j = 0; j < PATCH; j++)
            u[i * PATCH + j] = half[i][0] * G[j][0] + half[i][1] * G[j][1] + half[i][2] * G[j][2];
}

static void winograd_pack(const struct conv *conv, const float *source, const float *bias,
                          void *packed)
{
    weight *weights = (weight *)((word *)packed + head_floats(conv));
    pack_head(conv, source, bias, packed);
    size_t panel = winograd_panel(conv) * GROUP, point = blocks_of(conv->out) * panel;
    for (size_t o = 0; o < conv->out; o++)
        for (size_t i = 0; i < conv->in; i++) {
            double g[9], u[POINTS];
            for (size_t t = 0; t < 9; t++)
                g[t] = (double)pack_weight(conv, packed, o, *source++);
            transform_weights(g, u);
            weight *out =
                weights + o / LANES * panel + (i / GROUP * LANES + o % LANES) * GROUP + i % GROUP;
            for (size_t p = 0; p < POINTS; p++)
                out[p * point] = winograd_weight(u[p]);
        }
}

/* ---- a batch ------------------------------------------------------------------------------- */

struct winograd {
    const struct conv *conv;
    const active *in;     /* [images][in blocks][height][width][16] */
    unsigned char *out;   /* [images][out blocks][height][width][16], of out_bytes a pixel */
    size_t height, width; /* of input and output alike */
    size_t across, down;  /* patches that cover an image */
    size_t first, rows;   /* rows of patches in the present chunk, counted over all images */
    size_t in_blocks, out_blocks;
    size_t wide; /* output blocks in a register tile */
    active *v;
    sums *m;
};

static size_t patches_along(size_t side)
{
    return divide_up(side, STEP);
}

/* Bytes of v and of m for so many patches. */
static size_t v_bytes(const struct conv *conv, size_t patches)
{
    return POINTS * blocks_of(conv->in) * patches * WORDS * sizeof(word);
}

static size_t m_bytes(const struct conv *conv, size_t patches)
{
    return POINTS * blocks_of(conv->out) * patches * REGISTERS * sizeof(sums);
}

/* Rows of patches, of all images together, that a chunk takes. */
static size_t chunk_rows(const struct conv *conv, size_t batch, size_t height, size_t width)
{
    size_t across = patches_along(width), row_bytes = v_bytes(conv, across) + m_bytes(conv, across);
    size_t rows = WINOGRAD_CHUNK_BYTES / row_bytes, all = batch * patches_along(height);
    return rows == 0 ? 1 : divide_up(all, divide_up(all, rows)); /* of nearly equal size */
}

static size_t winograd_scratch(const struct conv *conv, size_t batch, size_t height, size_t width)
{
    /* Of fewer images a chunk may take more rows. */
    size_t most = 0;
    for (size_t n = 1; n <= batch; n++)
        most = max_size(most, chunk_rows(conv, n, height, width));
    size_t patches = most * patches_along(width);
    return v_bytes(conv, patches) + m_bytes(conv, patches);
}

/* B^T applied to a column or row of a patch, in place. */
INLINE void transform_input(patch_lanes d[PATCH])
{
#if WINOGRAD_STEP == 4
    patch_lanes d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4];
    patch_lanes even = d4 - 4 * d2, odd = d3 - 4 * d1, even2 = d4 - d2, odd2 = 2 * (d3 - d1);
    d[0] = 4 * d[0] - 5 * d2 + d4;
    d[1] = even + odd;
    d[2] = even - odd;
    d[3] = even2 + odd2;
    d[4] = even2 - odd2;
    d[5] = 4 * d1 - 5 * d3 + d[5];
#else
    patch_lanes d1 = d[1], d2 = d[2];
    d[0] = d[0] - d2;
    d[1] = d1 + d2;
    d[2] = d2 - d1;
    d[3] = d1 - d[3];
#endif
}

/* A^T applied to the products of a column or row, in place: the first STEP are the result. */
INLINE void transform_output(sums m[PATCH])
{
#if WINOGRAD_STEP == 4
    sums sum = m[1] + m[2], difference = m[1] - m[2];
    sums sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    m[0] = m[0] + sum + sum2;
    m[1] = difference + 2 * difference2;
    m[2] = sum + 4 * sum2;
    m[3] = difference + 8 * difference2 + m[5];
#else
    m[0] = m[0] + m[1] + m[2];
    m[1] = m[1] - m[2] - m[3];
#endif
}

/* One register's worth of channels of a patch, whose rows are `pitch` elements apart; v's points
 * are `apart` elements apart. */
static void transform_patch(const active *in, size_t pitch, active *v, size_t apart)
{
    patch_lanes half[PATCH][PATCH];
#pragma GCC unroll 6
    for (size_t j = 0; j < PATCH; j++) {
        patch_lanes d[PATCH];
#pragma GCC unroll 6
        for (size_t i = 0; i < PATCH; i++)
            d[i] = *(const patch_lanes *)(const void *)(in + i * pitch + j * LANES);
        transform_input(d);
#pragma GCC unroll 6
        for (size_t i = 0; i < PATCH; i++)
            half[i][j] = d[i];
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < PATCH; i++) {
        patch_lanes d[PATCH];
#pragma GCC unroll 6
        for (size_t j = 0; j < PATCH; j++)
            d[j] = half[i][j];
        transform_input(d);
#pragma GCC unroll 6
        for (size_t j = 0; j < PATCH; j++)
            *(patch_lanes *)(void *)(v + (i * PATCH + j) * apart) = d[j];
    }
}

/* Copies a block of a patch that overhangs the image, whose pixel (0, 0) lies at row y - 1, column
 * x - 1: what lies outside is zero. */
static void copy_patch(const struct winograd *w, const active *in, size_t y, size_t x,
                       active patch[POINTS * LANES])
{
    for (size_t i = 0; i < PATCH; i++)
        for (size_t j = 0; j < PATCH; j++, patch += LANES) {
            size_t row = y + i - 1, column = x + j - 1; /* unsigned: -1 is far outside */
            if (row < w->height && column < w->width)
                memcpy(patch, in + (row * w->width + column) * LANES, LANES * sizeof *patch);
            else
                memset(patch, 0, LANES * sizeof *patch);
        }
}

/* Item: an input block and a row of patches. */
static void transform_input_row(void *context, size_t item)
{
    const struct winograd *w = context;
    size_t block = item / w->rows, row = item % w->rows, patches = w->rows * w->across;
    size_t image = (w->first + row) / w->down, y = (w->first + row) % w->down * STEP;
    size_t apart = w->in_blocks * patches * LANES;
    const active *in = w->in + (image * w->in_blocks + block) * w->height * w->width * LANES;
    for (size_t i = 0; i < w->across; i++) {
        active *v = w->v + (block * patches + row * w->across + i) * LANES;
        active copy[POINTS * LANES];
        const active *patch = copy;
        size_t x = i * STEP, pitch = PATCH * LANES;
        /* A patch begins a pixel before its output. */
        if (y >= 1 && x >= 1 && y - 1 + PATCH <= w->height && x - 1 + PATCH <= w->width) {
            patch = in + ((y - 1) * w->width + x - 1) * LANES;
            pitch = w->width * LANES;
        } else {
            copy_patch(w, in, y, x, copy);
        }
        for (size_t r = 0; r < LANES; r += PATCH_LANES)
            transform_patch(patch + r, pitch, v + r, apart);
    }
}

/* Item: a point and a group of output blocks; all patches of the chunk. */
static void multiply(void *context, size_t item)
{
    static const float no_bias[4 * LANES];
    const struct winograd *w = context;
    size_t groups = divide_up(w->out_blocks, w->wide), patches = w->rows * w->across;
    size_t point = item / groups, b = item % groups * w->wide;
    size_t end = min_size(b + w->wide, w->out_blocks), panel = winograd_panel(w->conv);
    while (b < end) {
        size_t width = tile_width(w->wide, end - b), most;
        void (*const *run)(const struct tile *) = tiles_for(width, 0, &most);
        struct tile tile = {.in = w->v + point * w->in_blocks * patches * LANES,
                            .in_block = patches * LANES,
                            .blocks = w->in_blocks,
                            .kernel = 1,
                            .row_words = WORDS,
                            .weights =
                                packed_weights(w->conv) + (point * w->out_blocks + b) * panel,
                            .panel = panel,
                            .bias = no_bias,
                            .suspends = true,
                            .kept = w->m + (point * w->out_blocks + b) * patches * REGISTERS,
                            .kept_pixel = REGISTERS,
                            .kept_block = patches * REGISTERS};
        aim_ahead(&tile, tile.weights + width * panel, WORDS, divide_up(patches, most));
        run_row(&tile, run, most, patches, LANES);
        b += width;
    }
}

/* One register's worth of channels of one patch, from channel `first` of a block on, back to
 * pixels: m's points are `apart` registers apart, `out` is the block's first pixel. */
static void restore_patch(const struct winograd *w, const sums *m, size_t apart, const float *bias,
                          size_t y, size_t x, size_t first, unsigned char *out)
{
    sums half[STEP][PATCH];
    size_t head = w->out_blocks * LANES, step = out_bytes(w->conv);
    size_t rows = min_size(STEP, w->height - y), columns = min_size(STEP, w->width - x);
#pragma GCC unroll 6
    for (size_t j = 0; j < PATCH; j++) {
        sums c[PATCH];
#pragma GCC unroll 6
        for (size_t i = 0; i < PATCH; i++)
            c[i] = m[(i * PATCH + j) * apart];
        transform_output(c);
#pragma GCC unroll 4
        for (size_t i = 0; i < STEP; i++)
            half[i][j] = c[i];
    }
    out += (y * w->width + x) * step;
    for (size_t i = 0; i < rows; i++, out += w->width * step) {
        sums c[PATCH];
#pragma GCC unroll 6
        for (size_t j = 0; j < PATCH; j++)
            c[j] = half[i][j];
        transform_output(c);
#pragma GCC unroll 4
        for (size_t j = 0; j < STEP; j++)
            if (j < columns)
                winograd_end(c[j], bias, head, w->conv->relu, out + j * step, first);
    }
}

/* Item: an output block and a row of patches. */
static void restore_row(void *context, size_t item)
{
    const struct winograd *w = context;
    size_t block = item / w->rows, row = item % w->rows, patches = w->rows * w->across;
    size_t image = (w->first + row) / w->down, y = (w->first + row) % w->down * STEP;
    unsigned char *out =
        w->out + (image * w->out_blocks + block) * w->height * w->width * out_bytes(w->conv);
    for (size_t i = 0; i < w->across; i++) {
        const sums *m = w->m + (block * patches + row * w->across + i) * REGISTERS;
        for (size_t r = 0; r < REGISTERS; r++)
            restore_patch(w, m + r, w->out_blocks * patches * REGISTERS,
                          packed_bias(w->conv) + block * LANES + r * SIMD_FLOATS, y, i * STEP,
                          r * SIMD_FLOATS, out);
    }
}

static void conv_winograd(const struct conv *conv, size_t batch, size_t height, size_t width,
                          const void *in, void *scratch, void *out, struct team *team)
{
    struct winograd w = {.conv = conv,
                         .in = in,
                         .out = out,
                         .height = height,
                         .width = width,
                         .across = patches_along(width),
                         .down = patches_along(height),
                         .in_blocks = blocks_of(conv->in),
                         .out_blocks = blocks_of(conv->out),
                         .v = scratch};
    size_t rows = chunk_rows(conv, batch, height, width), all = batch * w.down;
    w.m = (sums *)(void *)((unsigned char *)scratch + v_bytes(conv, rows * w.across));
    w.wide = widest(conv, rows * w.across);
    size_t groups = divide_up(w.out_blocks, w.wide);
    for (w.first = 0; w.first < all; w.first += rows) {
        w.rows = min_size(rows, all - w.first);
        pool_for(team, w.in_blocks * w.rows, transform_input_row, &w);
        pool_for(team, POINTS * groups, multiply, &w);
        pool_for(team, w.out_blocks * w.rows, restore_row, &w);
    }
}

/* ---- which form a convolution takes ---------------------------------------------------------- */

static size_t form_packed_bytes(const struct conv *conv)
{
    return is_winograd(conv) ? winograd_packed_bytes(conv) : direct_packed_bytes(conv);
}

static void form_pack(const struct conv *conv, const float *source, const float *bias, void *packed)
{
    (is_winograd(conv) ? winograd_pack : direct_pack)(conv, source, bias, packed);
}

static size_t form_scratch(const struct conv *conv, size_t batch, size_t height, size_t width)
{
    return (is_winograd(conv) ? winograd_scratch : direct_scratch)(conv, batch, height, width);
}

static void form_conv(const struct conv *conv, size_t batch, size_t height, size_t width,
                      const void *in, void *scratch, void *out, struct team *team)
{
    (is_winograd(conv) ? conv_winograd : conv_direct)(conv, batch, height, width, in, scratch, out,
                                                      team);
}
