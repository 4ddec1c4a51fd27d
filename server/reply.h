/* reply.h - results and problems -> JSON.
 *
 * The only place that maps an error code to an HTTP status. Also serves `senetd classify --json`,
 * which prints the same document. Functions append to a writer, whose `failed` tells of a lack of
 * memory. No state.
 */
#ifndef SENETD_REPLY_H
#define SENETD_REPLY_H

#include "batch.h"
#include "error.h"
#include "reference.h"
#include "senet.h"
#include "writer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum detail {
    DETAIL_NONE,    /* no excitations */
    DETAIL_SUMMARY, /* statistics of each block, without the values */
    DETAIL_FULL,
};

/* What to tell of an image. */
struct selection {
    size_t topk; /* 0: no top_k member */
    enum detail detail;
    bool *blocks;                      /* [info->blocks]: those to tell of; NULL for all */
    const struct reference *reference; /* to tell of gates relative to it; or NULL */
};

unsigned reply_status(enum error_code code);

/* The reason phrase of a status that this server gives. */
const char *reply_title(unsigned status);

/* A problem object of RFC 9457. name is that of the type, as error_name gives it; id is the
 * request's, or NULL. */
void reply_problem(struct writer *w, unsigned status, const char *name, const char *detail,
                   const char *id);

/* "model":{...}, the short form that every answer begins with. */
void reply_model_member(struct writer *w, const struct senet_info *info);

/* One element of "results". filename may be NULL. */
void reply_result(struct writer *w, const struct senet *model, const struct batch_image *image,
                  const char *filename, const struct selection *selection);

/* The times of a whole request: decode and preprocess are the work on its images, summed; inference
 * is the time in which at least one run that carried them was under way, queue the longest wait of
 * any image, batch_size the largest. */
struct reply_times {
    int64_t decode_ns, preprocess_ns, queue_ns, inference_ns;
    size_t batch_size;
};

struct reply_times reply_sum_times(const struct batch_image *images, size_t count);

/* "timing_ms":{...},"batch_size":n of a whole request: its reply_times. total_ns is the time since
 * the body was complete. */
void reply_timing_members(struct writer *w, const struct batch_image *images, size_t count,
                          int64_t total_ns);

/* The same times, and that of writing the answer, as the value of a Server-Timing header (W3C
 * Server Timing; milliseconds). */
#define REPLY_TIMING_BYTES 160 /* for times of any length */
void reply_server_timing(char out[REPLY_TIMING_BYTES], const struct batch_image *images,
                         size_t count, int64_t serialize_ns);

/* "excitations":[...] from one image's vector, [excitation_floats]; nothing for DETAIL_NONE. */
void reply_excitations_member(struct writer *w, const struct senet *model, const float *excitations,
                              const struct selection *selection);

/* "top_k":[...], of up to k classes. */
void reply_top_k(struct writer *w, const struct senet *model, const float *logits, size_t k);

/* "layer":3,"name":"layer2.0","paper_name":...,"channels":512: how a block is told of anywhere. */
void reply_block_members(struct writer *w, const struct senet *model, size_t index);

#endif
