/* packing.c - see packing.h. */
#include "packing.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>

void packing_add(struct packing *packing, struct packing_item item)
{
    assert(packing->count < PACKING_MOST);
    packing->items[packing->count++] = item;
}

/* Every folded value must be one: huge gammas on tiny variances overflow fp32. */
static enum error_code check_finite(struct packing_item *item, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return error_set(&item->err, ERROR_WEIGHTS,
                             "tensor %s: folding its BatchNorm in overflows fp32",
                             item->tensor->name);
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

/* source and bias are heap memory of the tensor's count and of conv->out. */
static enum error_code pack(struct packing_item *item, float *source, float *bias)
{
    struct conv *conv = item->conv;
    TRY(tensor_to_float(item->tensor, source, &item->err));
    fold(conv, item->tensor->count, item->scale, source);
    for (size_t o = 0; o < conv->out; o++)
        bias[o] = (float)item->scale[conv->out + o];
    TRY(check_finite(item, source, item->tensor->count));
    TRY(check_finite(item, bias, conv->out));
    conv->in_mean = item->in_mean;
    item->kernels->pack(conv, source, bias, item->packed);
    conv->in_mean = NULL;
    conv->packed = item->packed;
    return ERROR_NONE;
}

static void pack_item(void *context, size_t i)
{
    struct packing *packing = context;
    struct packing_item *item = &packing->items[i];
    float *source = malloc(item->tensor->count * sizeof *source + 1);
    float *bias = malloc(item->conv->out * sizeof *bias);
    enum error_code code =
        source && bias
            ? pack(item, source, bias)
            : error_set(&item->err, ERROR_MEMORY, "tensor %s: out of memory", item->tensor->name);
    (void)code; /* it is in the item */
    free(source);
    free(bias);
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
