/* network.h - the forward pass of an SE-ResNet over a loaded architecture.
 *
 * Source: arXiv:1709.01507. Squeeze is section 3.1 (global average pooling), excitation section
 * 3.2 (fc, ReLU, fc, sigmoid), scale equation 4, the residual block figure 3. Gates are computed
 * before the convolution that they scale: see squeeze_and_excite.
 */
#ifndef SENETD_NETWORK_H
#define SENETD_NETWORK_H

#include "arena.h"
#include "checkpoint.h"
#include "senet.h"
#include <stdint.h>

/* Called with what each convolution is about to read: the calibration's eye. The activations are
 * fp32, blocked as the backend's, or the photos; fully connected layers are not shown. */
struct network_observer {
    void (*see)(void *context, const struct conv *conv, const float *in, size_t floats);
    void *context;
};

/* One operation of the forward pass, as measured. */
struct network_operation {
    char name[32]; /* "layer1.0.conv1", "layer1.0.excitation", ... */
    int64_t ns;
    double multiply_adds; /* of the images run */
    double bytes;         /* read and written: activations, and weights once */
};

struct network_profile {
    struct network_operation *operations; /* [most] */
    size_t most, count;
    int64_t last_ns; /* when the last operation ended */
};

/* The activations of one worker for up to `images` images at a time, in the backend's blocks of
 * channels and its active and linear elements (NCHWc, see kernels.h). */
struct network_buffers {
    size_t height, width, images;
    struct team *team;                 /* helpers, or NULL */
    struct network_observer *observer; /* or NULL */
    struct network_profile *profile;   /* or NULL */
    bool ablates;                      /* network_ablate may be called */
    bool finishes;                     /* for network_finish alone */
    void *activations; /* [activation_bytes]: what a block reads and writes, reused by liveness */
    size_t activation_bytes;
    void *active; /* active [images][C][h][w]: x as convolutions read it, where that differs */
    void *kept, *kept_active; /* [C][h][w]: one image's x, from which further ablations branch off,
                               * or NULL */
    void *scratch;            /* what the backend's convolutions need */
    float *sums;              /* [images][parts][C]: of parts of the pixels */
    float *squeezed;          /* [images][C]; the final average pool too */
    float *reduced;           /* [images][C / r] */
    float *excitation;        /* [images][C] */
    float *logits;            /* [images][classes] */
};

/* Lays the buffers out in the arena (which counts or hands out, see arena.h). height, width,
 * images, team, observer, profile, ablates and finishes are set by the caller. */
void network_layout(const struct architecture *net, const struct kernels *kernels,
                    struct network_buffers *buffers, struct arena *arena);

/* Runs 1..b->images images.
 *   input        [images][3][height][width]
 *   logits       [images][classes]
 *   excitations  [images][excitation_stride], the blocks' vectors one after another; or NULL */
void network_forward(const struct architecture *net, const struct kernels *kernels,
                     const struct network_buffers *b, size_t images, const float *input,
                     float *logits, float *excitations, size_t excitation_stride);

/* The forward pass in two parts, to run the last stage on several images at once: it has most of
 * the weights, which are then read once for all, and the smallest activations, which all stay in
 * the caches. Results are those of network_forward. network_begin runs one image up to that stage,
 * into between[network_between_bytes], with buffers as network_forward's; network_finish the rest,
 * for images whose `between` lie one after another. Where the last stage begins without a
 * convolution in its shortcut, network_between_bytes is 0, and neither may be called. */
size_t network_between_bytes(const struct architecture *net, const struct kernels *kernels,
                             size_t height, size_t width);
void network_begin(const struct architecture *net, const struct kernels *kernels,
                   const struct network_buffers *b, const float *input, void *between,
                   float *excitations);
void network_finish(const struct architecture *net, const struct kernels *kernels,
                    const struct network_buffers *b, size_t images, const void *between,
                    float *logits, float *excitations, size_t excitation_stride);

/* Runs one image whole, and from each ablation's block on once more with that block's gates
 * replaced; see senet_run_ablated. ablations[count] is sorted by block.
 *   logits       [1 + count][classes], the whole network's first
 *   excitations  those of the whole network; or NULL */
void network_ablate(const struct architecture *net, const struct kernels *kernels,
                    const struct network_buffers *b, const float *input,
                    const struct senet_ablation *ablations, size_t count, float *logits,
                    float *excitations);

/* Multiply-adds of one image, taps in the zero padding included. */
double network_multiply_adds(const struct architecture *net, size_t height, size_t width);

#endif
