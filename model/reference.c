/* reference.c - see reference.h. The classes' statistics stay in the mapped file until asked for: a
 * thousand classes would take more memory than the weights. */
#include "reference.h"
#include "safetensors.h"
#include "tensors.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT "senetd excitation reference 1"
#define KINDS  5 /* tensors of a block */

const double reference_levels[REFERENCE_LEVELS] = {0.05, 0.25, 0.5, 0.75, 0.95};

void reference_path(const char *weights, char *out, size_t size)
{
    struct stat status;
    const char *slash = strrchr(weights, '/');
    if (stat(weights, &status) == 0 && S_ISDIR(status.st_mode))
        snprintf(out, size, "%s/" REFERENCE_FILE, weights);
    else
        snprintf(out, size, "%.*s" REFERENCE_FILE, slash ? (int)(slash + 1 - weights) : 0, weights);
}

enum error_code reference_new(const struct senet *model, struct reference **out, struct error *err)
{
    const struct senet_info *info = senet_info(model);
    struct reference *reference = calloc(1, sizeof *reference);
    size_t floats = info->excitation_floats, classes = info->classes;
    if (reference) {
        reference->floats = floats;
        reference->classes = classes;
        reference->mean = calloc(floats + 1, sizeof(float));
        reference->std = calloc(floats + 1, sizeof(float));
        reference->quantiles = calloc(REFERENCE_LEVELS * floats + 1, sizeof(float));
        reference->class_images = calloc(classes, sizeof(float));
        reference->class_mean = calloc(classes * floats + 1, sizeof(float));
        reference->class_std = calloc(classes * floats + 1, sizeof(float));
    }
    if (!reference || !reference->mean || !reference->std || !reference->quantiles ||
        !reference->class_images || !reference->class_mean || !reference->class_std) {
        reference_free(reference);
        return error_set(err, ERROR_MEMORY, "no memory for the statistics of %zu gates", floats);
    }
    *out = reference;
    return ERROR_NONE;
}

void reference_free(struct reference *reference)
{
    if (!reference)
        return;
    free(reference->mean);
    free(reference->std);
    free(reference->quantiles);
    free(reference->class_images);
    free(reference->class_mean);
    free(reference->class_std);
    safetensors_close(reference->file);
    free(reference);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A tensor of that shape; rows of 0 stands for a vector. */
static enum error_code find(const struct safetensors *file, const char *name, size_t rows,
                            size_t columns, const struct tensor **out, struct error *err)
{
    const struct tensor *tensor = safetensors_find(file, name);
    if (!tensor)
        return error_set(err, ERROR_WEIGHTS, REFERENCE_FILE ": no tensor '%s'", name);
    if (rows ? tensor->rank != 2 || tensor->shape[0] != rows || tensor->shape[1] != columns
             : tensor->rank != 1 || tensor->shape[0] != columns)
        return error_set(err, ERROR_WEIGHTS,
                         REFERENCE_FILE ": '%s' has %zu values, expected %zu x %zu", name,
                         tensor->count, rows ? rows : 1, columns);
    *out = tensor;
    return ERROR_NONE;
}

static enum error_code read_kind(const struct safetensors *file, const struct senet_block *block,
                                 const char *kind, size_t rows, float *to, struct error *err)
{
    char name[64];
    const struct tensor *tensor = NULL;
    snprintf(name, sizeof name, "%s.%s", block->name, kind);
    TRY(find(file, name, rows, block->channels, &tensor, err));
    return tensor_to_float(tensor, to, err);
}

static enum error_code read_block(struct reference *reference, const struct senet_block *block,
                                  struct error *err)
{
    char name[64];
    const struct tensor *tensor = NULL;
    size_t channels = block->channels;
    TRY(read_kind(reference->file, block, "mean", 0, reference->mean + block->offset, err));
    TRY(read_kind(reference->file, block, "std", 0, reference->std + block->offset, err));
    float *rows = calloc(REFERENCE_LEVELS * channels, sizeof *rows);
    if (!rows)
        return error_set(err, ERROR_MEMORY, "no memory for %zu quantiles", channels);
    enum error_code code =
        read_kind(reference->file, block, "quantiles", REFERENCE_LEVELS, rows, err);
    for (size_t q = 0; q < REFERENCE_LEVELS; q++)
        memcpy(reference->quantiles + q * reference->floats + block->offset, rows + q * channels,
               channels * sizeof *rows);
    free(rows);
    if (code != ERROR_NONE)
        return code;
    static const char *const kinds[] = {"class_mean", "class_std"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s.%s", block->name, kinds[i]);
        TRY(find(reference->file, name, reference->classes, channels, &tensor, err));
    }
    return ERROR_NONE;
}

static enum error_code read_notes(struct reference *reference, const struct senet *model,
                                  struct error *err)
{
    const char *format = safetensors_note(reference->file, "format");
    const char *sha256 = safetensors_note(reference->file, "weights_sha256");
    const char *images = safetensors_note(reference->file, "images");
    const char *source = safetensors_note(reference->file, "source");
    const char *grouping = safetensors_note(reference->file, "class_by");
    if (!format || strcmp(format, FORMAT) != 0)
        return error_set(err, ERROR_WEIGHTS, REFERENCE_FILE ": format is '%s', expected '%s'",
                         format ? format : "", FORMAT);
    if (!sha256 || strcmp(sha256, senet_info(model)->sha256) != 0)
        return error_set(err, ERROR_WEIGHTS,
                         REFERENCE_FILE ": made for weights of SHA-256 %.12s, these have %.12s",
                         sha256 ? sha256 : "unknown", senet_info(model)->sha256);
    if (!images || sscanf(images, "%" SCNu64, &reference->images) != 1 || !reference->images)
        return error_set(err, ERROR_WEIGHTS, REFERENCE_FILE ": images is '%s', expected a number",
                         images ? images : "");
    snprintf(reference->source, sizeof reference->source, "%s", source ? source : "");
    snprintf(reference->grouping, sizeof reference->grouping, "%s", grouping ? grouping : "");
    return ERROR_NONE;
}

static enum error_code read_all(struct reference *reference, const char *path,
                                const struct senet *model, struct error *err)
{
    const struct tensor *tensor = NULL;
    TRY(safetensors_open(path, &reference->file, err));
    TRY(read_notes(reference, model, err));
    TRY(find(reference->file, "class_images", 0, reference->classes, &tensor, err));
    TRY(tensor_to_float(tensor, reference->class_images, err));
    for (size_t i = 0; i < senet_info(model)->blocks; i++)
        TRY(read_block(reference, senet_block(model, i), err));
    return ERROR_NONE;
}

enum error_code reference_read(const char *path, const struct senet *model, struct reference **out,
                               struct error *err)
{
    struct reference *reference;
    TRY(reference_new(model, &reference, err));
    free(reference->class_mean);
    free(reference->class_std);
    reference->class_mean = reference->class_std = NULL;
    enum error_code code = read_all(reference, path, model, err);
    if (code != ERROR_NONE) {
        reference_free(reference);
        return code;
    }
    *out = reference;
    return ERROR_NONE;
}

enum error_code reference_read_class(const struct reference *reference, const struct senet *model,
                                     size_t block, float *mean, float *std, struct error *err)
{
    const struct senet_block *at = senet_block(model, block);
    TRY(read_kind(reference->file, at, "class_mean", reference->classes, mean, err));
    return read_kind(reference->file, at, "class_std", reference->classes, std, err);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* What a file is made of: the items, their names and the halves that some of them hold. */
struct parts {
    struct tensors_item *items;
    size_t count;
    char (*names)[64];
    uint16_t *halves;
    size_t used;
};

static void add(struct parts *parts, const char *block, const char *kind, const char *dtype,
                size_t rows, size_t columns, const void *data)
{
    struct tensors_item *item = &parts->items[parts->count];
    char *name = parts->names[parts->count++];
    snprintf(name, sizeof parts->names[0], "%s%s%s", block, *block ? "." : "", kind);
    *item = (struct tensors_item){.name = name,
                                  .dtype = dtype,
                                  .rank = rows ? 2 : 1,
                                  .shape = {rows ? rows : columns, columns},
                                  .data = data};
}

/* Columns [offset, offset + channels) of rows of `floats`, in half precision. */
static void add_halves(struct parts *parts, const struct senet_block *block, const char *kind,
                       size_t rows, size_t floats, const float *from)
{
    uint16_t *to = parts->halves + parts->used;
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < block->channels; i++)
            to[row * block->channels + i] = tensors_half(from[row * floats + block->offset + i]);
    parts->used += rows * block->channels;
    add(parts, block->name, kind, "F16", rows, block->channels, to);
}

static bool collect(const struct reference *reference, const struct senet *model,
                    struct parts *parts)
{
    size_t blocks = senet_info(model)->blocks, floats = reference->floats;
    parts->items = calloc(KINDS * blocks + 1, sizeof *parts->items);
    parts->names = calloc(KINDS * blocks + 1, sizeof *parts->names);
    parts->halves =
        calloc((REFERENCE_LEVELS + 2 * reference->classes) * floats + 1, sizeof *parts->halves);
    if (!parts->items || !parts->names || !parts->halves)
        return false;
    for (size_t i = 0; i < blocks; i++) {
        const struct senet_block *block = senet_block(model, i);
        add(parts, block->name, "mean", "F32", 0, block->channels, reference->mean + block->offset);
        add(parts, block->name, "std", "F32", 0, block->channels, reference->std + block->offset);
        add_halves(parts, block, "quantiles", REFERENCE_LEVELS, floats, reference->quantiles);
        add_halves(parts, block, "class_mean", reference->classes, floats, reference->class_mean);
        add_halves(parts, block, "class_std", reference->classes, floats, reference->class_std);
    }
    add(parts, "", "class_images", "F32", 0, reference->classes, reference->class_images);
    return true;
}

enum error_code reference_write(const struct reference *reference, const struct senet *model,
                                const char *path, struct error *err)
{
    char images[24];
    struct parts parts = {0};
    snprintf(images, sizeof images, "%" PRIu64, reference->images);
    const struct tensors_note notes[] = {{"format", FORMAT},
                                         {"weights_sha256", senet_info(model)->sha256},
                                         {"images", images},
                                         {"source", reference->source},
                                         {"class_by", reference->grouping},
                                         {"quantile_levels", "0.05,0.25,0.5,0.75,0.95"}};
    enum error_code code = collect(reference, model, &parts)
                               ? tensors_write(path, parts.items, parts.count, notes,
                                               sizeof notes / sizeof *notes, err)
                               : error_set(err, ERROR_MEMORY, "no memory for the statistics' file");
    free(parts.items);
    free(parts.names);
    free(parts.halves);
    return code;
}
