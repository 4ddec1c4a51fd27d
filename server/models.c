/* models.c - see models.h.
 *
 * One thread loads and frees, because both take long and must hold up no request. Before it loads
 * it waits until the previous model is gone: never more than two are in memory. References are
 * plain counters under a mutex that only the HTTP threads and this one take.
 */
#include "models.h"
#include "cpus.h"
#include "log.h"
#include "monotonic.h"
#include "notify.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct models {
    const struct config *config;
    struct decoder *decoder;
    pthread_t thread;
    atomic_bool unloaded; /* set under the mutex */

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    struct model *current; /* holds one reference of its own */
    struct model *retired; /* a list: replaced, and still referenced */
    uint64_t asked, done;  /* loads */
    struct error outcome;  /* of the last load */
    struct models_last last;
    struct models_counts counts;
    bool closed, stopping;
};

/* ---- one model ------------------------------------------------------------------------------- */

size_t models_threads(const struct config *config)
{
    return config->threads > 0 ? config->threads : cpus_available("");
}

/* An image a core. Of more none would be done sooner, and the first would wait for the last. */
static size_t share_of_threads(const struct config *config, size_t workers)
{
    size_t share = (models_threads(config) + workers - 1) / workers;
    return share < CONFIG_MAX_BATCH ? share : CONFIG_MAX_BATCH;
}

struct batch_options models_batch_options(const struct config *config)
{
    size_t cpus = cpus_available(""), workers = config->workers > 0 ? config->workers : cpus;
    unsigned formats = 0;
    if (config->formats != NULL &&
        image_parse_formats(config->formats, &formats, NULL) != ERROR_NONE)
        formats = 0; /* main has seen that it is right */
    return (struct batch_options){
        .workers = workers,
        .decoders = config->decoders > 0 ? config->decoders : cpus,
        .max_batch = config->max_batch > 0 ? config->max_batch : share_of_threads(config, workers),
        .max_waiting = config->queue,
        .formats = formats,
        .max_pixels = config->max_pixels,
        .cache_bytes = config->cache_mb << 20,
        .batch_delay_ns = (int64_t)config->batch_delay_us * 1000,
        .exact_decode = config->exact_decode != 0,
    };
}

enum error_code models_open(const struct config *config, struct senet **out, struct error *err)
{
    const struct senet_options options = {.labels_path = config->labels,
                                          .kernels = config->kernels,
                                          .precision = (enum senet_precision)config->precision,
                                          .threads = models_threads(config)};
    return senet_open(config->weights, &options, out, err);
}

enum error_code models_try(const struct senet *senet, struct error *err)
{
    const struct senet_info *info = senet_info(senet);
    const struct preprocess *preprocess = &info->preprocess;
    struct senet_context *context = NULL;
    float *input = calloc(3 * preprocess->height * preprocess->width, sizeof(float));
    float *logits = calloc(info->classes, sizeof(float));
    enum error_code code =
        input == NULL || logits == NULL
            ? error_set(err, ERROR_MEMORY, "no memory for one image")
            : senet_context_new(senet, 1, preprocess->height, preprocess->width, &context, err);
    if (code == ERROR_NONE) {
        senet_run(context, 1, input, logits, NULL);
        code = batch_check_logits(logits, info->classes, err);
    }
    senet_context_free(context);
    free(input);
    free(logits);
    return code;
}

static void free_model(struct model *model)
{
    batch_stop(model->batch);
    attention_free(model->attention);
    reference_free(model->reference);
    senet_close(model->senet);
    free(model);
}

/* Optional: a model without it serves all but what is relative to it. Only for lack of memory the
 * model is not loaded, as it may be there the next time. */
static enum error_code read_reference(const struct config *config, struct model *model,
                                      struct error *err)
{
    char path[4200];
    struct error fault = {0};
    reference_path(config->weights, path, sizeof path);
    if (access(path, F_OK) != 0) {
        error_set(&model->no_reference, ERROR_NOT_FOUND,
                  "the model has no reference statistics (" REFERENCE_FILE
                  "); senetd profile makes them");
        return ERROR_NONE;
    }
    enum error_code code = reference_read(path, model->senet, &model->reference, &fault);
    if (code == ERROR_MEMORY)
        return error_set(err, code, "%s", fault.message);
    if (code != ERROR_NONE) {
        error_set(&model->no_reference, ERROR_NOT_FOUND,
                  "the model's reference statistics (" REFERENCE_FILE ") do not fit it");
        log_warn("reference", "'%s' is not used: %s", path, fault.message);
    }
    return ERROR_NONE;
}

static enum error_code make_model(const struct models *models, struct model **out,
                                  struct error *err)
{
    const struct config *config = models->config;
    struct batch_options options = models_batch_options(config);
    struct model *model = calloc(1, sizeof *model);
    if (model == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for a model");
    options.decoder = models->decoder;
    enum error_code code = models_open(config, &model->senet, err);
    if (code == ERROR_NONE)
        code = batch_start(model->senet, &options, &model->batch, err);
    if (code == ERROR_NONE)
        code = attention_new(senet_info(model->senet)->excitation_floats, &model->attention, err);
    if (code == ERROR_NONE)
        code = read_reference(config, model, err);
    if (code != ERROR_NONE) {
        free_model(model);
        return code;
    }
    model->references = 1;
    *out = model;
    return ERROR_NONE;
}

/* ---- references ------------------------------------------------------------------------------ */

struct model *models_acquire(struct models *models)
{
    pthread_mutex_lock(&models->mutex);
    struct model *model = models->current;
    if (model != NULL)
        model->references++;
    pthread_mutex_unlock(&models->mutex);
    return model;
}

void models_release(struct models *models, struct model *model)
{
    if (model == NULL)
        return;
    pthread_mutex_lock(&models->mutex);
    if (--model->references == 0)
        pthread_cond_broadcast(&models->changed);
    pthread_mutex_unlock(&models->mutex);
}

static uint64_t runs_of(const struct model *model)
{
    struct batch_gauges gauges;
    batch_read_gauges(model->batch, &gauges);
    return gauges.runs;
}

void models_notify_ready(struct models *models)
{
    struct model *model = models_acquire(models);
    char status[128];
    if (model == NULL) {
        notify_ready("The model is unloaded");
        return;
    }
    const struct senet_info *info = senet_info(model->senet);
    snprintf(status, sizeof status, "Serving %s, sha256 %.12s", info->name, info->sha256);
    models_release(models, model);
    notify_ready(status);
}

/* Frees retired models that nobody uses. Called and left with the mutex held, which is let go
 * meanwhile. Returns whether there was one. */
static bool free_unused(struct models *models)
{
    for (struct model **at = &models->retired; *at != NULL; at = &(*at)->next) {
        struct model *model = *at;
        if (model->references > 0)
            continue;
        *at = model->next;
        models->counts.runs += runs_of(model);
        pthread_mutex_unlock(&models->mutex);
        free_model(model);
        pthread_mutex_lock(&models->mutex);
        pthread_cond_broadcast(&models->changed);
        return true;
    }
    return false;
}

/* ---- loading --------------------------------------------------------------------------------- */

static void log_loaded(const struct model *model, const struct batch_options *options, int64_t ns)
{
    const struct senet_info *info = senet_info(model->senet);
    log_info("ready",
             "%s, sha256 %.12s, %zu classes, %zu excitation blocks, kernels %s, %zu workers, "
             "%zu decoders, loaded in %.0f ms",
             info->name, info->sha256, info->classes, info->blocks, info->kernels, options->workers,
             options->decoders, (double)ns / 1e6);
}

/* The mutex is held; the new model, or none, takes the old one's place. */
static void swap(struct models *models, struct model *fresh)
{
    struct model *old = models->current;
    models->current = fresh;
    if (fresh != NULL) {
        const struct senet_info *info = senet_info(fresh->senet);
        memcpy(models->last.name, info->name, sizeof models->last.name);
        models->last.excitations = info->blocks > 0;
        atomic_store(&models->unloaded, false);
    }
    if (old == NULL)
        return;
    old->references--;
    old->next = models->retired;
    models->retired = old;
}

/* Called and left with the mutex held, which is let go while the files are read. A model that
 * comes up after models_close takes no place. */
static void load(struct models *models)
{
    const struct batch_options options = models_batch_options(models->config);
    struct model *fresh = NULL;
    struct error err = {0};
    uint64_t asked = models->asked; /* whoever asks from now on wants the files read again */
    bool first = models->counts.loads == 0;
    pthread_mutex_unlock(&models->mutex);
    if (!first)
        notify_reloading();
    int64_t begin = monotonic_ns();
    enum error_code code = make_model(models, &fresh, &err);
    if (code == ERROR_NONE)
        log_loaded(fresh, &options, monotonic_ns() - begin);
    else if (!first)
        log_error("reload", "the model stays %s: %s",
                  models_unloaded(models) ? "unloaded" : "as it is", err.message);
    pthread_mutex_lock(&models->mutex);
    bool closed = models->closed;
    if (code == ERROR_NONE && closed) {
        pthread_mutex_unlock(&models->mutex);
        free_model(fresh);
        pthread_mutex_lock(&models->mutex);
        code = error_set(&err, ERROR_DRAINING, "the server is shutting down");
    }
    if (code == ERROR_NONE) {
        swap(models, fresh);
        models->counts.loads++;
    } else {
        models->counts.failures++;
    }
    models->outcome = err;
    models->done = asked;
    pthread_cond_broadcast(&models->changed);
    if (first || closed)
        return;
    pthread_mutex_unlock(&models->mutex);
    models_notify_ready(models);
    pthread_mutex_lock(&models->mutex);
}

static void *loader_main(void *argument)
{
    struct models *models = argument;
    pthread_mutex_lock(&models->mutex);
    for (;;) {
        if (free_unused(models))
            continue;
        if (models->stopping && models->retired == NULL)
            break;
        if (models->done < models->asked && models->retired == NULL && !models->closed)
            load(models);
        else
            pthread_cond_wait(&models->changed, &models->mutex);
    }
    pthread_mutex_unlock(&models->mutex);
    return NULL;
}

void models_request_load(struct models *models)
{
    pthread_mutex_lock(&models->mutex);
    models->asked += !models->closed;
    pthread_cond_broadcast(&models->changed);
    pthread_mutex_unlock(&models->mutex);
}

enum error_code models_load(struct models *models, struct error *err)
{
    enum error_code code = ERROR_NONE;
    pthread_mutex_lock(&models->mutex);
    uint64_t mine = ++models->asked;
    pthread_cond_broadcast(&models->changed);
    while (models->done < mine && !models->closed)
        pthread_cond_wait(&models->changed, &models->mutex);
    if (models->done < mine)
        code = error_set(err, ERROR_DRAINING, "the server is shutting down");
    else if (models->outcome.code != ERROR_NONE)
        code = error_set(err, models->outcome.code, "%s", models->outcome.message);
    pthread_mutex_unlock(&models->mutex);
    return code;
}

enum error_code models_unload(struct models *models, struct error *err)
{
    pthread_mutex_lock(&models->mutex);
    while (models->done < models->asked && !models->closed)
        pthread_cond_wait(&models->changed, &models->mutex);
    bool closed = models->closed;
    if (!closed) {
        atomic_store(&models->unloaded, true);
        swap(models, NULL);
        pthread_cond_broadcast(&models->changed);
    }
    while (models->retired != NULL)
        pthread_cond_wait(&models->changed, &models->mutex);
    pthread_mutex_unlock(&models->mutex);
    return closed ? error_set(err, ERROR_DRAINING, "the server is shutting down") : ERROR_NONE;
}

struct models_last models_last(struct models *models)
{
    pthread_mutex_lock(&models->mutex);
    struct models_last last = models->last;
    last.unloaded = atomic_load(&models->unloaded);
    pthread_mutex_unlock(&models->mutex);
    return last;
}

bool models_unloaded(const struct models *models)
{
    return atomic_load_explicit(&models->unloaded, memory_order_acquire);
}

void models_read_counts(struct models *models, struct models_counts *out)
{
    pthread_mutex_lock(&models->mutex);
    *out = models->counts;
    out->decoder_ends = decoder_ends(models->decoder);
    if (models->current != NULL)
        out->runs += runs_of(models->current);
    for (const struct model *old = models->retired; old != NULL; old = old->next)
        out->runs += runs_of(old);
    pthread_mutex_unlock(&models->mutex);
}

/* ---- life ------------------------------------------------------------------------------------ */

enum error_code models_new(const struct config *config, struct decoder *decoder,
                           struct models **out, struct error *err)
{
    struct models *models = calloc(1, sizeof *models);
    if (models == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the models");
    models->config = config;
    models->decoder = decoder;
    pthread_mutex_init(&models->mutex, NULL);
    pthread_cond_init(&models->changed, NULL);
    if (pthread_create(&models->thread, NULL, loader_main, models) != 0) {
        pthread_cond_destroy(&models->changed);
        pthread_mutex_destroy(&models->mutex);
        free(models);
        return error_set(err, ERROR_MEMORY, "cannot start the loader's thread");
    }
    *out = models;
    return ERROR_NONE;
}

void models_close(struct models *models)
{
    pthread_mutex_lock(&models->mutex);
    models->closed = true;
    pthread_cond_broadcast(&models->changed);
    for (struct model *old = models->retired; old != NULL; old = old->next)
        batch_cancel(old->batch);
    while (models->retired != NULL)
        pthread_cond_wait(&models->changed, &models->mutex);
    pthread_mutex_unlock(&models->mutex);
    struct model *current = models_acquire(models);
    if (current == NULL)
        return;
    batch_close(current->batch);
    batch_cancel(current->batch);
    batch_drain(current->batch);
    models_release(models, current);
}

void models_free(struct models *models)
{
    if (models == NULL)
        return;
    pthread_mutex_lock(&models->mutex);
    models->stopping = true;
    if (models->current != NULL)
        swap(models, NULL);
    pthread_cond_broadcast(&models->changed);
    pthread_mutex_unlock(&models->mutex);
    pthread_join(models->thread, NULL);
    pthread_cond_destroy(&models->changed);
    pthread_mutex_destroy(&models->mutex);
    free(models);
}
