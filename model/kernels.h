/* kernels.h - the backends that compute, and the choice among them.
 *
 * A backend is one table of functions in one file, kernels_<name>.c, for one precision.
 * Activations are in blocks of channels, NCHWc: [batch][C / c][height][width][c], where c is the
 * backend's `lanes` and C is rounded up to a multiple of it; the lanes beyond C are zero. A backend
 * with lanes 0 takes all channels as one block, which is NHWC. The functions are pure on their
 * arguments and thread-safe; none allocates or fails.
 *
 * Activations come in two kinds:
 *   active   what a convolution reads: after a ReLU, at least 0 (but for the stem's photo, which is
 *            always fp32 [3][height][width])
 *   linear   what a convolution without ReLU writes, and the residual stream: what is added, and
 *            averaged at the end
 * and their elements, like the packed weights, depend on the precision:
 *            weights             active               linear    sums
 *   fp32     fp32                fp32                 fp32      fp32
 *   bf16     bf16                bf16                 bf16      fp32
 *   int8     int8, a scale for   uint8 in units of    bf16      int32
 *            each output         the layer's scale
 *   (where a CPU cannot multiply bytes, the same values in 16 bits)
 * Squeezed vectors, excitations and logits are fp32 in all of them.
 */
#ifndef SENETD_KERNELS_H
#define SENETD_KERNELS_H

#include "error.h"
#include "pool.h"
#include <stdbool.h>
#include <stddef.h>

enum precision { PRECISION_FP32, PRECISION_BF16, PRECISION_INT8 };

/* A convolution with BatchNorm folded in. A fully connected layer is one with kernel 1 on a
 * 1 x 1 image. */
struct conv {
    size_t in, out; /* channels */
    size_t kernel;  /* side of the window */
    size_t stride, pad, groups;
    bool planar_in; /* the input is fp32 NCHW, [3][height][width]: the stem's photo; stride 2 */
    bool relu;      /* a ReLU follows at once: the output is active, else linear */
    /* int8: what one unit of the active input and output stands for; else not read. Of conv_join
     * the output is that after its ReLU. A photo may be negative, and its bytes have 128 for zero.
     */
    float in_scale, out_scale;
    const float *in_mean; /* int8, for pack alone: [in], of the input's channels, or NULL */
    const void *packed;   /* weights and bias as the backend packed them */
};

/* Side of a convolution's output for a side of its input; at least 1 is the caller's duty. */
static inline size_t conv_out(const struct conv *conv, size_t side)
{
    return (side + 2 * conv->pad - conv->kernel) / conv->stride + 1;
}

struct kernels {
    const char *name; /* of the instruction set; backends of several precisions share it */
    enum precision precision;
    bool native;             /* the precision has instructions of its own here, not emulated ones */
    size_t lanes;            /* channels in a block; 0: all */
    bool (*supported)(void); /* by this CPU */
    /* Bytes of a channel of active and of linear activations. */
    size_t active_bytes, linear_bytes;
    /* Fully connected layers, on fp32 vectors of the same layout, by weights of a precision of
     * their own: only packed_bytes, pack and conv are there. NULL: the backend itself. */
    const struct kernels *vectors;
    /* Bytes of packed weights and bias; a multiple of 4. */
    size_t (*packed_bytes)(const struct conv *conv);
    /* packed <- source[out][in / groups][kernel][kernel], bias[out]; packed comes zeroed. */
    void (*pack)(const struct conv *conv, const float *source, const float *bias, void *packed);
    /* Bytes of scratch that conv needs for up to `batch` images of height x width with this team; 0
     * for none. */
    size_t (*conv_scratch)(const struct conv *conv, size_t batch, size_t height, size_t width,
                           const struct team *team);
    /* out[batch] = conv(in[batch]) + bias, in[] active (or the photo), out[] active after the
     * ReLU or linear without one, as conv->relu says. An image's result does not depend on the
     * rest of its batch, nor on the team's helpers, to the last bit. */
    void (*conv)(const struct conv *conv, size_t batch, size_t height, size_t width, const void *in,
                 void *scratch, void *out, struct team *team);
    /* The end of a block, by its last convolution, 1x1 of stride 1 without ReLU: x[batch] =
     * relu(gates[batch][C] * (conv(in[batch]) + bias) + x[batch]), where x is the shortcut, linear.
     * Where active is another kind, active[batch] <- x in units of conv->out_scale, unless it is
     * NULL. Bits and scratch as above. */
    void (*conv_join)(const struct conv *conv, size_t batch, size_t height, size_t width,
                      const void *in, const float *gates, void *scratch, void *x, void *active,
                      struct team *team);
    /* The operations between convolutions work on planes: a plane is one block of channels of one
     * image, [height][width][c]; a batch has batch * (C / c) of them, one after another. */
    /* out[planes][out_height][out_width][c], active from active: 3x3 max-pool of stride 2; `pad`
     * rows and columns before the image, and as many after it as the output size asks for, count
     * for nothing. */
    void (*max_pool)(size_t planes, size_t c, size_t height, size_t width, size_t pad,
                     size_t out_height, size_t out_width, const void *in, void *out);
    /* out[planes][c], fp32 = the sums of the pixels begin..end-1 of in[planes][area][c]: linear,
     * for the last pool, or active, in their units, for the squeeze. */
    void (*sum_pixels)(bool active, size_t planes, size_t c, size_t area, size_t begin, size_t end,
                       const void *in, float *out);
    /* Runs the convolution's inner instruction `loops` times on registers alone and returns the
     * multiply-adds done: the most that a core can do. NULL where it is not the backend's own. */
    double (*peak)(size_t loops);
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

/* Parts of an image's pixels that are summed up apart, so that a core can take those it computed.
 * That depends on the number of pixels alone, as no sum may depend on the team. */
static inline size_t kernels_parts(size_t area)
{
    enum { PIXELS = 96, MOST = 8 };
    size_t parts = area / PIXELS;
    return parts < 1 ? 1 : parts > MOST ? MOST : parts;
}

/* The first pixel of a part; of `parts`, the end of the last. */
static inline size_t kernels_part(size_t area, size_t part)
{
    return area * part / kernels_parts(area);
}

/* The backend for fully connected layers beside this one. */
static inline const struct kernels *kernels_vectors(const struct kernels *kernels)
{
    return kernels->vectors ? kernels->vectors : kernels;
}

extern const struct kernels kernels_ref;  /* direct loops, double accumulation: the oracle */
extern const struct kernels kernels_blas; /* im2col and OpenBLAS sgemm: everywhere */
#if defined(__x86_64__)
extern const struct kernels kernels_avx512, kernels_avx512_bf16, kernels_avx512_int8;
extern const struct kernels kernels_avx512f_bf16;
extern const struct kernels kernels_avx2, kernels_avx2_bf16, kernels_avx2_int8;
extern const struct kernels kernels_avx512vnni_int8, kernels_avxvnni_int8;
extern const struct kernels kernels_amx_bf16, kernels_amx_int8;
#endif
#if defined(__aarch64__)
extern const struct kernels kernels_neon, kernels_neon_bf16, kernels_neon_int8;
extern const struct kernels kernels_neondot_int8;
#else
extern const struct kernels kernels_portable, kernels_portable_bf16, kernels_portable_int8;
#endif

/* The backends compiled in, by precision, and of each the fastest first, whether this CPU supports
 * them or not; NULL after the last. */
const struct kernels *kernels_at(size_t index);

/* "fp32", "bf16" or "int8". */
const char *kernels_precision_name(enum precision precision);

/* Whether this CPU, which supports the backend, has instructions for its precision and multiplies
 * no slower by them than in fp32: with vdpbf16ps some do, which is measured, once. */
bool kernels_pay(const struct kernels *kernels);

/* The backend of that name and precision; a NULL name picks the fastest that this CPU supports.
 * Errors: ERROR_USAGE, listing the names. */
enum error_code kernels_find(const char *name, enum precision precision, const struct kernels **out,
                             struct error *err) MUST_CHECK;

#endif
