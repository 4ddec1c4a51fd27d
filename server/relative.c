/* relative.c - see relative.h. */
#include "relative.h"

#include <math.h>
#include <stdlib.h>

#define DIGITS 5

double relative_scale(const struct reference *reference, size_t i)
{
    return fmax((double)reference->std[i], RELATIVE_LEAST_STD);
}

static double score(const struct reference *reference, size_t i, double gate)
{
    return (gate - (double)reference->mean[i]) / relative_scale(reference, i);
}

double relative_distance(const struct reference *reference, const struct senet_block *block,
                         const float *gates)
{
    double squares = 0;
    for (size_t i = 0; i < block->channels; i++)
        squares += pow(score(reference, block->offset + i, (double)gates[i]), 2);
    return sqrt(squares / (double)block->channels);
}

void relative_members(struct writer *w, const struct reference *reference,
                      const struct senet_block *block, const float *gates, bool scores)
{
    writer_key_number(w, "distance", relative_distance(reference, block, gates), DIGITS);
    if (!scores)
        return;
    writer_reserve(w, block->channels * 9 + 32);
    writer_key(w, "z");
    writer_open(w, '[');
    for (size_t i = 0; i < block->channels; i++)
        writer_number(w, score(reference, block->offset + i, (double)gates[i]), DIGITS);
    writer_close(w, ']');
}

/* The expected square of a mean difference is the true one's plus the variance of the mean, which
 * is an image's variance times the sum of squared weights. */
double relative_drift(const struct reference *reference, const struct senet_block *block,
                      struct attention *attention)
{
    double *mean = calloc(block->channels, sizeof *mean), squares = 0;
    if (mean == NULL)
        return -1;
    double variance = attention_recent(attention, block->offset, block->channels, mean);
    for (size_t i = 0; i < block->channels && variance > 0; i++) {
        size_t gate = block->offset + i;
        double std = (double)reference->std[gate] / relative_scale(reference, gate);
        squares += pow(score(reference, gate, mean[i]), 2) - variance * std * std;
    }
    free(mean);
    if (variance == 0 || variance > 1.0 / RELATIVE_LEAST_IMAGES)
        return -1;
    return sqrt(fmax(0, squares / (double)block->channels));
}
