/* sweep.c - see sweep.h. */
#include "sweep.h"
#include <stdint.h>

/* Planes first..last-1, counted over all images, and of each the pixels begin..end-1. */
struct share {
    size_t image, index; /* its number in the image */
    size_t first, last, begin, end;
};

/* The address of plane `first` of activations, of so many elements a plane. */
static void *plane_at(const void *activations, size_t first, size_t plane, size_t bytes)
{
    return (unsigned char *)(uintptr_t)activations + first * plane * bytes;
}

struct sweep sweep_over(const struct kernels *kernels, const struct team *team, struct extent in,
                        size_t channels)
{
    struct sweep sweep = {.kernels = kernels, .c = kernels_block(kernels, channels), .in = in};
    size_t cores = pool_room(team);
    sweep.planes = kernels_padded(kernels, channels) / sweep.c;
    sweep.by_pixels = kernels_parts(pixels(in)) >= cores;
    sweep.shares = sweep.by_pixels || cores < sweep.planes ? cores : sweep.planes;
    return sweep;
}

static struct share share_of(const struct sweep *s, size_t item)
{
    struct share share = {.image = item / s->shares, .index = item % s->shares};
    size_t area = pixels(s->in), first = share.image * s->planes, next = share.index + 1;
    share.first = first + (s->by_pixels ? 0 : s->planes * share.index / s->shares);
    share.last = first + (s->by_pixels ? s->planes : s->planes * next / s->shares);
    share.begin = s->by_pixels ? area * share.index / s->shares : 0;
    share.end = s->by_pixels ? area * next / s->shares : area;
    return share;
}

static void max_pool_item(void *context, size_t i)
{
    const struct sweep *s = context;
    struct share at = share_of(s, i);
    size_t bytes = s->kernels->active_bytes;
    s->kernels->max_pool(at.last - at.first, s->c, s->in.height, s->in.width, s->pad, s->out.height,
                         s->out.width, plane_at(s->u, at.first, pixels(s->in) * s->c, bytes),
                         plane_at(s->y, at.first, pixels(s->out) * s->c, bytes));
}

/* Into y[images][parts][C]. */
static void sum_item(void *context, size_t i)
{
    const struct sweep *s = context;
    struct share at = share_of(s, i);
    size_t area = pixels(s->in), parts = kernels_parts(area), image = s->planes * s->c;
    size_t part = s->by_pixels ? parts * at.index / s->shares : 0;
    size_t last = s->by_pixels ? parts * (at.index + 1) / s->shares : parts;
    size_t bytes = s->active ? s->kernels->active_bytes : s->kernels->linear_bytes;
    for (; part < last; part++)
        s->kernels->sum_pixels(s->active, at.last - at.first, s->c, area, kernels_part(area, part),
                               kernels_part(area, part + 1),
                               plane_at(s->u, at.first, area * s->c, bytes),
                               (float *)s->y + (at.image * parts + part) * image +
                                   (at.first - at.image * s->planes) * s->c);
}

void sweep_max_pool(struct sweep *sweep, struct team *team, size_t images)
{
    sweep->by_pixels = false; /* a window reaches beyond a share of the pixels */
    sweep->shares = sweep->planes;
    pool_for(team, images * sweep->shares, max_pool_item, sweep);
}

void sweep_sum(struct sweep *sweep, struct team *team, size_t images)
{
    pool_for(team, images * sweep->shares, sum_item, sweep);
}
