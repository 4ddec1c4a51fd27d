/* v2_infer.c - see v2_infer.h.
 *
 * The protocol knows no partial success: one bad image among several fails the request, whose
 * error names it.
 */
#include "v2_infer.h"
#include "metrics.h"
#include "monotonic.h"
#include "photos.h"
#include "problem.h"
#include "reply.h"
#include "v2_reply.h"
#include "v2_request.h"
#include "v2_stats.h"
#include "v2_tensor.h"

#include <math.h>
#include <stdlib.h>

#define MOST_TIMEOUT_US 86400000000 /* a day */

struct v2_infer {
    struct v2_request request;
    struct v2_tensor tensor;
};

/* The protocol's own way to say what the headers X-Request-Timeout-Ms and Priority say. */
static void set_limits(struct exchange *exchange, const struct v2_request *request)
{
    uint64_t us = request->timeout_us < MOST_TIMEOUT_US ? request->timeout_us : MOST_TIMEOUT_US;
    if (us > 0)
        exchange->deadline_ns = exchange->headers_ns + (int64_t)us * 1000;
    if (request->priority > 0)
        exchange->priority = request->priority == 1   ? PRIORITY_HIGH
                             : request->priority == 2 ? PRIORITY_NORMAL
                                                      : PRIORITY_LOW;
}

enum error_code v2_infer_receive(struct exchange *exchange, struct error *err)
{
    struct v2_model model;
    TRY(v2_model_find(exchange->path, exchange->model->senet, &model, err));
    struct v2_infer *infer = exchange->infer = calloc(1, sizeof *infer);
    if (infer == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    TRY(v2_request_parse(exchange->body.bytes, exchange->body.size, exchange->inference_length,
                         &model, exchange->service->config->max_images, &infer->request, err));
    set_limits(exchange, &infer->request);
    TRY(v2_tensor_split(&infer->request, &infer->tensor, &exchange->upload, err));
    TRY(batch_job_new(exchange->model->batch, exchange->upload.count, &exchange->job, err));
    for (size_t i = 0; i < exchange->upload.count; i++) {
        struct batch_image *image = &exchange->job->images[i];
        image->bytes = exchange->upload.images[i].bytes;
        image->size = exchange->upload.images[i].size;
        image->prepare = infer->tensor.prepare;
        image->context = &infer->tensor;
    }
    return ERROR_NONE;
}

/* What is wrong with an image's content is a bad request in this protocol. */
static enum error_code image_code(enum error_code code)
{
    return reply_status(code) == 415 || reply_status(code) == 422 ? ERROR_USAGE : code;
}

static bool all_finite(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

/* The first error of any image, with the image's place where there are several. */
static enum error_code check_images(const struct exchange *exchange, struct error *err)
{
    const struct senet_info *info = senet_info(exchange->model->senet);
    const struct job *job = exchange->job;
    for (size_t i = 0; i < job->count; i++) {
        const struct batch_image *image = &job->images[i];
        struct error own = image->error;
        /* Pixels cannot do that, but tensors hold what the client likes. */
        if (own.code == ERROR_NONE && image->prepare != NULL &&
            !(all_finite(image->logits, info->classes) &&
              all_finite(image->excitations, info->excitation_floats)))
            error_set(&own, ERROR_USAGE, "its values drive the network beyond what floats hold");
        if (own.code == ERROR_NONE)
            continue;
        if (job->count == 1)
            return error_set(err, image_code(own.code), "%s", own.message);
        return error_set(err, image_code(own.code), "image %zu: %s", i, own.message);
    }
    return ERROR_NONE;
}

unsigned v2_infer_answer(struct exchange *exchange)
{
    const struct v2_request *request = &exchange->infer->request;
    const struct job *job = exchange->job;
    struct service *service = exchange->service;
    struct error err = {0};
    int64_t begin = monotonic_ns();
    if (check_images(exchange, &err) != ERROR_NONE)
        return problem_answer(exchange, &err);
    for (size_t i = 0; i < job->count; i++)
        photos_count_attention(exchange, i);
    exchange->inference_bytes = v2_reply_write(&exchange->out, request, job);
    int64_t end = monotonic_ns();
    metrics_job(service->metrics, job, end - begin);
    v2_stats_success(service->v2_stats, &request->model, job, end - exchange->headers_ns,
                     end - begin);
    reply_server_timing(exchange->timing, job->images, job->count, end - begin);
    exchange->out_type =
        exchange->inference_bytes > 0 ? "application/octet-stream" : "application/json";
    return 200;
}

void v2_infer_release(struct exchange *exchange)
{
    if (exchange->infer != NULL)
        v2_request_free(&exchange->infer->request);
    free(exchange->infer);
    exchange->infer = NULL;
}
