/* describe.c - see describe.h. */
#include "describe.h"

#include <math.h>
#include <stdlib.h>

#define STATISTIC_DIGITS 5

static const char *interpolation_name(enum interpolation interpolation)
{
    switch (interpolation) {
    case INTERPOLATION_BILINEAR:
        return "bilinear";
    case INTERPOLATION_BICUBIC:
        return "bicubic";
    case INTERPOLATION_LANCZOS:
        return "lanczos";
    }
    return "unknown";
}

static const char *crop_name(enum crop_mode mode)
{
    switch (mode) {
    case CROP_CENTER:
        return "center";
    case CROP_SQUASH:
        return "squash";
    }
    return "unknown";
}

/* ---- the model ------------------------------------------------------------------------------- */

static void write_preprocess(struct writer *w, const struct preprocess *preprocess)
{
    writer_key(w, "preprocess");
    writer_open(w, '{');
    writer_key_integer(w, "width", preprocess->width);
    writer_key_integer(w, "height", preprocess->height);
    writer_key_number(w, "crop_pct", preprocess->crop_pct, 6);
    writer_key_string(w, "crop_mode", crop_name(preprocess->crop_mode));
    writer_key_string(w, "interpolation", interpolation_name(preprocess->interpolation));
    writer_key(w, "mean");
    writer_floats(w, preprocess->mean, 3, 6);
    writer_key(w, "std");
    writer_floats(w, preprocess->std, 3, 6);
    writer_close(w, '}');
}

static void write_geometry(struct writer *w, const struct senet *model, size_t layer)
{
    const struct senet_block *block = senet_block(model, layer);
    reply_block_members(w, model, layer);
    writer_key_integer(w, "reduced", block->reduced);
    writer_key_number(w, "reduction", (double)block->channels / (double)block->reduced, 6);
}

void describe_model(struct writer *w, const struct senet *model)
{
    const struct senet_info *info = senet_info(model);
    writer_open(w, '{');
    writer_key_string(w, "name", info->name);
    writer_key_string(w, "architecture", info->architecture);
    writer_key_string(w, "layout", info->layout);
    writer_key_string(w, "sha256", info->sha256);
    writer_key_string(w, "precision", info->precision);
    writer_key_string(w, "kernels", info->kernels);
    writer_key_integer(w, "classes", info->classes);
    writer_key_integer(w, "residual_blocks", info->residual_blocks);
    writer_key_integer(w, "cardinality", info->cardinality);
    writer_key_integer(w, "excitation_floats", info->excitation_floats);
    writer_key_integer(w, "parameters", info->parameters);
    writer_key_integer(w, "packed_bytes", info->packed_bytes);
    writer_key_integer(w, "multiply_adds", (uint64_t)info->multiply_adds);
    write_preprocess(w, &info->preprocess);
    writer_key(w, "blocks");
    writer_open(w, '[');
    for (size_t i = 0; i < info->blocks; i++) {
        writer_open(w, '{');
        write_geometry(w, model, i);
        writer_close(w, '}');
    }
    writer_close(w, ']');
    writer_key(w, "labels");
    writer_open(w, '[');
    for (size_t i = 0; i < info->classes; i++)
        writer_string(w, senet_label(model, i));
    writer_close(w, ']');
    writer_close(w, '}');
}

void describe_model_text(struct writer *w, const struct senet *model)
{
    const struct senet_info *info = senet_info(model);
    const struct preprocess *preprocess = &info->preprocess;
    writer_format(w, "model          %s\n", info->name);
    writer_format(w, "architecture   %s, %s layout, %zu residual blocks, cardinality %zu\n",
                  info->architecture, info->layout, info->residual_blocks, info->cardinality);
    writer_format(w, "sha256         %s\n", info->sha256);
    writer_format(w, "classes        %zu\n", info->classes);
    writer_format(w, "excitations    %zu blocks, %zu values an image\n", info->blocks,
                  info->excitation_floats);
    writer_format(w, "parameters     %zu, %.1f MiB folded and packed\n", info->parameters,
                  (double)info->packed_bytes / 1048576);
    writer_format(w, "input          %zu x %zu, crop %.4g of %s, %s\n", preprocess->width,
                  preprocess->height, preprocess->crop_pct, crop_name(preprocess->crop_mode),
                  interpolation_name(preprocess->interpolation));
    writer_format(w, "multiply-adds  %.0f an image\n", info->multiply_adds);
    writer_format(w, "kernels        %s, %s\n", info->kernels, info->precision);
}

void describe_version(struct writer *w, const struct senet *model)
{
    writer_open(w, '{');
    writer_key_string(w, "name", "senetd");
    writer_key_string(w, "version", SENETD_VERSION);
#ifdef __clang__
    writer_key_string(w, "compiler", "clang " __clang_version__);
#else
    writer_key_string(w, "compiler", "gcc " __VERSION__);
#endif
    writer_key_string(w, "kernels", model != NULL ? senet_info(model)->kernels : NULL);
    writer_key_string(w, "precision", model != NULL ? senet_info(model)->precision : NULL);
    writer_close(w, '}');
}

/* ---- statistics ------------------------------------------------------------------------------ */

/* Gate by gate, [channels] each. */
struct gate_statistics {
    double *mean, *deviation;
    float *least, *most;
    uint64_t images;
};

static void free_statistics(struct gate_statistics *gates)
{
    free(gates->mean);
    free(gates->deviation);
    free(gates->least);
    free(gates->most);
}

/* False where memory ran out. */
static bool read_statistics(struct attention *attention, const struct senet_block *block,
                            struct gate_statistics *out)
{
    size_t count = block->channels;
    out->mean = calloc(count, sizeof(double));
    out->deviation = calloc(count, sizeof(double));
    out->least = calloc(count, sizeof(float));
    out->most = calloc(count, sizeof(float));
    if (out->mean == NULL || out->deviation == NULL || out->least == NULL || out->most == NULL)
        return false;
    out->images = attention_statistics(attention, block->offset, count, out->mean, out->deviation,
                                       out->least, out->most);
    return true;
}

static void write_doubles(struct writer *w, const char *name, const double *values, size_t count,
                          bool known)
{
    writer_key(w, name);
    if (!known) {
        writer_null(w);
        return;
    }
    writer_open(w, '[');
    for (size_t i = 0; i < count; i++)
        writer_number(w, values[i], STATISTIC_DIGITS);
    writer_close(w, ']');
}

static void write_floats(struct writer *w, const char *name, const float *values, size_t count,
                         bool known)
{
    writer_key(w, name);
    if (known)
        writer_floats(w, values, count, STATISTIC_DIGITS);
    else
        writer_null(w);
}

void describe_layer_statistics(struct writer *w, const struct senet *model,
                               struct attention *attention, size_t layer)
{
    const struct senet_block *block = senet_block(model, layer);
    struct gate_statistics gates = {0};
    if (read_statistics(attention, block, &gates)) {
        bool known = gates.images > 0;
        writer_open(w, '{');
        reply_model_member(w, senet_info(model));
        writer_key_integer(w, "images", gates.images);
        write_geometry(w, model, layer);
        write_doubles(w, "mean", gates.mean, block->channels, known);
        write_doubles(w, "std", gates.deviation, block->channels, known);
        write_floats(w, "min", gates.least, block->channels, known);
        write_floats(w, "max", gates.most, block->channels, known);
        writer_close(w, '}');
    } else {
        w->failed = true;
    }
    free_statistics(&gates);
}

/* Mean, deviation and range over all gates and images of a block. */
static void write_block_summary(struct writer *w, const struct senet_block *block,
                                const struct gate_statistics *gates)
{
    static const char *const names[] = {"mean", "std", "min", "max"};
    double mean = 0, square = 0, count = (double)block->channels;
    double least = (double)gates->least[0], most = (double)gates->most[0];
    for (size_t i = 0; i < block->channels; i++) {
        mean += gates->mean[i] / count;
        least = fmin(least, (double)gates->least[i]);
        most = fmax(most, (double)gates->most[i]);
    }
    for (size_t i = 0; i < block->channels; i++) {
        double distance = gates->mean[i] - mean;
        square += (gates->deviation[i] * gates->deviation[i] + distance * distance) / count;
    }
    const double values[] = {mean, sqrt(square), least, most};
    for (size_t i = 0; i < 4; i++) {
        writer_key(w, names[i]);
        if (gates->images > 0)
            writer_number(w, values[i], STATISTIC_DIGITS);
        else
            writer_null(w);
    }
}

void describe_all_statistics(struct writer *w, const struct senet *model,
                             struct attention *attention)
{
    const struct senet_info *info = senet_info(model);
    writer_open(w, '{');
    reply_model_member(w, info);
    writer_key_integer(w, "images", attention_statistics(attention, 0, 0, NULL, NULL, NULL, NULL));
    writer_key(w, "layers");
    writer_open(w, '[');
    for (size_t i = 0; i < info->blocks; i++) {
        struct gate_statistics gates = {0};
        if (!read_statistics(attention, senet_block(model, i), &gates)) {
            w->failed = true;
        } else {
            writer_open(w, '{');
            write_geometry(w, model, i);
            write_block_summary(w, senet_block(model, i), &gates);
            writer_close(w, '}');
        }
        free_statistics(&gates);
    }
    writer_close(w, ']');
    writer_close(w, '}');
}

enum error_code describe_request(struct writer *w, const struct senet *model,
                                 struct attention *attention, const char *id,
                                 const struct selection *selection, struct error *err)
{
    size_t positions[ATTENTION_IMAGES];
    float *vectors;
    size_t images = attention_find(attention, id, positions, &vectors);
    if (images == 0) {
        free(vectors);
        return error_set(err, ERROR_NOT_FOUND,
                         "no excitations of a request '%.128s'; the last %d requests are kept", id,
                         ATTENTION_REQUESTS);
    }
    size_t floats = senet_info(model)->excitation_floats;
    writer_open(w, '{');
    reply_model_member(w, senet_info(model));
    writer_key_string(w, "id", id);
    writer_key(w, "images");
    writer_open(w, '[');
    for (size_t i = 0; i < images; i++) {
        writer_open(w, '{');
        writer_key_integer(w, "image", positions[i]);
        reply_excitations_member(w, model, vectors + i * floats, selection);
        writer_close(w, '}');
    }
    writer_close(w, ']');
    writer_close(w, '}');
    free(vectors);
    return ERROR_NONE;
}
