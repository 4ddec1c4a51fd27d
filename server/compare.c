/* compare.c - see compare.h. */
#include "compare.h"
#include "relative.h"
#include "reply.h"

#include <math.h>
#include <stdlib.h>

#define DIGITS 5

struct comparison {
    const struct reference *reference; /* or NULL */
    const struct job *job;
    const struct senet_block *block;
};

static bool is_good(const struct comparison *comparison, size_t image)
{
    return comparison->job->images[image].error.code == ERROR_NONE;
}

static double gate(const struct comparison *comparison, size_t image, size_t channel)
{
    return (double)comparison->job->images[image].excitations[comparison->block->offset + channel];
}

static double scale(const struct comparison *comparison, size_t channel)
{
    return comparison->reference == NULL
               ? 1
               : relative_scale(comparison->reference, comparison->block->offset + channel);
}

static double distance(const struct comparison *comparison, size_t a, size_t b)
{
    double squares = 0;
    size_t channels = comparison->block->channels;
    if (!is_good(comparison, a) || !is_good(comparison, b))
        return NAN;
    for (size_t i = 0; i < channels; i++)
        squares += pow((gate(comparison, a, i) - gate(comparison, b, i)) / scale(comparison, i), 2);
    return sqrt(squares / (double)channels);
}

static void write_distances(struct writer *w, const struct comparison *comparison)
{
    size_t count = comparison->job->count;
    writer_key(w, "distance");
    writer_open(w, '[');
    for (size_t a = 0; a < count; a++) {
        writer_open(w, '[');
        for (size_t b = 0; b < count; b++)
            writer_number(w, distance(comparison, a, b), DIGITS);
        writer_close(w, ']');
    }
    writer_close(w, ']');
}

struct spread {
    size_t channel;
    double value; /* the largest less the least gate, scaled */
};

static int by_spread(const void *a, const void *b)
{
    const struct spread *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? 1 : -1;
    return x->channel < y->channel ? -1 : x->channel > y->channel;
}

static double spread_of(const struct comparison *comparison, size_t channel)
{
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < comparison->job->count; i++) {
        if (!is_good(comparison, i))
            continue;
        least = fmin(least, gate(comparison, i, channel));
        most = fmax(most, gate(comparison, i, channel));
    }
    return (most - least) / scale(comparison, channel);
}

static void write_channels(struct writer *w, const struct comparison *comparison, size_t wanted)
{
    size_t channels = comparison->block->channels;
    struct spread *spreads = calloc(channels, sizeof *spreads);
    if (spreads == NULL) {
        w->failed = true;
        return;
    }
    for (size_t i = 0; i < channels; i++)
        spreads[i] = (struct spread){i, spread_of(comparison, i)};
    qsort(spreads, channels, sizeof *spreads, by_spread);
    writer_key(w, "differ_most");
    writer_open(w, '[');
    for (size_t i = 0; i < wanted && i < channels; i++) {
        writer_open(w, '{');
        writer_key_integer(w, "channel", spreads[i].channel);
        writer_key_number(w, "spread", spreads[i].value, DIGITS);
        writer_key(w, "values");
        writer_open(w, '[');
        for (size_t image = 0; image < comparison->job->count; image++)
            writer_number(
                w, is_good(comparison, image) ? gate(comparison, image, spreads[i].channel) : NAN,
                DIGITS);
        writer_close(w, ']');
        writer_close(w, '}');
    }
    writer_close(w, ']');
    free(spreads);
}

void compare_members(struct writer *w, const struct senet *senet, const struct reference *reference,
                     const struct job *job, const struct query *query)
{
    writer_key_string(w, "scale", reference != NULL ? "reference_std" : "gate");
    writer_key(w, "layers");
    writer_open(w, '[');
    for (size_t i = 0; i < senet_info(senet)->blocks; i++) {
        if (query->selection.blocks != NULL && !query->selection.blocks[i])
            continue;
        struct comparison comparison = {reference, job, senet_block(senet, i)};
        writer_open(w, '{');
        reply_block_members(w, senet, i);
        write_distances(w, &comparison);
        write_channels(w, &comparison, query->channels > 0 ? query->channels : COMPARE_CHANNELS);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}
