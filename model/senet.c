/* senet.c - the public interface: opening a model, contexts, running, top-k; see senet.h. */
#include "senet.h"
#include "arena.h"
#include "checkpoint.h"
#include "labels.h"
#include "model_config.h"
#include "network.h"
#include "pool.h"
#include "roofline.h"
#include "safetensors.h"
#include "senet_model.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <nettle/sha2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIDE_MIN 32
#define SIDE_MAX 4096
/* What is shared out within each operation, and a core's share in the last stage, runs in parts of
 * so many images: activations of more would only cost memory. */
#define IMAGES_AT_ONCE 4
/* Of a forward pass: 7 a block, and 3. */
#define MAX_OPERATIONS (6 * MAX_BLOCKS + 3)
#define PATH_BYTES     4096
#define FILE_BYTES     (PATH_BYTES + 32) /* a path, and the name of a file in it */

struct senet {
    struct senet_info info;
    struct senet_block blocks[MAX_BLOCKS];
    struct architecture net;
    struct arena weights;
    struct labels labels;
    const struct kernels *kernels;
    struct pool *pool;
};

/* Buffers that a core holds while it runs images of its own, one after another, and while it runs
 * the last stage of several. */
struct slice {
    struct network_buffers buffers, last;
    atomic_bool held;
};

struct senet_context {
    const struct senet *model;
    size_t max_batch;
    struct arena arena;
    struct network_buffers buffers;
    struct slice *slices;   /* [slice_count], in the same memory; see run_slice */
    size_t slice_count;     /* one for each core; 0 where cores do not get images of their own */
    unsigned char *between; /* [most_between][between_bytes], see network_begin; or NULL */
    size_t most_between, between_bytes;
};

/* ---- opening ----------------------------------------------------------------------------- */

static void hash(const struct safetensors *file, char out[65])
{
    size_t size;
    const uint8_t *bytes = safetensors_bytes(file, &size);
    struct sha256_ctx state;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&state);
    sha256_update(&state, size, bytes);
    sha256_digest(&state, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* "weights/demo/" -> "demo", "x/model.safetensors" -> "model" */
static void name_model(const char *path, char *out, size_t size)
{
    char resolved[PATH_MAX];
    const char *whole = realpath(path, resolved) ? resolved : path, *slash = strrchr(whole, '/');
    const char *name = slash ? slash + 1 : whole;
    size_t length = strnlen(name, size - 1);
    memcpy(out, name, length);
    out[length] = 0;
    char *dot = strrchr(out, '.');
    if (dot && strcmp(dot, ".safetensors") == 0)
        *dot = 0;
}

/* The name its authors would give it: seresnet50, seresnext101_32x4d, ... */
static void derive_architecture(const struct architecture *net, char *out, size_t size)
{
    const struct conv *conv2 = &net->blocks[0].conv2;
    const char *se = net->blocks[0].has_se ? "se" : "";
    const char *legacy = net->legacy ? "legacy_" : "";
    size_t depth = 3 * net->block_count + 2;
    if (conv2->groups == 1)
        snprintf(out, size, "%s%sresnet%zu", legacy, se, depth);
    else
        snprintf(out, size, "%s%sresnext%zu_%zux%zud", legacy, se, depth, conv2->groups,
                 conv2->out / conv2->groups);
}

static void describe_blocks(struct senet *model)
{
    size_t count = 0, offset = 0;
    for (size_t i = 0; i < model->net.block_count; i++) {
        const struct block *block = &model->net.blocks[i];
        if (!block->has_se)
            continue;
        struct senet_block *out = &model->blocks[count++];
        *out = (struct senet_block){.stage = block->stage + 2,
                                    .block = block->index + 1,
                                    .channels = block->conv3.out,
                                    .reduced = block->fc1.out,
                                    .offset = offset};
        snprintf(out->name, sizeof out->name, "layer%zu.%zu", block->stage + 1, block->index);
        snprintf(out->paper_name, sizeof out->paper_name, "SE_%zu_%zu", out->stage, out->block);
        offset += block->conv3.out;
    }
    model->info.blocks = count;
    model->info.excitation_floats = offset;
}

static void describe(struct senet *model, const char *path, const struct model_config *config)
{
    struct senet_info *info = &model->info;
    const struct architecture *net = &model->net;
    name_model(path, info->name, sizeof info->name);
    if (config->architecture[0])
        snprintf(info->architecture, sizeof info->architecture, "%s", config->architecture);
    else
        derive_architecture(net, info->architecture, sizeof info->architecture);
    snprintf(info->layout, sizeof info->layout, "%s", net->legacy ? "legacy" : "timm");
    info->precision = kernels_precision_name(model->kernels->precision);
    info->kernels = model->kernels->name;
    info->classes = net->fc.out;
    info->residual_blocks = net->block_count;
    info->cardinality = net->blocks[0].conv2.groups;
    info->parameters = net->parameters;
    info->packed_bytes = model->weights.size;
    info->preprocess = config->preprocess;
    info->multiply_adds =
        network_multiply_adds(net, config->preprocess.height, config->preprocess.width);
    describe_blocks(model);
}

/* The precision is faster than fp32 here. */
static bool pays(enum precision precision, const char *kernels)
{
    const struct kernels *found = NULL;
    struct error ignored = {0};
    return kernels_find(kernels, precision, &found, &ignored) == ERROR_NONE && kernels_pay(found);
}

static bool is_calibrated(const struct safetensors *file)
{
    return safetensors_find(file, "layer1.0.conv1.input_scale") != NULL;
}

static enum precision pick_precision(enum senet_precision asked, const char *kernels,
                                     const struct safetensors *file)
{
    switch (asked) {
    case SENET_FP32:
        break;
    case SENET_BF16:
        return PRECISION_BF16;
    case SENET_INT8:
        return PRECISION_INT8;
    case SENET_AUTO:
        if (is_calibrated(file) && pays(PRECISION_INT8, kernels))
            return PRECISION_INT8;
        if (pays(PRECISION_BF16, kernels))
            return PRECISION_BF16;
        break;
    }
    return PRECISION_FP32;
}

static enum error_code load_file(struct senet *model, const struct safetensors *file,
                                 const struct senet_options *options, struct error *err)
{
    const char *kernels = options ? options->kernels : NULL;
    enum precision precision =
        pick_precision(options ? options->precision : SENET_FP32, kernels, file);
    TRY(kernels_find(kernels, precision, &model->kernels, err));
    struct team *team;
    TRY(pool_team_new(model->pool, &team, err));
    pool_begin(team);
    enum error_code code =
        checkpoint_load(file, model->kernels, team, &model->net, &model->weights, err);
    pool_end(team);
    pool_team_free(team);
    TRY(code);
    hash(file, model->info.sha256);
    return ERROR_NONE;
}

static enum error_code load_weights(struct senet *model, const char *path,
                                    const struct senet_options *options, struct error *err)
{
    struct safetensors *file;
    TRY(safetensors_open(path, &file, err));
    enum error_code code = load_file(model, file, options, err);
    safetensors_close(file);
    return code;
}

/* Labels by falling priority: the option, the directory's labels.txt, ImageNet's for 1000
 * classes, numbers. */
static enum error_code load_labels(struct senet *model, const char *option, const char *directory,
                                   struct error *err)
{
    char path[FILE_BYTES];
    size_t classes = model->net.fc.out;
    if (option)
        return labels_read(option, classes, &model->labels, err);
    snprintf(path, sizeof path, "%s/labels.txt", directory);
    if (directory[0] && access(path, F_OK) == 0)
        return labels_read(path, classes, &model->labels, err);
    return classes == 1000 ? labels_imagenet(&model->labels, err)
                           : labels_numbered(classes, &model->labels, err);
}

static enum error_code load(struct senet *model, const char *path,
                            const struct senet_options *options, struct error *err)
{
    struct stat status;
    char weights[FILE_BYTES], config_path[FILE_BYTES] = "", directory[PATH_BYTES] = "";
    if (strlen(path) >= PATH_BYTES)
        return error_set(err, ERROR_USAGE, "path of the weights is longer than %d bytes",
                         PATH_BYTES - 1);
    snprintf(weights, sizeof weights, "%s", path);
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        snprintf(directory, sizeof directory, "%s", path);
        snprintf(weights, sizeof weights, "%s/model.safetensors", directory);
        snprintf(config_path, sizeof config_path, "%s/config.json", directory);
    }
    struct model_config config = {0};
    preprocess_default(&config.preprocess);
    if (config_path[0] && access(config_path, F_OK) == 0)
        TRY(model_config_read(config_path, &config, err));
    TRY(pool_new(options && options->threads ? options->threads : 1, &model->pool, err));
    TRY(load_weights(model, weights, options, err));
    if (config.classes && config.classes != model->net.fc.out)
        return error_set(err, ERROR_WEIGHTS,
                         "%s: num_classes is %zu, but the classifier in %s has %zu rows",
                         config_path, config.classes, weights, model->net.fc.out);
    TRY(load_labels(model, options ? options->labels_path : NULL, directory, err));
    describe(model, path, &config);
    return ERROR_NONE;
}

enum error_code senet_open(const char *path, const struct senet_options *options,
                           struct senet **out, struct error *err)
{
    struct senet *model = calloc(1, sizeof *model);
    if (!model)
        return error_set(err, ERROR_MEMORY, "%s: out of memory", path);
    enum error_code code = load(model, path, options, err);
    if (code != ERROR_NONE)
        senet_close(model);
    else
        *out = model;
    return code;
}

void senet_close(struct senet *model)
{
    if (!model)
        return;
    pool_free(model->pool);
    arena_free(&model->weights);
    labels_free(&model->labels);
    free(model);
}

const struct senet_info *senet_info(const struct senet *model)
{
    return &model->info;
}

const struct architecture *senet_architecture(const struct senet *model)
{
    return &model->net;
}

const struct kernels *senet_kernels(const struct senet *model)
{
    return model->kernels;
}

const struct senet_block *senet_block(const struct senet *model, size_t index)
{
    assert(index < model->info.blocks);
    return &model->blocks[index];
}

const char *senet_label(const struct senet *model, size_t index)
{
    assert(index < model->info.classes);
    return model->labels.names[index];
}

/* ---- running ----------------------------------------------------------------------------- */

/* Lays out buffers from `begin` on, over others that are never in use at the same time. */
static void lay_over(const struct senet *model, struct network_buffers *buffers, size_t begin,
                     struct arena *arena)
{
    size_t end = arena->used;
    arena->used = begin;
    network_layout(&model->net, model->kernels, buffers, arena);
    if (arena->used < end)
        arena->used = end;
}

static void lay_out(struct senet_context *context)
{
    const struct senet *model = context->model;
    struct arena *arena = &context->arena;
    size_t whole = arena->used, begin = whole;
    for (size_t i = 0; i < context->slice_count; i++, begin = arena->used) {
        lay_over(model, &context->slices[i].buffers, begin, arena);
        if (context->most_between > 0)
            lay_over(model, &context->slices[i].last, begin, arena);
    }
    if (context->most_between > 0)
        context->between = (unsigned char *)arena_floats(
            arena, context->most_between * context->between_bytes / sizeof(float));
    lay_over(model, &context->buffers, whole, arena);
}

/* Images at a time, in the whole and in the slices. */
static enum error_code size_buffers(struct senet_context *context, size_t height, size_t width,
                                    struct error *err)
{
    const struct senet *model = context->model;
    struct network_buffers *whole = &context->buffers;
    size_t cores = pool_cores(whole->team);
    whole->height = height;
    whole->width = width;
    whole->images = context->max_batch < IMAGES_AT_ONCE ? context->max_batch : IMAGES_AT_ONCE;
    whole->ablates = true;
    if (cores > whole->images)
        return ERROR_NONE;
    context->slices = calloc(cores, sizeof *context->slices);
    if (!context->slices)
        return error_set(err, ERROR_MEMORY, "context: out of memory");
    context->slice_count = cores;
    size_t each = context->max_batch / cores; /* images of a core */
    each = each < IMAGES_AT_ONCE ? each : IMAGES_AT_ONCE;
    context->between_bytes = network_between_bytes(&model->net, model->kernels, height, width);
    if (each > 1 && context->between_bytes > 0)
        context->most_between = cores * each;
    for (size_t i = 0; i < cores; i++) {
        context->slices[i].buffers =
            (struct network_buffers){.height = height, .width = width, .images = 1};
        context->slices[i].last = (struct network_buffers){
            .height = height, .width = width, .images = each, .finishes = true};
    }
    return ERROR_NONE;
}

enum error_code senet_context_new(const struct senet *model, size_t max_batch, size_t height,
                                  size_t width, struct senet_context **out, struct error *err)
{
    if (max_batch == 0 || height < SIDE_MIN || height > SIDE_MAX || width < SIDE_MIN ||
        width > SIDE_MAX)
        return error_set(err, ERROR_USAGE,
                         "batch %zu of %zu x %zu pixels: expected a batch of at least 1 and sides "
                         "of %d to %d",
                         max_batch, width, height, SIDE_MIN, SIDE_MAX);
    struct senet_context *context = calloc(1, sizeof *context);
    if (!context)
        return error_set(err, ERROR_MEMORY, "context: out of memory");
    context->model = model;
    context->max_batch = max_batch;
    enum error_code code = pool_team_new(model->pool, &context->buffers.team, err);
    if (code == ERROR_NONE)
        code = size_buffers(context, height, width, err);
    if (code == ERROR_NONE) {
        lay_out(context);
        code = arena_commit(&context->arena, "activations", NULL, err);
    }
    if (code != ERROR_NONE) {
        senet_context_free(context);
        return code;
    }
    lay_out(context);
    *out = context;
    return ERROR_NONE;
}

void senet_context_free(struct senet_context *context)
{
    if (!context)
        return;
    pool_team_free(context->buffers.team);
    arena_free(&context->arena);
    free(context->slices);
    free(context);
}

size_t senet_context_bytes(const struct senet_context *context)
{
    return context->arena.size;
}

/* Images and where their results go; how many, where a loop is over them. */
struct images {
    const struct senet_context *context;
    const float *input;
    float *logits, *excitations; /* excitations: or NULL */
    size_t count;
};

/* Those from the first-th on. */
static struct images images_from(const struct images *all, size_t first, size_t count)
{
    const struct senet *model = all->context->model;
    const struct network_buffers *whole = &all->context->buffers;
    struct images rest = *all;
    rest.input += first * 3 * whole->height * whole->width;
    rest.logits += first * model->net.fc.out;
    if (rest.excitations)
        rest.excitations += first * model->info.excitation_floats;
    rest.count = count;
    return rest;
}

/* As many at a time as the buffers hold. */
static void run_images(const struct images *all, const struct network_buffers *buffers)
{
    const struct senet *model = all->context->model;
    for (size_t first = 0, n; first < all->count; first += n) {
        n = all->count - first < buffers->images ? all->count - first : buffers->images;
        struct images part = images_from(all, first, n);
        network_forward(&model->net, model->kernels, buffers, n, part.input, part.logits,
                        part.excitations, model->info.excitation_floats);
    }
}

/* One that no other core holds: there are as many as cores. */
static struct slice *hold_slice(const struct senet_context *context)
{
    size_t i = 0;
    while (atomic_exchange(&context->slices[i].held, true))
        i = (i + 1) % context->slice_count;
    return &context->slices[i];
}

/* Item: an image through the whole network on one core, so that all it reads but the weights is in
 * its own caches. */
static void run_slice(void *context, size_t i)
{
    const struct images *all = context;
    struct images image = images_from(all, i, 1);
    struct slice *slice = hold_slice(all->context);
    run_images(&image, &slice->buffers);
    atomic_store(&slice->held, false);
}

/* Item: the same up to the last stage. */
static void begin_slice(void *context, size_t i)
{
    const struct images *all = context;
    const struct senet_context *own = all->context;
    struct images image = images_from(all, i, 1);
    struct slice *slice = hold_slice(own);
    network_begin(&own->model->net, own->model->kernels, &slice->buffers, image.input,
                  own->between + i * own->between_bytes, image.excitations);
    atomic_store(&slice->held, false);
}

/* Item: a core's share of the images through the last stage. */
static void finish_slice(void *context, size_t i)
{
    const struct images *all = context;
    const struct senet_context *own = all->context;
    size_t share = all->count / own->slice_count;
    struct images images = images_from(all, i * share, share);
    struct slice *slice = hold_slice(own);
    network_finish(&own->model->net, own->model->kernels, &slice->last, share,
                   own->between + i * share * own->between_bytes, images.logits, images.excitations,
                   own->model->info.excitation_floats);
    atomic_store(&slice->held, false);
}

/* As many images for each core as for any other. */
static void run_slices(struct senet_context *context, const struct images *all)
{
    struct team *team = context->buffers.team;
    size_t slices = context->slice_count, first = 0, n;
    for (; all->count - first >= 2 * slices && context->most_between > 0; first += n) {
        n = all->count - first < context->most_between ? all->count - first : context->most_between;
        struct images part = images_from(all, first, n);
        pool_for_long(team, n, begin_slice, &part);
        pool_for_long(team, slices, finish_slice, &part);
    }
    struct images rest = images_from(all, first, all->count - first);
    pool_for_long(team, rest.count, run_slice, &rest);
}

void senet_run(struct senet_context *context, size_t batch, const float *input, float *logits,
               float *excitations)
{
    assert(batch >= 1 && batch <= context->max_batch);
    const struct images all = {context, input, logits, excitations, batch};
    size_t slices = context->slice_count, left = batch;
    if (slices > 0 && batch > 1)
        left = batch % slices;
    struct images even = images_from(&all, 0, batch - left);
    struct images odd = images_from(&all, batch - left, left);
    pool_begin(context->buffers.team);
    run_slices(context, &even);
    run_images(&odd, &context->buffers); /* the cores share out each operation */
    pool_end(context->buffers.team);
}

void senet_run_ablated(struct senet_context *context, const float *input,
                       const struct senet_ablation *ablations, size_t count, float *logits,
                       float *excitations)
{
    const struct senet *model = context->model;
    for (size_t i = 0; i < count; i++)
        assert(ablations[i].block < model->info.blocks &&
               (i == 0 || ablations[i - 1].block <= ablations[i].block));
    pool_begin(context->buffers.team);
    network_ablate(&model->net, model->kernels, &context->buffers, input, ablations, count, logits,
                   excitations);
    pool_end(context->buffers.team);
}

size_t senet_profile(struct senet_context *context, size_t batch, const float *input, float *logits,
                     struct senet_operation *operations, size_t most, size_t *images)
{
    struct network_operation measured[MAX_OPERATIONS];
    struct network_profile profile = {.operations = measured, .most = MAX_OPERATIONS};
    struct network_buffers *buffers = &context->buffers;
    *images = batch < buffers->images ? batch : buffers->images;
    const struct images all = {context, input, logits, NULL, *images};
    buffers->profile = &profile;
    pool_begin(buffers->team);
    run_images(&all, buffers);
    pool_end(buffers->team);
    buffers->profile = NULL;
    size_t count = profile.count < most ? profile.count : most;
    for (size_t i = 0; i < count; i++) {
        operations[i].ms = (double)measured[i].ns / 1e6;
        operations[i].multiply_adds = measured[i].multiply_adds;
        operations[i].bytes = measured[i].bytes;
        memcpy(operations[i].name, measured[i].name, sizeof measured[i].name);
    }
    return count;
}

void senet_measure_roofline(struct senet_context *context, struct senet_roofline *out)
{
    struct team *team = context->buffers.team;
    pool_begin(team);
    out->multiply_adds_per_s = roofline_multiply_adds(context->model->kernels, team);
    out->bytes_per_s = roofline_bytes(team);
    pool_end(team);
}

void senet_run_observed(struct senet_context *context, const float *input,
                        struct network_observer *observer, float *logits)
{
    context->buffers.observer = observer;
    senet_run(context, 1, input, logits, NULL);
    context->buffers.observer = NULL;
}

void senet_top_k(const float *logits, size_t classes, size_t k, struct senet_top *top)
{
    assert(k <= classes);
    size_t filled = 0;
    for (size_t i = 0; i < classes; i++) {
        size_t place = filled;
        while (place > 0 && logits[i] > top[place - 1].logit)
            place--;
        if (place >= k)
            continue;
        filled += filled < k;
        memmove(top + place + 1, top + place, (filled - place - 1) * sizeof *top);
        top[place] = (struct senet_top){.index = i, .logit = logits[i]};
    }
    double sum = 0;
    for (size_t i = 0; i < classes && k; i++)
        sum += exp((double)logits[i] - (double)top[0].logit);
    for (size_t i = 0; i < k; i++)
        top[i].probability = (float)(exp((double)top[i].logit - (double)top[0].logit) / sum);
}
