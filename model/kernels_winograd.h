/* kernels_winograd.h - Winograd's minimal filtering for 3x3 convolutions in the SIMD backends.
 *
 * Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308,
 * section 4. An input patch is transformed (B), multiplied by the transformed weights (G, at load),
 * and transformed back (A) to an output of `step` pixels a side. Four forms:
 *
 *   4x4       F(4x4, 3x3), points 0, 1, -1, 2, -2, infinity: a patch is 6x6, and takes 36
 *             products a channel pair instead of 144. For floats.
 *   3x3       F(3x3, 3x3), points 0, 1, -1, 2, infinity: a patch is 5x5, 25 products instead of 81.
 *             For floats.
 *   2x2       F(2x2, 3x3), points 0, 1, -1, infinity: a patch is 4x4, 16 products instead of 36.
 *   strided   of stride 2: even and odd pixels are apart, the even ones, which meet the taps 0
 *             and 2, by F(2, 2), the odd ones, which meet tap 1, directly. A patch is 5x5, 25
 *             products instead of 36. Two odd points have the same weights, so those are 4x4.
 *
 * For integers the latter two are exact: the transforms only add, and halve the weights twice; with
 * those taken fourfold all fits 16 bits (at most 4 * 255 and 16 * 127), the sums are so modulo
 * 2^32, and a quarter of them is the result.
 *
 * Summed over channels the products are independent matrix multiplications, which run on the
 * register tiles of 1x1 convolutions with patches for pixels.
 *
 * Included after kernels_simd.h by a precision's header, which defines
 *   WINOGRAD_4X4, WINOGRAD_3X3, WINOGRAD_2X2, WINOGRAD_STRIDED
 *                     most channels for which a form is taken, the first that may; 0: never. Deeper
 *                     layers see few pixels, where patches overhang the edge and the larger weights
 *                     are read for little.
 *   point             a channel of a transformed patch; GROUP of them make a word
 *   patch_lanes       a register of them, to be added and subtracted
 *   patch_load        it, of active channels
 *   point_weight      a transformed weight as it is packed
 *   winograd_weight   it, of a double
 *   winograd_multiply see multiply_pixels in kernels_simd_tile.h
 *   winograd_end      like sums_end, of the sums that the transform back gives
 *
 * Cores may have caches of their own, so as little as possible passes between them: each takes a
 * lane, some patches and some output blocks, from input to output. Where there are patches enough a
 * lane is some of them, with all output; elsewhere, where the weights are most of what is read,
 * some output blocks, for which each core transforms all patches anew: that is less than to read
 * them from another, and needs no waiting.
 *
 * Patches are counted over all images, and a lane takes its own in chunks, so that what lies
 * between the three steps stays in the cache:
 *   v         [points][in blocks][patches][16]: transformed input
 *   m         [points][out blocks][patches][16]: products
 *   weights   [weight points][out blocks][in blocks][words][16], after the head
 */

enum form { FORM_DIRECT, FORM_4X4, FORM_3X3, FORM_2X2, FORM_STRIDED };

#define MOST_PATCH 6
#define MOST_STEP  4

/* Output pixels along a side of a patch. */
INLINE size_t form_step(enum form form)
{
    return form == FORM_4X4 ? 4 : form == FORM_3X3 ? 3 : 2;
}

/* Input pixels along a side of a patch, and points of the transformed one. */
INLINE size_t form_patch(enum form form)
{
    return form == FORM_4X4 ? 6 : form == FORM_2X2 ? 4 : 5;
}

/* The weights' row or column for a point's. */
static size_t weight_index(enum form form, size_t along)
{
    return form == FORM_STRIDED && along == 4 ? 3 : along;
}

static size_t weight_side(enum form form)
{
    return weight_index(form, form_patch(form) - 1) + 1;
}

static size_t form_points(enum form form)
{
    return form_patch(form) * form_patch(form);
}

/* Bytes of v and m of a chunk that together still fit a core's second-level cache. Where there are
 * more weights than that, it costs less to have v and m leave it than to read the weights again for
 * the next chunk. */
#define WINOGRAD_CHUNK_BYTES ((size_t)1280 << 10)

#define PATCH_LANES (sizeof(patch_lanes) / sizeof(point))
_Static_assert(PATCH_LANES <= LANES, "a register of patch_lanes lies within a block");

/* Fewest patches of a lane: so many uses of a weight take longer than to fetch it from memory. */
#define LANE_PATCHES 16

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static enum form form_of(const struct conv *conv)
{
    size_t channels = max_size(conv->in, conv->out);
    if (conv->kernel != 3 || conv->pad != 1 || conv->groups != 1 || conv->planar_in)
        return FORM_DIRECT;
    if (conv->stride == 2)
        return channels <= WINOGRAD_STRIDED ? FORM_STRIDED : FORM_DIRECT;
    if (conv->stride != 1)
        return FORM_DIRECT;
    return channels <= WINOGRAD_4X4   ? FORM_4X4
           : channels <= WINOGRAD_3X3 ? FORM_3X3
           : channels <= WINOGRAD_2X2 ? FORM_2X2
                                      : FORM_DIRECT;
}

/* Words of the weights of one point of one output block. */
static size_t winograd_panel(const struct conv *conv)
{
    return blocks_of(conv->in) * LANES * sizeof(point) / sizeof(word) * LANES;
}

static size_t winograd_packed_bytes(const struct conv *conv)
{
    size_t side = weight_side(form_of(conv));
    return (head_floats(conv) + side * side * blocks_of(conv->out) * winograd_panel(conv)) *
           sizeof(word);
}

/* u = G g G^T, of side x side. */
static void transform_weights(enum form form, size_t side, const double g[9],
                              double u[MOST_PATCH * MOST_PATCH])
{
    static const double of_form[][MOST_PATCH][3] = {
        [FORM_4X4] = {{1.0 / 4, 0, 0},
                      {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                      {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                      {1.0 / 24, 1.0 / 12, 1.0 / 6},
                      {1.0 / 24, -1.0 / 12, 1.0 / 6},
                      {0, 0, 1}},
        [FORM_3X3] = {{1.0 / 2, 0, 0},
                      {-1.0 / 2, -1.0 / 2, -1.0 / 2},
                      {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                      {1.0 / 6, 1.0 / 3, 2.0 / 3},
                      {0, 0, 1}},
        [FORM_2X2] = {{1, 0, 0},
                      {1.0 / 2, 1.0 / 2, 1.0 / 2},
                      {1.0 / 2, -1.0 / 2, 1.0 / 2},
                      {0, 0, 1}},
        [FORM_STRIDED] = {{1, 0, 0}, {1, 0, 1}, {0, 0, 1}, {0, 1, 0}},
    };
    const double(*G)[3] = of_form[form];
    double half[MOST_PATCH][3];
    for (size_t i = 0; i < side; i++)
        for (size_t x = 0; x < 3; x++)
            half[i][x] = G[i][0] * g[x] + G[i][1] * g[3 + x] + G[i][2] * g[6 + x];
    for (size_t i = 0; i < side; i++)
        for (size_t j = 0; j < side; j++)
            u[i * side + j] = half[i][0] * G[j][0] + half[i][1] * G[j][1] + half[i][2] * G[j][2];
}

static void winograd_pack(const struct conv *conv, const float *source, const float *bias,
                          void *packed)
{
    enum form form = form_of(conv);
    const size_t group = sizeof(word) / sizeof(point);
    point_weight *weights = (point_weight *)((word *)packed + head_floats(conv));
    size_t panel = winograd_panel(conv) * group, at_point = blocks_of(conv->out) * panel;
    size_t side = weight_side(form);
    pack_head(conv, source, bias, packed);
    for (size_t o = 0; o < conv->out; o++)
        for (size_t i = 0; i < conv->in; i++) {
            double g[9], u[MOST_PATCH * MOST_PATCH];
            for (size_t t = 0; t < 9; t++)
                g[t] = (double)winograd_source(conv, packed, o, *source++);
            transform_weights(form, side, g, u);
            point_weight *out =
                weights + o / LANES * panel + (i / group * LANES + o % LANES) * group + i % group;
            for (size_t p = 0; p < side * side; p++)
                out[p * at_point] = winograd_weight(u[p]);
        }
}

/* ---- a batch ------------------------------------------------------------------------------- */

struct extent {
    size_t height, width;
};

/* How the work is cut: into so many parts of the patches, and each into so many of the output. */
struct lanes {
    size_t of_patches, of_blocks;
};

struct winograd {
    const struct conv *conv;
    enum form form;
    const active *in;   /* [images][in blocks][height][width][16] */
    unsigned char *out; /* [images][out blocks][height][width][16], of out_bytes a pixel */
    struct extent in_size, out_size;
    size_t across, down; /* patches that cover an image */
    size_t patches;      /* of all images */
    size_t in_blocks, out_blocks;
    struct lanes lanes;
    unsigned char *scratch; /* of all lanes */
    /* Of a lane: */
    size_t first_block, blocks; /* of output */
    size_t first, count;        /* patches of the present chunk */
    point *v;
    sums *m;
};

/* From a point of v or m to the next, in blocks of a patch, where it has so many: odd, or the
 * points of a patch would fall into the same few sets of a cache. */
static size_t point_pitch(size_t blocks, size_t patches)
{
    return blocks * patches | 1;
}

/* Bytes of v and of m for so many patches; m's for so many output blocks. */
static size_t v_bytes(const struct conv *conv, size_t patches)
{
    size_t pitch = point_pitch(blocks_of(conv->in), patches) * LANES * sizeof(point);
    return divide_up(form_points(form_of(conv)) * pitch, sizeof(sums)) * sizeof(sums);
}

static size_t m_bytes(const struct conv *conv, size_t patches, size_t blocks)
{
    return form_points(form_of(conv)) * point_pitch(blocks, patches) * REGISTERS * sizeof(sums);
}

/* Patches that cover so many output pixels. */
static size_t patches_along(const struct conv *conv, size_t side)
{
    return divide_up(side, form_step(form_of(conv)));
}

/* Most patches of a chunk: whole tiles, if one fits. */
static size_t chunk_patches(const struct conv *conv)
{
    size_t bytes = max_size(WINOGRAD_CHUNK_BYTES, winograd_packed_bytes(conv) / 2);
    size_t tile = v_bytes(conv, TILE_1) + m_bytes(conv, TILE_1, blocks_of(conv->out));
    return max_size(bytes / tile * TILE_1, TILE_1);
}

/* A lane for each core: with patches enough, or else with all of them. */
static struct lanes lanes_of(const struct conv *conv, size_t patches, size_t cores)
{
    struct lanes lanes = {.of_patches = min_size(cores, max_size(patches / LANE_PATCHES, 1))};
    while (cores % lanes.of_patches != 0)
        lanes.of_patches--;
    lanes.of_blocks = min_size(cores / lanes.of_patches, blocks_of(conv->out));
    return lanes;
}

/* Patches of a chunk, at most, where so many are cut into such lanes. */
static size_t lane_chunk(const struct conv *conv, size_t patches, struct lanes lanes)
{
    return min_size(chunk_patches(conv), divide_up(patches, lanes.of_patches));
}

/* Of v and m of a lane, where so many patches are cut into such ones. */
static size_t lane_bytes(const struct conv *conv, size_t patches, struct lanes lanes)
{
    size_t chunk = lane_chunk(conv, patches, lanes);
    return v_bytes(conv, chunk) +
           m_bytes(conv, chunk, divide_up(blocks_of(conv->out), lanes.of_blocks));
}

static size_t winograd_scratch(const struct conv *conv, size_t batch, size_t height, size_t width,
                               const struct team *team)
{
    size_t patches = batch * patches_along(conv, conv_out(conv, height)) *
                     patches_along(conv, conv_out(conv, width));
    size_t bytes = 0, most = pool_cores(team);
    for (size_t cores = 1; cores <= most; cores++) { /* as many may have room for it at a time */
        struct lanes lanes = lanes_of(conv, patches, cores);
        bytes =
            max_size(bytes, lanes.of_patches * lanes.of_blocks * lane_bytes(conv, patches, lanes));
    }
    return bytes;
}

/* A patch's place. */
struct place {
    size_t image, row, column;
};

static struct place place_of(const struct winograd *w, size_t patch)
{
    size_t row = patch / w->across;
    return (struct place){row / w->down, row % w->down, patch % w->across};
}

INLINE void step_on(const struct winograd *w, struct place *at)
{
    if (++at->column < w->across)
        return;
    at->column = 0;
    if (++at->row < w->down)
        return;
    at->row = 0;
    at->image++;
}

/* B^T applied to a column or row of a patch, in place. */
INLINE void transform_input(const enum form form, patch_lanes d[MOST_PATCH])
{
    patch_lanes d1 = d[1], d2 = d[2], d3 = d[3];
    if (form == FORM_4X4) {
        patch_lanes even = d[4] - 4 * d2, odd = d3 - 4 * d1, even2 = d[4] - d2,
                    odd2 = 2 * (d3 - d1);
        d[0] = 4 * d[0] - 5 * d2 + d[4];
        d[1] = even + odd;
        d[2] = even - odd;
        d[3] = even2 + odd2;
        d[4] = even2 - odd2;
        d[5] = 4 * d1 - 5 * d3 + d[5];
    } else if (form == FORM_3X3) {
        patch_lanes odd = d3 - d1;
        d[0] = 2 * (d[0] - d2) + odd;
        d[1] = odd - d1 - d2;
        d[2] = odd + 3 * (d1 - d2);
        d[3] = odd;
        d[4] = d[4] - d2 - 2 * odd;
    } else if (form == FORM_2X2) {
        d[0] = d[0] - d2;
        d[1] = d1 + d2;
        d[2] = d2 - d1;
        d[3] = d1 - d3;
    } else {
        d[0] = d[0] - d2;
        d[1] = d2;
        d[2] = d[4] - d2;
        d[3] = d1;
        d[4] = d3;
    }
}

/* A^T applied to the products of a column or row, in place: the first `step` are the result. */
INLINE void transform_output(const enum form form, sums m[MOST_PATCH])
{
    if (form == FORM_4X4) {
        sums sum = m[1] + m[2], difference = m[1] - m[2];
        sums sum2 = m[3] + m[4], difference2 = m[3] - m[4];
        m[0] = m[0] + sum + sum2;
        m[1] = difference + 2 * difference2;
        m[2] = sum + 4 * sum2;
        m[3] = difference + 8 * difference2 + m[5];
    } else if (form == FORM_3X3) {
        sums sum = m[1] + m[2], difference = m[1] - m[2];
        m[0] = m[0] + sum + m[3];
        m[1] = difference + 2 * m[3];
        m[2] = sum + 4 * m[3] + m[4];
    } else if (form == FORM_2X2) {
        m[0] = m[0] + m[1] + m[2];
        m[1] = m[1] - m[2] - m[3];
    } else {
        m[0] = m[0] + m[1] + m[3];
        m[1] = m[1] + m[2] + m[4];
    }
}

/* One register's worth of channels of a patch, whose rows are `pitch` channels apart; v's points
 * are `apart` channels apart. */
INLINE void transform_patch(const enum form form, const active *in, size_t pitch, point *v,
                            size_t apart)
{
    const size_t patch = form_patch(form);
    patch_lanes half[MOST_PATCH][MOST_PATCH];
#pragma GCC unroll 6
    for (size_t j = 0; j < patch; j++) {
        patch_lanes d[MOST_PATCH];
#pragma GCC unroll 6
        for (size_t i = 0; i < patch; i++)
            d[i] = patch_load(in + i * pitch + j * LANES);
        transform_input(form, d);
#pragma GCC unroll 6
        for (size_t i = 0; i < patch; i++)
            half[i][j] = d[i];
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < patch; i++) {
        patch_lanes d[MOST_PATCH];
#pragma GCC unroll 6
        for (size_t j = 0; j < patch; j++)
            d[j] = half[i][j];
        transform_input(form, d);
#pragma GCC unroll 6
        for (size_t j = 0; j < patch; j++)
            *(patch_lanes *)(void *)(v + (i * patch + j) * apart) = d[j];
    }
}

/* Copies a block of a patch that overhangs the image: what lies outside is zero. The patch's first
 * pixel is at (y - 1, x - 1). */
static void copy_patch(const struct winograd *w, const active *in, size_t y, size_t x,
                       active patch[MOST_PATCH * MOST_PATCH * LANES])
{
    size_t side = form_patch(w->form);
    for (size_t i = 0; i < side; i++)
        for (size_t j = 0; j < side; j++, patch += LANES) {
            size_t row = y + i - 1, column = x + j - 1; /* unsigned: -1 is far outside */
            if (row < w->in_size.height && column < w->in_size.width)
                memcpy(patch, in + (row * w->in_size.width + column) * LANES,
                       LANES * sizeof *patch);
            else
                memset(patch, 0, LANES * sizeof *patch);
        }
}

/* The patches of the chunk. */
INLINE void transform_patches(const enum form form, const struct winograd *w, size_t block)
{
    const size_t patch = form_patch(form), step = form_step(form) * w->conv->stride;
    size_t apart = point_pitch(w->in_blocks, w->count) * LANES;
    struct extent size = w->in_size;
    struct place at = place_of(w, w->first);
    for (size_t i = 0; i < w->count; i++, step_on(w, &at)) {
        const active *in =
            w->in + (at.image * w->in_blocks + block) * size.height * size.width * LANES;
        point *v = w->v + (block * w->count + i) * LANES;
        active copy[MOST_PATCH * MOST_PATCH * LANES];
        const active *from = copy;
        size_t x = at.column * step, y = at.row * step, pitch = patch * LANES;
        if (y >= 1 && x >= 1 && y - 1 + patch <= size.height && x - 1 + patch <= size.width) {
            from = in + ((y - 1) * size.width + x - 1) * LANES;
            pitch = size.width * LANES;
        } else {
            copy_patch(w, in, y, x, copy);
        }
        for (size_t r = 0; r < LANES; r += PATCH_LANES)
            transform_patch(form, from + r, pitch, v + r, apart);
    }
}

/* One register's worth of channels of one patch, from channel `first` of a block on, back to
 * pixels: m's points are `apart` registers apart, `out` is the patch's first pixel, of which so
 * many rows and columns lie within the image. */
INLINE void restore_patch(const enum form form, const struct winograd *w, const sums *m,
                          size_t apart, const float *bias, struct extent within, size_t first,
                          unsigned char *out)
{
    const size_t patch = form_patch(form), step = form_step(form);
    size_t head = w->out_blocks * LANES, pixel = out_bytes(w->conv);
    sums half[MOST_STEP][MOST_PATCH];
#pragma GCC unroll 6
    for (size_t j = 0; j < patch; j++) {
        sums c[MOST_PATCH];
#pragma GCC unroll 6
        for (size_t i = 0; i < patch; i++)
            c[i] = m[(i * patch + j) * apart];
        transform_output(form, c);
#pragma GCC unroll 4
        for (size_t i = 0; i < step; i++)
            half[i][j] = c[i];
    }
    for (size_t i = 0; i < within.height; i++, out += w->out_size.width * pixel) {
        sums c[MOST_PATCH];
#pragma GCC unroll 6
        for (size_t j = 0; j < patch; j++)
            c[j] = half[i][j];
        transform_output(form, c);
#pragma GCC unroll 4
        for (size_t j = 0; j < step; j++)
            if (j < within.width)
                winograd_end(c[j], bias, head, w->conv->relu, out + j * pixel, first);
    }
}

/* The patches of the chunk, of one of the lane's output blocks. */
INLINE void restore_patches(const enum form form, const struct winograd *w, size_t index)
{
    const size_t step = form_step(form);
    size_t pixel = out_bytes(w->conv), block = w->first_block + index;
    size_t apart = point_pitch(w->blocks, w->count) * REGISTERS;
    const sums *m = w->m + index * w->count * REGISTERS;
    struct extent size = w->out_size;
    struct place at = place_of(w, w->first);
    for (size_t i = 0; i < w->count; i++, step_on(w, &at)) {
        size_t y = at.row * step, x = at.column * step;
        struct extent within = {min_size(step, size.height - y), min_size(step, size.width - x)};
        size_t row = (at.image * w->out_blocks + block) * size.height + y;
        for (size_t r = 0; r < REGISTERS; r++)
            restore_patch(form, w, m + i * REGISTERS + r, apart,
                          packed_bias(w->conv) + block * LANES + r * SIMD_FLOATS, within,
                          r * SIMD_FLOATS, w->out + (row * size.width + x) * pixel);
    }
}

/* The weights of a point for an output block and those that follow. */
static const word *weights_of(const struct winograd *w, size_t at, size_t block)
{
    size_t patch = form_patch(w->form), side = weight_side(w->form);
    size_t index = weight_index(w->form, at / patch) * side + weight_index(w->form, at % patch);
    return packed_weights(w->conv) + (index * w->out_blocks + block) * winograd_panel(w->conv);
}

/* The products of the lane's output blocks. */
static void multiply_patches(const struct winograd *w)
{
    size_t points = form_points(w->form), v_pitch = point_pitch(w->in_blocks, w->count) * LANES;
    size_t m_pitch = point_pitch(w->blocks, w->count) * REGISTERS;
    for (size_t at = 0; at < points; at++)
        winograd_multiply(w->v + at * v_pitch, w->in_blocks, w->count,
                          weights_of(w, at, w->first_block), w->blocks,
                          at + 1 < points ? weights_of(w, at + 1, w->first_block) : NULL,
                          w->m + at * m_pitch);
}

/* A chunk from input to output. */
INLINE void convolve_chunk(const enum form form, const struct winograd *w)
{
    for (size_t b = 0; b < w->in_blocks; b++)
        transform_patches(form, w, b);
    multiply_patches(w);
    for (size_t b = 0; b < w->blocks; b++)
        restore_patches(form, w, b);
}

/* Item: a lane, in chunks of nearly equal size. */
static void lane_item(void *context, size_t lane)
{
    struct winograd w = *(const struct winograd *)context;
    const struct conv *conv = w.conv;
    size_t part = lane / w.lanes.of_blocks, group = lane % w.lanes.of_blocks;
    size_t begin = w.patches * part / w.lanes.of_patches;
    size_t end = w.patches * (part + 1) / w.lanes.of_patches;
    size_t most = lane_chunk(conv, w.patches, w.lanes);
    size_t chunk = divide_up(end - begin, divide_up(end - begin, most));
    chunk = min_size(divide_up(chunk, TILE_1) * TILE_1, most);
    w.first_block = w.out_blocks * group / w.lanes.of_blocks;
    w.blocks = w.out_blocks * (group + 1) / w.lanes.of_blocks - w.first_block;
    unsigned char *scratch = w.scratch + lane * lane_bytes(conv, w.patches, w.lanes);
    w.v = (point *)(void *)scratch;
    for (w.first = begin; w.first < end; w.first += w.count) {
        w.count = min_size(chunk, end - w.first);
        w.m = (sums *)(void *)(scratch + v_bytes(conv, w.count));
        if (WINOGRAD_4X4 && w.form == FORM_4X4)
            convolve_chunk(FORM_4X4, &w);
        else if (WINOGRAD_3X3 && w.form == FORM_3X3)
            convolve_chunk(FORM_3X3, &w);
        else if (WINOGRAD_2X2 && w.form == FORM_2X2)
            convolve_chunk(FORM_2X2, &w);
        else if (WINOGRAD_STRIDED)
            convolve_chunk(FORM_STRIDED, &w);
    }
}

static void conv_winograd(const struct conv *conv, size_t batch, size_t height, size_t width,
                          const void *in, void *scratch, void *out, struct team *team)
{
    struct winograd w = {.conv = conv,
                         .form = form_of(conv),
                         .in = in,
                         .out = out,
                         .in_size = {height, width},
                         .out_size = {conv_out(conv, height), conv_out(conv, width)},
                         .in_blocks = blocks_of(conv->in),
                         .out_blocks = blocks_of(conv->out),
                         .scratch = scratch};
    w.across = patches_along(conv, w.out_size.width);
    w.down = patches_along(conv, w.out_size.height);
    w.patches = batch * w.down * w.across;
    w.lanes = lanes_of(conv, w.patches, pool_room(team));
    pool_for(team, w.lanes.of_patches * w.lanes.of_blocks, lane_item, &w);
}

/* ---- which form a convolution takes ---------------------------------------------------------- */

static size_t form_packed_bytes(const struct conv *conv)
{
    return (form_of(conv) ? winograd_packed_bytes : direct_packed_bytes)(conv);
}

static void form_pack(const struct conv *conv, const float *source, const float *bias, void *packed)
{
    (form_of(conv) ? winograd_pack : direct_pack)(conv, source, bias, packed);
}

static size_t form_scratch(const struct conv *conv, size_t batch, size_t height, size_t width,
                           const struct team *team)
{
    return (form_of(conv) ? winograd_scratch : direct_scratch)(conv, batch, height, width, team);
}

static void form_conv(const struct conv *conv, size_t batch, size_t height, size_t width,
                      const void *in, void *scratch, void *out, struct team *team)
{
    (form_of(conv) ? conv_winograd : conv_direct)(conv, batch, height, width, in, scratch, out,
                                                  team);
}
