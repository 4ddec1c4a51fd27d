/* batch_threads.c - what decoders and workers do with the images of batch.c.
 *
 * A decoder takes an image's slot before it decodes: where the workers lag, decoders sleep instead
 * of piling up pixels. It runs a lone image itself, as to wake another thread would take as long as
 * a halted processor takes to wake.
 */
#include "batch_state.h"
#include "monotonic.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

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

void *batch_threads_main(void *argument)
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
