/* traffic.c - see traffic.h. */
#include "traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PATIENCE_MS 120000

struct traffic {
    const struct daemon *daemon;
    const struct request *request;
    bool (*is_right)(const struct answer *answer, void *context);
    void *context;
    atomic_bool stop;
    atomic_size_t answers, wrong;
    pthread_t threads[TRAFFIC_CLIENTS];
    pthread_mutex_t mutex;
    char first_wrong[512]; /* under the mutex */
};

static void note(struct traffic *traffic, const struct answer *answer)
{
    if (atomic_fetch_add(&traffic->wrong, 1) > 0)
        return;
    pthread_mutex_lock(&traffic->mutex);
    snprintf(traffic->first_wrong, sizeof traffic->first_wrong, "status %ld: %s", answer->status,
             answer->body != NULL ? answer->body : "no answer");
    pthread_mutex_unlock(&traffic->mutex);
}

static void *send_on(void *argument)
{
    struct traffic *traffic = argument;
    while (!atomic_load(&traffic->stop)) {
        struct answer answer = client_send(traffic->daemon, traffic->request);
        if (!traffic->is_right(&answer, traffic->context))
            note(traffic, &answer);
        client_free(&answer);
        atomic_fetch_add(&traffic->answers, 1);
    }
    return NULL;
}

struct traffic *traffic_start(const struct daemon *daemon, const struct request *request,
                              bool (*is_right)(const struct answer *answer, void *context),
                              void *context)
{
    struct traffic *traffic = calloc(1, sizeof *traffic);
    assert_non_null(traffic);
    traffic->daemon = daemon;
    traffic->request = request;
    traffic->is_right = is_right;
    traffic->context = context;
    pthread_mutex_init(&traffic->mutex, NULL);
    for (size_t i = 0; i < TRAFFIC_CLIENTS; i++)
        assert_int_equal(pthread_create(&traffic->threads[i], NULL, send_on, traffic), 0);
    return traffic;
}

void traffic_wait(struct traffic *traffic, size_t answers)
{
    size_t goal = atomic_load(&traffic->answers) + answers;
    for (int ms = 0; atomic_load(&traffic->answers) < goal; ms++) {
        assert_true(ms < PATIENCE_MS);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

void traffic_stop(struct traffic *traffic)
{
    char first_wrong[sizeof traffic->first_wrong];
    atomic_store(&traffic->stop, true);
    for (size_t i = 0; i < TRAFFIC_CLIENTS; i++)
        pthread_join(traffic->threads[i], NULL);
    size_t answers = atomic_load(&traffic->answers), wrong = atomic_load(&traffic->wrong);
    snprintf(first_wrong, sizeof first_wrong, "%s", traffic->first_wrong);
    pthread_mutex_destroy(&traffic->mutex);
    free(traffic);
    if (wrong > 0)
        fail_msg("%zu of %zu answers were wrong; %s", wrong, answers, first_wrong);
}
