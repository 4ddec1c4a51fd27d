/* batch.h - from encoded images to logits and excitations, by two groups of threads.
 *
 * Decoders turn bytes into network inputs; workers run the network, each with its own context. A
 * free worker takes what is ready at once, up to max_batch images, whosever they are; it never
 * waits for more. Each image carries its own error, and one bad image spoils no other. The number
 * of images that wait is bounded: beyond it batch_submit refuses.
 *
 * Knows nothing of HTTP. All functions are thread-safe unless noted.
 */
#ifndef SENETD_BATCH_H
#define SENETD_BATCH_H

#include "cache.h"
#include "decoder.h"
#include "error.h"
#include "image.h"
#include "senet.h"
#include "turns.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct job;

/* One image of a job. */
struct batch_image {
    /* Set by the submitter, who keeps the bytes until done. An image whose error is set already
     * is passed on as it is. */
    const uint8_t *bytes; /* [size] */
    size_t size;
    /* Turns the bytes into the network's input, [3][height][width], on a decoder thread; NULL
     * where the bytes are an encoded image. context is its own. */
    enum error_code (*prepare)(const struct batch_image *image, float *input, struct error *err);
    const void *context;
    /* Takes senet_run's place for this image, in a run, alone; fills logits and
     * excitations. NULL for the usual. state is its own. */
    void (*run_alone)(struct batch_image *image, struct senet_context *context, const float *input);
    void *state;

    /* Valid from done on; below `error` only where error.code is ERROR_NONE. */
    struct error error;
    enum image_format format;
    size_t width, height; /* of the image as uploaded, pixels; 0 where prepare is set */
    float *logits;        /* [classes] */
    float *excitations;   /* [excitation_floats] */
    int64_t decode_ns, preprocess_ns;
    int64_t queue_ns;     /* waiting for a decoder, then for a worker */
    int64_t run_begin_ns; /* of the run that carried this image, by CLOCK_MONOTONIC */
    int64_t inference_ns; /* of that whole run */
    size_t batch_size;    /* images in that run */
    uint64_t run;         /* number of that run, from 1; 0 where there was none */
    enum batch_cache { CACHE_UNUSED, CACHE_MISS, CACHE_HIT } cache;

    /* The batch's own. */
    struct job *job;
    struct batch_image *next;
    uint8_t key[CACHE_KEY_BYTES]; /* of CACHE_MISS */
    float *input;                 /* a slot, [3][height][width] */
    int64_t since_ns;             /* of the present wait */
};

/* The images of one request. done is called exactly once, by one of the batch's threads, when the
 * last image is finished, and is the batch's last touch of the job: done may pass it to another
 * thread that frees it. done must not block for long. */
struct job {
    struct batch_image *images; /* [count] */
    size_t count;
    void (*done)(struct job *job);
    void *context; /* the submitter's */
    enum priority priority;
    int64_t deadline_ns; /* of CLOCK_MONOTONIC; images whose run has not begun by then are dropped
                            with ERROR_DEADLINE; 0 for none */

    /* The batch's own. */
    atomic_size_t left;
    struct turn encoded, ready;
    bool abandoned;
    float *results; /* all logits and excitations */
};

struct batch_options {
    size_t workers, decoders; /* threads, at least 1 each */
    size_t max_batch;         /* images in a run, at least 1 */
    size_t max_waiting;       /* images accepted whose run has not begun */
    unsigned formats;         /* accepted ones, as in struct image_options */
    size_t max_pixels;        /* of one image */
    size_t cache_bytes;       /* for results of images seen before; 0: none are kept */
    int64_t batch_delay_ns;   /* a worker waits so long for a full batch; 0: takes what is ready */
    bool exact_decode;        /* no large JPEG is decoded at a smaller size */
    struct decoder *decoder;  /* where images are decoded; NULL: in the batch's own threads */
};

/* Errors: ERROR_WEIGHTS where one is not finite, which says that the weights are no good. */
enum error_code batch_check_logits(const float *logits, size_t count, struct error *err) MUST_CHECK;

/* Starts the threads and returns once every worker has run the network once. The model must
 * outlive the batch. Errors: ERROR_MEMORY, those of senet_context_new and of batch_check_logits. */
enum error_code batch_start(const struct senet *model, const struct batch_options *options,
                            struct batch **out, struct error *err) MUST_CHECK;

/* A job with room for the results of count images; the caller sets bytes, size, done, context.
 * Errors: ERROR_MEMORY. */
enum error_code batch_job_new(const struct batch *batch, size_t count, struct job **out,
                              struct error *err) MUST_CHECK;

/* The job must not be in flight. Accepts NULL. */
void batch_job_free(struct job *job);

/* Hands the job over; done may be called before this returns. Errors: ERROR_OVERLOADED where the
 * queue is too full for all its images, ERROR_DRAINING where it is closed, ERROR_TOO_LARGE where
 * even an empty queue could not hold them. Then done is not called and the job stays the caller's.
 */
enum error_code batch_submit(struct batch *batch, struct job *job, struct error *err) MUST_CHECK;

/* Nobody waits for the job any more: its images whose run has not begun are dropped with
 * ERROR_ABANDONED. The job must be in flight; done is called as ever. */
void batch_abandon(struct batch *batch, struct job *job);

/* Drops all images whose run has not begun with ERROR_DRAINING. After batch_close. */
void batch_cancel(struct batch *batch);

/* Keeps the results of a finished job's images, for those who send the same bytes. */
void batch_remember(struct batch *batch, const struct job *job);

/* Of a finished job: why some of its images were dropped, or NULL where none was. */
const struct error *batch_dropped(const struct job *job);

/* Seconds after which a refused client may try again: the waiting images times the observed time
 * of one, 1 to 120. */
unsigned batch_retry_after(struct batch *batch);

/* Images accepted whose run has not begun. */
size_t batch_waiting(struct batch *batch);

/* The state of this moment. */
struct batch_gauges {
    size_t waiting, capacity; /* images accepted whose run has not begun, and most of them */
    size_t workers, busy;     /* all of them; those that run a batch */
    uint64_t runs;            /* begun since start */
};

void batch_read_gauges(struct batch *batch, struct batch_gauges *out);

/* Whether every thread moved since the last call: woke while it had nothing to do, or ended a run,
 * or decodes; and asks those that wait to wake. By one thread at a time. */
bool batch_progressed(struct batch *batch);

/* From now on batch_submit refuses. */
void batch_close(struct batch *batch);

/* Returns once no job is in flight: every done has returned. */
void batch_drain(struct batch *batch);

/* Closes, drains, joins the threads and frees. Once, by one thread. Accepts NULL. */
void batch_stop(struct batch *batch);

#endif
