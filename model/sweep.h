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
    const void *u, *shortcut;
    const float *gate;
    void *y, *active; /* active: NULL where it is not apart */
    float scale;      /* of active */
};

/* One over activations of `channels` channels, for the team as it is; the caller fills in what it
 * reads and writes. */
struct sweep sweep_over(const struct kernels *kernels, const struct team *team, struct extent in,
                        size_t channels);

/* The address of plane `first` of activations, of so many elements a plane; of NULL, NULL. */
void *sweep_plane(const void *activations, size_t first, size_t plane, size_t bytes);

/* The kernels' functions of these names, from u (and shortcut) to y (and active) of `images`
 * images. */
void sweep_max_pool(struct sweep *sweep, struct team *team, size_t images);
/* y[images][kernels_parts][C] */
void sweep_sum(struct sweep *sweep, struct team *team, size_t images);
void sweep_scale_add_relu(struct sweep *sweep, struct team *team, size_t images);

#endif
