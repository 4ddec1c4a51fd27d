/* checkpoint.c - see checkpoint.h.
 *
 * The walk over the network runs twice: the first time the arena only counts and the tensors'
 * names and shapes are checked, the second time they are read; then packing.c does the bulk of it.
 * A tensor that the walk did not ask for is an error, as is one that it did not find.
 */
#include "checkpoint.h"
#include "packing.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHANNELS       32768u
#define BATCH_NORM_EPSILON 1e-5 /* of torch.nn.BatchNorm2d, used by all of these models */
#define ANY                0    /* a dimension that the checkpoint decides */

struct loader {
    const struct safetensors *file;
    const struct kernels *kernels;
    struct arena *arena;
    bool *used;     /* [tensors of the file] */
    const char *se; /* infix of the squeeze-and-excitation tensors; NULL in a plain ResNet */
    size_t parameters;
    struct packing packing;
    struct error *err;
};

static void print_shape(char *out, size_t size, const size_t *shape, size_t rank)
{
    size_t length = 0;
    out[0] = 0;
    for (size_t i = 0; i < rank && length < size; i++) {
        const char *lead = i ? ", " : "";
        length += (size_t)(shape[i] == ANY
                               ? snprintf(out + length, size - length, "%s*", lead)
                               : snprintf(out + length, size - length, "%s%zu", lead, shape[i]));
    }
}

static bool shape_matches(const struct tensor *tensor, const size_t *shape, size_t rank)
{
    if (tensor->rank != rank)
        return false;
    for (size_t i = 0; i < rank; i++)
        if (tensor->shape[i] == 0 || tensor->shape[i] > MAX_CHANNELS ||
            (shape[i] != ANY && tensor->shape[i] != shape[i]))
            return false;
    return true;
}

/* The tensor prefix + suffix, marked as used, its shape checked; ANY matches 1..MAX_CHANNELS. */
static enum error_code take(struct loader *loader, const char *prefix, const char *suffix,
                            size_t rank, const size_t *shape, const struct tensor **out)
{
    char name[128], expected[96], found[192];
    snprintf(name, sizeof name, "%s%s", prefix, suffix);
    print_shape(expected, sizeof expected, shape, rank);
    const struct tensor *tensor = safetensors_find(loader->file, name);
    if (!tensor)
        return error_set(loader->err, ERROR_WEIGHTS, "tensor %s is missing, expected shape [%s]",
                         name, expected);
    if (!shape_matches(tensor, shape, rank)) {
        print_shape(found, sizeof found, tensor->shape, tensor->rank);
        return error_set(loader->err, ERROR_WEIGHTS, "tensor %s: shape is [%s], expected [%s]",
                         name, found, expected);
    }
    loader->used[tensor - safetensors_at(loader->file, 0)] = true;
    *out = tensor;
    return ERROR_NONE;
}

/* Widens a taken tensor into fresh heap memory. */
static enum error_code widen(struct loader *loader, const struct tensor *tensor, float **out)
{
    float *values = malloc(tensor->count * sizeof *values + 1);
    if (!values)
        return error_set(loader->err, ERROR_MEMORY, "tensor %s: out of memory", tensor->name);
    enum error_code code = tensor_to_float(tensor, values, loader->err);
    if (code != ERROR_NONE)
        free(values);
    else
        *out = values;
    return code;
}

/* The four tensors of a BatchNorm as scale and shift in double, [channels] each:
 * y = gamma (x - mean) / sqrt(var + epsilon) + beta. */
static enum error_code read_batch_norm(struct loader *loader, const char *prefix, size_t channels,
                                       double *scale, double *shift)
{
    static const char *const suffixes[4] = {".weight", ".bias", ".running_mean", ".running_var"};
    const struct tensor *tensors[4];
    for (size_t i = 0; i < 4; i++)
        TRY(take(loader, prefix, suffixes[i], 1, &channels, &tensors[i]));
    loader->parameters += 2 * channels;
    if (!loader->arena->base)
        return ERROR_NONE;
    float *values[4] = {0};
    enum error_code code = ERROR_NONE;
    for (size_t i = 0; i < 4 && code == ERROR_NONE; i++)
        code = widen(loader, tensors[i], &values[i]);
    for (size_t c = 0; c < channels && code == ERROR_NONE; c++) {
        if (values[3][c] < 0) {
            code = error_set(loader->err, ERROR_WEIGHTS,
                             "tensor %s: element %zu is %g, a variance is not negative",
                             tensors[3]->name, c, (double)values[3][c]);
            break;
        }
        scale[c] = (double)values[0][c] / sqrt((double)values[3][c] + BATCH_NORM_EPSILON);
        shift[c] = (double)values[1][c] - (double)values[2][c] * scale[c];
    }
    for (size_t i = 0; i < 4; i++)
        free(values[i]);
    return code;
}

/* Has a convolution whose shape is known packed, with its scale[out] and shift[out]; those and
 * in_mean are given away. */
static void store(struct loader *loader, struct packing_item item)
{
    size_t bytes = item.kernels->packed_bytes(item.conv);
    item.packed = arena_floats(loader->arena, bytes / sizeof(float));
    packing_add(&loader->packing, item);
}

/* ---- quantisation -------------------------------------------------------------------------- */

/* The scale of a convolution's input, NAME.input_scale; 0 where nothing is quantised. */
static enum error_code read_input_scale(struct loader *loader, const char *name, float *out)
{
    const struct tensor *tensor;
    const size_t shape[1] = {1};
    char whole[128];
    *out = 0;
    snprintf(whole, sizeof whole, "%s.input_scale", name);
    if (loader->kernels->precision != PRECISION_INT8)
        return ERROR_NONE;
    if (!safetensors_find(loader->file, whole))
        return error_set(loader->err, ERROR_WEIGHTS,
                         "tensor %s is missing: int8 needs a calibrated checkpoint, as "
                         "senetd quantize writes it",
                         whole);
    TRY(take(loader, name, ".input_scale", 1, shape, &tensor));
    TRY(tensor_to_float(tensor, out, loader->err));
    if (!(*out > 0) || !isfinite(*out) || !isfinite(1 / *out))
        return error_set(loader->err, ERROR_WEIGHTS, "tensor %s is %g, a scale is positive", whole,
                         (double)*out);
    return ERROR_NONE;
}

/* The mean of each channel of a convolution's input, NAME.input_mean; *out is the caller's to free,
 * and NULL where there is none or nothing is quantised. */
static enum error_code read_input_mean(struct loader *loader, const char *name, size_t channels,
                                       float **out)
{
    char whole[128];
    const struct tensor *tensor = NULL;
    *out = NULL;
    snprintf(whole, sizeof whole, "%s.input_mean", name);
    if (loader->kernels->precision != PRECISION_INT8 || !safetensors_find(loader->file, whole))
        return ERROR_NONE;
    TRY(take(loader, name, ".input_mean", 1, &channels, &tensor));
    return loader->arena->base ? widen(loader, tensor, out) : ERROR_NONE;
}

/* A convolution without bias, followed by a BatchNorm, that reads what the convolution input_name
 * reads. conv->in, out (or ANY), kernel, stride and pad are set by the caller; the groups follow
 * from the shape. */
static enum error_code read_conv_bn(struct loader *loader, const char *conv_name,
                                    const char *bn_name, const char *input_name, struct conv *conv)
{
    const struct tensor *tensor = NULL;
    size_t shape[4] = {conv->out, conv->kernel == 3 ? ANY : conv->in, conv->kernel, conv->kernel};
    TRY(take(loader, conv_name, ".weight", 4, shape, &tensor));
    conv->out = tensor->shape[0];
    conv->groups = conv->in / tensor->shape[1];
    if (tensor->shape[1] > conv->in || conv->in % tensor->shape[1] || conv->out % conv->groups)
        return error_set(loader->err, ERROR_WEIGHTS,
                         "tensor %s: %zu input channels in groups of %zu, %zu outputs: not whole "
                         "groups",
                         tensor->name, conv->in, tensor->shape[1], conv->out);
    loader->parameters += tensor->count;
    double *scale = malloc(2 * conv->out * sizeof *scale);
    if (!scale)
        return error_set(loader->err, ERROR_MEMORY, "tensor %s: out of memory", tensor->name);
    enum error_code code = read_batch_norm(loader, bn_name, conv->out, scale, scale + conv->out);
    float *in_mean = NULL;
    if (code == ERROR_NONE)
        code = read_input_mean(loader, input_name, conv->in, &in_mean);
    if (code == ERROR_NONE)
        store(loader, (struct packing_item){.tensor = tensor,
                                            .kernels = loader->kernels,
                                            .conv = conv,
                                            .scale = scale,
                                            .in_mean = in_mean});
    else
        free(scale);
    return code;
}

/* A fully connected layer with bias; its weight is [out, in] or, as a 1x1 convolution,
 * [out, in, 1, 1]. Where it is to read through a convolution (see struct packing_item), fc->in
 * becomes that one's input. */
static enum error_code read_fc(struct loader *loader, const char *name,
                               const struct packing_item *through, struct conv *fc)
{
    char weight_name[128];
    snprintf(weight_name, sizeof weight_name, "%s.weight", name);
    const struct tensor *tensor = safetensors_find(loader->file, weight_name), *bias;
    size_t shape[4] = {fc->out, fc->in, 1, 1};
    TRY(take(loader, name, ".weight", tensor && tensor->rank == 4 ? 4 : 2, shape, &tensor));
    fc->out = tensor->shape[0];
    TRY(take(loader, name, ".bias", 1, &fc->out, &bias));
    fc->kernel = fc->stride = fc->groups = 1;
    loader->parameters += tensor->count + bias->count;
    double *scale = malloc(2 * fc->out * sizeof *scale);
    if (!scale)
        return error_set(loader->err, ERROR_MEMORY, "tensor %s: out of memory", tensor->name);
    float *values = NULL;
    enum error_code code = loader->arena->base ? widen(loader, bias, &values) : ERROR_NONE;
    for (size_t c = 0; c < fc->out && values; c++) {
        scale[c] = 1;
        scale[fc->out + c] = (double)values[c];
    }
    free(values);
    if (through)
        fc->in = through->conv->in;
    if (code == ERROR_NONE)
        store(loader, (struct packing_item){.tensor = tensor,
                                            .through = through,
                                            .kernels = kernels_vectors(loader->kernels),
                                            .conv = fc,
                                            .scale = scale});
    else
        free(scale);
    return code;
}

static bool has(const struct loader *loader, const char *prefix, const char *suffix)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s", prefix, suffix);
    return safetensors_find(loader->file, name) != NULL;
}

/* Squeeze-and-excitation is all or nothing: one such tensor, and every block must have its own. */
static const char *find_se(const struct safetensors *file, bool legacy)
{
    const char *infix = legacy ? ".se_module.fc" : ".se.fc";
    for (size_t i = 0; i < safetensors_count(file); i++)
        if (strstr(safetensors_at(file, i)->name, infix))
            return infix;
    return NULL;
}

/* Of a block whose conv3 was noted last. */
static enum error_code read_se(struct loader *loader, const char *prefix, struct block *block)
{
    char name[96];
    size_t channels = block->conv3.out;
    block->has_se = loader->se != NULL;
    if (!block->has_se)
        return ERROR_NONE;
    block->fc1 = (struct conv){.in = channels, .relu = true};
    snprintf(name, sizeof name, "%s%s1", prefix, loader->se);
    TRY(read_fc(loader, name, packing_last(&loader->packing), &block->fc1));
    block->fc2 = (struct conv){.in = block->fc1.out, .out = channels};
    snprintf(name, sizeof name, "%s%s2", prefix, loader->se);
    return read_fc(loader, name, NULL, &block->fc2);
}

/* Where a stage's stride sits: on the 3x3 in timm's layout and in every ResNeXt, on the first 1x1
 * in Cadene's ResNets. Told before the convolutions are read, since packing depends on it. */
static bool strides_first(const struct loader *loader, bool legacy, const char *prefix)
{
    char name[64];
    snprintf(name, sizeof name, "%s.conv1.weight", prefix);
    const struct tensor *conv1 = safetensors_find(loader->file, name);
    snprintf(name, sizeof name, "%s.conv2.weight", prefix);
    const struct tensor *conv2 = safetensors_find(loader->file, name);
    bool grouped = conv1 && conv2 && conv1->rank == 4 && conv2->rank == 4 &&
                   conv1->shape[0] != conv2->shape[1];
    return legacy && !grouped;
}

static enum error_code read_block(struct loader *loader, bool legacy, size_t in,
                                  struct block *block)
{
    char prefix[32], conv[48], bn[48], conv1[48];
    snprintf(prefix, sizeof prefix, "layer%zu.%zu", block->stage + 1, block->index);
    snprintf(conv1, sizeof conv1, "%s.conv1", prefix);
    size_t stride = block->index == 0 && block->stage > 0 ? 2 : 1;
    struct conv *convs[3] = {&block->conv1, &block->conv2, &block->conv3};
    bool first = strides_first(loader, legacy, prefix);
    block->conv1 = (struct conv){.kernel = 1, .stride = first ? stride : 1, .in = in, .relu = true};
    block->conv2 = (struct conv){.kernel = 3, .stride = first ? 1 : stride, .pad = 1, .relu = true};
    block->conv3 = (struct conv){.kernel = 1, .stride = 1};
    for (size_t i = 0; i < 3; i++) {
        snprintf(conv, sizeof conv, "%s.conv%zu", prefix, i + 1);
        TRY(read_input_scale(loader, conv, &convs[i]->in_scale));
        if (i > 0)
            convs[i - 1]->out_scale = convs[i]->in_scale;
    }
    for (size_t i = 0; i < 3; i++) {
        snprintf(conv, sizeof conv, "%s.conv%zu", prefix, i + 1);
        snprintf(bn, sizeof bn, "%s.bn%zu", prefix, i + 1);
        if (i > 0)
            convs[i]->in = convs[i - 1]->out;
        TRY(read_conv_bn(loader, conv, bn, conv, convs[i]));
    }
    TRY(read_se(loader, prefix, block));
    snprintf(conv, sizeof conv, "%s.downsample.0", prefix);
    snprintf(bn, sizeof bn, "%s.downsample.1", prefix);
    block->has_downsample = stride != 1 || in != block->conv3.out || has(loader, conv, ".weight");
    if (!block->has_downsample && block->stage == 0 && block->index == 0 &&
        loader->kernels->precision == PRECISION_INT8)
        return error_set(loader->err, ERROR_WEIGHTS,
                         "%s has no downsample: int8 keeps no unquantised copy of the stem's "
                         "output to add in its place",
                         prefix);
    if (!block->has_downsample)
        return ERROR_NONE;
    block->downsample = (struct conv){.kernel = 1,
                                      .stride = stride,
                                      .in = in,
                                      .out = block->conv3.out,
                                      .in_scale = block->conv1.in_scale};
    return read_conv_bn(loader, conv, bn, conv1, &block->downsample);
}

static enum error_code read_blocks(struct loader *loader, struct architecture *out)
{
    size_t channels = out->stem.out;
    out->block_count = 0;
    for (size_t stage = 0; stage < STAGES; stage++) {
        for (size_t index = 0;; index++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "layer%zu.%zu", stage + 1, index);
            if (index > 0 && !has(loader, prefix, ".conv1.weight")) {
                out->depths[stage] = index;
                break;
            }
            if (out->block_count == MAX_BLOCKS)
                return error_set(loader->err, ERROR_WEIGHTS, "more than %d residual blocks",
                                 MAX_BLOCKS);
            struct block *block = &out->blocks[out->block_count++];
            *block = (struct block){.stage = stage, .index = index};
            TRY(read_block(loader, out->legacy, channels, block));
            channels = block->conv3.out;
            if (out->block_count > 1)
                block[-1].conv3.out_scale = block->conv1.in_scale;
        }
    }
    out->fc = (struct conv){.in = channels};
    return read_fc(loader, out->legacy ? "last_linear" : "fc", NULL, &out->fc);
}

static bool ends_with(const char *name, const char *tail)
{
    size_t length = strlen(name), tail_length = strlen(tail);
    return length > tail_length && strcmp(name + length - tail_length, tail) == 0;
}

/* Tensors that a network of this precision does without: a counter of training, and what only
 * int8 reads. */
static bool is_optional(const struct loader *loader, const char *name)
{
    bool calibration = ends_with(name, ".input_scale") || ends_with(name, ".input_mean");
    return ends_with(name, ".num_batches_tracked") ||
           (calibration && loader->kernels->precision != PRECISION_INT8);
}

static enum error_code check_surplus(struct loader *loader)
{
    for (size_t i = 0; i < safetensors_count(loader->file); i++) {
        const struct tensor *tensor = safetensors_at(loader->file, i);
        if (loader->used[i] || is_optional(loader, tensor->name))
            continue;
        char shape[192];
        print_shape(shape, sizeof shape, tensor->shape, tensor->rank);
        return error_set(loader->err, ERROR_WEIGHTS,
                         "tensor %s, shape [%s], is surplus: no part of an SE-ResNet with "
                         "bottleneck blocks and a 7x7 stem",
                         tensor->name, shape);
    }
    return ERROR_NONE;
}

static enum error_code walk(struct loader *loader, struct architecture *out)
{
    bool legacy = has(loader, "layer0.conv1", ".weight");
    if (!legacy && !has(loader, "conv1", ".weight"))
        return error_set(loader->err, ERROR_WEIGHTS,
                         "neither conv1.weight (timm layout) nor layer0.conv1.weight (legacy "
                         "layout) is there: not an SE-ResNet checkpoint");
    out->legacy = legacy;
    out->pool_ceil = legacy;
    out->pool_pad = legacy ? 0 : 1;
    out->stem =
        (struct conv){.kernel = 7, .stride = 2, .pad = 3, .in = 3, .planar_in = true, .relu = true};
    loader->parameters = 0;
    loader->se = find_se(loader->file, legacy);
    const char *stem = legacy ? "layer0.conv1" : "conv1";
    TRY(read_input_scale(loader, stem, &out->stem.in_scale));
    TRY(read_input_scale(loader, "layer1.0.conv1", &out->stem.out_scale));
    TRY(read_conv_bn(loader, stem, legacy ? "layer0.bn1" : "bn1", stem, &out->stem));
    TRY(read_blocks(loader, out));
    out->parameters = loader->parameters;
    return check_surplus(loader);
}

/* The first walk measures and checks, the second reads. */
static enum error_code load(struct loader *loader, struct architecture *out, struct team *team)
{
    TRY(walk(loader, out));
    packing_clear(&loader->packing);
    TRY(arena_commit(loader->arena, "weights", team, loader->err));
    TRY(walk(loader, out));
    return packing_run(&loader->packing, team, loader->err);
}

enum error_code checkpoint_load(const struct safetensors *file, const struct kernels *kernels,
                                struct team *team, struct architecture *out, struct arena *weights,
                                struct error *err)
{
    struct loader *loader = calloc(1, sizeof *loader);
    bool *used = calloc(safetensors_count(file) + 1, sizeof *used);
    enum error_code code;
    if (loader && used) {
        loader->file = file;
        loader->kernels = kernels;
        loader->arena = weights;
        loader->used = used;
        loader->err = err;
        code = load(loader, out, team);
        packing_clear(&loader->packing);
    } else {
        code = error_set(err, ERROR_MEMORY, "checkpoint: out of memory");
    }
    free(used);
    free(loader);
    return code;
}
