/* sweep.h - an operation on the planes (see kernels.h) of a batch's activations, shared out.
 *
 * An item is one of an image's shares, which are of its pixels, as convolutions mostly share out
 * their output, or of its planes, where there are few pixels. A share a core: what takes so little
 * time is not worth a share that moves between cores, as a line that two have read is slow to be
 * written again.
 */
#ifndef SENETD_SWEEP_H
#define SENETD_SWEEP_H

#include "kernels.h"

struct extent {
    size_t height, width;
};

static inline size_t pixels(struct extent extent)
{
    return extent.height * extent.width;
}

struct sweep {
    const struct kernels *kernels;
    size_t planes, c; /* planes: of an image */
    size_t shares;    /* of an image */
    bool by_pixels;
    struct extent in, out;
    size_t pad;
    bool active; /* u is, else linear */
    const void *u;
    void *y;
};

/* One over activations of `channels` channels, for the team as it is; the caller fills in what it
 * reads and writes. */
struct sweep sweep_over(const struct kernels *kernels, const struct team *team, struct extent in,
                        size_t channels);

/* The kernels' functions of these names, from u to y of `images` images. */
void sweep_max_pool(struct sweep *sweep, struct team *team, size_t images);
/* y[images][kernels_parts][C] */
void sweep_sum(struct sweep *sweep, struct team *team, size_t images);

#endif
