/* arena.h - one aligned block of memory, laid out once.
 *
 * The layout function of an owner runs twice over the same struct arena: first with base NULL,
 * where arena_floats only counts, then, after arena_commit, handing out the addresses. What is
 * laid out is released together. Not thread-safe while laying out.
 */
#ifndef SENETD_ARENA_H
#define SENETD_ARENA_H

#include "error.h"
#include "pool.h"
#include <stddef.h>

#define ARENA_ALIGNMENT 64 /* bytes: a cache line, and the widest vector */

struct arena {
    unsigned char *base; /* NULL while measuring */
    size_t used;         /* bytes handed out or counted */
    size_t size;         /* bytes committed */
};

/* The next count floats, aligned; NULL while measuring. A count too large for memory makes
 * arena_commit fail. */
float *arena_floats(struct arena *arena, size_t count);

/* Allocates what was counted, asks for huge pages, touches every page, and starts handing out
 * from the beginning. The team, which may be NULL, helps. Errors: ERROR_MEMORY (what names the
 * owner). */
enum error_code arena_commit(struct arena *arena, const char *what, struct team *team,
                             struct error *err) MUST_CHECK;

/* Accepts a zeroed struct. */
void arena_free(struct arena *arena);

#endif
