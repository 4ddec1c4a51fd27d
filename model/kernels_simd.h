/* kernels_simd.h - direct convolution for every SIMD backend, written once in GCC's vector
 * extensions.
 *
 * Each backend is one file (kernels_avx512.c, kernels_avx2_bf16.c, ...), which is compiled with its
 * instruction set's flags and defines first
 *   SIMD_NAME       the backend's name, a string
 *   SIMD_SYMBOL     its table, kernels_<name>
 *   SIMD_SUPPORTED  the expression that asks the CPU
 *   SIMD_FLOATS     floats in a register
 *   TILE_1, TILE_2, TILE_4   most output pixels of a register tile that is 1, 2 or 4 blocks of
 *                   channels wide; 0 where such a tile does not fit the registers
 *   SIMD_ADD        optional: the instruction of sums_add, whose last operand may be memory
 * and then includes kernels_simd_fp32.h, _bf16.h or _int8.h. That header says what the precision
 * is made of, includes this one for the convolution, and ends with the table:
 *   GROUP           neighbouring channels that one 32-bit word of active input holds
 *   word, weight    a word of input; a packed weight, GROUP of which make a word too
 *   active, linear  a channel of either kind of activations (see kernels.h)
 *   sums            a register of sums, one an output channel
 *   sums_begin, sums_add, sums_end    what a register of sums starts from, takes in, and stores
 *   sums_value                        what it stands for, in fp32
 *   block_end                         stores a pixel's block, all registers of it at once
 *   linear_load_block, linear_store_block   a block's linear channels as fp32, in registers whose
 *                        order is that of linear_swap (see block_swap)
 *   active_store_block   active ones, from such registers, of at least 0 in their units
 *   APART           whether active activations are of another kind than linear ones
 *   weights_register, weights_load    a vector of packed words, ready for sums_add
 *   weights_forget                    see FORGET in kernels_vector.h
 *   HEAD_FLOATS, pack_head, pack_weight   what lies before the weights, and the weights
 *   photo_zero, photo_active          a photo's channel of 0; any, of a float
 *   DIRECT_ALONE                      if no convolution is to take one of Winograd's forms
 *
 * Direct convolution on blocks of channels, by the register tiles of kernels_tile.h. Three loops
 * keep what is read again in a cache: input blocks are taken so many at a time that their weights
 * stay near while a part of the image passes by, with its sums kept in between; and of input and
 * weights the one that costs less to read anew is in the outer loop, the input in chunks that fit
 * the second level.
 * - 1x1: the whole image is one long row; of a stride, the pixels it picks are first copied into
 *   scratch.
 * - pad > 0: the image is first copied into scratch with its zero border.
 * - planar input (the stem's photo) is copied with its three channels side by side, so that a row
 * of a window is one run of words.
 * - groups: an output block reads only the input blocks its groups touch; weights between groups
 * are zeros.
 */
#include "kernels_tile.h"
#include <unistd.h>
#ifdef SIMD_TILE_DOT
#include "kernels_amx_tile.h"
#else
#include "kernels_simd_tile.h"
#endif

/* ---- shapes ------------------------------------------------------------------------------ */

/* Input blocks; a photo is one. */
static size_t in_blocks(const struct conv *conv)
{
    return conv->planar_in ? 1 : blocks_of(conv->in);
}

/* Input blocks that output block b reads: first, and their count, the same for every b. */
struct reach {
    size_t first, count;
};

static struct reach reach_of(const struct conv *conv, size_t b)
{
    size_t all = in_blocks(conv);
    if (conv->groups == 1)
        return (struct reach){0, all};
    size_t in_g = conv->in / conv->groups, out_g = conv->out / conv->groups;
    /* Most groups that the neighbouring outputs of a block can touch; where blocks do not begin
     * amid groups, as in all the usual networks, just those that they hold. */
    bool even = LANES % out_g == 0 || out_g % LANES == 0;
    size_t groups =
        even ? divide_up(LANES, out_g) : min_size((LANES + out_g - 2) / out_g + 1, conv->groups);
    /* Their input likewise: one block more, unless it cannot begin amid one. */
    size_t channels = groups * in_g;
    bool within = even && (channels % LANES == 0 || LANES % channels == 0);
    size_t count = min_size(blocks_of(channels) + (within ? 0 : 1), all);
    size_t first = b * LANES / out_g * in_g / LANES;
    return (struct reach){min_size(first, all - count), count};
}

/* Channels of a pixel in an input block. */
static size_t in_channels(const struct conv *conv)
{
    return conv->planar_in ? PHOTO_CHANNELS : LANES;
}

/* Words of one row of a window in an input block; of a photo the last may reach beyond. */
static size_t row_words(const struct conv *conv)
{
    return divide_up(conv->kernel * in_channels(conv), GROUP);
}

/* Words of the weights of an output block for one input block: [kernel][row words][16]. */
static size_t block_words(const struct conv *conv)
{
    return conv->kernel * row_words(conv) * LANES;
}

/* Words of the weights of one output block: [input blocks][block words]. */
static size_t panel_words(const struct conv *conv)
{
    return reach_of(conv, 0).count * block_words(conv);
}

/* Packed: HEAD_FLOATS vectors of [out] floats, of which the last is the bias; then the panels. */
static size_t head_floats(const struct conv *conv)
{
    return HEAD_FLOATS * blocks_of(conv->out) * LANES;
}

static const float *packed_bias(const struct conv *conv)
{
    return (const float *)conv->packed + head_floats(conv) - blocks_of(conv->out) * LANES;
}

static const word *packed_weights(const struct conv *conv)
{
    return (const word *)conv->packed + head_floats(conv);
}

static size_t direct_packed_bytes(const struct conv *conv)
{
    return (head_floats(conv) + blocks_of(conv->out) * panel_words(conv)) * sizeof(word);
}

static void direct_pack(const struct conv *conv, const float *source, const float *bias,
                        void *packed)
{
    size_t kernel = conv->kernel, channels = in_channels(conv), row = row_words(conv) * GROUP;
    size_t in_g = conv->in / conv->groups, out_g = conv->out / conv->groups;
    weight *panels = (weight *)((word *)packed + head_floats(conv));
    pack_head(conv, source, bias, packed);
    for (size_t o = 0; o < conv->out; o++) {
        size_t b = o / LANES, first = reach_of(conv, b).first;
        weight *panel = panels + (b * panel_words(conv) + o % LANES) * GROUP;
        for (size_t i = 0; i < in_g; i++) {
            size_t channel = o / out_g * in_g + i;
            size_t block = channel / channels - first;
            for (size_t t = 0; t < kernel * kernel; t++) {
                size_t at = (block * kernel + t / kernel) * row + t % kernel * channels +
                            channel % channels; /* of the window's channels, as they are read */
                panel[at / GROUP * LANES * GROUP + at % GROUP] =
                    pack_weight(conv, packed, o, *source++);
            }
        }
    }
}

/* A window of one pixel: the image is one long row. */
static bool is_flat(const struct conv *conv)
{
    return conv->kernel == 1 && conv->pad == 0 && !conv->planar_in;
}

static enum input input_of(const struct conv *conv)
{
    return conv->planar_in ? photo : is_flat(conv) ? flat : conv->stride == 2 ? strided : dense;
}

/* Channels from an input row to the next as the tiles read them, border included; a whole number of
 * words. */
static size_t in_row(const struct conv *conv, size_t width)
{
    return divide_up((width + 2 * conv->pad) * in_channels(conv), GROUP) * GROUP;
}

/* Channels of one image of the input as the tiles read it: bordered, or of the picked pixels alone.
 */
static size_t in_image(const struct conv *conv, size_t height, size_t width)
{
    size_t plane = is_flat(conv) ? conv_out(conv, height) * conv_out(conv, width) * LANES
                                 : (height + 2 * conv->pad) * in_row(conv, width);
    return in_blocks(conv) * plane;
}

/* A photo is always copied, as its channels come side by side. */
static bool is_copied(const struct conv *conv)
{
    return conv->pad || conv->planar_in || (is_flat(conv) && conv->stride > 1);
}

/* The last window's last word may reach beyond the image. */
static size_t direct_scratch(const struct conv *conv, size_t batch, size_t height, size_t width,
                             const struct team *team)
{
    (void)team;
    return is_copied(conv) ? batch * in_image(conv, height, width) * sizeof(active) + sizeof(word)
                           : 0;
}

static size_t out_bytes(const struct conv *conv)
{
    return LANES * (conv->relu ? sizeof(active) : sizeof(linear));
}

/* ---- the work, cut into items --------------------------------------------------------------- */

/* A convolution and how it is cut into items for the team: groups of up to `wide` output blocks,
 * times images, times chunks of rows (or, of an image that is one long row, of columns). */
struct job {
    const struct conv *conv;
    const active *in; /* of all images, with their border */
    unsigned char *out;
    size_t images, in_image, out_image; /* how many; channels and bytes of one, border included */
    size_t in_row, in_block;            /* channels from one to the next */
    size_t rows, columns;               /* of output */
    size_t blocks, wide;                /* output blocks; most of them in a tile: 1, 2 or 4 */
    size_t groups, chunks;
    bool weights_outside; /* the outer loop is over groups, else over images and chunks */
    enum input input;
    const float *gates; /* [images][blocks][16], where `out` is joined with; else NULL */
    active *next;       /* its active form, or NULL */
};

#ifndef NEAR_BYTES
/* Bytes of weights that stay in the first-level cache beside the input that passes by; where its
 * size is not known it is taken for 32 KiB. Wide registers take so long for a word of weights that
 * those may come from the second level each time, which costs less than to keep sums. */
static size_t near_bytes(void)
{
    if (SIMD_FLOATS >= 16)
        return (size_t)1 << 20;
    const long passing = 16 << 10, cache = sysconf(_SC_LEVEL1_DCACHE_SIZE);
    return (size_t)(cache > 2 * passing ? cache - passing : passing);
}
#define NEAR_BYTES near_bytes()
#endif
/* Bytes of input that stay in a second-level cache beside weights and output. */
#define CHUNK_BYTES ((size_t)192 << 10)
/* Most output pixels whose sums are kept between two groups of input blocks. */
#define PART_PIXELS 64

/* Rows and columns of output: the end is not included. */
struct region {
    size_t top, bottom, left, right;
};

/* The same for a convolution: never across groups. A photo's few words leave little time between
 * loads from the same bank of the cache, so narrow tiles are good for it. */
static size_t widest(const struct conv *conv, size_t columns)
{
    if (conv->groups > 1)
        return 1;
    return conv->planar_in && TILE_2 ? 2 : widest_of(columns);
}

/* Input blocks whose weights for `width` output blocks stay near; at least one. */
static size_t near_blocks(const struct conv *conv, size_t width)
{
    size_t bytes = block_words(conv) * sizeof(word) * width, near = NEAR_BYTES;
    return bytes < near ? near / bytes : 1;
}

/* `width` output blocks from block b on, over `region`, `step` input blocks at a time: all of them,
 * or the region is of PART_PIXELS at most. */
static void run_part(const struct job *job, size_t image, size_t b, size_t width,
                     struct region region, size_t step)
{
    const struct conv *conv = job->conv;
    size_t stride = is_flat(conv) ? 1 : conv->stride, pixel = in_channels(conv);
    size_t columns = region.right - region.left;
    struct reach reach = reach_of(conv, b);
    sums kept[PART_PIXELS * 4]; /* as wide tiles have at most 4 registers a pixel */
    struct tile tile = {.in_row = job->in_row,
                        .in_block = job->in_block,
                        .kernel = conv->kernel,
                        .row_words = row_words(conv),
                        .panel = panel_words(conv),
                        .bias = packed_bias(conv) + b * LANES,
                        .head = job->blocks * LANES,
                        .out_pixel = out_bytes(conv),
                        .out_block = job->rows * job->columns * out_bytes(conv),
                        .relu = conv->relu,
                        .inverse = job->next ? 1 / conv->out_scale : 0,
                        .kept_pixel = width * REGISTERS,
                        .kept_block = REGISTERS};
    if (job->gates)
        tile.gates = job->gates + (image * job->blocks + b) * LANES;
    tiles_begin(&tile, width, job->input, columns);
    for (size_t k = 0; k < reach.count; k += step) {
        tile.blocks = min_size(step, reach.count - k);
        tile.resumes = k > 0;
        tile.suspends = k + step < reach.count;
        tile.kept = tile.resumes || tile.suspends ? kept : NULL;
        tile.weights = packed_weights(conv) + b * tile.panel + k * block_words(conv);
        aim_ahead(&tile,
                  tile.suspends ? tile.weights + tile.blocks * block_words(conv)
                                : packed_weights(conv) + (b + width) * tile.panel,
                  WORDS, divide_up(columns, tile.most));
        for (size_t y = region.top; y < region.bottom; y++) {
            tile.in = job->in + image * job->in_image + (reach.first + k) * tile.in_block +
                      y * stride * tile.in_row + region.left * stride * pixel;
            tile.out = job->out + image * job->out_image + b * tile.out_block +
                       (y * job->columns + region.left) * tile.out_pixel;
            if (job->next)
                tile.next = job->next + (size_t)(tile.out - job->out) / sizeof(linear);
            run_row(&tile, columns, stride * pixel);
        }
    }
    tiles_end();
}

/* `width` output blocks from block b on, over a region of any size. */
static void run_region(const struct job *job, size_t image, size_t b, size_t width,
                       struct region region)
{
    size_t step = near_blocks(job->conv, width), columns = region.right - region.left;
    if (step >= reach_of(job->conv, b).count) {
        run_part(job, image, b, width, region, step);
        return;
    }
    columns = divide_up(columns, divide_up(columns, PART_PIXELS));
    size_t rows = PART_PIXELS / columns;
    for (size_t y = region.top; y < region.bottom; y += rows)
        for (size_t x = region.left; x < region.right; x += columns) {
            struct region part = {y, min_size(y + rows, region.bottom), x,
                                  min_size(x + columns, region.right)};
            run_part(job, image, b, width, part, step);
        }
}

/* A group that has fewer blocks than a wide tile runs as tiles of 2 and 1. */
static void run_group(const struct job *job, size_t image, size_t group, struct region region)
{
    size_t b = group * job->wide, end = min_size(b + job->wide, job->blocks);
    while (b < end) {
        size_t width = tile_width(job->wide, end - b);
        run_region(job, image, b, width, region);
        b += width;
    }
}

/* Item i: a group of output blocks, an image, a chunk of its pixels. */
static void run_item(void *context, size_t i)
{
    const struct job *job = context;
    size_t all = job->images * job->chunks;
    size_t group = job->weights_outside ? i / all : i % job->groups;
    size_t piece = job->weights_outside ? i % all : i / job->groups;
    size_t chunk = piece % job->chunks, image = piece / job->chunks;
    struct region region = {0, job->rows, 0, job->columns};
    if (job->rows > 1) {
        region.top = job->rows * chunk / job->chunks;
        region.bottom = job->rows * (chunk + 1) / job->chunks;
    } else {
        region.left = job->columns * chunk / job->chunks;
        region.right = job->columns * (chunk + 1) / job->chunks;
    }
    run_group(job, image, group, region);
}

/* Chunks of an image's pixels: so many that the last items end together on all cores, each of some
 * tiles still, and that a chunk of input stays in the cache where that is the inner loop. */
static void choose_chunks(struct job *job, size_t cores)
{
    enum { ITEMS_A_CORE = 4, TILES_AT_LEAST = 4 };
    size_t in_bytes = job->in_image * sizeof(active), items = job->groups * job->images;
    size_t weights = job->blocks * panel_words(job->conv) * sizeof(word);
    size_t most = job->rows > 1 ? job->rows : job->columns / (TILE_1 * TILES_AT_LEAST);
    if (most > cores) /* so that no chunk lies half with one core and half with another */
        most -= most % cores;
    size_t fitting = min_size(divide_up(in_bytes, CHUNK_BYTES), most ? most : 1);
    job->weights_outside =
        job->images * in_bytes * (job->groups - 1) < weights * (job->images * fitting - 1);
    size_t wanted = job->weights_outside ? 1 : fitting;
    if (wanted > 1)
        wanted = min_size(divide_up(wanted, cores) * cores, most);
    if (cores > 1 && items * wanted < cores * ITEMS_A_CORE)
        wanted = min_size(divide_up(cores * ITEMS_A_CORE, items), most);
    job->chunks = wanted ? wanted : 1;
}

/* The copy of the images as the tiles read them. */
struct copy {
    const struct conv *conv;
    const void *in; /* [images][blocks][height][width][channels], or the photos */
    active *out;    /* as in_row and in_image say */
    size_t height, width;
};

/* A row of an image's blocks an item, or of their border of zeros. */
static void copy_row_with_border(void *context, size_t item)
{
    const struct copy *copy = context;
    const struct conv *conv = copy->conv;
    size_t rows = copy->height + 2 * conv->pad, y = item % rows - conv->pad; /* far: above it */
    size_t row = copy->width * LANES, side = conv->pad * LANES, full = row + 2 * side;
    size_t blocks = in_blocks(conv), block = item / rows * blocks;
    active *out = copy->out + (block * rows + item % rows) * full;
    const active *in = (const active *)copy->in + (block * copy->height + y) * row;
    for (size_t b = 0; b < blocks; b++, out += rows * full, in += copy->height * row) {
        if (y >= copy->height) {
            memset(out, 0, full * sizeof *out);
            continue;
        }
        memset(out, 0, side * sizeof *out);
        memcpy(out + side, in, row * sizeof *out);
        memset(out + side + row, 0, side * sizeof *out);
    }
}

static void fill(active *out, size_t count, active value)
{
    for (size_t i = 0; i < count; i++)
        out[i] = value;
}

#define PHOTO_PIECE 64 /* pixels */
#define PHOTO_AHEAD 2  /* rows between what is read and what is fetched for later */

/* A row of a photo an item, or of its border. Channels are converted before they are put side by
 * side, so that vectors can do it. */
static void copy_photo_row(void *context, size_t item)
{
    const struct copy *copy = context;
    const struct conv *conv = copy->conv;
    size_t rows = copy->height + 2 * conv->pad, y = item % rows - conv->pad; /* far: above it */
    size_t plane = copy->height * copy->width, side = conv->pad * PHOTO_CHANNELS;
    active *out = copy->out + item * in_row(conv, copy->width);
    if (y >= copy->height) {
        fill(out, in_row(conv, copy->width), photo_zero);
        return;
    }
    const float *in =
        (const float *)copy->in + item / rows * PHOTO_CHANNELS * plane + y * copy->width;
    const float inverse = 1 / conv->in_scale;
    fill(out, side, photo_zero);
    out += side;
    for (size_t x = 0; x < copy->width; x += PHOTO_PIECE) {
        active piece[PHOTO_CHANNELS][PHOTO_PIECE];
        size_t count = min_size(PHOTO_PIECE, copy->width - x);
        for (size_t c = 0; c < PHOTO_CHANNELS; c++) {
            const float *from = in + c * plane + x;
            for (size_t i = 0; i < PHOTO_PIECE * sizeof(float); i += 64)
                __builtin_prefetch((const char *)(from + PHOTO_AHEAD * copy->width) + i);
            for (size_t i = 0; i < count; i++)
                piece[c][i] = photo_active(from[i], inverse);
        }
        for (size_t i = 0; i < count; i++, out += PHOTO_CHANNELS)
            for (size_t c = 0; c < PHOTO_CHANNELS; c++)
                out[c] = piece[c][i];
    }
    fill(out, in_row(conv, copy->width) - side - copy->width * PHOTO_CHANNELS, photo_zero);
}

/* The pixels that a 1x1 convolution of some stride picks, an output row of an image an item. */
static void copy_picked_row(void *context, size_t item)
{
    const struct copy *copy = context;
    const struct conv *conv = copy->conv;
    size_t rows = conv_out(conv, copy->height), columns = conv_out(conv, copy->width);
    size_t blocks = in_blocks(conv), block = item / rows * blocks, y = item % rows;
    active *out = copy->out + (block * rows + y) * columns * LANES;
    const active *in =
        (const active *)copy->in + (block * copy->height + y * conv->stride) * copy->width * LANES;
    for (size_t b = 0; b < blocks; b++) {
        for (size_t x = 0; x < columns; x++)
            memcpy(out + x * LANES, in + x * conv->stride * LANES, LANES * sizeof *out);
        out += rows * columns * LANES;
        in += copy->height * copy->width * LANES;
    }
}

/* Copies a batch into scratch. */
static void copy_images(struct copy *copy, size_t batch, struct team *team)
{
    const struct conv *conv = copy->conv;
    if (is_flat(conv))
        pool_for(team, batch * conv_out(conv, copy->height), copy_picked_row, copy);
    else
        pool_for(team, batch * (copy->height + 2 * conv->pad),
                 conv->planar_in ? copy_photo_row : copy_row_with_border, copy);
}

/* gates and next: of conv_join, or NULL. */
static void convolve(const struct conv *conv, size_t batch, size_t height, size_t width,
                     const void *in, const float *gates, void *scratch, void *out, void *next,
                     struct team *team)
{
    size_t oh = conv_out(conv, height), ow = conv_out(conv, width);
    size_t cores = pool_room(team);
    bool row = is_flat(conv);
    struct job job = {.conv = conv,
                      .in = in,
                      .out = out,
                      .images = batch,
                      .in_image = in_image(conv, height, width),
                      .out_image = oh * ow * blocks_of(conv->out) * out_bytes(conv),
                      .in_row = in_row(conv, width),
                      .rows = row ? 1 : oh,
                      .columns = row ? oh * ow : ow,
                      .blocks = blocks_of(conv->out),
                      .input = gates ? joined : input_of(conv),
                      .gates = gates,
                      .next = next};
    job.in_block = job.in_image / in_blocks(conv);
    job.wide = widest(conv, job.columns);
    if (job.rows * job.columns * batch == 1) /* a vector: a group for each core */
        while (job.wide > 1 && divide_up(job.blocks, job.wide) < cores)
            job.wide /= 2;
    job.groups = divide_up(job.blocks, job.wide);
    choose_chunks(&job, cores);
    if (is_copied(conv)) {
        struct copy copy = {
            .conv = conv, .in = in, .out = scratch, .height = height, .width = width};
        copy_images(&copy, batch, team);
        job.in = scratch;
    }
    pool_for(team, job.groups * batch * job.chunks, run_item, &job);
}

static void conv_direct(const struct conv *conv, size_t batch, size_t height, size_t width,
                        const void *in, void *scratch, void *out, struct team *team)
{
    convolve(conv, batch, height, width, in, NULL, scratch, out, NULL, team);
}

static void conv_join(const struct conv *conv, size_t batch, size_t height, size_t width,
                      const void *in, const float *gates, void *scratch, void *x, void *active_x,
                      struct team *team)
{
    convolve(conv, batch, height, width, in, gates, scratch, x, active_x, team);
}

/* Where Winograd's forms do not pay (kernels_winograd.h) every convolution is direct. */
#ifdef DIRECT_ALONE
#define form_packed_bytes direct_packed_bytes
#define form_pack         direct_pack
#define form_scratch      direct_scratch
#define form_conv         conv_direct
#endif
