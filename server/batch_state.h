/* batch_state.h - what batch.c, which takes jobs, shares with batch_threads.c, which does them. */
#ifndef SENETD_BATCH_STATE_H
#define SENETD_BATCH_STATE_H

#include "batch.h"

#include <pthread.h>
#include <stdbool.h>

/* What a run needs, apart from the threads that wait for images to run, so that a decoder can take
 * it, too. */
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

/* A decoder's or a worker's whole life; argument: its struct thread. */
void *batch_threads_main(void *argument);

#endif
