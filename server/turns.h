/* turns.h - images that wait for one stage of the batch: requests take turns.
 *
 * A job gives one image per turn and goes to the end of the line of its priority while it has
 * more: a request of 64 images does not hold up one of a single image. Lines of different priority
 * take turns by weight (smooth weighted round robin), so that urgent jobs go first and no line
 * starves: of 21 turns 16 are HIGH's, 4 NORMAL's, 1 LOW's; lines that are empty take none.
 *
 * Not thread-safe: the batch's mutex guards it. Zeroed memory is an empty struct turns.
 */
#ifndef SENETD_TURNS_H
#define SENETD_TURNS_H

#include <stddef.h>
#include <stdint.h>

struct job;
struct batch_image;

/* NORMAL is first, so that a zeroed job has it. */
enum priority { PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_LOW, PRIORITIES };

/* A job's images that wait for one stage, first in, first out. */
struct turn {
    struct batch_image *first, *last;
    struct job *job;
    struct turn *next; /* in the line of its priority */
};

struct turns {
    struct {
        struct turn *first, *last;
        int credit;
    } lines[PRIORITIES];
    size_t count; /* images */
};

/* The image joins its job's turn, which is the job's for this stage. */
void turns_push(struct turns *turns, struct turn *turn, struct batch_image *image);

/* The image that turns_pop would take; NULL where none waits. */
struct batch_image *turns_peek(const struct turns *turns);
struct batch_image *turns_pop(struct turns *turns);

/* Takes out all images of the jobs for which test says so, linked by their next. */
struct batch_image *turns_remove(struct turns *turns, int (*test)(const struct job *, void *),
                                 void *context);

#endif
