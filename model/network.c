/* network.c - see network.h. Nearly all arithmetic goes through the backend's table. */
#include "network.h"
#include "monotonic.h"
#include "sigmoid.h"
#include "sweep.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

static struct extent after(const struct conv *conv, struct extent in)
{
    return (struct extent){conv_out(conv, in.height), conv_out(conv, in.width)};
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

/* A place in the network, between two blocks. */
struct place {
    size_t block, se, offset; /* the next block, its number among those with SE, its gates' place */
    struct extent extent;
    const void *between; /* the next block's input, if it is not where blocks leave it */
};

static struct extent after_block(const struct block *block, struct extent in)
{
    return after(&block->conv2, after(&block->conv1, in));
}

static struct place place_of(const struct architecture *net, struct extent input, size_t block)
{
    struct place at = {.extent = after_pool(net, after(&net->stem, input))};
    for (; at.block < block; at.block++) {
        at.extent = after_block(&net->blocks[at.block], at.extent);
        at.offset += net->blocks[at.block].conv3.out;
        at.se += net->blocks[at.block].has_se;
    }
    return at;
}

/* The block with which it begins. */
static size_t last_stage(const struct architecture *net)
{
    size_t block = net->block_count - 1, stage = net->blocks[block].stage;
    while (block > 0 && net->blocks[block - 1].stage == stage)
        block--;
    return block;
}

/* ---- layout ------------------------------------------------------------------------------ */

/* Bytes of the three parts of b->activations during a block, for all b->images. The last holds two
 * things one after the other, the second as soon as the first has been read. The next block's x is
 * y where that was written: then the two outer parts change sides. */
struct parts {
    size_t x, middle, other; /* x; t2; t1, then y at the end of b->activations */
    size_t y;
};

struct sizes {
    size_t activations;       /* bytes, of the batch */
    size_t x, active;         /* bytes, of one image */
    size_t channels, reduced; /* floats, of one image */
    size_t sums;              /* the same */
    size_t scratch;           /* bytes, of the batch */
};

/* Activations of two kinds are kept apart where their elements differ. */
static bool is_apart(const struct kernels *kernels)
{
    return kernels->precision == PRECISION_INT8;
}

static size_t elements(const struct kernels *kernels, struct extent extent, size_t channels)
{
    return pixels(extent) * kernels_padded(kernels, channels);
}

static void measure_conv(const struct kernels *kernels, const struct network_buffers *b,
                         const struct conv *conv, struct extent in, struct sizes *sizes)
{
    size_t scratch = kernels->conv_scratch(conv, b->images, in.height, in.width, b->team);
    sizes->scratch = max_size(sizes->scratch, scratch);
}

static size_t aligned(size_t bytes)
{
    return (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

static struct parts stem_parts(const struct architecture *net, const struct kernels *kernels,
                               size_t images, struct extent in)
{
    struct extent stem = after(&net->stem, in), out = after_pool(net, stem);
    size_t channels = net->stem.out;
    return (struct parts){
        .x = aligned(images * elements(kernels, out, channels) * kernels->linear_bytes),
        .other = aligned(images * elements(kernels, stem, channels) * kernels->active_bytes)};
}

static struct parts block_parts(const struct kernels *kernels, const struct block *block,
                                size_t images, struct extent in)
{
    struct extent e1 = after(&block->conv1, in), e2 = after(&block->conv2, e1);
    size_t x = elements(kernels, in, block->conv1.in) * kernels->linear_bytes;
    size_t t1 = elements(kernels, e1, block->conv1.out) * kernels->active_bytes;
    size_t t2 = elements(kernels, e2, block->conv2.out) * kernels->active_bytes;
    size_t y = elements(kernels, e2, block->conv3.out) * kernels->linear_bytes;
    y = block->has_downsample ? y : 0;
    return (struct parts){.x = aligned(images * x),
                          .middle = aligned(images * t2),
                          .other = aligned(images * max_size(t1, y)),
                          .y = aligned(images * y)};
}

static void measure_parts(struct parts parts, struct sizes *sizes)
{
    sizes->activations = max_size(sizes->activations, parts.x + parts.middle + parts.other);
}

static struct extent measure_block(const struct kernels *kernels, const struct block *block,
                                   const struct network_buffers *b, struct extent in,
                                   struct sizes *sizes)
{
    struct extent e1 = after(&block->conv1, in), e2 = after(&block->conv2, e1);
    measure_parts(block_parts(kernels, block, b->images, in), sizes);
    measure_conv(kernels, b, &block->conv1, in, sizes);
    measure_conv(kernels, b, &block->conv2, e1, sizes);
    measure_conv(kernels, b, &block->conv3, e2, sizes);
    if (block->has_downsample)
        measure_conv(kernels, b, &block->downsample, in, sizes);
    size_t out = elements(kernels, e2, block->conv3.out);
    sizes->x = max_size(sizes->x, out * kernels->linear_bytes);
    sizes->active = max_size(sizes->active, out * kernels->active_bytes);
    sizes->sums = max_size(sizes->sums,
                           kernels_parts(pixels(e2)) * kernels_padded(kernels, block->conv3.out));
    sizes->channels = max_size(sizes->channels, kernels_padded(kernels, block->conv3.out));
    if (block->has_se)
        sizes->reduced = max_size(sizes->reduced, kernels_padded(kernels, block->fc1.out));
    return e2;
}

static void measure_stem(const struct architecture *net, const struct kernels *kernels,
                         const struct network_buffers *b, struct extent in, struct extent out,
                         struct sizes *sizes)
{
    measure_conv(kernels, b, &net->stem, in, sizes);
    measure_parts(stem_parts(net, kernels, b->images, in), sizes);
    sizes->x = elements(kernels, out, net->stem.out) * kernels->linear_bytes;
    sizes->active = elements(kernels, out, net->stem.out) * kernels->active_bytes;
}

static void *arena_bytes(struct arena *arena, size_t bytes)
{
    return arena_floats(arena, (bytes + sizeof(float) - 1) / sizeof(float));
}

void network_layout(const struct architecture *net, const struct kernels *kernels,
                    struct network_buffers *buffers, struct arena *arena)
{
    struct sizes sizes = {0};
    struct extent input = {buffers->height, buffers->width};
    struct place at = place_of(net, input, buffers->finishes ? last_stage(net) : 0);
    size_t n = buffers->images;
    if (!buffers->finishes)
        measure_stem(net, kernels, buffers, input, at.extent, &sizes);
    for (; at.block < net->block_count; at.block++)
        at.extent = measure_block(kernels, &net->blocks[at.block], buffers, at.extent, &sizes);
    buffers->activations = arena_bytes(arena, sizes.activations);
    buffers->activation_bytes = sizes.activations;
    if (buffers->ablates) {
        buffers->kept = arena_bytes(arena, sizes.x);
        buffers->kept_active = is_apart(kernels) ? arena_bytes(arena, sizes.active) : NULL;
    }
    buffers->active = is_apart(kernels) ? arena_bytes(arena, n * sizes.active) : NULL;
    buffers->scratch = arena_bytes(arena, sizes.scratch);
    buffers->sums = arena_floats(arena, n * sizes.sums);
    buffers->squeezed = arena_floats(arena, n * sizes.channels);
    buffers->reduced = arena_floats(arena, n * sizes.reduced);
    buffers->excitation = arena_floats(arena, n * sizes.channels);
    buffers->logits = arena_floats(arena, n * kernels_padded(kernels, net->fc.out));
}

/* ---- the network ------------------------------------------------------------------------- */

/* b->squeezed[images][C] = the mean of the pixels of in[images][C][h][w], which is linear, or
 * active in units of `unit`. */
static void average(const struct kernels *kernels, const struct network_buffers *b, size_t images,
                    struct extent extent, size_t channels, bool active, float unit, const void *in)
{
    size_t parts = kernels_parts(pixels(extent)), padded = kernels_padded(kernels, channels);
    struct sweep sweep = sweep_over(kernels, b->team, extent, channels);
    sweep.active = active;
    sweep.u = in;
    sweep.y = b->sums;
    sweep_sum(&sweep, b->team, images);
    for (size_t n = 0; n < images; n++) {
        const float *sums = b->sums + n * parts * padded;
        float *mean = b->squeezed + n * padded;
        memcpy(mean, sums, padded * sizeof *mean);
        for (size_t part = 1; part < parts; part++)
            for (size_t c = 0; c < padded; c++)
                mean[c] += sums[part * padded + c];
        for (size_t c = 0; c < padded; c++)
            mean[c] *= unit / (float)pixels(extent);
    }
}

static double conv_multiply_adds(const struct conv *conv, struct extent in)
{
    return (double)pixels(after(conv, in)) * (double)conv->out *
           /* NOLINTNEXTLINE(bugprone-integer-division): groups divide the channels */
           (double)(conv->kernel * conv->kernel * (conv->in / conv->groups));
}

/* Notes, where asked, that an operation has ended: of a block, or NULL for the rest. */
static void mark(const struct network_buffers *b, const struct block *block, const char *part,
                 double multiply_adds, double bytes)
{
    struct network_profile *profile = b->profile;
    if (!profile || profile->count == profile->most)
        return;
    struct network_operation *operation = &profile->operations[profile->count++];
    int64_t now = monotonic_ns();
    operation->ns = now - profile->last_ns;
    operation->multiply_adds = multiply_adds;
    operation->bytes = bytes;
    if (block)
        snprintf(operation->name, sizeof operation->name, "layer%zu.%zu.%s", block->stage + 1,
                 block->index, part);
    else
        snprintf(operation->name, sizeof operation->name, "%s", part);
    profile->last_ns = now;
}

/* What a convolution reads and writes: its input and output, and the weights once for all images.
 */
static double conv_bytes(const struct kernels *kernels, const struct conv *conv, size_t images,
                         struct extent in)
{
    size_t in_bytes = conv->planar_in ? pixels(in) * conv->in * sizeof(float)
                                      : elements(kernels, in, conv->in) * kernels->active_bytes;
    size_t out_bytes = elements(kernels, after(conv, in), conv->out) *
                       (conv->relu ? kernels->active_bytes : kernels->linear_bytes);
    return (double)images * (double)(in_bytes + out_bytes) + (double)kernels->packed_bytes(conv);
}

/* mark of a convolution. */
static void mark_conv(const struct kernels *kernels, const struct network_buffers *b,
                      const struct block *block, const char *part, const struct conv *conv,
                      size_t images, struct extent in)
{
    mark(b, block, part, (double)images * conv_multiply_adds(conv, in),
         conv_bytes(kernels, conv, images, in));
}

static void observe(const struct kernels *kernels, const struct network_buffers *b,
                    const struct conv *conv, size_t images, struct extent extent, const void *in)
{
    if (!b->observer)
        return;
    size_t channels = conv->planar_in ? conv->in : kernels_padded(kernels, conv->in);
    b->observer->see(b->observer->context, conv, in, images * pixels(extent) * channels);
}

static void convolve(const struct kernels *kernels, const struct network_buffers *b,
                     const struct conv *conv, size_t images, struct extent extent, const void *in,
                     void *out)
{
    observe(kernels, b, conv, images, extent, in);
    kernels->conv(conv, images, extent.height, extent.width, in, b->scratch, out, b->team);
}

static const struct extent one = {1, 1};

/* A fully connected layer on vectors. */
static void connect(const struct kernels *kernels, const struct network_buffers *b,
                    const struct conv *fc, size_t images, const float *in, float *out)
{
    kernels_vectors(kernels)->conv(fc, images, 1, 1, in, NULL, out, b->team);
}

/* The gates of a block into b->excitation, before conv3 has run. The squeeze is the mean of what
 * conv3 writes; but conv3 is 1x1 and has no ReLU, so that mean is conv3 of the mean of what it
 * reads, t2: which is squeezed here, a fourth of the channels, and fc1 has conv3 folded in. */
static void squeeze_and_excite(const struct kernels *kernels, const struct block *block,
                               const struct network_buffers *b, size_t images, struct extent extent,
                               const void *t2)
{
    size_t channels = block->conv3.out, count = elements(kernels, extent, block->conv3.in);
    float unit = kernels->precision == PRECISION_INT8 ? block->conv3.in_scale : 1;
    average(kernels, b, images, extent, block->conv3.in, true, unit, t2);
    mark(b, block, "squeeze", 0, (double)(images * count * kernels->active_bytes));
    connect(kernels, b, &block->fc1, images, b->squeezed, b->reduced);
    connect(kernels, b, &block->fc2, images, b->reduced, b->excitation);
    sigmoid(b->excitation, images * kernels_padded(kernels, channels));
    mark(b, block, "excitation",
         (double)images *
             (conv_multiply_adds(&block->fc1, one) + conv_multiply_adds(&block->fc2, one)),
         (double)(kernels_vectors(kernels)->packed_bytes(&block->fc1) +
                  kernels_vectors(kernels)->packed_bytes(&block->fc2)));
}

/* Gates of one, of a block without squeeze-and-excitation. */
static void open_gates(const struct kernels *kernels, const struct block *block,
                       const struct network_buffers *b, size_t images)
{
    size_t count = images * kernels_padded(kernels, block->conv3.out);
    for (size_t i = 0; i < count; i++)
        b->excitation[i] = 1;
}

/* Where a block's activations lie. */
struct block_buffers {
    void *x, *y;   /* linear [images][C][h][w]: input and, of a shortcut's convolution, output */
    void *t1, *t2; /* active [images][C / 4][h][w] after conv1, conv2 */
};

static struct block_buffers lay_out_block(const struct network_buffers *b, struct parts parts,
                                          bool high)
{
    unsigned char *low_end = b->activations, *high_end = low_end + b->activation_bytes;
    unsigned char *x = high ? high_end - parts.x : low_end;
    unsigned char *t1 = high ? low_end : high_end - parts.other;
    unsigned char *t2 = high ? low_end + parts.other : low_end + parts.x;
    unsigned char *y = high ? low_end : high_end - parts.y;
    return (struct block_buffers){.x = x, .y = y, .t1 = t1, .t2 = t2};
}

/* The two branches of a block before they join: conv2(conv1(x)) into out->t2, the gates into
 * b->excitation, and the shortcut into out->x, moved to the other end where it has a convolution.
 * Convolutions read x from `between` if it is not NULL, which only a block with such a convolution
 * may have, or from b->active where active activations are apart. Returns the extent. */
static struct extent branch(const struct kernels *kernels, const struct block *block,
                            const struct network_buffers *b, size_t images, bool *high,
                            struct block_buffers *out, struct extent e0, const void *between)
{
    struct extent e1 = after(&block->conv1, e0), e2 = after(&block->conv2, e1);
    struct block_buffers at = lay_out_block(b, block_parts(kernels, block, b->images, e0), *high);
    const void *active = between ? between : b->active ? b->active : at.x;
    convolve(kernels, b, &block->conv1, images, e0, active, at.t1);
    mark_conv(kernels, b, block, "conv1", &block->conv1, images, e0);
    convolve(kernels, b, &block->conv2, images, e1, at.t1, at.t2);
    mark_conv(kernels, b, block, "conv2", &block->conv2, images, e1);
    if (block->has_se)
        squeeze_and_excite(kernels, block, b, images, e2, at.t2);
    else
        open_gates(kernels, block, b, images);
    if (block->has_downsample) {
        convolve(kernels, b, &block->downsample, images, e0, active, at.y);
        mark_conv(kernels, b, block, "downsample", &block->downsample, images, e0);
        at.x = at.y;
        *high = !*high;
    }
    *out = at;
    return e2;
}

/* x = relu(gates * conv3(t2) + x), where x is the shortcut, for `images` images. Where active
 * activations are apart, the result goes to b->active too. */
static void join(const struct kernels *kernels, const struct block *block,
                 const struct network_buffers *b, size_t images, struct extent extent,
                 const struct block_buffers *at)
{
    void *active = block->conv3.out_scale > 0 ? b->active : NULL;
    size_t count = images * elements(kernels, extent, block->conv3.out);
    observe(kernels, b, &block->conv3, images, extent, at->t2);
    kernels->conv_join(&block->conv3, images, extent.height, extent.width, at->t2, b->excitation,
                       b->scratch, at->x, active, b->team);
    mark(b, block, "conv3", (double)images * conv_multiply_adds(&block->conv3, extent),
         conv_bytes(kernels, &block->conv3, images, extent) +
             (double)count *
                 (double)(kernels->linear_bytes + (active ? kernels->active_bytes : 0)));
}

/* The stem: 7x7 convolution and max-pool into x at the low end, as convolutions read it; returns
 * the extent after it. */
static struct extent run_stem(const struct architecture *net, const struct kernels *kernels,
                              const struct network_buffers *b, size_t images, const float *input)
{
    struct extent in = {b->height, b->width}, stem = after(&net->stem, in);
    struct block_buffers at = lay_out_block(b, stem_parts(net, kernels, b->images, in), false);
    convolve(kernels, b, &net->stem, images, in, input, at.t1);
    mark_conv(kernels, b, NULL, "stem", &net->stem, images, in);
    struct sweep sweep = sweep_over(kernels, b->team, stem, net->stem.out);
    sweep.out = after_pool(net, stem);
    sweep.pad = net->pool_pad;
    sweep.u = at.t1;
    sweep.y = b->active ? b->active : at.x;
    sweep_max_pool(&sweep, b->team, images);
    size_t moved =
        elements(kernels, stem, net->stem.out) + elements(kernels, sweep.out, net->stem.out);
    mark(b, NULL, "max_pool", 0, (double)(images * moved * kernels->active_bytes));
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
                     const void *x)
{
    average(kernels, b, images, extent, net->fc.in, false, 1, x);
    connect(kernels, b, &net->fc, images, b->squeezed, b->logits);
    mark(b, NULL, "classifier", (double)images * conv_multiply_adds(&net->fc, one),
         (double)(images * elements(kernels, extent, net->fc.in) * kernels->linear_bytes +
                  kernels_vectors(kernels)->packed_bytes(&net->fc)));
}

/* From a place on, where x is at the low end, up to block `end`; returns x there. excitations: of
 * all blocks, or NULL. */
static const void *run_blocks(const struct architecture *net, const struct kernels *kernels,
                              const struct network_buffers *b, size_t images, struct place *at,
                              size_t end, float *excitations, size_t excitation_stride)
{
    struct block_buffers own = {0};
    bool high = false;
    assert(at->block < end);
    for (; at->block < end; at->block++) {
        const struct block *block = &net->blocks[at->block];
        at->extent = branch(kernels, block, b, images, &high, &own, at->extent, at->between);
        at->between = NULL;
        join(kernels, block, b, images, at->extent, &own);
        if (block->has_se && excitations)
            keep(kernels, b->excitation, images, block->conv3.out, excitations + at->offset,
                 excitation_stride);
        at->offset += block->conv3.out;
    }
    return own.x;
}

/* The same to the end of the network. */
static void run_rest(const struct architecture *net, const struct kernels *kernels,
                     const struct network_buffers *b, size_t images, struct place *at,
                     float *logits, float *excitations, size_t excitation_stride)
{
    const void *x =
        run_blocks(net, kernels, b, images, at, net->block_count, excitations, excitation_stride);
    run_head(net, kernels, b, images, at->extent, x);
    keep(kernels, b->logits, images, net->fc.out, logits, net->fc.out);
}

void network_forward(const struct architecture *net, const struct kernels *kernels,
                     const struct network_buffers *b, size_t images, const float *input,
                     float *logits, float *excitations, size_t excitation_stride)
{
    assert(images >= 1 && images <= b->images);
    if (b->profile)
        b->profile->last_ns = monotonic_ns();
    struct place at = {.extent = run_stem(net, kernels, b, images, input)};
    run_rest(net, kernels, b, images, &at, logits, excitations, excitation_stride);
}

/* ---- in two parts ------------------------------------------------------------------------ */

size_t network_between_bytes(const struct architecture *net, const struct kernels *kernels,
                             size_t height, size_t width)
{
    struct place at = place_of(net, (struct extent){height, width}, last_stage(net));
    const struct block *block = &net->blocks[at.block];
    return at.block > 0 && block->has_downsample
               ? elements(kernels, at.extent, block->conv1.in) * kernels->active_bytes
               : 0;
}

void network_begin(const struct architecture *net, const struct kernels *kernels,
                   const struct network_buffers *b, const float *input, void *between,
                   float *excitations)
{
    struct place at = {.extent = run_stem(net, kernels, b, 1, input)};
    const void *x = run_blocks(net, kernels, b, 1, &at, last_stage(net), excitations, 0);
    memcpy(between, b->active ? b->active : x,
           network_between_bytes(net, kernels, b->height, b->width));
}

void network_finish(const struct architecture *net, const struct kernels *kernels,
                    const struct network_buffers *b, size_t images, const void *between,
                    float *logits, float *excitations, size_t excitation_stride)
{
    assert(b->finishes && images >= 1 && images <= b->images);
    struct place at = place_of(net, (struct extent){b->height, b->width}, last_stage(net));
    at.between = between;
    run_rest(net, kernels, b, images, &at, logits, excitations, excitation_stride);
}

/* ---- ablation ---------------------------------------------------------------------------- */

/* One part of the ablations: row 0 is the whole network, until its last branch is taken if it does
 * not stay to the end; each ablation is a row that branches off row 0 at its block. */
struct part {
    const struct senet_ablation *ablations; /* [count], by block */
    size_t count, taken, rows;
    bool stays;
};

/* Copies one image between blocks, in both kinds where they are apart. */
static void copy_image(const struct kernels *kernels, struct extent extent, size_t channels,
                       const void *from, const void *from_active, void *to, void *to_active)
{
    size_t count = elements(kernels, extent, channels);
    memcpy(to, from, count * kernels->linear_bytes);
    if (to_active)
        memcpy(to_active, from_active, count * kernels->active_bytes);
}

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

/* Image 0 of `bytes` as image `row` too. */
static void copy_row(void *images, size_t bytes, size_t row)
{
    memcpy((unsigned char *)images + row * bytes, images, bytes);
}

/* Takes the part's branches at this block, as rows that differ from row 0 in their gates alone; row
 * 0 itself is the last branch where the whole network does not stay. */
static void take_branches(const struct kernels *kernels, const struct block *block, size_t se,
                          const struct network_buffers *b, struct part *part, struct extent extent,
                          const struct block_buffers *at)
{
    size_t x = elements(kernels, extent, block->conv3.out) * kernels->linear_bytes;
    size_t t2 = elements(kernels, extent, block->conv3.in) * kernels->active_bytes;
    for (; part->taken < part->count && part->ablations[part->taken].block == se; part->taken++) {
        bool last = part->taken + 1 == part->count && !part->stays;
        size_t row = last ? 0 : part->rows++;
        set_gates(kernels, b, block->conv3.out, part->ablations[part->taken].gates, row);
        if (!last) {
            copy_row(at->x, x, row);
            copy_row(at->t2, t2, row);
        }
    }
}

/* Runs a part from *from on, whose activation is b->kept. Where another part follows, *from and
 * b->kept move to where it has to begin. Row r of b->logits is the part's (r - 1)th ablation. */
static void run_part(const struct architecture *net, const struct kernels *kernels,
                     const struct network_buffers *b, struct part *part, struct place *from,
                     float *excitations)
{
    struct place at = *from;
    struct block_buffers own = {0};
    bool high = false;
    size_t last = part->count ? part->ablations[part->count - 1].block : 0;
    copy_image(kernels, at.extent, net->blocks[at.block].conv1.in, b->kept, b->kept_active,
               b->activations, b->active);
    for (; at.block < net->block_count; at.block++) {
        const struct block *block = &net->blocks[at.block];
        size_t channels = block->conv3.out;
        bool whole = part->stays || part->taken < part->count; /* row 0 */
        if (!part->stays && block->has_se && at.se == last) {
            *from = at;
            struct parts parts = block_parts(kernels, block, b->images, at.extent);
            copy_image(kernels, at.extent, block->conv1.in, lay_out_block(b, parts, high).x,
                       b->active, b->kept, b->kept_active);
        }
        at.extent = branch(kernels, block, b, part->rows, &high, &own, at.extent, NULL);
        if (block->has_se && whole && excitations)
            keep(kernels, b->excitation, 1, channels, excitations + at.offset, channels);
        if (block->has_se)
            take_branches(kernels, block, at.se++, b, part, at.extent, &own);
        join(kernels, block, b, part->rows, at.extent, &own);
        at.offset += channels;
    }
    run_head(net, kernels, b, part->rows, at.extent, own.x);
}

void network_ablate(const struct architecture *net, const struct kernels *kernels,
                    const struct network_buffers *b, const float *input,
                    const struct senet_ablation *ablations, size_t count, float *logits,
                    float *excitations)
{
    size_t done = 0, classes = net->fc.out, padded = kernels_padded(kernels, classes);
    struct place from = {.extent = run_stem(net, kernels, b, 1, input)};
    struct part part = {0};
    copy_image(kernels, from.extent, net->stem.out, b->activations, b->active, b->kept,
               b->kept_active);
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
