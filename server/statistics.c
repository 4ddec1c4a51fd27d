/* statistics.c - see statistics.h. */
#include "statistics.h"
#include "describe.h"
#include "relative.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define STATISTIC_DIGITS 5

/* ---- since start -------------------------------------------------------------------------------
 */

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

/* Negative where nothing is known yet: null. */
static void write_drift(struct writer *w, const struct reference *reference,
                        const struct senet_block *block, struct attention *attention)
{
    double drift = relative_drift(reference, block, attention);
    writer_key_number(w, "drift", drift >= 0 ? drift : NAN, STATISTIC_DIGITS);
}

/* The z-scores of means[channels], which are made of them, and their root mean square; null where
 * nothing is known yet. */
static void write_relative(struct writer *w, const struct reference *reference,
                           const struct senet_block *block, double *means, bool known)
{
    double squares = 0;
    for (size_t i = 0; known && i < block->channels; i++) {
        size_t gate = block->offset + i;
        means[i] = (means[i] - (double)reference->mean[gate]) / relative_scale(reference, gate);
        squares += means[i] * means[i] / (double)block->channels;
    }
    writer_key_number(w, "distance", known ? sqrt(squares) : NAN, STATISTIC_DIGITS);
    write_doubles(w, "z", means, block->channels, known);
}

void statistics_layer(struct writer *w, const struct senet *model, struct attention *attention,
                      const struct reference *reference, size_t layer)
{
    const struct senet_block *block = senet_block(model, layer);
    struct gate_statistics gates = {0};
    if (read_statistics(attention, block, &gates)) {
        bool known = gates.images > 0;
        writer_open(w, '{');
        reply_model_member(w, senet_info(model));
        writer_key_integer(w, "images", gates.images);
        describe_block_members(w, model, layer);
        write_doubles(w, "mean", gates.mean, block->channels, known);
        write_doubles(w, "std", gates.deviation, block->channels, known);
        write_floats(w, "min", gates.least, block->channels, known);
        write_floats(w, "max", gates.most, block->channels, known);
        if (reference != NULL) {
            write_drift(w, reference, block, attention);
            write_relative(w, reference, block, gates.mean, known);
        }
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

/* The classes predicted so far. */
static void write_classes(struct writer *w, const struct senet *model, struct attention *attention)
{
    size_t classes[ATTENTION_CLASSES];
    uint64_t images[ATTENTION_CLASSES];
    size_t count = attention_classes(attention, classes, images);
    writer_key(w, "classes");
    writer_open(w, '[');
    for (size_t i = 0; i < count; i++) {
        writer_open(w, '{');
        writer_key_integer(w, "index", classes[i]);
        writer_key_string(w, "label", senet_label(model, classes[i]));
        writer_key_integer(w, "images", images[i]);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

void statistics_all(struct writer *w, const struct senet *model, struct attention *attention,
                    const struct reference *reference)
{
    const struct senet_info *info = senet_info(model);
    writer_open(w, '{');
    reply_model_member(w, info);
    writer_key_integer(w, "images", attention_statistics(attention, 0, 0, NULL, NULL, NULL, NULL));
    write_classes(w, model, attention);
    writer_key(w, "layers");
    writer_open(w, '[');
    for (size_t i = 0; i < info->blocks; i++) {
        struct gate_statistics gates = {0};
        if (!read_statistics(attention, senet_block(model, i), &gates)) {
            w->failed = true;
        } else {
            writer_open(w, '{');
            describe_block_members(w, model, i);
            write_block_summary(w, senet_block(model, i), &gates);
            if (reference != NULL)
                write_drift(w, reference, senet_block(model, i), attention);
            writer_close(w, '}');
        }
        free_statistics(&gates);
    }
    writer_close(w, ']');
    writer_close(w, '}');
}

enum error_code statistics_class(struct writer *w, const struct senet *model,
                                 struct attention *attention, const struct reference *reference,
                                 size_t layer, size_t class, struct error *err)
{
    const struct senet_block *block = senet_block(model, layer);
    double *mean = calloc(2 * block->channels, sizeof *mean);
    if (mean == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for %zu gates", block->channels);
    double *deviation = mean + block->channels;
    uint64_t images = attention_class_statistics(attention, class, block->offset, block->channels,
                                                 mean, deviation);
    if (images == 0) {
        free(mean);
        return error_set(err, ERROR_NOT_FOUND,
                         "no statistics of the class '%s': no image of it was seen since start, or "
                         "%d others were seen more often",
                         senet_label(model, class), ATTENTION_CLASSES);
    }
    writer_open(w, '{');
    reply_model_member(w, senet_info(model));
    writer_key(w, "class");
    writer_open(w, '{');
    writer_key_integer(w, "index", class);
    writer_key_string(w, "label", senet_label(model, class));
    writer_close(w, '}');
    writer_key_integer(w, "images", images);
    describe_block_members(w, model, layer);
    write_doubles(w, "mean", mean, block->channels, true);
    write_doubles(w, "std", deviation, block->channels, true);
    if (reference != NULL)
        write_relative(w, reference, block, mean, true);
    writer_close(w, '}');
    free(mean);
    return ERROR_NONE;
}

/* ---- of one request ----------------------------------------------------------------------------
 */

/* The vectors kept of a request, [images][floats], the caller's. */
static enum error_code find_request(struct attention *attention, const char *id, size_t *positions,
                                    float **vectors, size_t *images, struct error *err)
{
    *images = attention_find(attention, id, positions, vectors);
    if (*images > 0)
        return ERROR_NONE;
    free(*vectors);
    return error_set(err, ERROR_NOT_FOUND,
                     "no excitations of a request '%.128s'; the last %d requests are kept", id,
                     ATTENTION_REQUESTS);
}

enum error_code statistics_request_arrays(struct writer *w, const struct senet *model,
                                          struct attention *attention, const char *id,
                                          enum arrays_format format,
                                          const struct selection *selection, struct error *err)
{
    size_t positions[ATTENTION_IMAGES], images;
    const float *rows[ATTENTION_IMAGES];
    float *vectors;
    TRY(find_request(attention, id, positions, &vectors, &images, err));
    for (size_t i = 0; i < images; i++)
        rows[i] = vectors + i * senet_info(model)->excitation_floats;
    enum error_code code = arrays_results(w, format, model, selection, images, rows, NULL, err);
    free(vectors);
    return code;
}

enum error_code statistics_request(struct writer *w, const struct senet *model,
                                   struct attention *attention, const char *id,
                                   const struct selection *selection, struct error *err)
{
    size_t positions[ATTENTION_IMAGES], images;
    float *vectors;
    TRY(find_request(attention, id, positions, &vectors, &images, err));
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

/* ---- the reference -----------------------------------------------------------------------------
 */

static void write_quantiles(struct writer *w, const struct reference *reference,
                            const struct senet_block *block)
{
    writer_key(w, "quantiles");
    writer_open(w, '[');
    for (size_t q = 0; q < REFERENCE_LEVELS; q++) {
        writer_open(w, '{');
        writer_key_number(w, "level", reference_levels[q], 3);
        write_floats(w, "values", reference->quantiles + q * reference->floats + block->offset,
                     block->channels, true);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

static enum error_code write_reference_classes(struct writer *w, const struct senet *model,
                                               const struct reference *reference, size_t layer,
                                               struct error *err)
{
    size_t channels = senet_block(model, layer)->channels, values = reference->classes * channels;
    float *mean = calloc(2 * values, sizeof *mean);
    if (mean == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for %zu classes", reference->classes);
    enum error_code code = reference_read_class(reference, model, layer, mean, mean + values, err);
    writer_key(w, "classes");
    writer_open(w, '[');
    for (size_t c = 0; c < reference->classes && code == ERROR_NONE; c++) {
        if (reference->class_images[c] == 0)
            continue;
        writer_open(w, '{');
        writer_key_integer(w, "index", c);
        writer_key_string(w, "label", senet_label(model, c));
        writer_key_integer(w, "images", (uint64_t)reference->class_images[c]);
        write_floats(w, "mean", mean + c * channels, channels, true);
        write_floats(w, "std", mean + values + c * channels, channels, true);
        writer_close(w, '}');
    }
    writer_close(w, ']');
    free(mean);
    return code;
}

enum error_code statistics_reference(struct writer *w, const struct senet *model,
                                     const struct reference *reference, const size_t *layer,
                                     struct error *err)
{
    size_t first = layer != NULL ? *layer : 0;
    size_t end = layer != NULL ? first + 1 : senet_info(model)->blocks;
    writer_open(w, '{');
    reply_model_member(w, senet_info(model));
    writer_key_integer(w, "images", reference->images);
    writer_key_string(w, "source", reference->source);
    writer_key_string(w, "class_by", reference->grouping);
    writer_key_number(w, "least_std", RELATIVE_LEAST_STD, 3);
    writer_key(w, "layers");
    writer_open(w, '[');
    for (size_t i = first; i < end; i++) {
        const struct senet_block *block = senet_block(model, i);
        writer_open(w, '{');
        describe_block_members(w, model, i);
        write_floats(w, "mean", reference->mean + block->offset, block->channels, true);
        write_floats(w, "std", reference->std + block->offset, block->channels, true);
        if (layer != NULL) {
            write_quantiles(w, reference, block);
            TRY(write_reference_classes(w, model, reference, i, err));
        }
        writer_close(w, '}');
    }
    writer_close(w, ']');
    writer_close(w, '}');
    return ERROR_NONE;
}
