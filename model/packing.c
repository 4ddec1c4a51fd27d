/* packing.c - see packing.h. */
#include "packing.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void packing_add(struct packing *packing, struct packing_item item)
{
    assert(packing->count < PACKING_MOST);
    packing->items[packing->count++] = item;
}

const struct packing_item *packing_last(const struct packing *packing)
{
    assert(packing->count > 0);
    return &packing->items[packing->count - 1];
}

/* Every folded value must be one: huge gammas on tiny variances overflow fp32. */
static enum error_code check_finite(struct packing_item *item, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return error_set(&item->err, ERROR_WEIGHTS, "tensor %s: folding %s in overflows fp32",
                             item->tensor->name,
                             item->through ? item->through->tensor->name : "its BatchNorm");
    return ERROR_NONE;
}

/* source[out][...] *= scale[out], in double. */
static void fold(const struct conv *conv, size_t count, const double *scale, float *source)
{
    size_t row = count / conv->out;
    for (size_t o = 0; o < conv->out; o++)
        for (size_t i = 0; i < row; i++, source++)
            *source = (float)(scale[o] * (double)*source);
}

/* Floats of the weights that are packed. */
static size_t weight_count(const struct packing_item *item)
{
    return item->through ? item->conv->out * item->conv->in : item->tensor->count;
}

/* The item's tensor, folded. */
static enum error_code read_weights(const struct packing_item *item, float *out, struct error *err)
{
    TRY(tensor_to_float(item->tensor, out, err));
    fold(item->conv, item->tensor->count, item->scale, out);
    return ERROR_NONE;
}

/* out[conv->out][in] = weights[conv->out][channels] * inner[channels][in], and
 * bias += weights * shift, for `through` of `channels` outputs and `in` inputs. A few channels at a
 * time stay in the cache. */
static void compose(const struct packing_item *item, const float *weights, const float *inner,
                    float *out, float *bias)
{
    enum { CHANNELS = 32 };
    size_t channels = item->through->conv->out, in = item->conv->in, rows = item->conv->out;
    const double *shift = item->through->scale + channels;
    memset(out, 0, rows * in * sizeof *out);
    for (size_t first = 0; first < channels; first += CHANNELS) {
        size_t end = channels - first < CHANNELS ? channels : first + CHANNELS;
        for (size_t o = 0; o < rows; o++)
            for (size_t c = first; c < end; c++) {
                const float *row = inner + c * in;
                const float factor = weights[o * channels + c];
                for (size_t i = 0; i < in; i++)
                    out[o * in + i] += factor * row[i];
            }
    }
    for (size_t o = 0; o < rows; o++) {
        double sum = (double)bias[o];
        for (size_t c = 0; c < channels; c++)
            sum += (double)weights[o * channels + c] * shift[c];
        bias[o] = (float)sum;
    }
}

/* Heap memory for an item: its tensor, its bias and, of a layer that reads through a convolution,
 * that one's tensor and the weights of both in one. */
static float *new_memory(const struct packing_item *item)
{
    size_t floats = item->tensor->count + item->conv->out;
    if (item->through)
        floats += item->through->tensor->count + weight_count(item);
    return malloc(floats * sizeof(float) + 1);
}

static enum error_code pack(struct packing_item *item, float *memory)
{
    struct conv *conv = item->conv;
    float *weights = memory, *bias = weights + item->tensor->count;
    TRY(read_weights(item, weights, &item->err));
    for (size_t o = 0; o < conv->out; o++)
        bias[o] = (float)item->scale[conv->out + o];
    if (item->through) {
        float *inner = bias + conv->out, *composed = inner + item->through->tensor->count;
        TRY(read_weights(item->through, inner, &item->err));
        compose(item, weights, inner, composed, bias);
        weights = composed;
    }
    TRY(check_finite(item, weights, weight_count(item)));
    TRY(check_finite(item, bias, conv->out));
    conv->in_mean = item->in_mean;
    item->kernels->pack(conv, weights, bias, item->packed);
    conv->in_mean = NULL;
    conv->packed = item->packed;
    return ERROR_NONE;
}

static void pack_item(void *context, size_t i)
{
    struct packing *packing = context;
    struct packing_item *item = &packing->items[i];
    float *memory = new_memory(item);
    enum error_code code = memory ? pack(item, memory)
                                  : error_set(&item->err, ERROR_MEMORY, "tensor %s: out of memory",
                                              item->tensor->name);
    (void)code; /* it is in the item */
    free(memory);
}

enum error_code packing_run(struct packing *packing, struct team *team, struct error *err)
{
    pool_for(team, packing->count, pack_item, packing);
    for (size_t i = 0; i < packing->count; i++)
        if (packing->items[i].err.code != ERROR_NONE)
            return error_set(err, packing->items[i].err.code, "%s", packing->items[i].err.message);
    return ERROR_NONE;
}

void packing_clear(struct packing *packing)
{
    for (size_t i = 0; i < packing->count; i++) {
        free(packing->items[i].scale);
        free(packing->items[i].in_mean);
    }
    packing->count = 0;
}
