/* watchdog.c - see watchdog.h. */
#include "watchdog.h"
#include "log.h"
#include "monotonic.h"
#include "notify.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

struct watchdog {
    struct models *models;
    int64_t period_ns;
    pthread_t thread;
    sem_t stop;
};

static void look(struct watchdog *watchdog)
{
    struct model *model = models_acquire(watchdog->models);
    bool good = model == NULL || batch_progressed(model->batch);
    models_release(watchdog->models, model);
    if (good)
        notify_watchdog();
    else
        log_error("watchdog", "a worker made no progress for %.1f s",
                  (double)watchdog->period_ns / 1e9);
}

static void *watchdog_main(void *argument)
{
    struct watchdog *watchdog = argument;
    int64_t next = monotonic_ns();
    for (;;) {
        next += watchdog->period_ns;
        struct timespec until = {.tv_sec = next / 1000000000, .tv_nsec = next % 1000000000};
        if (TEMP_FAILURE_RETRY(sem_clockwait(&watchdog->stop, CLOCK_MONOTONIC, &until)) == 0)
            return NULL;
        look(watchdog);
    }
}

enum error_code watchdog_start(struct models *models, struct watchdog **out, struct error *err)
{
    int64_t interval = notify_watchdog_ns();
    *out = NULL;
    if (interval == 0)
        return ERROR_NONE;
    struct watchdog *watchdog = calloc(1, sizeof *watchdog);
    if (watchdog == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the watchdog");
    watchdog->models = models;
    watchdog->period_ns = interval / 4;
    sem_init(&watchdog->stop, 0, 0);
    if (pthread_create(&watchdog->thread, NULL, watchdog_main, watchdog) != 0) {
        sem_destroy(&watchdog->stop);
        free(watchdog);
        return error_set(err, ERROR_MEMORY, "cannot start the watchdog's thread");
    }
    *out = watchdog;
    return ERROR_NONE;
}

void watchdog_stop(struct watchdog *watchdog)
{
    if (watchdog == NULL)
        return;
    sem_post(&watchdog->stop);
    pthread_join(watchdog->thread, NULL);
    sem_destroy(&watchdog->stop);
    free(watchdog);
}
