/* test_pool.c - every item exactly once, whoever leads and however many help. */
#include "pool.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ITEMS 1000

struct counts {
    unsigned char seen[ITEMS]; /* written by the item's owner only: TSan sees a second one */
};

static void count_item(void *context, size_t i)
{
    struct counts *counts = context;
    counts->seen[i]++;
}

typedef void loop(struct team *team, size_t count, void (*item)(void *context, size_t i),
                  void *context);

/* Loops of all lengths and both kinds, one after another on the same team. */
static void run_loops(struct team *team)
{
    struct counts counts;
    pool_begin(team);
    loop *const kinds[] = {pool_for, pool_for_long, pool_for_long, pool_for};
    for (size_t length = 0, n = 0; length <= ITEMS; length += 1 + length / 8, n++) {
        memset(&counts, 0, sizeof counts);
        kinds[n % 4](team, length, count_item, &counts);
        for (size_t i = 0; i < ITEMS; i++)
            if (counts.seen[i] != (i < length))
                fail_msg("item %zu of %zu ran %d times", i, length, counts.seen[i]);
    }
    pool_end(team);
}

static void test_lone(void **state)
{
    (void)state;
    run_loops(NULL);
    for (size_t cores = 1; cores <= 5; cores += 2) {
        struct pool *pool = NULL;
        struct team *team = NULL;
        assert_int_equal(pool_new(cores, &pool, NULL), ERROR_NONE);
        assert_int_equal(pool_team_new(pool, &team, NULL), ERROR_NONE);
        assert_int_equal(pool_cores(team), cores);
        for (size_t i = 0; i < 20; i++)
            run_loops(team);
        pool_team_free(team);
        pool_free(pool);
    }
}

static void *leader(void *argument)
{
    struct team *team = NULL;
    if (pool_team_new(argument, &team, NULL) != ERROR_NONE)
        return argument; /* anything but NULL */
    for (size_t i = 0; i < 20; i++)
        run_loops(team);
    pool_team_free(team);
    return NULL;
}

/* Leaders that come and go while helpers move between them. */
static void test_many_leaders(void **state)
{
    (void)state;
    enum { LEADERS = 4 };
    struct pool *pool = NULL;
    pthread_t threads[LEADERS];
    assert_int_equal(pool_new(3, &pool, NULL), ERROR_NONE);
    for (size_t i = 0; i < LEADERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, leader, pool), 0);
    for (size_t i = 0; i < LEADERS; i++) {
        void *fault = NULL;
        pthread_join(threads[i], &fault);
        assert_null(fault);
    }
    pool_free(pool);
}

/* Two items that wait for each other end only if two threads run them: helpers do come. */
static void meet(void *context, size_t i)
{
    atomic_int *arrived = context;
    (void)i;
    atomic_fetch_add(arrived, 1);
    while (atomic_load(arrived) < 2)
        ;
}

static void test_helpers_help(void **state)
{
    (void)state;
    struct pool *pool = NULL;
    struct team *team = NULL;
    assert_int_equal(pool_new(2, &pool, NULL), ERROR_NONE);
    assert_int_equal(pool_team_new(pool, &team, NULL), ERROR_NONE);
    for (size_t i = 0; i < 10; i++) {
        atomic_int arrived = 0;
        pool_begin(team);
        (i % 2 ? pool_for_long : pool_for)(team, 2, meet, &arrived);
        pool_end(team);
        assert_int_equal(arrived, 2);
    }
    pool_team_free(team);
    pool_free(pool);
}

/* A leader knows how many cores others leave it, and it gets theirs when they have ended. */
static void test_room(void **state)
{
    (void)state;
    enum { CORES = 3, TEAMS = 5 };
    struct pool *pool = NULL;
    struct team *teams[TEAMS];
    assert_int_equal(pool_room(NULL), 1);
    assert_int_equal(pool_new(CORES, &pool, NULL), ERROR_NONE);
    for (size_t i = 0; i < TEAMS; i++) {
        assert_int_equal(pool_team_new(pool, &teams[i], NULL), ERROR_NONE);
        pool_begin(teams[i]);
        assert_int_equal(pool_room(teams[0]), i < CORES ? CORES - i : 1);
    }
    for (size_t i = 1; i < TEAMS; i++)
        pool_end(teams[i]);
    while (pool_room(teams[0]) < CORES)
        usleep(100);
    atomic_int arrived = 0;
    pool_for(teams[0], 2, meet, &arrived);
    pool_end(teams[0]);
    pool_free(pool);
}

/* A leader that has slept until a helper's last item was done goes on. */
static void end_late(void *context, size_t i)
{
    atomic_size_t *first = context;
    if (atomic_exchange(first, i + 1) != 0) {
        usleep(2000);
        return;
    }
    while (atomic_load(first) == i + 1) /* until the other has come */
        ;
}

static void test_late_helpers(void **state)
{
    (void)state;
    struct pool *pool = NULL;
    struct team *team = NULL;
    assert_int_equal(pool_new(2, &pool, NULL), ERROR_NONE);
    assert_int_equal(pool_team_new(pool, &team, NULL), ERROR_NONE);
    pool_begin(team);
    for (size_t i = 0; i < 50; i++) {
        atomic_size_t first = 0;
        (i % 2 ? pool_for_long : pool_for)(team, 2, end_late, &first);
    }
    pool_end(team);
    pool_team_free(team);
    pool_free(pool);
}

static void test_refused(void **state)
{
    (void)state;
    struct pool *pool = NULL;
    struct team *teams[POOL_MAX_TEAMS], *surplus = NULL;
    struct error err = {0};
    assert_int_equal(pool_new(0, &pool, &err), ERROR_USAGE);
    assert_int_equal(pool_new(100000, &pool, NULL), ERROR_USAGE);
    assert_int_equal(pool_new(1, &pool, NULL), ERROR_NONE);
    for (size_t i = 0; i < POOL_MAX_TEAMS; i++)
        assert_int_equal(pool_team_new(pool, &teams[i], NULL), ERROR_NONE);
    assert_int_equal(pool_team_new(pool, &surplus, NULL), ERROR_USAGE);
    pool_team_free(teams[7]);
    assert_int_equal(pool_team_new(pool, &surplus, NULL), ERROR_NONE);
    assert_ptr_equal(surplus, teams[7]);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lone),         cmocka_unit_test(test_many_leaders),
        cmocka_unit_test(test_helpers_help), cmocka_unit_test(test_room),
        cmocka_unit_test(test_late_helpers), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
