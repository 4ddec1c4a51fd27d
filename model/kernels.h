/* kernels.h - the backends that compute, and the choice among them.
 *
 * A backend is one table of functions in one file, kernels_<name>.c. Activations are fp32 in
 * blocks of channels, NCHWc: [batch][C / c][height][width][c], where c is the backend's `lanes`
 * and C is rounded up to a multiple of it; the lanes beyond C are zero. A backend with lanes 0
 * takes all channels as one block, which is NHWC. The functions are pure on their arguments and
 * thread-safe; none allocates or fails.
 */
#ifndef SENETD_KERNELS_H
#define SENETD_KERNELS_H

#include "error.h"
#include "pool.h"
#include <stdbool.h>
#include <stddef.h>

/* A convolution with BatchNorm folded in. A fully connected layer is one with kernel 1 on a
 * 1 x 1 image. */
struct conv {
    size_t in, out; /* channels */
    size_t kernel;  /* side of the window */
    size_t stride, pad, groups;
    bool planar_in;       /* the input is NCHW, [in][height][width]: the stem's photo */
    const float *weights; /* in the backend's packed order */
    const float *bias;    /* [out], rounded up to whole blocks with zeros */
};

/* Side of a convolution's output for a side of its input; at least 1 is the caller's duty. */
static inline size_t conv_out(const struct conv *conv, size_t side)
{
    return (side + 2 * conv->pad - conv->kernel) / conv->stride + 1;
}

struct kernels {
    const char *name;
    size_t lanes;            /* channels in a block; 0: all */
    bool (*supported)(void); /* by this CPU */
    /* Floats of packed weights. */
    size_t (*packed_floats)(const struct conv *conv);
    /* packed <- source[out][in / groups][kernel][kernel]; packed comes zeroed. */
    void (*pack)(const struct conv *conv, const float *source, float *packed);
    /* Floats of scratch that conv needs for a batch of images of height x width; 0 for none. */
    size_t (*conv_scratch)(const struct conv *conv, size_t batch, size_t height, size_t width);
    /* out[batch] = (relu of) conv(in[batch]) + bias. An image's result does not depend on the
     * rest of its batch, nor on the team's helpers, to the last bit. */
    void (*conv)(const struct conv *conv, size_t batch, size_t height, size_t width,
                 const float *in, float *scratch, float *out, bool relu, struct team *team);
    /* The operations between convolutions work on planes: a plane is one block of channels of one
     * image, [height][width][c]; a batch has batch * (C / c) of them, one after another. */
    /* out[planes][out_height][out_width][c]: 3x3 max-pool of stride 2; `pad` rows and columns
     * before the image, and as many after it as the output size asks for, count for nothing. */
    void (*max_pool)(size_t planes, size_t c, size_t height, size_t width, size_t pad,
                     size_t out_height, size_t out_width, const float *in, float *out);
    /* out[planes][c] = mean over in[planes][area][c]: the squeeze, and the last pool. */
    void (*average_pool)(size_t planes, size_t c, size_t area, const float *in, float *out);
    /* y[planes][area][c] = relu(u * gate[planes][c] + shortcut); y may be the shortcut. A gate of
     * NULL is all ones. */
    void (*scale_add_relu)(size_t planes, size_t c, size_t area, const float *u, const float *gate,
                           const float *shortcut, float *y);
};

/* Channels in a block, for activations of `channels` channels. */
static inline size_t kernels_block(const struct kernels *kernels, size_t channels)
{
    return kernels->lanes ? kernels->lanes : channels;
}

/* Channels rounded up to whole blocks of the backend. */
static inline size_t kernels_padded(const struct kernels *kernels, size_t channels)
{
    size_t c = kernels->lanes;
    return c ? (channels + c - 1) / c * c : channels;
}

extern const struct kernels kernels_ref;  /* direct loops, double accumulation: the oracle */
extern const struct kernels kernels_blas; /* im2col and OpenBLAS sgemm: everywhere */
#if defined(__x86_64__)
extern const struct kernels kernels_avx512;
extern const struct kernels kernels_avx2;
#elif defined(__aarch64__)
extern const struct kernels kernels_neon;
#endif

/* The backends compiled in, fastest first, whether this CPU supports them or not; NULL after the
 * last. */
const struct kernels *kernels_at(size_t index);

/* The backend of that name; NULL picks the fastest that this CPU supports. Errors: ERROR_USAGE,
 * listing the names. */
enum error_code kernels_find(const char *name, const struct kernels **out,
                             struct error *err) MUST_CHECK;

#endif
