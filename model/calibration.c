/* calibration.c - see calibration.h. A histogram begins narrow and doubles its range whenever a
 * larger value comes, so that it fits every layer without a pass of its own. */
#include "calibration.h"
#include "safetensors.h"
#include "senet_model.h"
#include "tensors.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BINS          2048
#define FIRST_LIMIT   1e-3F
#define LEVELS        255 /* of an active input: 0..255 */
#define SIGNED_LEVELS 127 /* of a photo, on each side of zero */
#define PERCENTILE    0.9999

struct layer {
    char name[48];
    const struct conv *conv;
    float limit;           /* of the last bin */
    uint64_t counts[BINS]; /* of absolute values in [i, i + 1) * limit / BINS, but for 0 */
    double *sums;          /* [conv->in] */
    uint64_t pixels;       /* that each of the sums has */
};

struct calibration {
    const struct senet *model;
    struct senet_context *context;
    float *logits;
    size_t lanes; /* channels in a block of the activations; 0: all */
    struct layer *layers;
    size_t count;
    uint64_t photos;
};

/* ---- looking ----------------------------------------------------------------------------- */

/* The layer of a convolution; NULL for a downsample, which reads what the block's conv1 reads. */
static struct layer *find_layer(struct calibration *calibration, const struct conv *conv)
{
    for (size_t i = 0; i < calibration->count; i++)
        if (calibration->layers[i].conv == conv)
            return &calibration->layers[i];
    return NULL;
}

static void widen_range(struct layer *layer, float value)
{
    while (value >= layer->limit) {
        for (size_t i = 0; i < BINS / 2; i++)
            layer->counts[i] = layer->counts[2 * i] + layer->counts[2 * i + 1];
        memset(layer->counts + BINS / 2, 0, BINS / 2 * sizeof *layer->counts);
        layer->limit *= 2;
    }
}

static void count_values(struct layer *layer, const float *values, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmaxf(most, fabsf(values[i]));
    widen_range(layer, most);
    float bins = BINS / layer->limit;
    for (size_t i = 0; i < count; i++) {
        size_t bin = (size_t)(fabsf(values[i]) * bins);
        if (values[i] != 0)
            layer->counts[bin < BINS ? bin : BINS - 1]++;
    }
}

static void see_layer(void *context, const struct conv *conv, const float *in, size_t floats)
{
    struct calibration *calibration = context;
    struct layer *layer = find_layer(calibration, conv);
    if (!layer)
        return;
    count_values(layer, in, floats);
    size_t block = conv->planar_in ? 1 : calibration->lanes ? calibration->lanes : conv->in;
    size_t blocks = (conv->in + block - 1) / block, area = floats / (blocks * block);
    for (size_t c = 0; c < conv->in; c++) {
        const float *values = in + c / block * area * block + c % block;
        for (size_t i = 0; i < area; i++)
            layer->sums[c] += (double)values[i * block];
    }
    layer->pixels += area;
}

void calibration_see(struct calibration *calibration, const float *input)
{
    struct network_observer observer = {see_layer, calibration};
    senet_run_observed(calibration->context, input, &observer, calibration->logits);
    calibration->photos++;
}

/* ---- making ------------------------------------------------------------------------------ */

static bool add_layer(struct calibration *calibration, const struct conv *conv, const char *name)
{
    struct layer *layer = &calibration->layers[calibration->count++];
    layer->conv = conv;
    layer->limit = FIRST_LIMIT;
    layer->sums = calloc(conv->in, sizeof *layer->sums);
    snprintf(layer->name, sizeof layer->name, "%s", name);
    return layer->sums != NULL;
}

static bool add_layers(struct calibration *calibration)
{
    const struct architecture *net = senet_architecture(calibration->model);
    calibration->layers = calloc(1 + 3 * net->block_count, sizeof *calibration->layers);
    if (!calibration->layers ||
        !add_layer(calibration, &net->stem, net->legacy ? "layer0.conv1" : "conv1"))
        return false;
    for (size_t i = 0; i < net->block_count; i++) {
        const struct block *block = &net->blocks[i];
        const struct conv *convs[3] = {&block->conv1, &block->conv2, &block->conv3};
        for (size_t k = 0; k < 3; k++) {
            char name[48];
            snprintf(name, sizeof name, "layer%zu.%zu.conv%zu", block->stage + 1, block->index,
                     k + 1);
            if (!add_layer(calibration, convs[k], name))
                return false;
        }
    }
    return true;
}

static enum error_code prepare(struct calibration *calibration, struct error *err)
{
    const struct senet_info *info = senet_info(calibration->model);
    const struct kernels *kernels = senet_kernels(calibration->model);
    if (kernels->precision != PRECISION_FP32)
        return error_set(err, ERROR_USAGE, "the model is open in %s: calibration looks at fp32",
                         info->precision);
    calibration->lanes = kernels->lanes;
    calibration->logits = malloc(info->classes * sizeof *calibration->logits);
    if (!calibration->logits || !add_layers(calibration))
        return error_set(err, ERROR_MEMORY, "calibration: out of memory");
    return senet_context_new(calibration->model, 1, info->preprocess.height, info->preprocess.width,
                             &calibration->context, err);
}

enum error_code calibration_new(const struct senet *model, struct calibration **out,
                                struct error *err)
{
    struct calibration *calibration = calloc(1, sizeof *calibration);
    if (!calibration)
        return error_set(err, ERROR_MEMORY, "calibration: out of memory");
    calibration->model = model;
    enum error_code code = prepare(calibration, err);
    if (code != ERROR_NONE)
        calibration_free(calibration);
    else
        *out = calibration;
    return code;
}

void calibration_free(struct calibration *calibration)
{
    if (!calibration)
        return;
    for (size_t i = 0; i < calibration->count; i++)
        free(calibration->layers[i].sums);
    senet_context_free(calibration->context);
    free(calibration->layers);
    free(calibration->logits);
    free(calibration);
}

/* ---- choosing the scale ------------------------------------------------------------------ */

static double levels_of(const struct layer *layer)
{
    return layer->conv->planar_in ? SIGNED_LEVELS : LEVELS;
}

/* Loss if values beyond the first `kept` bins are clipped and the rest is rounded to `levels`. */
static double square_loss(const struct layer *layer, size_t kept)
{
    double width = (double)layer->limit / BINS, top = (double)kept * width, loss = 0;
    double step = top / levels_of(layer);
    for (size_t i = 0; i < BINS; i++) {
        double beyond = ((double)i + 0.5) * width - top;
        loss += (double)layer->counts[i] * (beyond > 0 ? beyond * beyond : step * step / 12);
    }
    return loss;
}

/* Kullback-Leibler divergence of the first `kept` bins, what lies beyond them added to the last
 * one, from the same bins after they were merged to as many as there are levels, each spread evenly
 * over those of its bins that were not empty. */
static double divergence(const struct layer *layer, size_t kept)
{
    size_t levels = (size_t)levels_of(layer) + 1;
    double all = 0, inside = 0, beyond = 0, sum = 0;
    for (size_t i = 0; i < BINS; i++) {
        all += (double)layer->counts[i];
        *(i < kept ? &inside : &beyond) += (double)layer->counts[i];
    }
    for (size_t level = 0; level < levels; level++) {
        size_t first = level * kept / levels, end = (level + 1) * kept / levels, filled = 0;
        double merged = 0;
        for (size_t i = first; i < end; i++) {
            merged += (double)layer->counts[i];
            filled += layer->counts[i] > 0;
        }
        for (size_t i = first; i < end; i++) {
            double p = (double)layer->counts[i] + (i + 1 == kept ? beyond : 0);
            /* Where clipping fills an empty bin, its probability was next to none. */
            double q = layer->counts[i] > 0 ? merged / (double)filled : 1e-6;
            if (p > 0)
                sum += p / all * log(p / all / (q / inside));
        }
    }
    return sum;
}

/* Bins of which the fewest that hold this share of the values. */
static size_t bins_holding(const struct layer *layer, double share)
{
    double all = 0, held = 0;
    size_t i = 0;
    for (size_t k = 0; k < BINS; k++)
        all += (double)layer->counts[k];
    while (i < BINS && held < share * all)
        held += (double)layer->counts[i++];
    return i > 0 ? i : 1;
}

static size_t bins_to_keep(const struct layer *layer, enum calibration_method method)
{
    if (method == CALIBRATION_MAX || method == CALIBRATION_PERCENTILE)
        return bins_holding(layer, method == CALIBRATION_MAX ? 1 : PERCENTILE);
    double (*loss)(const struct layer *, size_t) =
        method == CALIBRATION_MSE ? square_loss : divergence;
    size_t best = BINS;
    double least = INFINITY;
    for (size_t kept = BINS / 16; kept <= BINS; kept += BINS / 128) {
        double here = loss(layer, kept);
        if (here < least) {
            least = here;
            best = kept;
        }
    }
    return best;
}

/* ---- writing ----------------------------------------------------------------------------- */

static bool is_calibration(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (strcmp(dot, ".input_scale") == 0 || strcmp(dot, ".input_mean") == 0);
}

struct additions {
    struct tensors_item *items;
    size_t count;
    char (*names)[2][64]; /* [layers] */
    float *values;        /* the scales, then the means */
};

static void add(struct additions *to, const struct layer *layer, enum calibration_method method,
                char names[2][64], float *scale, float *means)
{
    double width = (double)layer->limit / BINS;
    *scale = (float)((double)bins_to_keep(layer, method) * width / levels_of(layer));
    for (size_t c = 0; c < layer->conv->in; c++)
        means[c] = (float)(layer->sums[c] / (double)layer->pixels);
    snprintf(names[0], 64, "%s.input_scale", layer->name);
    snprintf(names[1], 64, "%s.input_mean", layer->name);
    to->items[to->count++] = (struct tensors_item){
        .name = names[0], .dtype = "F32", .rank = 1, .shape = {1}, .data = scale};
    to->items[to->count++] = (struct tensors_item){
        .name = names[1], .dtype = "F32", .rank = 1, .shape = {layer->conv->in}, .data = means};
}

static enum error_code collect(const struct calibration *calibration,
                               enum calibration_method method, const struct safetensors *file,
                               struct additions *out, struct error *err)
{
    size_t tensors = safetensors_count(file), floats = calibration->count;
    for (size_t i = 0; i < calibration->count; i++)
        floats += calibration->layers[i].conv->in;
    out->items = calloc(tensors + 2 * calibration->count, sizeof *out->items);
    out->names = calloc(calibration->count, sizeof *out->names);
    out->values = calloc(floats, sizeof *out->values);
    if (!out->items || !out->names || !out->values)
        return error_set(err, ERROR_MEMORY, "calibration: out of memory");
    for (size_t i = 0; i < tensors; i++) {
        const struct tensor *tensor = safetensors_at(file, i);
        struct tensors_item *item = &out->items[out->count];
        if (is_calibration(tensor->name) || tensor->rank > sizeof item->shape / sizeof(size_t))
            continue; /* no tensor of the network has a higher rank */
        *item = (struct tensors_item){.name = tensor->name,
                                      .dtype = tensor->dtype,
                                      .rank = tensor->rank,
                                      .data = tensor->data};
        memcpy(item->shape, tensor->shape, tensor->rank * sizeof(size_t));
        out->count++;
    }
    float *means = out->values + calibration->count;
    for (size_t i = 0; i < calibration->count; i++) {
        const struct layer *layer = &calibration->layers[i];
        add(out, layer, method, out->names[i], &out->values[i], means);
        means += layer->conv->in;
    }
    return ERROR_NONE;
}

enum error_code calibration_write(const struct calibration *calibration,
                                  enum calibration_method method, const char *from, const char *to,
                                  size_t *layers, struct error *err)
{
    static const char *const names[] = {"mse", "entropy", "percentile", "max"};
    if (calibration->photos == 0)
        return error_set(err, ERROR_USAGE, "calibration: no photo was seen");
    char photos[24];
    struct safetensors *file;
    struct additions additions = {0};
    snprintf(photos, sizeof photos, "%" PRIu64, calibration->photos);
    const struct tensors_note notes[] = {
        {"format", "pt"},
        {"calibration", names[method]},
        {"calibration_photos", photos},
        {"calibrated_from", senet_info(calibration->model)->sha256}};
    TRY(safetensors_open(from, &file, err));
    enum error_code code = collect(calibration, method, file, &additions, err);
    if (code == ERROR_NONE)
        code = tensors_write(to, additions.items, additions.count, notes,
                             sizeof notes / sizeof *notes, err);
    safetensors_close(file);
    free(additions.items);
    free(additions.names);
    free(additions.values);
    *layers = calibration->count;
    return code;
}
