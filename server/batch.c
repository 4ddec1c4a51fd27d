/* batch.c - see batch.h.
 *
 * An image's way: `encoded` list -> decoder -> `ready` list -> worker -> its job. Both are
 * struct turns, under one mutex that is held for a few pointer moves only. Network inputs
 * live in slots that are allocated once and used again, the most recent first, because fresh
 * pages are dear. The threads are in batch_threads.c.
 */
#include "batch_state.h"
#include "monotonic.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum error_code batch_check_logits(const float *logits, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(logits[i]))
            return error_set(err, ERROR_WEIGHTS, "the logit of class %zu is not a number", i);
    return ERROR_NONE;
}

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
        int failure = pthread_create(&thread->id, NULL, batch_threads_main, thread);
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
