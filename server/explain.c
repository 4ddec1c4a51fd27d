/* explain.c - see explain.h. */
#include "explain.h"
#include "reply.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 6

/* A channel and how far its gate is from the reference. */
struct candidate {
    size_t channel;
    float deviation;
};

struct explain {
    const struct senet *senet;
    const struct reference *reference;
    size_t classes, topk;
    enum query_mode mode;
    float value;

    /* One replacement a block. */
    struct senet_ablation *blocks; /* [block_count] */
    size_t block_count;
    float *constant;     /* [excitation_floats]: zero or the value */
    float *block_logits; /* [1 + block_count][classes] */

    /* Within one block; wanted is 0 where that is not asked for. */
    size_t layer, wanted, groups, singles; /* singles: gates replaced one at a time */
    struct candidate *candidates;          /* [channels], the most deviant first */
    struct senet_ablation *parts;          /* [groups + singles] */
    float *part_gates;                     /* [groups + singles][channels] */
    float *part_logits;                    /* [1 + groups + singles][classes] */
};

void explain_free(struct explain *explain)
{
    if (explain == NULL)
        return;
    free(explain->blocks);
    free(explain->constant);
    free(explain->block_logits);
    free(explain->candidates);
    free(explain->parts);
    free(explain->part_gates);
    free(explain->part_logits);
    free(explain);
}

/* ---- in a run -------------------------------------------------------------------------------- */

static int by_deviation(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->deviation != y->deviation)
        return x->deviation < y->deviation ? 1 : -1;
    return x->channel < y->channel ? -1 : x->channel > y->channel;
}

/* First channel of a group; that of the group after the last is the number of channels. */
static size_t group_begin(const struct explain *explain, size_t group)
{
    return senet_block(explain->senet, explain->layer)->channels * group / explain->groups;
}

/* The computed gates[channels], in groups and one by one replaced by the reference mean. */
static void fill_parts(struct explain *explain, const float *gates)
{
    const struct senet_block *block = senet_block(explain->senet, explain->layer);
    const float *mean = explain->reference->mean + block->offset;
    size_t channels = block->channels;
    for (size_t i = 0; i < channels; i++)
        explain->candidates[i] = (struct candidate){i, fabsf(gates[i] - mean[i])};
    qsort(explain->candidates, channels, sizeof *explain->candidates, by_deviation);
    for (size_t i = 0; i < explain->groups + explain->singles; i++) {
        float *to = explain->part_gates + i * channels;
        memcpy(to, gates, channels * sizeof *to);
        size_t first, count = 1;
        if (i < explain->groups) {
            first = group_begin(explain, i);
            count = group_begin(explain, i + 1) - first;
        } else {
            first = explain->candidates[i - explain->groups].channel;
        }
        memcpy(to + first, mean + first, count * sizeof *to);
    }
}

static void run_alone(struct batch_image *image, struct senet_context *context, const float *input)
{
    struct explain *explain = image->state;
    senet_run_ablated(context, input, explain->blocks, explain->block_count, explain->block_logits,
                      image->excitations);
    memcpy(image->logits, explain->block_logits, explain->classes * sizeof(float));
    if (explain->wanted == 0)
        return;
    fill_parts(explain, image->excitations + senet_block(explain->senet, explain->layer)->offset);
    senet_run_ablated(context, input, explain->parts, explain->groups + explain->singles,
                      explain->part_logits, NULL);
}

/* ---- before ------------------------------------------------------------------------------------
 */

static bool plan_blocks(struct explain *explain, const bool *selected)
{
    const struct senet_info *info = senet_info(explain->senet);
    explain->blocks = calloc(info->blocks, sizeof *explain->blocks);
    explain->constant = calloc(info->excitation_floats, sizeof(float));
    explain->block_logits = calloc((1 + info->blocks) * info->classes, sizeof(float));
    if (explain->blocks == NULL || explain->constant == NULL || explain->block_logits == NULL)
        return false;
    for (size_t i = 0; i < info->excitation_floats; i++)
        explain->constant[i] = explain->mode == MODE_VALUE ? explain->value : 0;
    const float *gates = explain->mode == MODE_IDENTITY ? NULL
                         : explain->mode == MODE_MEAN   ? explain->reference->mean
                                                        : explain->constant;
    for (size_t i = 0; i < info->blocks; i++)
        if (selected == NULL || selected[i])
            explain->blocks[explain->block_count++] = (struct senet_ablation){
                .block = i,
                .gates = gates != NULL ? gates + senet_block(explain->senet, i)->offset : NULL};
    return true;
}

/* Each replacement runs the blocks after this one. */
static bool plan_channels(struct explain *explain)
{
    const struct senet_info *info = senet_info(explain->senet);
    size_t channels = senet_block(explain->senet, explain->layer)->channels;
    size_t after = info->blocks - 1 - explain->layer;
    size_t runs = after > 0 ? EXPLAIN_BLOCK_RUNS / after : channels + EXPLAIN_GROUPS;
    explain->groups = channels < EXPLAIN_GROUPS ? channels : EXPLAIN_GROUPS;
    explain->singles = runs > 2 * explain->groups ? runs - explain->groups : explain->groups;
    if (explain->singles > EXPLAIN_SINGLES)
        explain->singles = EXPLAIN_SINGLES;
    if (explain->singles > channels)
        explain->singles = channels;
    if (explain->wanted > explain->singles)
        explain->wanted = explain->singles;
    size_t parts = explain->groups + explain->singles;
    explain->candidates = calloc(channels, sizeof *explain->candidates);
    explain->parts = calloc(parts, sizeof *explain->parts);
    explain->part_gates = calloc(parts * channels, sizeof(float));
    explain->part_logits = calloc((1 + parts) * info->classes, sizeof(float));
    if (explain->candidates == NULL || explain->parts == NULL || explain->part_gates == NULL ||
        explain->part_logits == NULL)
        return false;
    for (size_t i = 0; i < parts; i++)
        explain->parts[i] = (struct senet_ablation){.block = explain->layer,
                                                    .gates = explain->part_gates + i * channels};
    return true;
}

enum error_code explain_new(const struct senet *senet, const struct reference *reference,
                            const struct query *query, struct batch_image *image,
                            struct explain **out, struct error *err)
{
    if (senet_info(senet)->blocks == 0)
        return error_set(err, ERROR_NOT_FOUND,
                         "the model is a plain ResNet: no block has squeeze-and-excitation");
    struct explain *explain = calloc(1, sizeof *explain);
    if (explain == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for an explanation");
    *explain = (struct explain){.senet = senet,
                                .reference = reference,
                                .classes = senet_info(senet)->classes,
                                .topk = query->selection.topk,
                                .mode = query->mode,
                                .value = query->value,
                                .wanted = query->channels};
    enum error_code code = ERROR_NONE;
    if (!plan_blocks(explain, query->selection.blocks))
        code = error_set(err, ERROR_MEMORY, "no memory for an explanation");
    else if (explain->wanted > 0 && explain->block_count != 1)
        code = error_set(err, ERROR_USAGE,
                         "channels needs one block, such as block=%s; %zu are asked for",
                         senet_block(senet, 0)->name, explain->block_count);
    if (code == ERROR_NONE && explain->wanted > 0) {
        explain->layer = explain->blocks[0].block;
        if (!plan_channels(explain))
            code = error_set(err, ERROR_MEMORY, "no memory for an explanation");
    }
    if (code != ERROR_NONE) {
        explain_free(explain);
        return code;
    }
    image->state = explain;
    image->run_alone = run_alone;
    *out = explain;
    return ERROR_NONE;
}

/* ---- telling -----------------------------------------------------------------------------------
 */

/* Softmax of logits[classes]. */
static void probabilities(const float *logits, size_t classes, double *out)
{
    float most = logits[0];
    double sum = 0;
    for (size_t i = 1; i < classes; i++)
        most = fmaxf(most, logits[i]);
    for (size_t i = 0; i < classes; i++)
        sum += out[i] = exp((double)logits[i] - (double)most);
    for (size_t i = 0; i < classes; i++)
        out[i] /= sum;
}

/* Room for two distributions; the first is the untouched network's. */
struct effect {
    size_t classes, top;    /* top: the untouched network's first class */
    const float *logits;    /* [classes], untouched */
    double *before, *after; /* [classes] */
};

/* How the first class of the untouched network fares. */
static void write_effect(struct writer *w, const struct effect *effect, const float *logits)
{
    double variation = 0;
    probabilities(logits, effect->classes, effect->after);
    for (size_t i = 0; i < effect->classes; i++)
        variation += fabs(effect->after[i] - effect->before[i]) / 2;
    writer_key_number(w, "probability", effect->after[effect->top], DIGITS);
    writer_key_number(w, "probability_change",
                      effect->after[effect->top] - effect->before[effect->top], DIGITS);
    writer_key_number(w, "logit_change",
                      (double)logits[effect->top] - (double)effect->logits[effect->top], DIGITS);
    writer_key_number(w, "total_variation", variation, DIGITS);
}

static void write_block(struct writer *w, const struct explain *explain,
                        const struct effect *effect, size_t index)
{
    const float *logits = explain->block_logits + (1 + index) * explain->classes;
    struct senet_top top;
    writer_open(w, '{');
    reply_block_members(w, explain->senet, explain->blocks[index].block);
    write_effect(w, effect, logits);
    senet_top_k(logits, explain->classes, 1, &top);
    writer_key(w, "top1_changed");
    writer_bool(w, top.index != effect->top);
    reply_top_k(w, explain->senet, logits, explain->topk);
    writer_close(w, '}');
}

struct ranked {
    size_t single;
    double change; /* of the logit, its size */
};

static int by_change(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->change != y->change)
        return x->change < y->change ? 1 : -1;
    return x->single < y->single ? -1 : x->single > y->single;
}

static const float *part_logits(const struct explain *explain, size_t part)
{
    return explain->part_logits + (1 + part) * explain->classes;
}

static void write_groups(struct writer *w, const struct explain *explain,
                         const struct effect *effect)
{
    writer_key(w, "groups");
    writer_open(w, '[');
    for (size_t i = 0; i < explain->groups; i++) {
        writer_open(w, '{');
        writer_key_integer(w, "first", group_begin(explain, i));
        writer_key_integer(w, "count", group_begin(explain, i + 1) - group_begin(explain, i));
        write_effect(w, effect, part_logits(explain, i));
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

static void write_gates(struct writer *w, const struct explain *explain,
                        const struct effect *effect, const float *gates)
{
    const struct senet_block *block = senet_block(explain->senet, explain->layer);
    struct ranked *ranked = calloc(explain->singles, sizeof *ranked);
    if (ranked == NULL) {
        w->failed = true;
        return;
    }
    for (size_t i = 0; i < explain->singles; i++) {
        const float *logits = part_logits(explain, explain->groups + i);
        ranked[i] = (struct ranked){
            i, fabs((double)logits[effect->top] - (double)effect->logits[effect->top])};
    }
    qsort(ranked, explain->singles, sizeof *ranked, by_change);
    writer_key(w, "gates");
    writer_open(w, '[');
    for (size_t i = 0; i < explain->wanted; i++) {
        size_t channel = explain->candidates[ranked[i].single].channel;
        writer_open(w, '{');
        writer_key_integer(w, "channel", channel);
        writer_key_number(w, "gate", (double)gates[channel], DIGITS);
        writer_key_number(w, "mean", (double)explain->reference->mean[block->offset + channel],
                          DIGITS);
        write_effect(w, effect, part_logits(explain, explain->groups + ranked[i].single));
        writer_close(w, '}');
    }
    writer_close(w, ']');
    free(ranked);
}

static void write_channels(struct writer *w, const struct explain *explain,
                           const struct effect *effect, const float *gates)
{
    const struct senet_block *block = senet_block(explain->senet, explain->layer);
    writer_key(w, "channels");
    writer_open(w, '{');
    reply_block_members(w, explain->senet, explain->layer);
    writer_key_string(w, "method",
                      "no gradients: gates were replaced by their reference mean and the network "
                      "run again, in groups of neighbouring channels, and one at a time for those "
                      "furthest from that mean");
    writer_key_integer(w, "measured", explain->singles);
    write_groups(w, explain, effect);
    write_gates(w, explain, effect, gates + block->offset);
    writer_close(w, '}');
}

void explain_members(struct writer *w, const struct explain *explain,
                     const struct batch_image *image)
{
    static const char *const names[] = {"identity", "mean", "zero", "value"};
    struct senet_top top;
    struct effect effect = {.classes = explain->classes, .logits = explain->block_logits};
    effect.before = calloc(2 * effect.classes, sizeof *effect.before);
    if (effect.before == NULL) {
        w->failed = true;
        return;
    }
    effect.after = effect.before + effect.classes;
    probabilities(effect.logits, effect.classes, effect.before);
    senet_top_k(effect.logits, effect.classes, 1, &top);
    effect.top = top.index;
    reply_top_k(w, explain->senet, effect.logits, explain->topk);
    writer_key_string(w, "mode", names[explain->mode]);
    if (explain->mode == MODE_VALUE)
        writer_key_number(w, "value", (double)explain->value, DIGITS);
    writer_key(w, "blocks");
    writer_open(w, '[');
    for (size_t i = 0; i < explain->block_count; i++)
        write_block(w, explain, &effect, i);
    writer_close(w, ']');
    if (explain->wanted > 0)
        write_channels(w, explain, &effect, image->excitations);
    free(effect.before);
}
