/* kernels_nhwc.h - what the NHWC backends share: always supported, and the packed order
 * the bias
 * [out], then [groups][kernel][kernel][in / groups][out / groups], a matrix of [window][outputs] a
 * group. */
#include "kernels.h"
#include <string.h>

typedef float active;
typedef float linear;
#define LINEAR_TO_FLOAT(value)   (value)
#define LINEAR_FROM_FLOAT(value) (value)
#include "kernels_pointwise.h"

POINTWISE_FUNCTIONS(c)

static bool supported(void)
{
    return true;
}

static size_t packed_bytes(const struct conv *conv)
{
    size_t window = conv->kernel * conv->kernel * (conv->in / conv->groups);
    return (1 + window) * conv->out * sizeof(float);
}

static const float *packed_bias(const struct conv *conv)
{
    return conv->packed;
}

static const float *packed_weights(const struct conv *conv)
{
    return packed_bias(conv) + conv->out;
}

static void pack(const struct conv *conv, const float *source, const float *bias, void *packed)
{
    size_t in_g = conv->in / conv->groups, out_g = conv->out / conv->groups;
    size_t taps = conv->kernel * conv->kernel;
    float *weights = (float *)packed + conv->out;
    memcpy(packed, bias, conv->out * sizeof *bias);
    for (size_t o = 0; o < conv->out; o++)
        for (size_t i = 0; i < in_g; i++)
            for (size_t t = 0; t < taps; t++)
                weights[((o / out_g * taps + t) * in_g + i) * out_g + o % out_g] = *source++;
}

#define NHWC_BACKEND(NAME, CONV_SCRATCH, CONV)                                                     \
    {                                                                                              \
        .name = NAME, .precision = PRECISION_FP32, .native = true, .lanes = 0,                     \
        .supported = supported, .active_bytes = sizeof(active), .linear_bytes = sizeof(linear),    \
        .packed_bytes = packed_bytes, .pack = pack, .conv_scratch = CONV_SCRATCH, .conv = CONV,    \
        .max_pool = max_pool, .average_pool = average_pool, .scale_add_relu = scale_add_relu       \
    }
