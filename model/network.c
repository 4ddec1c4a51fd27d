/* network.c - see network.h. All arithmetic but the sigmoid goes through the backend's table. */
#include "network.h"
#include <assert.h>
#include <math.h>
#include <string.h>

struct extent {
    size_t height, width;
};

static struct extent after(const struct conv *conv, struct extent in)
{
    return (struct extent){conv_out(conv, in.height), conv_out(conv, in.width)};
}

static size_t pixels(struct extent extent)
{
    return extent.height * extent.width;
}

/* Size after the 3x3 max-pool of stride 2. Rounded up, the last window must still begin inside
 * the image, as in PyTorch. */
static size_t pooled_side(const struct architecture *net, size_t side)
{
    size_t room = side + 2 * net->pool_pad - 3;
    size_t out = (room + (net->pool_ceil ? 1 : 0)) / 2 + 1;
    if (net->pool_ceil && (out - 1) * 2 >= side + net->pool_pad)
        out--;
    return out;
}

static struct extent after_pool(const struct architecture *net, struct extent in)
{
    return (struct extent){pooled_side(net, in.height), pooled_side(net, in.width)};
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- layout ------------------------------------------------------------------------------ */

struct sizes {
    size_t block, t1, t2, t3, channels, reduced; /* floats, of one image */
    size_t scratch;                              /* of the batch */
};

static size_t activation(const struct kernels *kernels, struct extent extent, size_t channels)
{
    return pixels(extent) * kernels_padded(kernels, channels);
}

static void measure_conv(const struct kernels *kernels, const struct conv *conv, size_t images,
                         struct extent in, struct sizes *sizes)
{
    size_t scratch = kernels->conv_scratch(conv, images, in.height, in.width);
    sizes->scratch = max_size(sizes->scratch, scratch);
}

static struct extent measure_block(const struct kernels *kernels, const struct block *block,
                                   size_t images, struct extent in, struct sizes *sizes)
{
    struct extent e1 = after(&block->conv1, in), e2 = after(&block->conv2, e1);
    measure_conv(kernels, &block->conv1, images, in, sizes);
    measure_conv(kernels, &block->conv2, images, e1, sizes);
    measure_conv(kernels, &block->conv3, images, e2, sizes);
    if (block->has_downsample)
        measure_conv(kernels, &block->downsample, images, in, sizes);
    size_t out = activation(kernels, e2, block->conv3.out);
    sizes->t1 = max_size(sizes->t1, activation(kernels, e1, block->conv1.out));
    sizes->t2 = max_size(sizes->t2, activation(kernels, e2, block->conv2.out));
    sizes->t3 = max_size(sizes->t3, out);
    sizes->block = max_size(sizes->block, out);
    sizes->channels = max_size(sizes->channels, kernels_padded(kernels, block->conv3.out));
    if (block->has_se)
        sizes->reduced = max_size(sizes->reduced, kernels_padded(kernels, block->fc1.out));
    return e2;
}

void network_layout(const struct architecture *net, const struct kernels *kernels,
                    struct network_buffers *buffers, struct arena *arena)
{
    struct sizes sizes = {0};
    struct extent input = {buffers->height, buffers->width}, stem = after(&net->stem, input);
    struct extent extent = after_pool(net, stem);
    size_t n = buffers->images;
    measure_conv(kernels, &net->stem, n, input, &sizes);
    sizes.t3 = activation(kernels, stem, net->stem.out);
    sizes.block = activation(kernels, extent, net->stem.out);
    for (size_t i = 0; i < net->block_count; i++)
        extent = measure_block(kernels, &net->blocks[i], n, extent, &sizes);
    buffers->x = arena_floats(arena, n * sizes.block);
    buffers->y = arena_floats(arena, n * sizes.block);
    buffers->kept = arena_floats(arena, sizes.block);
    buffers->t1 = arena_floats(arena, n * sizes.t1);
    buffers->t2 = arena_floats(arena, n * sizes.t2);
    buffers->t3 = arena_floats(arena, n * sizes.t3);
    buffers->scratch = arena_floats(arena, sizes.scratch);
    buffers->squeezed = arena_floats(arena, n * sizes.channels);
    buffers->reduced = arena_floats(arena, n * sizes.reduced);
    buffers->excitation = arena_floats(arena, n * sizes.channels);
    buffers->logits = arena_floats(arena, n * kernels_padded(kernels, net->fc.out));
}

/* ---- the network ------------------------------------------------------------------------- */

/* The planes (see kernels.h) of a batch's activations, cut into items for the team. */
struct sweep {
    const struct kernels *kernels;
    size_t planes, c, items;
    struct extent in, out;
    size_t pad;
    const float *u, *gate, *shortcut;
    float *y;
};

static struct sweep sweep_over(const struct kernels *kernels, const struct network_buffers *b,
                               size_t images, size_t channels)
{
    enum { ITEMS_A_CORE = 4 };
    struct sweep sweep = {.kernels = kernels, .c = kernels_block(kernels, channels)};
    size_t items = ITEMS_A_CORE * pool_cores(b->team);
    sweep.planes = images * kernels_padded(kernels, channels) / sweep.c;
    sweep.items = items < sweep.planes ? items : sweep.planes;
    return sweep;
}

/* Item i's planes: from `first`, how many. */
static size_t share(const struct sweep *sweep, size_t i, size_t *first)
{
    *first = sweep->planes * i / sweep->items;
    return sweep->planes * (i + 1) / sweep->items - *first;
}

static void max_pool_item(void *context, size_t i)
{
    const struct sweep *s = context;
    size_t first, count = share(s, i, &first);
    s->kernels->max_pool(count, s->c, s->in.height, s->in.width, s->pad, s->out.height,
                         s->out.width, s->u + first * pixels(s->in) * s->c,
                         s->y + first * pixels(s->out) * s->c);
}

static void average_pool_item(void *context, size_t i)
{
    const struct sweep *s = context;
    size_t first, count = share(s, i, &first);
    s->kernels->average_pool(count, s->c, pixels(s->in), s->u + first * pixels(s->in) * s->c,
                             s->y + first * s->c);
}

static void scale_add_relu_item(void *context, size_t i)
{
    const struct sweep *s = context;
    size_t first, count = share(s, i, &first), at = first * pixels(s->in) * s->c;
    s->kernels->scale_add_relu(count, s->c, pixels(s->in), s->u + at,
                               s->gate ? s->gate + first * s->c : NULL, s->shortcut + at,
                               s->y + at);
}

static void average_pool(const struct kernels *kernels, const struct network_buffers *b,
                         size_t images, struct extent extent, size_t channels, const float *in)
{
    struct sweep sweep = sweep_over(kernels, b, images, channels);
    sweep.in = extent;
    sweep.u = in;
    sweep.y = b->squeezed;
    pool_for(b->team, sweep.items, average_pool_item, &sweep);
}

static void convolve(const struct kernels *kernels, const struct network_buffers *b,
                     const struct conv *conv, size_t images, struct extent extent, const float *in,
                     float *out, bool relu)
{
    kernels->conv(conv, images, extent.height, extent.width, in, b->scratch, out, relu, b->team);
}

static void sigmoid(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[i] = 1 / (1 + expf(-values[i]));
}

static const struct extent one = {1, 1};

/* Squeeze and excitation of u[images][C][h][w] into b->excitation. */
static void excite(const struct kernels *kernels, const struct block *block,
                   const struct network_buffers *b, size_t images, const float *u,
                   struct extent extent)
{
    size_t channels = block->conv3.out;
    average_pool(kernels, b, images, extent, channels, u);
    convolve(kernels, b, &block->fc1, images, one, b->squeezed, b->reduced, true);
    convolve(kernels, b, &block->fc2, images, one, b->reduced, b->excitation, false);
    sigmoid(b->excitation, images * kernels_padded(kernels, channels));
}

/* The two branches of a block before they join: conv3(conv2(conv1(x))) into b->t3, its gates into
 * b->excitation, and the shortcut, where it has a convolution, into y. Returns the extent. */
static struct extent branch(const struct kernels *kernels, const struct block *block,
                            const struct network_buffers *b, size_t images, const float *x,
                            struct extent e0, float *y)
{
    struct extent e1 = after(&block->conv1, e0), e2 = after(&block->conv2, e1);
    convolve(kernels, b, &block->conv1, images, e0, x, b->t1, true);
    convolve(kernels, b, &block->conv2, images, e1, b->t1, b->t2, true);
    convolve(kernels, b, &block->conv3, images, e2, b->t2, b->t3, false);
    if (block->has_se)
        excite(kernels, block, b, images, b->t3, e2);
    if (block->has_downsample)
        convolve(kernels, b, &block->downsample, images, e0, x, y, false);
    return e2;
}

/* y = relu(u * gate + shortcut) for `images` images: u and shortcut from image `from` on, gate and
 * y from image `to` on. */
static void join(const struct kernels *kernels, const struct block *block,
                 const struct network_buffers *b, size_t images, struct extent extent,
                 const float *x, float *y, size_t from, size_t to)
{
    size_t image = activation(kernels, extent, block->conv3.out);
    size_t gates = kernels_padded(kernels, block->conv3.out);
    struct sweep sweep = sweep_over(kernels, b, images, block->conv3.out);
    sweep.in = extent;
    sweep.u = b->t3 + from * image;
    sweep.gate = block->has_se ? b->excitation + to * gates : NULL;
    sweep.shortcut = (block->has_downsample ? y : x) + from * image;
    sweep.y = y + to * image;
    pool_for(b->team, sweep.items, scale_add_relu_item, &sweep);
}

/* y = relu(SE(conv3(conv2(conv1(x)))) + shortcut(x)); returns the extent of y. */
static struct extent run_block(const struct kernels *kernels, const struct block *block,
                               const struct network_buffers *b, size_t images, const float *x,
                               struct extent e0, float *y)
{
    struct extent extent = branch(kernels, block, b, images, x, e0, y);
    join(kernels, block, b, images, extent, x, y, 0, 0);
    return extent;
}

/* The stem: 7x7 convolution and max-pool into b->x; returns the extent after it. */
static struct extent run_stem(const struct architecture *net, const struct kernels *kernels,
                              const struct network_buffers *b, size_t images, const float *input)
{
    struct extent in = {b->height, b->width}, stem = after(&net->stem, in);
    convolve(kernels, b, &net->stem, images, in, input, b->t3, true);
    struct sweep sweep = sweep_over(kernels, b, images, net->stem.out);
    sweep.in = stem;
    sweep.out = after_pool(net, stem);
    sweep.pad = net->pool_pad;
    sweep.u = b->t3;
    sweep.y = b->x;
    pool_for(b->team, sweep.items, max_pool_item, &sweep);
    return sweep.out;
}

/* Vectors of whole blocks into the caller's, of exactly `count` floats. */
static void keep(const struct kernels *kernels, const float *padded, size_t images, size_t count,
                 float *out, size_t stride)
{
    for (size_t n = 0; n < images; n++)
        memcpy(out + n * stride, padded + n * kernels_padded(kernels, count), count * sizeof *out);
}

/* From the last block's activation to b->logits. */
static void run_head(const struct architecture *net, const struct kernels *kernels,
                     const struct network_buffers *b, size_t images, struct extent extent,
                     const float *x)
{
    average_pool(kernels, b, images, extent, net->fc.in, x);
    convolve(kernels, b, &net->fc, images, one, b->squeezed, b->logits, false);
}

void network_forward(const struct architecture *net, const struct kernels *kernels,
                     const struct network_buffers *b, size_t images, const float *input,
                     float *logits, float *excitations, size_t excitation_stride)
{
    assert(images >= 1 && images <= b->images);
    struct extent extent = run_stem(net, kernels, b, images, input);
    float *x = b->x, *y = b->y;
    size_t offset = 0;
    for (size_t i = 0; i < net->block_count; i++) {
        const struct block *block = &net->blocks[i];
        size_t channels = block->conv3.out;
        extent = run_block(kernels, block, b, images, x, extent, y);
        if (block->has_se && excitations)
            keep(kernels, b->excitation, images, channels, excitations + offset, excitation_stride);
        offset += channels;
        float *swap = x;
        x = y;
        y = swap;
    }
    run_head(net, kernels, b, images, extent, x);
    keep(kernels, b->logits, images, net->fc.out, logits, net->fc.out);
}

/* ---- ablation ---------------------------------------------------------------------------- */

/* A place in the network, between two blocks. */
struct place {
    size_t block, se, offset; /* the next block, its number among those with SE, its gates' place */
    struct extent extent;
};

/* One part of the ablations: row 0 is the whole network, until its last branch is taken if it does
 * not stay to the end; each ablation is a row that branches off row 0 at its block. */
struct part {
    const struct senet_ablation *ablations; /* [count], by block */
    size_t count, taken, rows;
    bool stays;
};

/* The gates of one row: those given, or the same gate, the mean, in every channel. */
static void set_gates(const struct kernels *kernels, const struct network_buffers *b,
                      size_t channels, const float *gates, size_t row)
{
    size_t padded = kernels_padded(kernels, channels);
    float *to = b->excitation + row * padded;
    double mean = 0;
    for (size_t i = 0; i < channels; i++)
        mean += (double)b->excitation[i] / (double)channels;
    for (size_t i = 0; i < channels; i++)
        to[i] = gates ? gates[i] : (float)mean;
    memset(to + channels, 0, (padded - channels) * sizeof *to);
}

/* Takes the part's branches at this block; then its rows run on, row 0 as the last branch where
 * the whole network does not stay. */
static void take_branches(const struct kernels *kernels, const struct block *block, size_t se,
                          const struct network_buffers *b, struct part *part, struct extent extent,
                          const float *x, float *y)
{
    size_t rows = part->rows, channels = block->conv3.out;
    for (; part->taken < part->count && part->ablations[part->taken].block == se; part->taken++) {
        bool last = part->taken + 1 == part->count && !part->stays;
        size_t row = last ? 0 : part->rows++;
        set_gates(kernels, b, channels, part->ablations[part->taken].gates, row);
        if (!last)
            join(kernels, block, b, 1, extent, x, y, 0, row);
    }
    join(kernels, block, b, rows, extent, x, y, 0, 0);
}

/* Runs a part from *from on, whose activation is b->kept. Where another part follows, *from and
 * b->kept move to where it has to begin. Row r of b->logits is the part's (r - 1)th ablation. */
static void run_part(const struct architecture *net, const struct kernels *kernels,
                     const struct network_buffers *b, struct part *part, struct place *from,
                     float *excitations)
{
    struct place at = *from;
    float *x = b->x, *y = b->y;
    size_t last = part->count ? part->ablations[part->count - 1].block : 0;
    memcpy(x, b->kept, activation(kernels, at.extent, net->blocks[at.block].conv1.in) * sizeof *x);
    for (; at.block < net->block_count; at.block++) {
        const struct block *block = &net->blocks[at.block];
        size_t channels = block->conv3.out;
        bool whole = part->stays || part->taken < part->count; /* row 0 */
        if (!part->stays && block->has_se && at.se == last) {
            *from = at;
            memcpy(b->kept, x, activation(kernels, at.extent, block->conv1.in) * sizeof *x);
        }
        at.extent = branch(kernels, block, b, part->rows, x, at.extent, y);
        if (block->has_se && whole && excitations)
            keep(kernels, b->excitation, 1, channels, excitations + at.offset, channels);
        if (block->has_se)
            take_branches(kernels, block, at.se++, b, part, at.extent, x, y);
        else
            join(kernels, block, b, part->rows, at.extent, x, y, 0, 0);
        at.offset += channels;
        float *swap = x;
        x = y;
        y = swap;
    }
    run_head(net, kernels, b, part->rows, at.extent, x);
}

void network_ablate(const struct architecture *net, const struct kernels *kernels,
                    const struct network_buffers *b, const float *input,
                    const struct senet_ablation *ablations, size_t count, float *logits,
                    float *excitations)
{
    size_t done = 0, classes = net->fc.out, padded = kernels_padded(kernels, classes);
    struct place from = {.extent = run_stem(net, kernels, b, 1, input)};
    struct part part = {0};
    memcpy(b->kept, b->x, activation(kernels, from.extent, net->stem.out) * sizeof *b->kept);
    while (!part.stays) {
        size_t left = count - done;
        part = (struct part){.ablations = ablations + done, .rows = 1, .stays = left < b->images};
        part.count = part.stays ? left : b->images;
        run_part(net, kernels, b, &part, &from, excitations);
        for (size_t row = 0; row < part.rows; row++) {
            size_t to = row ? done + row : part.stays ? 0 : done + part.count;
            memcpy(logits + to * classes, b->logits + row * padded, classes * sizeof *logits);
        }
        done += part.count;
    }
}

static double conv_multiply_adds(const struct conv *conv, struct extent in)
{
    return (double)pixels(after(conv, in)) * (double)conv->out *
           (double)(conv->kernel * conv->kernel * (conv->in / conv->groups));
}

double network_multiply_adds(const struct architecture *net, size_t height, size_t width)
{
    struct extent extent = {height, width};
    double sum = conv_multiply_adds(&net->stem, extent) + conv_multiply_adds(&net->fc, one);
    extent = after_pool(net, after(&net->stem, extent));
    for (size_t i = 0; i < net->block_count; i++) {
        const struct block *block = &net->blocks[i];
        struct extent e1 = after(&block->conv1, extent), e2 = after(&block->conv2, e1);
        sum += conv_multiply_adds(&block->conv1, extent) + conv_multiply_adds(&block->conv2, e1) +
               conv_multiply_adds(&block->conv3, e2);
        if (block->has_downsample)
            sum += conv_multiply_adds(&block->downsample, extent);
        if (block->has_se)
            sum += conv_multiply_adds(&block->fc1, one) + conv_multiply_adds(&block->fc2, one);
        extent = e2;
    }
    return sum;
}
