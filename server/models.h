/* models.h - the model that serves, and its replacement while older requests still use it.
 *
 * A struct model is everything that depends on the weights: network, queue with its workers, and
 * memory of excitations. A request takes a reference when its job begins and gives it back when it
 * is answered: so it sees one model from beginning to end. A new model is loaded beside the old
 * one, tried and warmed before it takes its place; if anything is wrong with it the old one goes
 * on. The old one is freed by a thread of this module once its last reference is given back.
 * Thread-safe; the workers never come here.
 */
#ifndef SENETD_MODELS_H
#define SENETD_MODELS_H

#include "attention.h"
#include "batch.h"
#include "config.h"
#include "error.h"
#include "reference.h"
#include "senet.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model {
    struct senet *senet;
    struct batch *batch;
    struct attention *attention;
    struct reference *reference; /* NULL where there is none beside the weights */
    struct error no_reference;   /* why, for clients; without paths */

    /* models.c's own, under its mutex. */
    size_t references;
    struct model *next;
};

struct models;

/* What happened since start. */
struct models_counts {
    uint64_t loads, failures; /* attempts that went well, that did not */
    uint64_t runs;            /* of the network, by all models together */
    uint64_t decoder_ends;    /* processes that ended over an image */
};

/* Starts the thread, loads nothing. The config and the decoder (NULL: the batch's threads decode)
 * must outlive *out. Errors: ERROR_MEMORY. */
enum error_code models_new(const struct config *config, struct decoder *decoder,
                           struct models **out, struct error *err) MUST_CHECK;

/* Loads --weights and swaps; returns when that is done or failed. Calls take turns: each begins
 * to read the files after it was called. Errors: those of senet_open and batch_start,
 * ERROR_WEIGHTS where the logits of a gray image are not finite, ERROR_DRAINING after
 * models_close. */
enum error_code models_load(struct models *models, struct error *err) MUST_CHECK;

/* The same without waiting for it; what comes of it is logged. */
void models_request_load(struct models *models);

/* Takes the model out of service until it is loaded again; returns when its last request is
 * answered and its memory freed. What loads at the time is waited for. Errors: ERROR_DRAINING
 * after models_close. */
enum error_code models_unload(struct models *models, struct error *err) MUST_CHECK;

/* The names of the model that serves or served last, for when there is none to ask. */
struct models_last {
    char name[64];    /* as in struct senet_info; "" before the first load */
    bool excitations; /* it has SE blocks */
    bool unloaded;    /* by models_unload, and not loaded since */
};

struct models_last models_last(struct models *models);

/* Whether models_unload took the model away. */
bool models_unloaded(const struct models *models);

/* A reference to the present model; NULL while none is loaded. Give it back by models_release,
 * which accepts NULL. */
struct model *models_acquire(struct models *models);
void models_release(struct models *models, struct model *model);

/* Tells the service manager that the present model serves. */
void models_notify_ready(struct models *models);

void models_read_counts(struct models *models, struct models_counts *out);

/* From now on every queue refuses, what waits is dropped, and nothing is loaded; returns once no
 * job is in flight. */
void models_close(struct models *models);

/* Every reference must have been given back. Accepts NULL. */
void models_free(struct models *models);

/* Opens --weights with the options of the configuration, without queue or workers. */
enum error_code models_open(const struct config *config, struct senet **out,
                            struct error *err) MUST_CHECK;

/* One run on a gray image. Errors: ERROR_WEIGHTS where a logit is not finite, ERROR_MEMORY. */
enum error_code models_try(const struct senet *senet, struct error *err) MUST_CHECK;

/* Threads and bounds as the configuration or the machine has them. */
size_t models_threads(const struct config *config);
struct batch_options models_batch_options(const struct config *config);

#endif
