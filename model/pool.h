/* pool.h - idle cores help a running inference: a parallel loop that never waits for helpers.
 *
 * A worker that runs a batch leads a team. Its loops are cut into items, which it takes one after
 * another; helper threads that have a core to themselves take items too. The leader waits only
 * for items that helpers have already taken. A pool of C cores has C - 1 helpers, and while A
 * workers lead, helper i helps only if i < C - A: a lone batch gets every core, and when there is
 * a batch for each core nobody helps and nothing is lost. A core that a team has just given up is
 * not yet anybody's: on a busy server it leads again in a moment.
 *
 * Results must not depend on who runs an item or in which order.
 */
#ifndef SENETD_POOL_H
#define SENETD_POOL_H

#include "error.h"
#include <stddef.h>

struct pool;
struct team;

#define POOL_MAX_TEAMS 1024
#define POOL_MAX_ITEMS ((size_t)1 << 20)

/* Starts cores - 1 helper threads; they sleep until a team leads.
 * Errors: ERROR_USAGE where cores is 0 or over 1024, ERROR_MEMORY, ERROR_INTERNAL. */
enum error_code pool_new(size_t cores, struct pool **out, struct error *err) MUST_CHECK;

/* Joins the helpers; no team may be leading. Accepts NULL. */
void pool_free(struct pool *pool);

/* A team of the pool's POOL_MAX_TEAMS, for one thread at a time; give it back with
 * pool_team_free. Errors: ERROR_USAGE where all are taken. Thread-safe. */
enum error_code pool_team_new(struct pool *pool, struct team **out, struct error *err) MUST_CHECK;
void pool_team_free(struct team *team);

/* Between these two the team leads, and helpers may come. */
void pool_begin(struct team *team);
void pool_end(struct team *team);

/* Cores that may work for the team at best; 1 for NULL. */
size_t pool_cores(const struct team *team);

/* Those that may work for its next loop: fewer where others lead, at least 1. It changes at any
 * time: loops are cut by it, memory is not. */
size_t pool_room(const struct team *team);

/* Calls item(context, i) for every i in 0..count-1, in any order, on any number of threads, and
 * returns when all are done. With a NULL team, in order on the caller. count is at most
 * POOL_MAX_ITEMS. */
void pool_for(struct team *team, size_t count, void (*item)(void *context, size_t i),
              void *context);

/* The same for items that take milliseconds: helpers that find none left sleep until the loop ends,
 * so that others have their cores. */
void pool_for_long(struct team *team, size_t count, void (*item)(void *context, size_t i),
                   void *context);

#endif
