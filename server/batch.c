/* batch.c - see batch.h.
 *
 * An image's way: `encoded` list -> decoder -> `ready` list -> worker -> its job. Both are
 * struct turns, under one mutex that is held for a few pointer moves only. Network inputs
 * live in slots that are allocated once and used again, the most recent first, because fresh
 * pages are dear. A decoder takes its slot before it decodes: where the workers lag, decoders
 * sleep instead of piling up pixels.
 *
 * What a run needs is apart from the threads that wait for images to run, so that a decoder can
 * take it, too: it runs a lone image itself, as to wake another thread would take as long as a
 * halted processor takes to wake.
 */
#include "batch.h"
#include "monotonic.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct worker {
    struct senet_context *context;
    struct batch_image **taken; /* [max_batch] */
    float *input;               /* [max_batch][3][height][width] */
    float *logits;              /* [max_batch][classes] */
    float *excitations;         /* [max_batch][excitation_floats] */
};

struct thread {
    struct batch *batch;
    struct worker *worker; /* to bring up before all else; NULL: it decodes */
    pthread_t id;
    uint64_t moves, seen; /* under the batch's mutex, as is the next: see batch_progressed */
    bool decoding;
};

struct batch {
    const struct senet *model;
    const struct senet_info *info;
    struct batch_options options;
    size_t input_floats; /* of one image */
    struct cache *cache; /* or NULL */

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t encoded_or_slot, ready_or_worker, progress;
    struct turns encoded, ready;
    int64_t ready_since_ns; /* when `ready` began to fill */
    size_t limited;         /* jobs in flight that may be dropped: with a deadline, or abandoned */
    float **free_slots;     /* [free_count], a stack */
    size_t free_count;
    struct worker **idle; /* [idle_count], a stack */
    size_t idle_count;
    size_t decoding; /* images, at most options.decoders */
    size_t waiting;  /* images in either list or being decoded */
    size_t jobs;     /* in flight */
    int64_t service_ns;
    uint64_t runs;
    struct error failure; /* of a worker's start */
    bool closed, cancelled, stopping;

    float *slot_memory;
    struct worker *workers; /* [options.workers] */
    struct thread *threads; /* [thread_count], as many as workers, then the decoders */
    size_t thread_count;
};

/* The image is done with, well or not; the caller does not touch it again. */
static void finish(struct batch *batch, struct batch_image *image)
{
    struct job *job = image->job;
    if (atomic_fetch_sub(&job->left, 1) != 1)
        return;
    pthread_mutex_lock(&batch->mutex);
    batch->limited -= job->deadline_ns != 0 || job->abandoned;
    pthread_mutex_unlock(&batch->mutex);
    job->done(job);
    pthread_mutex_lock(&batch->mutex);
    if (--batch->jobs == 0)
        pthread_cond_broadcast(&batch->progress);
    pthread_mutex_unlock(&batch->mutex);
}

/* ---- dropping -------------------------------------------------------------------------------- */

struct sweep {
    const struct batch *batch;
    int64_t now_ns, nearest_ns; /* nearest: the next deadline of a job that stays; INT64_MAX */
};

static int is_over(const struct job *job, void *context)
{
    struct sweep *sweep = context;
    if (sweep->batch->cancelled || job->abandoned)
        return 1;
    if (job->deadline_ns == 0)
        return 0;
    if (job->deadline_ns <= sweep->now_ns)
        return 1;
    if (job->deadline_ns < sweep->nearest_ns)
        sweep->nearest_ns = job->deadline_ns;
    return 0;
}

/* Says why, and counts the image as waiting no longer. The mutex is held. */
static void drop(struct batch *batch, struct batch_image *image)
{
    batch->waiting--;
    if (batch->cancelled)
        error_set(&image->error, ERROR_DRAINING, "the server is shutting down");
    else if (image->job->abandoned)
        error_set(&image->error, ERROR_ABANDONED, "the client went away");
    else
        error_set(&image->error, ERROR_DEADLINE, "the time was over before it was computed");
}

static void finish_all(struct batch *batch, struct batch_image *image)
{
    for (struct batch_image *next; image != NULL; image = next) {
        next = image->next;
        finish(batch, image);
    }
}

/* Drops what is over. Called and left with the mutex held, which is let go meanwhile if there is
 * something; jobs may come and be abandoned in that time, so it looks again. Returns the next
 * deadline, INT64_MAX for none. */
static int64_t sweep(struct batch *batch)
{
    for (;;) {
        struct sweep sweep = {batch, monotonic_ns(), INT64_MAX};
        if (batch->limited == 0 && !batch->cancelled)
            return INT64_MAX;
        struct batch_image *ready = turns_remove(&batch->ready, is_over, &sweep);
        struct batch_image *encoded = turns_remove(&batch->encoded, is_over, &sweep);
        if (ready == NULL && encoded == NULL)
            return sweep.nearest_ns;
        for (struct batch_image *image = ready; image != NULL; image = image->next) {
            batch->free_slots[batch->free_count++] = image->input;
            drop(batch, image);
        }
        for (struct batch_image *image = encoded; image != NULL; image = image->next)
            drop(batch, image);
        pthread_cond_broadcast(&batch->encoded_or_slot);
        pthread_mutex_unlock(&batch->mutex);
        finish_all(batch, ready);
        finish_all(batch, encoded);
        pthread_mutex_lock(&batch->mutex);
    }
}

static void wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t ns)
{
    struct timespec until = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    if (ns == INT64_MAX)
        pthread_cond_wait(condition, mutex);
    else
        pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &until);
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* Whether the results were kept of an earlier request. */
static bool is_known(const struct batch *batch, struct batch_image *image)
{
    struct cache_facts facts;
    if (batch->cache == NULL || image->prepare != NULL || image->run_alone != NULL)
        return false;
    cache_key(image->bytes, image->size, image->key);
    image->cache = CACHE_MISS;
    if (!cache_find(batch->cache, image->key, image->logits, &facts))
        return false;
    image->cache = CACHE_HIT;
    image->format = facts.format;
    image->width = facts.width;
    image->height = facts.height;
    return true;
}

static void decode(const struct batch *batch, struct batch_image *image)
{
    struct decoded told;
    if (image->error.code != ERROR_NONE)
        return; /* so the submitter wants it */
    int64_t begin = monotonic_ns();
    image->queue_ns = begin - image->since_ns;
    if (is_known(batch, image))
        return;
    begin = monotonic_ns();
    if (image->prepare != NULL) {
        if (image->prepare(image, image->input, &image->error) == ERROR_NONE) {
            image->since_ns = monotonic_ns();
            image->preprocess_ns = image->since_ns - begin;
        }
        return;
    }
    const struct preprocess *preprocess = &batch->info->preprocess;
    const struct image_options options = {.max_pixels = batch->options.max_pixels,
                                          .formats = batch->options.formats,
                                          .fit = batch->options.exact_decode ? NULL : preprocess};
    if (decoder_run(batch->options.decoder, image->bytes, image->size, &options, preprocess,
                    image->input, &told, &image->error) != ERROR_NONE)
        return;
    image->format = told.format;
    image->width = told.width;
    image->height = told.height;
    image->decode_ns = told.decode_ns;
    image->preprocess_ns = told.preprocess_ns;
    image->since_ns = monotonic_ns();
}

/* ---- running --------------------------------------------------------------------------------- */

static void free_slots(struct batch *batch, struct batch_image **images, size_t count)
{
    pthread_mutex_lock(&batch->mutex);
    for (size_t i = 0; i < count; i++)
        batch->free_slots[batch->free_count++] = images[i]->input;
    if (batch->encoded.count > 0) /* else nobody waits for a slot */
        pthread_cond_broadcast(&batch->encoded_or_slot);
    pthread_mutex_unlock(&batch->mutex);
}

/* Runs the network on the images taken and fills their results. Returns the run's time. */
static int64_t run(struct batch *batch, struct worker *worker, size_t count)
{
    struct batch_image **taken = worker->taken;
    size_t classes = batch->info->classes, gates = batch->info->excitation_floats;
    const float *input = taken[0]->input;
    float *logits = taken[0]->logits, *excitations = taken[0]->excitations;
    if (count > 1) {
        for (size_t i = 0; i < count; i++)
            memcpy(worker->input + i * batch->input_floats, taken[i]->input,
                   batch->input_floats * sizeof(float));
        free_slots(batch, taken, count);
        input = worker->input;
        logits = worker->logits;
        excitations = worker->excitations;
    }
    int64_t begin = monotonic_ns();
    bool alone = taken[0]->run_alone != NULL;
    if (alone)
        taken[0]->run_alone(taken[0], worker->context, input);
    else
        senet_run(worker->context, count, input, logits, excitations);
    int64_t spent = monotonic_ns() - begin;
    if (count == 1)
        free_slots(batch, taken, 1);
    for (size_t i = 0; i < count; i++) {
        if (count > 1) {
            memcpy(taken[i]->logits, worker->logits + i * classes, classes * sizeof(float));
            memcpy(taken[i]->excitations, worker->excitations + i * gates, gates * sizeof(float));
        }
        taken[i]->queue_ns += begin - taken[i]->since_ns;
        taken[i]->run_begin_ns = begin;
        taken[i]->inference_ns = spent;
        taken[i]->batch_size = count;
    }
    return spent;
}

enum error_code batch_check_logits(const float *logits, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(logits[i]))
            return error_set(err, ERROR_WEIGHTS, "the logit of class %zu is not a number", i);
    return ERROR_NONE;
}

/* Allocates the worker's memory, and runs once so that the first request finds everything
 * touched. */
static enum error_code warm_up(struct batch *batch, struct worker *worker, struct error *err)
{
    const struct senet_info *info = batch->info;
    size_t most = batch->options.max_batch;
    worker->taken = calloc(most, sizeof *worker->taken);
    worker->input = calloc(most * batch->input_floats, sizeof(float));
    worker->logits = calloc(most * info->classes, sizeof(float));
    worker->excitations = calloc(most * info->excitation_floats + 1, sizeof(float));
    if (worker->taken == NULL || worker->input == NULL || worker->logits == NULL ||
        worker->excitations == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for a worker with batches of %zu", most);
    TRY(senet_context_new(batch->model, most, info->preprocess.height, info->preprocess.width,
                          &worker->context, err));
    int64_t begin = monotonic_ns();
    senet_run(worker->context, 1, worker->input, worker->logits, worker->excitations);
    int64_t spent = monotonic_ns() - begin;
    TRY(batch_check_logits(worker->logits, info->classes, err));
    pthread_mutex_lock(&batch->mutex);
    batch->service_ns = spent;
    batch->idle[batch->idle_count++] = worker;
    pthread_cond_broadcast(&batch->progress);
    pthread_mutex_unlock(&batch->mutex);
    return ERROR_NONE;
}

/* Whether a run may begin; if only the delay is in its way, until_ns is no later than its end. */
static bool may_run(const struct batch *batch, int64_t *until_ns)
{
    const struct batch_options *options = &batch->options;
    if (batch->idle_count == 0 || batch->ready.count == 0)
        return false;
    if (options->batch_delay_ns == 0 || batch->ready.count >= options->max_batch)
        return true;
    int64_t end_ns = batch->ready_since_ns + options->batch_delay_ns;
    if (end_ns <= monotonic_ns())
        return true;
    if (end_ns < *until_ns)
        *until_ns = end_ns;
    return false;
}

/* Takes what is ready, up to max_batch. The mutex is held. */
static size_t take(struct batch *batch, struct worker *worker)
{
    size_t count = 0;
    batch->runs++;
    while (count < batch->options.max_batch && batch->ready.count > 0) {
        if (count > 0 &&
            (worker->taken[0]->run_alone != NULL || turns_peek(&batch->ready)->run_alone != NULL))
            break;
        worker->taken[count] = turns_pop(&batch->ready);
        worker->taken[count++]->run = batch->runs;
    }
    batch->waiting -= count;
    batch->ready_since_ns = monotonic_ns(); /* of those left behind */
    return count;
}

/* Called and left with the mutex held. */
static void run_some(struct batch *batch)
{
    struct worker *worker = batch->idle[--batch->idle_count];
    size_t count = take(batch, worker);
    assert(count > 0); /* may_run saw some, and the mutex was held since */
    pthread_mutex_unlock(&batch->mutex);
    int64_t spent = run(batch, worker, count);
    for (size_t i = 0; i < count; i++)
        finish(batch, worker->taken[i]);
    pthread_mutex_lock(&batch->mutex);
    batch->idle[batch->idle_count++] = worker;
    batch->service_ns += (spent / (int64_t)count - batch->service_ns) / 8;
}

static void run_until_end(struct batch *batch, uint64_t *moves)
{
    for (;; ++*moves) {
        int64_t until_ns = INT64_MAX;
        sweep(batch);
        if (batch->stopping)
            return;
        if (may_run(batch, &until_ns))
            run_some(batch);
        else
            wait_until(&batch->ready_or_worker, &batch->mutex, until_ns);
    }
}

/* ---- threads --------------------------------------------------------------------------------- */

/* Nothing else is to be done, and there are other decoders for what may come. */
static bool is_lone(const struct batch *batch)
{
    return batch->jobs == 1 && batch->encoded.count == 0 && batch->decoding == 0 &&
           batch->options.decoders > 1;
}

/* Called and left with the mutex held. */
static void decode_one(struct batch *batch)
{
    struct batch_image *image = turns_pop(&batch->encoded);
    image->input = batch->free_slots[--batch->free_count];
    batch->decoding++;
    pthread_mutex_unlock(&batch->mutex);
    decode(batch, image);
    pthread_mutex_lock(&batch->mutex);
    batch->decoding--;
    if (image->error.code == ERROR_NONE && image->cache != CACHE_HIT) {
        if (batch->ready.count == 0)
            batch->ready_since_ns = image->since_ns;
        turns_push(&batch->ready, &image->job->ready, image);
        return;
    }
    batch->free_slots[batch->free_count++] = image->input;
    batch->waiting--;
    pthread_mutex_unlock(&batch->mutex);
    finish(batch, image);
    pthread_mutex_lock(&batch->mutex);
}

static void decode_until_end(struct batch *batch, struct thread *thread)
{
    for (;; thread->moves++) {
        int64_t nearest_ns = sweep(batch), never = INT64_MAX;
        if (batch->stopping)
            return;
        if (batch->encoded.count == 0 || batch->free_count == 0) {
            wait_until(&batch->encoded_or_slot, &batch->mutex, nearest_ns);
            continue;
        }
        thread->decoding = true;
        decode_one(batch);
        thread->decoding = false;
        if (is_lone(batch) && may_run(batch, &never))
            run_some(batch);
        if (batch->ready.count > 0) {
            pthread_mutex_unlock(&batch->mutex); /* or who is woken waits for it */
            pthread_cond_signal(&batch->ready_or_worker);
            pthread_mutex_lock(&batch->mutex);
        }
    }
}

static void *thread_main(void *argument)
{
    struct thread *thread = argument;
    struct batch *batch = thread->batch;
    struct error err = {0};
    /* Another's name takes writing below /proc. */
    pthread_setname_np(pthread_self(), thread->worker != NULL ? "senetd-infer" : "senetd-decode");
    if (thread->worker != NULL && warm_up(batch, thread->worker, &err) != ERROR_NONE) {
        pthread_mutex_lock(&batch->mutex);
        batch->failure = err;
        pthread_cond_broadcast(&batch->progress);
        pthread_mutex_unlock(&batch->mutex);
        return NULL;
    }
    pthread_mutex_lock(&batch->mutex);
    if (thread->worker != NULL)
        run_until_end(batch, &thread->moves);
    else
        decode_until_end(batch, thread);
    pthread_mutex_unlock(&batch->mutex);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum error_code allocate(struct batch *batch, struct error *err)
{
    const struct batch_options *options = &batch->options;
    size_t slots = options->decoders + options->workers * options->max_batch;
    if (slots > options->max_waiting + options->workers)
        slots = options->max_waiting + options->workers;
    batch->workers = calloc(options->workers, sizeof *batch->workers);
    batch->idle = calloc(options->workers, sizeof(struct worker *));
    batch->threads = calloc(options->workers + options->decoders, sizeof *batch->threads);
    batch->free_slots = calloc(slots, sizeof *batch->free_slots);
    batch->slot_memory = calloc(slots * batch->input_floats, sizeof(float));
    if (batch->workers == NULL || batch->idle == NULL || batch->threads == NULL ||
        batch->free_slots == NULL || batch->slot_memory == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for %zu network inputs", slots);
    for (size_t i = 0; i < slots; i++)
        batch->free_slots[i] = batch->slot_memory + i * batch->input_floats;
    batch->free_count = slots;
    if (options->cache_bytes > 0)
        TRY(cache_new(options->cache_bytes, batch->info->classes + batch->info->excitation_floats,
                      &batch->cache, err));
    return ERROR_NONE;
}

static enum error_code start_threads(struct batch *batch, struct error *err)
{
    size_t workers = batch->options.workers, count = workers + batch->options.decoders;
    for (size_t i = 0; i < count; i++, batch->thread_count++) {
        struct thread *thread = &batch->threads[i];
        *thread = (struct thread){batch, i < workers ? &batch->workers[i] : NULL, .moves = 1};
        int failure = pthread_create(&thread->id, NULL, thread_main, thread);
        if (failure != 0)
            return error_set(err, ERROR_MEMORY, "cannot start a thread: %s", strerror(failure));
    }
    pthread_mutex_lock(&batch->mutex);
    while (batch->idle_count < workers && batch->failure.code == ERROR_NONE)
        pthread_cond_wait(&batch->progress, &batch->mutex);
    struct error failure = batch->failure;
    pthread_mutex_unlock(&batch->mutex);
    if (failure.code != ERROR_NONE)
        return error_set(err, failure.code, "%s", failure.message);
    return ERROR_NONE;
}

enum error_code batch_start(const struct senet *model, const struct batch_options *options,
                            struct batch **out, struct error *err)
{
    assert(options->workers > 0 && options->decoders > 0 && options->max_batch > 0);
    struct batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the queue");
    batch->model = model;
    batch->info = senet_info(model);
    batch->options = *options;
    batch->input_floats = 3 * batch->info->preprocess.height * batch->info->preprocess.width;
    pthread_mutex_init(&batch->mutex, NULL);
    pthread_cond_init(&batch->encoded_or_slot, NULL);
    pthread_cond_init(&batch->ready_or_worker, NULL);
    pthread_cond_init(&batch->progress, NULL);
    enum error_code code = allocate(batch, err);
    if (code == ERROR_NONE)
        code = start_threads(batch, err);
    if (code != ERROR_NONE) {
        batch_stop(batch);
        return code;
    }
    *out = batch;
    return ERROR_NONE;
}

enum error_code batch_job_new(const struct batch *batch, size_t count, struct job **out,
                              struct error *err)
{
    size_t classes = batch->info->classes, floats = classes + batch->info->excitation_floats;
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for a request of %zu images", count);
    job->count = count;
    job->images = calloc(count, sizeof *job->images);
    job->results = malloc(count * floats * sizeof(float));
    if (job->images == NULL || job->results == NULL) {
        batch_job_free(job);
        return error_set(err, ERROR_MEMORY, "no memory for a request of %zu images", count);
    }
    for (size_t i = 0; i < count; i++) {
        job->images[i].job = job;
        job->images[i].logits = job->results + i * floats;
        job->images[i].excitations = job->results + i * floats + classes;
    }
    *out = job;
    return ERROR_NONE;
}

void batch_job_free(struct job *job)
{
    if (job == NULL)
        return;
    free(job->images);
    free(job->results);
    free(job);
}

enum error_code batch_submit(struct batch *batch, struct job *job, struct error *err)
{
    assert(job->count > 0);
    if (job->count > batch->options.max_waiting)
        return error_set(err, ERROR_TOO_LARGE, "%zu images in one request, the queue holds %zu",
                         job->count, batch->options.max_waiting);
    atomic_store(&job->left, job->count);
    int64_t now = monotonic_ns();
    pthread_mutex_lock(&batch->mutex);
    size_t waiting = batch->waiting;
    bool closed = batch->closed;
    if (!closed && job->count <= batch->options.max_waiting - waiting) {
        batch->waiting += job->count;
        batch->jobs++;
        batch->limited += job->deadline_ns != 0;
        for (size_t i = 0; i < job->count; i++) {
            job->images[i].since_ns = now;
            turns_push(&batch->encoded, &job->encoded, &job->images[i]);
        }
        bool one = job->count == 1; /* then any decoder will do; the job may be gone below */
        pthread_mutex_unlock(&batch->mutex); /* or who is woken waits for it */
        if (one)
            pthread_cond_signal(&batch->encoded_or_slot);
        else
            pthread_cond_broadcast(&batch->encoded_or_slot);
        return ERROR_NONE;
    }
    pthread_mutex_unlock(&batch->mutex);
    if (closed)
        return error_set(err, ERROR_DRAINING, "the server is shutting down");
    return error_set(err, ERROR_OVERLOADED, "%zu images are waiting, the queue holds %zu", waiting,
                     batch->options.max_waiting);
}

void batch_abandon(struct batch *batch, struct job *job)
{
    pthread_mutex_lock(&batch->mutex);
    if (atomic_load(&job->left) > 0 && !job->abandoned) {
        batch->limited += job->deadline_ns == 0;
        job->abandoned = true;
    }
    pthread_cond_broadcast(&batch->encoded_or_slot);
    pthread_mutex_unlock(&batch->mutex);
}

void batch_cancel(struct batch *batch)
{
    pthread_mutex_lock(&batch->mutex);
    batch->cancelled = true;
    pthread_cond_broadcast(&batch->encoded_or_slot);
    pthread_mutex_unlock(&batch->mutex);
}

void batch_remember(struct batch *batch, const struct job *job)
{
    for (size_t i = 0; batch->cache != NULL && i < job->count; i++) {
        const struct batch_image *image = &job->images[i];
        if (image->error.code == ERROR_NONE && image->cache == CACHE_MISS)
            cache_store(batch->cache, image->key, image->logits,
                        &(struct cache_facts){image->format, image->width, image->height});
    }
}

const struct error *batch_dropped(const struct job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        enum error_code code = job->images[i].error.code;
        if (code == ERROR_DEADLINE || code == ERROR_ABANDONED || code == ERROR_DRAINING)
            return &job->images[i].error;
    }
    return NULL;
}

unsigned batch_retry_after(struct batch *batch)
{
    pthread_mutex_lock(&batch->mutex);
    double ns = (double)batch->waiting * (double)batch->service_ns / (double)batch->options.workers;
    pthread_mutex_unlock(&batch->mutex);
    double seconds = ns / 1e9 + 1;
    return seconds < 120 ? (unsigned)seconds : 120;
}

size_t batch_waiting(struct batch *batch)
{
    pthread_mutex_lock(&batch->mutex);
    size_t waiting = batch->waiting;
    pthread_mutex_unlock(&batch->mutex);
    return waiting;
}

void batch_read_gauges(struct batch *batch, struct batch_gauges *out)
{
    pthread_mutex_lock(&batch->mutex);
    *out = (struct batch_gauges){.waiting = batch->waiting,
                                 .capacity = batch->options.max_waiting,
                                 .workers = batch->options.workers,
                                 .busy = batch->options.workers - batch->idle_count,
                                 .runs = batch->runs};
    pthread_mutex_unlock(&batch->mutex);
}

bool batch_progressed(struct batch *batch)
{
    bool all = true;
    pthread_mutex_lock(&batch->mutex);
    for (size_t i = 0; i < batch->thread_count; i++) {
        struct thread *thread = &batch->threads[i];
        all = all && (thread->moves != thread->seen || thread->decoding);
        thread->seen = thread->moves;
    }
    pthread_cond_broadcast(&batch->encoded_or_slot);
    pthread_cond_broadcast(&batch->ready_or_worker);
    pthread_mutex_unlock(&batch->mutex);
    return all;
}

void batch_close(struct batch *batch)
{
    pthread_mutex_lock(&batch->mutex);
    batch->closed = true;
    pthread_mutex_unlock(&batch->mutex);
}

void batch_drain(struct batch *batch)
{
    pthread_mutex_lock(&batch->mutex);
    while (batch->jobs > 0)
        pthread_cond_wait(&batch->progress, &batch->mutex);
    pthread_mutex_unlock(&batch->mutex);
}

void batch_stop(struct batch *batch)
{
    if (batch == NULL)
        return;
    batch_close(batch);
    batch_drain(batch);
    pthread_mutex_lock(&batch->mutex);
    batch->stopping = true;
    pthread_cond_broadcast(&batch->encoded_or_slot);
    pthread_cond_broadcast(&batch->ready_or_worker);
    pthread_mutex_unlock(&batch->mutex);
    for (size_t i = 0; i < batch->thread_count; i++)
        pthread_join(batch->threads[i].id, NULL);
    for (size_t i = 0; batch->workers != NULL && i < batch->options.workers; i++) {
        struct worker *worker = &batch->workers[i];
        senet_context_free(worker->context);
        free(worker->taken);
        free(worker->input);
        free(worker->logits);
        free(worker->excitations);
    }
    pthread_cond_destroy(&batch->encoded_or_slot);
    pthread_cond_destroy(&batch->ready_or_worker);
    pthread_cond_destroy(&batch->progress);
    pthread_mutex_destroy(&batch->mutex);
    free(batch->workers);
    free(batch->idle);
    free(batch->threads);
    free(batch->free_slots);
    free(batch->slot_memory);
    cache_free(batch->cache);
    free(batch);
}
