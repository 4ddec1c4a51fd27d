/* kernels_nhwc.h - what the NHWC backends share: always supported, and the packed order
 * [groups][kernel][kernel][in / groups][out / groups], a matrix of [window][outputs] a group. */
#include "kernels.h"
#include "kernels_pointwise.h"

POINTWISE_FUNCTIONS(c)

static bool supported(void)
{
    return true;
}

static size_t packed_floats(const struct conv *conv)
{
    return conv->kernel * conv->kernel * (conv->in / conv->groups) * conv->out;
}

static void pack(const struct conv *conv, const float *source, float *packed)
{
    size_t in_g = conv->in / conv->groups, out_g = conv->out / conv->groups;
    size_t taps = conv->kernel * conv->kernel;
    for (size_t o = 0; o < conv->out; o++)
        for (size_t i = 0; i < in_g; i++)
            for (size_t t = 0; t < taps; t++)
                packed[((o / out_g * taps + t) * in_g + i) * out_g + o % out_g] = *source++;
}

#define NHWC_BACKEND(NAME, CONV_SCRATCH, CONV)                                                     \
    {                                                                                              \
        .name = NAME, .lanes = 0, .supported = supported, .packed_floats = packed_floats,          \
        .pack = pack, .conv_scratch = CONV_SCRATCH, .conv = CONV, .max_pool = max_pool,            \
        .average_pool = average_pool, .scale_add_relu = scale_add_relu                             \
    }
