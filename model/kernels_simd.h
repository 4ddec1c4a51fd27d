/* kernels_simd.h - the body of every SIMD backend, written once in GCC's vector extensions.
 *
 * Included by one file an instruction set (kernels_avx512.c, kernels_avx2.c, kernels_neon.c),
 * which is compiled with that set's flags and defines first
 *   SIMD_NAME       the backend's name, a string
 *   SIMD_SYMBOL     its table, kernels_<name>
 *   SIMD_SUPPORTED  the expression that asks the CPU
 *   SIMD_FLOATS     floats in a register
 *   TILE_1, TILE_2, TILE_4   most output pixels of a register tile that is 1, 2 or 4 blocks of
 *                   channels wide; 0 where such a tile does not fit the registers
 *
 * Direct convolution on NCHW16c. A register tile is R output pixels of a row times J blocks of
 * 16 output channels; it runs over all input channels and taps with the sums in registers, one
 * broadcast input value times J weight vectors at a time, and stores once, with bias and ReLU.
 * 3x3 convolutions of stride 1 go by way of kernels_winograd.h where that takes fewer products.
 * The loop order keeps the weights of J blocks in the cache while the image passes by.
 *   1x1 of stride 1   the whole image is one long row
 *   pad > 0           the image is first copied into scratch with its zero border
 *   planar input      (the stem) is the same with blocks of 1 input channel
 *   groups            an output block reads only the input blocks its groups touch; weights
 *                     between groups are zeros
 */
#include "kernels.h"
#include "kernels_pointwise.h"
#include <stdint.h>
#include <string.h>

#define LANES     16
#define REGISTERS (LANES / SIMD_FLOATS) /* that hold a block of channels of one pixel */
typedef float vec __attribute__((vector_size(SIMD_FLOATS * sizeof(float)), aligned(4), may_alias));

typedef int32_t mask __attribute__((vector_size(SIMD_FLOATS * sizeof(float))));

#define LOAD(from) (*(const vec *)(const void *)(from))
#define INLINE     static inline __attribute__((always_inline))

static bool supported(void)
{
    return SIMD_SUPPORTED;
}

/* ---- shapes ------------------------------------------------------------------------------ */

static size_t blocks_of(size_t channels)
{
    return (channels + LANES - 1) / LANES;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Input blocks that output block b reads: first, and their count, the same for every b. */
struct reach {
    size_t first, count;
};

static struct reach reach_of(const struct conv *conv, size_t b)
{
    if (conv->planar_in)
        return (struct reach){0, conv->in};
    size_t all = blocks_of(conv->in);
    if (conv->groups == 1)
        return (struct reach){0, all};
    size_t in_g = conv->in / conv->groups, out_g = conv->out / conv->groups;
    /* Most input channels that 16 neighbouring outputs can touch, wherever they begin. */
    size_t groups = min_size((LANES + out_g - 2) / out_g + 1, conv->groups);
    size_t count = min_size(blocks_of(groups * in_g) + 1, all);
    size_t first = b * LANES / out_g * in_g / LANES;
    return (struct reach){min_size(first, all - count), count};
}

static size_t in_lanes(const struct conv *conv)
{
    return conv->planar_in ? 1 : LANES;
}

/* Floats of the weights of one output block: [input blocks][kernel][kernel][in lanes][16]. */
static size_t panel_floats(const struct conv *conv)
{
    return reach_of(conv, 0).count * conv->kernel * conv->kernel * in_lanes(conv) * LANES;
}

static size_t direct_packed_floats(const struct conv *conv)
{
    return blocks_of(conv->out) * panel_floats(conv);
}

static void direct_pack(const struct conv *conv, const float *source, float *packed)
{
    size_t taps = conv->kernel * conv->kernel, lanes = in_lanes(conv);
    size_t in_g = conv->in / conv->groups, out_g = conv->out / conv->groups;
    for (size_t o = 0; o < conv->out; o++) {
        size_t b = o / LANES, first = reach_of(conv, b).first;
        float *panel = packed + b * panel_floats(conv) + o % LANES;
        for (size_t i = 0; i < in_g; i++) {
            size_t channel = o / out_g * in_g + i;
            size_t block = channel / lanes - first, lane = channel % lanes;
            for (size_t t = 0; t < taps; t++)
                panel[((block * taps + t) * lanes + lane) * LANES] = *source++;
        }
    }
}

/* Floats of one image of the input with its border. */
static size_t bordered_floats(const struct conv *conv, size_t height, size_t width)
{
    size_t blocks = conv->planar_in ? conv->in : blocks_of(conv->in);
    return blocks * (height + 2 * conv->pad) * (width + 2 * conv->pad) * in_lanes(conv);
}

static size_t direct_scratch(const struct conv *conv, size_t batch, size_t height, size_t width)
{
    return conv->pad ? batch * bordered_floats(conv, height, width) : 0;
}

/* ---- the register tile ------------------------------------------------------------------- */

struct tile {
    const float *in;      /* first output pixel's window, in the first input block */
    size_t in_row;        /* floats from an input row to the next */
    size_t in_block;      /* floats from an input block to the next */
    size_t blocks;        /* input blocks */
    size_t kernel;        /* side of the window */
    const float *weights; /* of the first output block */
    size_t panel;         /* floats from an output block's weights to the next one's */
    const float *bias;
    float *out;       /* first output pixel in the first output block */
    size_t out_block; /* floats from an output block to the next */
    bool relu;
};

/* Floats from the first register of a tile's pixel to its j-th, in an array whose blocks are
 * `block` apart. */
#define AT(j, block) ((j) / REGISTERS * (block) + (j) % REGISTERS * SIMD_FLOATS)

/* R pixels x J blocks; L input lanes; neighbouring output pixels read S pixels apart. */
INLINE void tile_body(const struct tile *t, const size_t R, const size_t J, const size_t L,
                      const size_t S)
{
    vec sum[14][4]; /* only [R][J * REGISTERS] is ever touched, and lives in registers */
#pragma GCC unroll 14
    for (size_t p = 0; p < R; p++)
#pragma GCC unroll 4
        for (size_t j = 0; j < J * REGISTERS; j++)
            sum[p][j] = LOAD(t->bias + AT(j, LANES));
    const float *weights = t->weights;
    for (size_t b = 0; b < t->blocks; b++)
        for (size_t ky = 0; ky < t->kernel; ky++) {
            const float *in = t->in + b * t->in_block + ky * t->in_row;
            for (size_t i = t->kernel * L; i > 0; i--, in++, weights += LANES) {
                vec w[4];
#pragma GCC unroll 4
                for (size_t j = 0; j < J * REGISTERS; j++)
                    w[j] = LOAD(weights + AT(j, t->panel));
#pragma GCC unroll 14
                for (size_t p = 0; p < R; p++) {
                    float value = in[p * S * L];
#pragma GCC unroll 4
                    for (size_t j = 0; j < J * REGISTERS; j++)
                        sum[p][j] += value * w[j];
                }
            }
        }
    const vec zero = {0};
#pragma GCC unroll 14
    for (size_t p = 0; p < R; p++)
#pragma GCC unroll 4
        for (size_t j = 0; j < J * REGISTERS; j++) {
            vec value = sum[p][j];
            if (t->relu)
                value = (vec)((mask)value & (value > zero));
            *(vec *)(void *)(t->out + AT(j, t->out_block) + p * LANES) = value;
        }
}

/* One function a shape: tile_<R>x<J>_l<L>_s<S>, and tables of them by R. */
#define TILE(R, J, L, S)                                                                           \
    static void tile_##R##x##J##_l##L##_s##S(const struct tile *t)                                 \
    {                                                                                              \
        tile_body(t, R, J, L, S);                                                                  \
    }
#define TILES_3(J, L, S) TILE(1, J, L, S) TILE(2, J, L, S) TILE(3, J, L, S)
#define TILES_5(J, L, S) TILES_3(J, L, S) TILE(4, J, L, S) TILE(5, J, L, S)
#define TILES_6(J, L, S) TILES_5(J, L, S) TILE(6, J, L, S)
#define TILES_7(J, L, S) TILES_6(J, L, S) TILE(7, J, L, S)
#define TILES_14(J, L, S)                                                                          \
    TILES_7(J, L, S)                                                                               \
    TILE(8, J, L, S)                                                                               \
    TILE(9, J, L, S)                                                                               \
    TILE(10, J, L, S) TILE(11, J, L, S) TILE(12, J, L, S) TILE(13, J, L, S) TILE(14, J, L, S)
#define ENTRY(R, J, L, S)  tile_##R##x##J##_l##L##_s##S,
#define ENTRIES_3(J, L, S) ENTRY(1, J, L, S) ENTRY(2, J, L, S) ENTRY(3, J, L, S)
#define ENTRIES_5(J, L, S) ENTRIES_3(J, L, S) ENTRY(4, J, L, S) ENTRY(5, J, L, S)
#define ENTRIES_6(J, L, S) ENTRIES_5(J, L, S) ENTRY(6, J, L, S)
#define ENTRIES_7(J, L, S) ENTRIES_6(J, L, S) ENTRY(7, J, L, S)
#define ENTRIES_14(J, L, S)                                                                        \
    ENTRIES_7(J, L, S)                                                                             \
    ENTRY(8, J, L, S)                                                                              \
    ENTRY(9, J, L, S)                                                                              \
    ENTRY(10, J, L, S) ENTRY(11, J, L, S) ENTRY(12, J, L, S) ENTRY(13, J, L, S) ENTRY(14, J, L, S)
#define PASTE(a, b)  PASTE_(a, b)
#define PASTE_(a, b) a##b
/* The three kinds of input: blocked at stride 1 and 2, planar at stride 2. */
#define DEFINE_WIDTH(J, most)                                                                      \
    PASTE(TILES_, most)                                                                            \
    (J, 16, 1) PASTE(TILES_, most)(J, 16, 2)                                                       \
        PASTE(TILES_, most)(J, 1, 2) static void (*const tiles_##J[3][most])(                      \
            const struct tile *) = {{PASTE(ENTRIES_, most)(J, 16, 1)},                             \
                                    {PASTE(ENTRIES_, most)(J, 16, 2)},                             \
                                    {PASTE(ENTRIES_, most)(J, 1, 2)}};

DEFINE_WIDTH(1, TILE_1)
#if TILE_2
DEFINE_WIDTH(2, TILE_2)
#endif
#if TILE_4
DEFINE_WIDTH(4, TILE_4)
#endif

/* The tiles of that many blocks for that kind of input, by their pixels less one. */
static void (*const *tiles_for(size_t width, size_t kind, size_t *most))(const struct tile *)
{
#if TILE_4
    if (width == 4) {
        *most = TILE_4;
        return tiles_4[kind];
    }
#endif
#if TILE_2
    if (width == 2) {
        *most = TILE_2;
        return tiles_2[kind];
    }
#endif
    (void)width;
    *most = TILE_1;
    return tiles_1[kind];
}

/* Blocks of the next tile where `left` are left of a group of `wide`. */
static size_t tile_width(size_t wide, size_t left)
{
    if (left >= wide)
        return wide;
    return TILE_2 && left >= 2 ? 2 : 1;
}

/* The widest tile that suits: 4 blocks for short rows, else 2, else 1; never across groups. */
static size_t widest(const struct conv *conv, size_t columns)
{
    if (conv->groups > 1)
        return 1;
    if (TILE_4 && columns <= 3 * TILE_4 && columns != TILE_2)
        return 4;
    return TILE_2 ? 2 : 1;
}

/* Output pixels of one row, in tiles of nearly equal size. */
static void run_row(struct tile *tile, void (*const *run)(const struct tile *), size_t most,
                    size_t pixels, size_t in_step)
{
    size_t tiles = (pixels + most - 1) / most;
    for (size_t left = tiles; left > 0; left--) {
        size_t count = (pixels + left - 1) / left;
        run[count - 1](tile);
        pixels -= count;
        tile->in += count * in_step;
        tile->out += count * LANES;
    }
}

#include "kernels_winograd.h"

/* ---- a direct convolution -----------------------------------------------------------------------
 */

/* A convolution and how it is cut into items for the team: groups of up to `wide` output blocks,
 * times images, times chunks of rows (or, of an image that is one long row, of columns). */
struct job {
    const struct conv *conv;
    const float *in; /* of all images, with their border */
    float *out;
    size_t images, in_floats, out_floats; /* how many; of one, border included */
    size_t in_height, in_width;           /* border included */
    size_t rows, columns;                 /* of output */
    size_t blocks, wide;                  /* output blocks; most of them in a tile: 1, 2 or 4 */
    size_t groups, chunks;
    size_t kind; /* of input, for the tables of tiles */
    bool relu;
};

/* `width` output blocks from block b on; rows and columns from (top, left) on. */
static void run_region(const struct job *job, size_t image, size_t b, size_t width, size_t top,
                       size_t bottom, size_t left, size_t right)
{
    const struct conv *conv = job->conv;
    size_t lanes = in_lanes(conv), step = conv->stride * lanes, most;
    void (*const *run)(const struct tile *) = tiles_for(width, job->kind, &most);
    struct reach reach = reach_of(conv, b);
    struct tile tile = {.in_row = job->in_width * lanes,
                        .in_block = job->in_height * job->in_width * lanes,
                        .blocks = reach.count,
                        .kernel = conv->kernel,
                        .weights = conv->weights + b * panel_floats(conv),
                        .panel = panel_floats(conv),
                        .bias = conv->bias + b * LANES,
                        .out_block = job->rows * job->columns * LANES,
                        .relu = job->relu};
    for (size_t y = top; y < bottom; y++) {
        tile.in = job->in + image * job->in_floats + reach.first * tile.in_block +
                  y * conv->stride * tile.in_row + left * step;
        tile.out = job->out + image * job->out_floats + b * tile.out_block +
                   (y * job->columns + left) * LANES;
        run_row(&tile, run, most, right - left, step);
    }
}

/* Item i: a group of output blocks, an image, a chunk of its pixels, in this order, so that a
 * group's weights serve all images while they are in the cache. A group that has fewer blocks than
 * a wide tile runs as tiles of 2 and 1. */
static void run_item(void *context, size_t i)
{
    const struct job *job = context;
    size_t chunk = i % job->chunks, image = i / job->chunks % job->images;
    size_t b = i / job->chunks / job->images * job->wide;
    size_t end = min_size(b + job->wide, job->blocks);
    size_t top = 0, bottom = job->rows, left = 0, right = job->columns;
    if (job->rows > 1) {
        top = job->rows * chunk / job->chunks;
        bottom = job->rows * (chunk + 1) / job->chunks;
    } else {
        left = job->columns * chunk / job->chunks;
        right = job->columns * (chunk + 1) / job->chunks;
    }
    while (b < end) {
        size_t width = tile_width(job->wide, end - b);
        run_region(job, image, b, width, top, bottom, left, right);
        b += width;
    }
}

/* Enough items that the last ones end together on all cores, each of some tiles still. */
static size_t chunks_for(const struct job *job, size_t cores)
{
    enum { ITEMS_A_CORE = 4, TILES_AT_LEAST = 4 };
    if (cores < 2)
        return 1;
    size_t items = job->groups * job->images;
    size_t wanted = (cores * ITEMS_A_CORE + items - 1) / items;
    size_t most = job->rows > 1 ? job->rows : job->columns / (TILE_1 * TILES_AT_LEAST);
    size_t chunks = min_size(wanted, most);
    return chunks ? chunks : 1;
}

/* The copy of the images with their border of zeros, an input block of one an item. */
struct border {
    const float *in; /* [images][blocks][height][width][lanes] */
    float *out;      /* [images][blocks][height + 2 pad][width + 2 pad][lanes] */
    size_t height, width, lanes, pad;
};

static void copy_with_border(void *context, size_t b)
{
    const struct border *border = context;
    size_t side = border->pad * border->lanes, row = border->width * border->lanes;
    size_t full = row + 2 * side;
    const float *in = border->in + b * border->height * row;
    float *out = border->out + b * (border->height + 2 * border->pad) * full;
    memset(out, 0, border->pad * full * sizeof *out);
    out += border->pad * full;
    for (size_t y = 0; y < border->height; y++, in += row, out += full) {
        memset(out, 0, side * sizeof *out);
        memcpy(out + side, in, row * sizeof *out);
        memset(out + side + row, 0, side * sizeof *out);
    }
    memset(out, 0, border->pad * full * sizeof *out);
}

static void conv_direct(const struct conv *conv, size_t batch, size_t height, size_t width,
                        const float *in, float *scratch, float *out, bool relu, struct team *team)
{
    size_t oh = conv_out(conv, height), ow = conv_out(conv, width);
    size_t in_blocks = conv->planar_in ? conv->in : blocks_of(conv->in);
    bool flat = conv->kernel == 1 && conv->stride == 1 && conv->pad == 0;
    struct job job = {.conv = conv,
                      .in_height = height + 2 * conv->pad,
                      .in_width = width + 2 * conv->pad,
                      .rows = flat ? 1 : oh,
                      .columns = flat ? oh * ow : ow,
                      .blocks = blocks_of(conv->out),
                      .kind = conv->planar_in ? 2 : conv->stride - 1,
                      .relu = relu};
    job.wide = widest(conv, job.columns);
    job.groups = (job.blocks + job.wide - 1) / job.wide;
    job.images = batch;
    job.chunks = chunks_for(&job, pool_cores(team));
    job.in_floats = bordered_floats(conv, height, width);
    job.out_floats = oh * ow * job.blocks * LANES;
    job.in = in;
    job.out = out;
    if (conv->pad) {
        struct border border = {.in = in,
                                .out = scratch,
                                .height = height,
                                .width = width,
                                .lanes = in_lanes(conv),
                                .pad = conv->pad};
        pool_for(team, batch * in_blocks, copy_with_border, &border);
        job.in = scratch;
    }
    pool_for(team, job.groups * batch * job.chunks, run_item, &job);
}

/* ---- the table ----------------------------------------------------------------------------- */

static size_t packed_floats(const struct conv *conv)
{
    return is_winograd(conv) ? winograd_packed_floats(conv) : direct_packed_floats(conv);
}

static void pack(const struct conv *conv, const float *source, float *packed)
{
    (is_winograd(conv) ? winograd_pack : direct_pack)(conv, source, packed);
}

static size_t conv_scratch(const struct conv *conv, size_t batch, size_t height, size_t width)
{
    return (is_winograd(conv) ? winograd_scratch : direct_scratch)(conv, batch, height, width);
}

static void conv_run(const struct conv *conv, size_t batch, size_t height, size_t width,
                     const float *in, float *scratch, float *out, bool relu, struct team *team)
{
    (is_winograd(conv) ? conv_winograd : conv_direct)(conv, batch, height, width, in, scratch, out,
                                                      relu, team);
}

POINTWISE_FUNCTIONS(LANES)

const struct kernels SIMD_SYMBOL = {.name = SIMD_NAME,
                                    .lanes = LANES,
                                    .supported = supported,
                                    .packed_floats = packed_floats,
                                    .pack = pack,
                                    .conv_scratch = conv_scratch,
                                    .conv = conv_run,
                                    .max_pool = max_pool,
                                    .average_pool = average_pool,
                                    .scale_add_relu = scale_add_relu};
