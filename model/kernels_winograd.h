/* kernels_winograd.h - Winograd's minimal filtering F(4x4, 3x3) for the SIMD backends.
 *
 * Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308,
 * section 4.3 (points 0, 1, -1, 2, -2, infinity). An output of 4x4 pixels takes 36 products a
 * channel pair instead of 144: the input patch of 6x6 is transformed (B), multiplied by the
 * transformed weights (G, at load), and transformed back (A). Summed over channels the products
 * are 36 independent matrix multiplications, which run on the register tiles of 1x1 convolutions
 * with patches for pixels.
 *
 * Included by kernels_simd.h after its register tiles. Rows of patches are taken in chunks, so
 * that what lies between the three steps stays in the cache:
 *   v [36][in blocks][patches][16]      transformed input
 *   m [36][out blocks][patches][16]     products
 *   weights [36][out blocks][in blocks][16 in][16 out], after the bias
 */

#define POINTS 36 /* of a transformed patch, 6x6 */
#define STEP   4  /* output pixels a patch yields along a side */
#define PATCH  6  /* input pixels it reads along a side */

/* Deeper layers see few pixels, where patches overlap the edge and weights four times as large are
 * all there is to read: there the direct form is faster. */
#define WINOGRAD_MOST_CHANNELS 256

/* Bytes of v and m of a chunk that together still fit a core's second-level cache. */
#define WINOGRAD_CHUNK_BYTES ((size_t)1280 << 10)

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

static size_t winograd_packed_bytes(const struct conv *conv)
{
    size_t points = POINTS * blocks_of(conv->in) * blocks_of(conv->out) * LANES * LANES;
    return (head_floats(conv) + points) * sizeof(float);
}

/* u = G g G^T, in double. */
static void transform_weights(const float g[9], double u[POINTS])
{
    static const double G[PATCH][3] = {{1.0 / 4, 0, 0},
                                       {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                       {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                       {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                       {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                       {0, 0, 1}};
    double half[PATCH][3];
    for (size_t i = 0; i < PATCH; i++)
        for (size_t x = 0; x < 3; x++)
            half[i][x] =
                G[i][0] * (double)g[x] + G[i][1] * (double)g[3 + x] + G[i][2] * (double)g[6 + x];
    for (size_t i = 0; i < PATCH; i++)
        for (size_t j = 0; j < PATCH; j++)
            u[i * PATCH + j] = half[i][0] * G[j][0] + half[i][1] * G[j][1] + half[i][2] * G[j][2];
}

static void winograd_pack(const struct conv *conv, const float *source, const float *bias,
                          void *packed)
{
    float *weights = (float *)packed + head_floats(conv);
    pack_head(conv, source, bias, packed);
    size_t in_blocks = blocks_of(conv->in), out_blocks = blocks_of(conv->out);
    for (size_t o = 0; o < conv->out; o++)
        for (size_t i = 0; i < conv->in; i++, source += 9) {
            double u[POINTS];
            transform_weights(source, u);
            float *out = weights + (o / LANES * in_blocks + i / LANES) * LANES * LANES +
                         i % LANES * LANES + o % LANES;
            for (size_t p = 0; p < POINTS; p++)
                out[p * out_blocks * in_blocks * LANES * LANES] = (float)u[p];
        }
}

/* ---- a batch ------------------------------------------------------------------------------- */

struct winograd {
    const struct conv *conv;
    const float *in;      /* [images][in blocks][height][width][16] */
    float *out;           /* [images][out blocks][height][width][16] */
    size_t height, width; /* of input and output alike */
    size_t across, down;  /* patches that cover an image */
    size_t first, rows;   /* rows of patches in the present chunk, counted over all images */
    size_t in_blocks, out_blocks;
    size_t wide; /* output blocks in a register tile */
    float *v, *m;
};

static size_t patches_along(size_t side)
{
    return (side + STEP - 1) / STEP;
}

/* Rows of patches, of all images together, that a chunk takes. */
static size_t chunk_rows(const struct conv *conv, size_t batch, size_t height, size_t width)
{
    size_t blocks = blocks_of(conv->in) + blocks_of(conv->out);
    size_t row_bytes = POINTS * blocks * patches_along(width) * LANES * sizeof(float);
    size_t rows = WINOGRAD_CHUNK_BYTES / row_bytes, all = batch * patches_along(height);
    if (rows == 0)
        return 1;
    size_t chunks = (all + rows - 1) / rows;
    return (all + chunks - 1) / chunks; /* of nearly equal size */
}

static size_t winograd_scratch(const struct conv *conv, size_t batch, size_t height, size_t width)
{
    /* Of fewer images a chunk may take more rows. */
    size_t most = 0;
    for (size_t n = 1; n <= batch; n++)
        most = max_size(most, chunk_rows(conv, n, height, width));
    return POINTS * (blocks_of(conv->in) + blocks_of(conv->out)) * most * patches_along(width) *
           LANES * sizeof(float);
}

/* B^T applied to six values: one column or row of a patch. */
#define TRANSFORM_INPUT(d0, d1, d2, d3, d4, d5, o0, o1, o2, o3, o4, o5)                            \
    do {                                                                                           \
        vec even = d4 - 4 * d2, odd = d3 - 4 * d1;                                                 \
        vec even2 = d4 - d2, odd2 = 2 * (d3 - d1);                                                 \
        o0 = 4 * d0 - 5 * d2 + d4;                                                                 \
        o1 = even + odd;                                                                           \
        o2 = even - odd;                                                                           \
        o3 = even2 + odd2;                                                                         \
        o4 = even2 - odd2;                                                                         \
        o5 = 4 * d1 - 5 * d3 + d5;                                                                 \
    } while (0)

/* A^T applied to six products. */
#define TRANSFORM_OUTPUT(m0, m1, m2, m3, m4, m5, o0, o1, o2, o3)                                   \
    do {                                                                                           \
        vec sum = m1 + m2, difference = m1 - m2;                                                   \
        vec sum2 = m3 + m4, difference2 = m3 - m4;                                                 \
        o0 = m0 + sum + sum2;                                                                      \
        o1 = difference + 2 * difference2;                                                         \
        o2 = sum + 4 * sum2;                                                                       \
        o3 = difference + 8 * difference2 + m5;                                                    \
    } while (0)

/* One register's worth of channels of one patch: v's 36 points are `apart` floats apart. */
static void transform_patch(const struct winograd *w, const float *in, size_t y, size_t x,
                            size_t apart, float *v)
{
    vec d[PATCH][PATCH], half[PATCH][PATCH];
    /* The patch begins one pixel before its output; what lies outside the image is zero. */
    bool inside = y >= 1 && x >= 1 && y - 1 + PATCH <= w->height && x - 1 + PATCH <= w->width;
    for (size_t i = 0; i < PATCH; i++)
        for (size_t j = 0; j < PATCH; j++) {
            size_t row = y + i - 1, column = x + j - 1; /* unsigned: -1 is far outside */
            if (inside || (row < w->height && column < w->width))
                d[i][j] = LOAD(in + (row * w->width + column) * LANES);
            else
                d[i][j] = (vec){0};
        }
    for (size_t j = 0; j < PATCH; j++)
        TRANSFORM_INPUT(d[0][j], d[1][j], d[2][j], d[3][j], d[4][j], d[5][j], half[0][j],
                        half[1][j], half[2][j], half[3][j], half[4][j], half[5][j]);
    for (size_t i = 0; i < PATCH; i++) {
        vec o[PATCH];
        TRANSFORM_INPUT(half[i][0], half[i][1], half[i][2], half[i][3], half[i][4], half[i][5],
                        o[0], o[1], o[2], o[3], o[4], o[5]);
        for (size_t j = 0; j < PATCH; j++)
            *(vec *)(void *)(v + (i * PATCH + j) * apart) = o[j];
    }
}

/* Item: an input block and a row of patches. */
static void transform_input_row(void *context, size_t item)
{
    const struct winograd *w = context;
    size_t block = item / w->rows, row = item % w->rows, patches = w->rows * w->across;
    size_t image = (w->first + row) / w->down, y = (w->first + row) % w->down * STEP;
    const float *in = w->in + (image * w->in_blocks + block) * w->height * w->width * LANES;
    for (size_t i = 0; i < w->across; i++) {
        float *v = w->v + (block * patches + row * w->across + i) * LANES;
        for (size_t r = 0; r < LANES; r += SIMD_FLOATS)
            transform_patch(w, in + r, y, i * STEP, w->in_blocks * patches * LANES, v + r);
    }
}

/* Item: a point and a group of output blocks; all patches of the chunk. */
static void multiply(void *context, size_t item)
{
    static const float no_bias[4 * LANES];
    const struct winograd *w = context;
    size_t groups = (w->out_blocks + w->wide - 1) / w->wide, patches = w->rows * w->across;
    size_t point = item / groups, b = item % groups * w->wide;
    size_t end = min_size(b + w->wide, w->out_blocks), panel = w->in_blocks * LANES * LANES;
    while (b < end) {
        size_t width = tile_width(w->wide, end - b), most;
        void (*const *run)(const struct tile *) = tiles_for(width, 0, &most);
        struct tile tile = {
            .in = w->v + point * w->in_blocks * patches * LANES,
            .in_block = patches * LANES,
            .blocks = w->in_blocks,
            .kernel = 1,
            .weights = packed_weights(w->conv) + (point * w->out_blocks + b) * panel,
            .panel = panel,
            .bias = no_bias,
            .out = (unsigned char *)(w->m + (point * w->out_blocks + b) * patches * LANES),
            .out_pixel = LANES * sizeof(float),
            .out_block = patches * LANES * sizeof(float)};
        run_row(&tile, run, most, patches, LANES, 0);
        b += width;
    }
}

/* One register's worth of channels of one patch, back to 4x4 pixels. */
static void restore_patch(const struct winograd *w, const float *m, size_t apart, const float *bias,
                          size_t y, size_t x, float *out)
{
    vec half[STEP][PATCH];
    const vec shift = LOAD(bias);
    for (size_t j = 0; j < PATCH; j++) {
        vec c[PATCH];
        for (size_t i = 0; i < PATCH; i++)
            c[i] = LOAD(m + (i * PATCH + j) * apart);
        TRANSFORM_OUTPUT(c[0], c[1], c[2], c[3], c[4], c[5], half[0][j], half[1][j], half[2][j],
                         half[3][j]);
    }
    for (size_t i = 0; i < STEP && y + i < w->height; i++) {
        vec o[STEP];
        TRANSFORM_OUTPUT(half[i][0], half[i][1], half[i][2], half[i][3], half[i][4], half[i][5],
                         o[0], o[1], o[2], o[3]);
        for (size_t j = 0; j < STEP && x + j < w->width; j++) {
            vec value = o[j] + shift;
            if (w->conv->relu)
                value = positive(value);
            *(vec *)(void *)(out + ((y + i) * w->width + x + j) * LANES) = value;
        }
    }
}

/* Item: an output block and a row of patches. */
static void restore_row(void *context, size_t item)
{
    const struct winograd *w = context;
    size_t block = item / w->rows, row = item % w->rows, patches = w->rows * w->across;
    size_t image = (w->first + row) / w->down, y = (w->first + row) % w->down * STEP;
    float *out = w->out + (image * w->out_blocks + block) * w->height * w->width * LANES;
    for (size_t i = 0; i < w->across; i++) {
        const float *m = w->m + (block * patches + row * w->across + i) * LANES;
        for (size_t r = 0; r < LANES; r += SIMD_FLOATS)
            restore_patch(w, m + r, w->out_blocks * patches * LANES,
                          packed_bias(w->conv) + block * LANES + r, y, i * STEP, out + r);
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
    w.m = w.v + POINTS * w.in_blocks * rows * w.across * LANES;
    w.wide = widest(conv, rows * w.across);
    size_t groups = (w.out_blocks + w.wide - 1) / w.wide;
    for (w.first = 0; w.first < all; w.first += rows) {
        w.rows = min_size(rows, all - w.first);
        pool_for(team, w.in_blocks * w.rows, transform_input_row, &w);
        pool_for(team, POINTS * groups, multiply, &w);
        pool_for(team, w.out_blocks * w.rows, restore_row, &w);
    }
}
