/* pool.c - see pool.h.
 *
 * A team publishes a loop in one 64-bit ticket: generation, and the first and the end of the items
 * that are left. Whoever swaps the ticket for one with fewer items owns those; because the
 * generation travels in the same word, a swap that succeeds proves that the loop read beside it is
 * still the current one. The leader takes items from the front and helpers from the back: loops
 * that follow each other have the same places of an image at the same end, so most of what an item
 * reads lies in the caches of the core that wrote it. All run upwards, as an item fetches what the
 * next one will read: see item_at.
 * Helpers spin while a team leads that they may help (the next loop is microseconds away) and
 * sleep otherwise.
 */
#include "pool.h"
#include "monotonic.h"
#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define MAX_CORES   1024
#define SPINS       2000    /* rounds without work before a spinning thread gives up its core */
#define PATIENCE_NS 2000000 /* for which a core that a team gave up is left to the next team */

/* A ticket: generation << 42 | end << 21 | first; both numbers may be POOL_MAX_ITEMS. */
#define FIELD_BITS 21
#define FIELD_MASK (((uint64_t)1 << FIELD_BITS) - 1)

struct team {
    struct pool *pool;
    atomic_bool taken;
    atomic_bool leading;
    uint64_t generation;      /* the leader's own */
    _Atomic(uint64_t) ticket; /* of the present loop; see above */
    _Atomic(void (*)(void *, size_t)) item;
    _Atomic(void *) context;
    _Atomic(size_t) count;
    _Atomic(size_t) done; /* items finished */
    atomic_bool waits;    /* the leader sleeps until all are */
    atomic_bool is_long;  /* see pool_for_long */
    char apart[64];       /* the next team's ticket in another cache line */
};

struct helper {
    struct pool *pool;
    size_t index;
    pthread_t thread;
};

struct pool {
    size_t cores;
    struct helper *helpers; /* [cores - 1] */
    size_t started;
    atomic_size_t active;  /* teams that lead */
    atomic_size_t calling; /* those of them that have items, or may have soon */
    atomic_size_t sleepers;
    atomic_size_t long_loops;  /* teams in one */
    atomic_size_t teams_used;  /* teams beyond were never taken */
    _Atomic(int64_t) freed_ns; /* when a team last ended and left others leading */
    atomic_bool stop;
    pthread_mutex_t mutex; /* for sleeping only */
    pthread_cond_t wake;
    pthread_cond_t finished; /* a leader that sleeps may have all its items */
    struct team teams[POOL_MAX_TEAMS];
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint64_t ticket_end(uint64_t ticket)
{
    return ticket >> FIELD_BITS & FIELD_MASK;
}

static uint64_t ticket_first(uint64_t ticket)
{
    return ticket & FIELD_MASK;
}

/* On a busy server the team that ended leads again in a moment: a helper woken now would hold its
 * core. */
static bool was_just_freed(struct pool *pool)
{
    return monotonic_ns() - atomic_load(&pool->freed_ns) < PATIENCE_NS;
}

/* Wakes the helpers that sleep, if one of them may help. */
static void wake_sleepers(struct pool *pool)
{
    size_t sleepers = atomic_load(&pool->sleepers);
    size_t active = atomic_load(&pool->active);
    if (sleepers == 0 || pool->started - sleepers + active >= pool->cores)
        return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

/* How many of the items left to take at once: a share of them, so that loops of many small items
 * cost few swaps, and the last ones one by one, so that all cores end together. Long items too: a
 * helper's core may be wanted for another team by the next. */
static uint64_t take_of(const struct team *team, uint64_t left)
{
    enum { TAKES_A_CORE = 2 };
    if (atomic_load(&team->is_long))
        return 1;
    uint64_t share = left / (TAKES_A_CORE * team->pool->cores);
    return share ? share : 1;
}

/* The item at a place between front and back. Beyond the leader's share the places are in reverse,
 * so that a helper too, which comes from the back, goes from each item to the next. */
static size_t item_at(const struct team *team, uint64_t place)
{
    size_t count = atomic_load_explicit(&team->count, memory_order_relaxed);
    size_t share = (count + team->pool->cores - 1) / team->pool->cores;
    return place < share ? place : share + count - 1 - place;
}

/* Runs some items of the team's loop, from the front or the back; false where none is left. */
static bool run_some(struct team *team, bool front)
{
    uint64_t ticket = atomic_load_explicit(&team->ticket, memory_order_acquire), next, left, take;
    do {
        if (ticket_first(ticket) >= ticket_end(ticket))
            return false;
        left = ticket_end(ticket) - ticket_first(ticket);
        take = take_of(team, left);
        next = front ? ticket + take : ticket - (take << FIELD_BITS);
    } while (!atomic_compare_exchange_weak_explicit(&team->ticket, &ticket, next,
                                                    memory_order_acq_rel, memory_order_acquire));
    /* The items are ours and unfinished, so the loop cannot be replaced before done counts them. */
    if (take == left && atomic_load(&team->is_long))
        atomic_fetch_sub(&team->pool->calling, 1);
    void (*item)(void *, size_t) = atomic_load_explicit(&team->item, memory_order_relaxed);
    void *context = atomic_load_explicit(&team->context, memory_order_relaxed);
    for (uint64_t i = 0; i < take; i++)
        item(context, item_at(team, front ? ticket_first(ticket) + i : ticket_end(ticket) - 1 - i));
    atomic_fetch_add(&team->done, take);
    return true;
}

/* Until all items are done. A helper's last item may be a whole image: then a core that spun would
 * be one that others could use. */
static void wait_for_helpers(struct team *team, size_t count)
{
    struct pool *pool = team->pool;
    for (size_t rounds = 0; rounds < SPINS; rounds++) {
        if (atomic_load_explicit(&team->done, memory_order_acquire) == count)
            return;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&team->waits, true);
    while (atomic_load(&team->done) != count)
        pthread_cond_wait(&pool->finished, &pool->mutex);
    atomic_store(&team->waits, false);
    pthread_mutex_unlock(&pool->mutex);
}

size_t pool_room(const struct team *team)
{
    if (!team || team->pool->cores < 2)
        return 1;
    struct pool *pool = team->pool;
    size_t active = atomic_load(&pool->active), others = active > 1 ? active - 1 : 0;
    size_t room = others < pool->cores ? pool->cores - others : 1;
    if (room < 2 || !was_just_freed(pool))
        return room;
    size_t awake = 1 + pool->started - atomic_load(&pool->sleepers);
    return room < awake ? room : awake;
}

static void run_alone(size_t count, void (*item)(void *context, size_t i), void *context)
{
    for (size_t i = 0; i < count; i++)
        item(context, i);
}

/* Helpers may come. */
static void share_out(struct team *team, size_t count, void (*item)(void *context, size_t i),
                      void *context)
{
    atomic_store_explicit(&team->item, item, memory_order_relaxed);
    atomic_store_explicit(&team->context, context, memory_order_relaxed);
    atomic_store_explicit(&team->count, count, memory_order_relaxed);
    atomic_store_explicit(&team->done, 0, memory_order_relaxed);
    atomic_store_explicit(&team->ticket,
                          ++team->generation << 2 * FIELD_BITS | (uint64_t)count << FIELD_BITS,
                          memory_order_release);
    if (atomic_load(&team->is_long) || !was_just_freed(team->pool))
        wake_sleepers(team->pool);
    while (run_some(team, true))
        ;
    wait_for_helpers(team, count);
}

void pool_for(struct team *team, size_t count, void (*item)(void *context, size_t i), void *context)
{
    assert(count <= POOL_MAX_ITEMS);
    if (count < 2 || pool_room(team) < 2)
        run_alone(count, item, context);
    else
        share_out(team, count, item, context);
}

void pool_for_long(struct team *team, size_t count, void (*item)(void *context, size_t i),
                   void *context)
{
    assert(count <= POOL_MAX_ITEMS);
    if (count < 2 || pool_cores(team) < 2) {
        run_alone(count, item, context);
        return;
    }
    atomic_store(&team->is_long, true);
    atomic_fetch_add(&team->pool->long_loops, 1);
    share_out(team, count, item, context);
    atomic_store(&team->is_long, false);
    atomic_fetch_sub(&team->pool->long_loops, 1);
    atomic_fetch_add(&team->pool->calling, 1);
}

/* ---- helpers ----------------------------------------------------------------------------- */

static bool may_help(const struct helper *helper)
{
    size_t active = atomic_load(&helper->pool->active);
    return atomic_load(&helper->pool->calling) > 0 && helper->index + active < helper->pool->cores;
}

static void wake_leader(struct team *team)
{
    if (!atomic_load(&team->waits))
        return;
    pthread_mutex_lock(&team->pool->mutex);
    pthread_cond_broadcast(&team->pool->finished);
    pthread_mutex_unlock(&team->pool->mutex);
}

/* One round over the teams; true where an item was run. */
static bool help_any(struct helper *helper)
{
    struct pool *pool = helper->pool;
    size_t used = atomic_load_explicit(&pool->teams_used, memory_order_acquire);
    for (size_t i = 0; i < used; i++) {
        struct team *team = &pool->teams[(i + helper->index) % used];
        bool helped = false;
        while (atomic_load_explicit(&team->leading, memory_order_relaxed) && may_help(helper) &&
               run_some(team, false)) {
            helped = true;
            wake_leader(team);
        }
        if (helped)
            return true;
    }
    return false;
}

static void sleep_until_needed(struct helper *helper)
{
    struct pool *pool = helper->pool;
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!may_help(helper) && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *helper_main(void *argument)
{
    struct helper *helper = argument;
    size_t rounds = 0;
    while (!atomic_load(&helper->pool->stop)) {
        if (!may_help(helper)) {
            sleep_until_needed(helper);
            rounds = 0;
        } else if (help_any(helper)) {
            rounds = 0;
        } else if (++rounds < SPINS) {
            relax();
        } else {
            sched_yield();
        }
    }
    return NULL;
}

void pool_begin(struct team *team)
{
    if (!team)
        return;
    atomic_store_explicit(&team->leading, true, memory_order_relaxed);
    atomic_fetch_add(&team->pool->active, 1);
    atomic_fetch_add(&team->pool->calling, 1);
    wake_sleepers(team->pool);
}

void pool_end(struct team *team)
{
    if (!team)
        return;
    atomic_store_explicit(&team->leading, false, memory_order_relaxed);
    atomic_fetch_sub(&team->pool->calling, 1);
    if (atomic_fetch_sub(&team->pool->active, 1) > 1)
        atomic_store(&team->pool->freed_ns, monotonic_ns());
    /* A core has become free for the others. Their loops wake helpers after a moment, but one that
     * runs whole images has none in that time. */
    if (atomic_load(&team->pool->long_loops) > 0)
        wake_sleepers(team->pool);
}

size_t pool_cores(const struct team *team)
{
    return team ? team->pool->cores : 1;
}

/* ---- making and ending ------------------------------------------------------------------- */

enum error_code pool_new(size_t cores, struct pool **out, struct error *err)
{
    if (cores == 0 || cores > MAX_CORES)
        return error_set(err, ERROR_USAGE, "%zu threads, expected 1 to %d", cores, MAX_CORES);
    struct pool *pool = calloc(1, sizeof *pool);
    struct helper *helpers = calloc(cores, sizeof *helpers);
    if (!pool || !helpers) {
        free(pool);
        free(helpers);
        return error_set(err, ERROR_MEMORY, "threads: out of memory");
    }
    pool->cores = cores;
    pool->helpers = helpers;
    for (size_t i = 0; i < POOL_MAX_TEAMS; i++)
        pool->teams[i].pool = pool;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->finished, NULL);
    for (size_t i = 0; i + 1 < cores; i++, pool->started++) {
        helpers[i] = (struct helper){.pool = pool, .index = i};
        if (pthread_create(&helpers[i].thread, NULL, helper_main, &helpers[i]) != 0) {
            pool_free(pool);
            return error_set(err, ERROR_INTERNAL, "cannot start thread %zu of %zu", i + 1,
                             cores - 1);
        }
    }
    *out = pool;
    return ERROR_NONE;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->started; i++)
        pthread_join(pool->helpers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->finished);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->helpers);
    free(pool);
}

enum error_code pool_team_new(struct pool *pool, struct team **out, struct error *err)
{
    for (size_t i = 0; i < POOL_MAX_TEAMS; i++) {
        struct team *team = &pool->teams[i];
        if (atomic_exchange(&team->taken, true))
            continue;
        for (size_t used = atomic_load(&pool->teams_used); used <= i;)
            if (atomic_compare_exchange_weak(&pool->teams_used, &used, i + 1))
                break;
        *out = team;
        return ERROR_NONE;
    }
    return error_set(err, ERROR_USAGE, "more than %d contexts on one model", POOL_MAX_TEAMS);
}

void pool_team_free(struct team *team)
{
    if (team)
        atomic_store(&team->taken, false);
}
