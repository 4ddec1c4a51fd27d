/* kernels.h - the backends that compute, and the choice among them.
 *
 * A backend is one table of functions in one file, kernels_<name>.c. Activations are NHWC fp32.
 * All functions are pure on their arguments and thread-safe; none allocates or fails.
 */
#ifndef SENETD_KERNELS_H
#define SENETD_KERNELS_H

#include "error.h"
#include <stddef.h>

/* A convolution with BatchNorm folded in. A fully connected layer is one with kernel 1 on a
 * 1 x 1 image. */
struct conv {
    size_t in, out; /* channels */
    size_t kernel;  /* side of the window */
    size_t stride, pad, groups;
    const float *weights; /* [groups][kernel][kernel][in / groups][out / groups] */
    const float *bias;    /* [out] */
};

/* Side of a convolution's output for a side of its input; at least 1 is the caller's duty. */
static inline size_t conv_out(const struct conv *conv, size_t side)
{
    return (side + 2 * conv->pad - conv->kernel) / conv->stride + 1;
}

struct kernels {
    const char *name;
    /* Floats of scratch that conv needs for images of height x width; 0 for none. */
    size_t (*conv_scratch)(const struct conv *conv, size_t height, size_t width);
    /* out[batch][oh][ow][out] = (relu of) conv(in[batch][height][width][in]) + bias. An image's
     * result does not depend on the rest of its batch, to the last bit. */
    void (*conv)(const struct conv *conv, size_t batch, size_t height, size_t width,
                 const float *in, float *scratch, float *out, int relu);
};

extern const struct kernels kernels_ref;  /* direct loops, double accumulation: the oracle */
extern const struct kernels kernels_blas; /* im2col and OpenBLAS sgemm: portable, everywhere */

/* The backend of that name; NULL picks the fastest here. Errors: ERROR_USAGE, listing names. */
enum error_code kernels_find(const char *name, const struct kernels **out,
                             struct error *err) MUST_CHECK;

#endif
