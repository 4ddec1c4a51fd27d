/* photos.c - see photos.h. */
#include "photos.h"
#include "compare.h"
#include "metrics.h"
#include "monotonic.h"
#include "problem.h"
#include "reply.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of one gate in an answer, for reserving. */
#define GATE_BYTES 10

static enum error_code make_job(struct exchange *exchange, struct error *err)
{
    struct service *service = exchange->service;
    TRY(upload_parse(exchange->content_type, exchange->body.bytes, exchange->body.size,
                     service->config->max_images, &exchange->upload, err));
    TRY(batch_job_new(exchange->model->batch, exchange->upload.count, &exchange->job, err));
    for (size_t i = 0; i < exchange->upload.count; i++) {
        exchange->job->images[i].bytes = exchange->upload.images[i].bytes;
        exchange->job->images[i].size = exchange->upload.images[i].size;
    }
    return ERROR_NONE;
}

enum error_code photos_need_reference(const struct exchange *exchange, struct error *err)
{
    const struct model *model = exchange->model;
    if (model->reference != NULL)
        return ERROR_NONE;
    return error_set(err, model->no_reference.code, "%s", model->no_reference.message);
}

static enum error_code use_reference(struct exchange *exchange, struct error *err)
{
    if (!exchange->query.relative)
        return ERROR_NONE;
    TRY(photos_need_reference(exchange, err));
    exchange->query.selection.reference = exchange->model->reference;
    return ERROR_NONE;
}

/* Arrays, where the client asks for them by name or, without one, accepts nothing but bytes. */
static void choose_format(struct exchange *exchange)
{
    struct query *query = &exchange->query;
    if (!query->has_format && exchange->accept != NULL &&
        strncmp(exchange->accept, "application/octet-stream", 24) == 0)
        query->format = ARRAYS_NPY;
}

enum error_code photos_receive_classify(struct exchange *exchange, struct error *err)
{
    const struct senet *senet = exchange->model->senet;
    size_t classes = senet_info(senet)->classes, topk = exchange->service->config->topk;
    TRY(query_parse(exchange->pairs, exchange->pair_count,
                    QUERY_TOPK | QUERY_EXCITATIONS | QUERY_LAYERS | QUERY_RELATIVE | QUERY_FORMAT,
                    senet, topk < classes ? topk : classes, &exchange->query, err));
    TRY(use_reference(exchange, err));
    choose_format(exchange);
    return make_job(exchange, err);
}

enum error_code photos_select_layer(struct exchange *exchange, unsigned keys, struct error *err)
{
    struct query *query = &exchange->query;
    TRY(query_parse(exchange->pairs, exchange->pair_count, keys, exchange->model->senet, 0, query,
                    err));
    query->selection.detail = query->has_layer ? DETAIL_FULL : DETAIL_SUMMARY;
    TRY(use_reference(exchange, err));
    return query->has_layer ? query_select_layer(query, exchange->model->senet, err) : ERROR_NONE;
}

enum error_code photos_receive_se_weights(struct exchange *exchange, struct error *err)
{
    TRY(photos_select_layer(exchange, QUERY_LAYER | QUERY_RELATIVE | QUERY_FORMAT, err));
    choose_format(exchange);
    if (exchange->query.format != ARRAYS_NONE)
        exchange->query.selection.detail = DETAIL_FULL;
    return make_job(exchange, err);
}

enum error_code photos_receive_compare(struct exchange *exchange, struct error *err)
{
    const struct senet *senet = exchange->model->senet;
    size_t classes = senet_info(senet)->classes, topk = exchange->service->config->topk;
    TRY(query_parse(exchange->pairs, exchange->pair_count,
                    QUERY_TOPK | QUERY_LAYERS | QUERY_CHANNELS, senet,
                    topk < classes ? topk : classes, &exchange->query, err));
    exchange->query.selection.detail = DETAIL_NONE;
    TRY(make_job(exchange, err));
    if (exchange->job->count < 2 || exchange->job->count > COMPARE_MOST)
        return error_set(err, ERROR_USAGE, "%zu images to compare, expected 2 to %d",
                         exchange->job->count, COMPARE_MOST);
    return ERROR_NONE;
}

enum error_code photos_receive_explain(struct exchange *exchange, struct error *err)
{
    const struct model *model = exchange->model;
    size_t classes = senet_info(model->senet)->classes, topk = exchange->service->config->topk;
    struct query *query = &exchange->query;
    TRY(query_parse(exchange->pairs, exchange->pair_count,
                    QUERY_TOPK | QUERY_BLOCK | QUERY_MODE | QUERY_VALUE | QUERY_CHANNELS,
                    model->senet, topk < classes ? topk : classes, query, err));
    if (query->mode == MODE_MEAN || query->channels > 0)
        TRY(photos_need_reference(exchange, err));
    TRY(make_job(exchange, err));
    if (exchange->job->count != 1)
        return error_set(err, ERROR_USAGE, "%zu images to explain, expected one",
                         exchange->job->count);
    TRY(explain_new(model->senet, model->reference, query, &exchange->job->images[0],
                    &exchange->explain, err));
    if (atomic_fetch_add(&exchange->service->explanations, 1) < EXPLAIN_MOST)
        return ERROR_NONE;
    photos_end_explanation(exchange);
    return error_set(err, ERROR_OVERLOADED, "%d explanations are being made already", EXPLAIN_MOST);
}

void photos_end_explanation(struct exchange *exchange)
{
    if (exchange->explain == NULL)
        return;
    explain_free(exchange->explain);
    exchange->explain = NULL;
    atomic_fetch_sub(&exchange->service->explanations, 1);
}

void photos_count_attention(struct exchange *exchange, size_t index)
{
    const struct batch_image *image = &exchange->job->images[index];
    struct senet_top top;
    if (image->error.code != ERROR_NONE)
        return;
    senet_top_k(image->logits, senet_info(exchange->model->senet)->classes, 1, &top);
    attention_add(exchange->model->attention, exchange->id, index, top.index, image->excitations);
}

/* A job's counters and times. begin_ns: of writing its answer. */
static void count_job(struct exchange *exchange, int64_t begin_ns)
{
    const struct job *job = exchange->job;
    int64_t serialize_ns = monotonic_ns() - begin_ns;
    metrics_job(exchange->service->metrics, job, serialize_ns);
    reply_server_timing(exchange->timing, job->images, job->count, serialize_ns);
}

/* The members that end every JSON answer of a job. */
static unsigned finish_job(struct exchange *exchange, int64_t begin_ns)
{
    const struct job *job = exchange->job;
    reply_timing_members(&exchange->out, job->images, job->count,
                         monotonic_ns() - exchange->body_ns);
    writer_close(&exchange->out, '}');
    count_job(exchange, begin_ns);
    exchange->out_type = "application/json";
    return 200;
}

unsigned photos_answer_compare(struct exchange *exchange)
{
    const struct senet *senet = exchange->model->senet;
    const struct job *job = exchange->job;
    struct writer *out = &exchange->out;
    int64_t begin = monotonic_ns();
    size_t good = 0, bad = 0;
    for (size_t i = 0; i < job->count; i++) {
        good += job->images[i].error.code == ERROR_NONE;
        if (job->images[i].error.code != ERROR_NONE)
            bad = i;
    }
    if (good < 2) {
        struct error err = {0};
        error_set(&err, job->images[bad].error.code, "image %zu: %s", bad,
                  job->images[bad].error.message);
        return problem_answer(exchange, &err);
    }
    writer_open(out, '{');
    reply_model_member(out, senet_info(senet));
    writer_key(out, "images");
    writer_open(out, '[');
    for (size_t i = 0; i < job->count; i++) {
        photos_count_attention(exchange, i);
        reply_result(out, senet, &job->images[i], exchange->upload.images[i].filename,
                     &exchange->query.selection);
    }
    writer_close(out, ']');
    compare_members(out, senet, exchange->model->reference, job, &exchange->query);
    return finish_job(exchange, begin);
}

unsigned photos_answer_explain(struct exchange *exchange)
{
    const struct batch_image *image = &exchange->job->images[0];
    struct writer *out = &exchange->out;
    int64_t begin = monotonic_ns();
    if (image->error.code != ERROR_NONE)
        return problem_answer(exchange, &image->error);
    writer_open(out, '{');
    reply_model_member(out, senet_info(exchange->model->senet));
    writer_key_string(out, "filename", exchange->upload.images[0].filename);
    explain_members(out, exchange->explain, image);
    return finish_job(exchange, begin);
}

/* The same as arrays. These have no place for an error, so a bad image is the request's problem. */
static unsigned answer_arrays(struct exchange *exchange)
{
    const struct senet *senet = exchange->model->senet;
    const struct job *job = exchange->job;
    int64_t begin = monotonic_ns();
    struct error err = {0};
    const float **rows = calloc(2 * job->count, sizeof *rows);
    enum error_code code =
        rows == NULL ? error_set(&err, ERROR_MEMORY, "no memory for %zu images", job->count)
                     : ERROR_NONE;
    for (size_t i = 0; i < job->count && code == ERROR_NONE; i++) {
        const struct batch_image *image = &job->images[i];
        if (image->error.code != ERROR_NONE)
            code = error_set(&err, image->error.code, "image %zu: %s", i, image->error.message);
        rows[i] = image->excitations;
        rows[job->count + i] = image->logits;
    }
    if (code == ERROR_NONE)
        code =
            arrays_results(&exchange->out, exchange->query.format, senet,
                           &exchange->query.selection, job->count, rows, rows + job->count, &err);
    free(rows);
    if (code != ERROR_NONE)
        return problem_answer(exchange, &err);
    for (size_t i = 0; i < job->count; i++)
        photos_count_attention(exchange, i);
    count_job(exchange, begin);
    exchange->out_type = arrays_type(exchange->query.format);
    return 200;
}

unsigned photos_answer_results(struct exchange *exchange)
{
    const struct senet *senet = exchange->model->senet;
    const struct job *job = exchange->job;
    const struct selection *selection = &exchange->query.selection;
    struct writer *out = &exchange->out;
    int64_t begin = monotonic_ns();
    if (job->count == 1 && job->images[0].error.code != ERROR_NONE)
        return problem_answer(exchange, &job->images[0].error);
    if (exchange->query.format != ARRAYS_NONE)
        return answer_arrays(exchange);
    if (selection->detail == DETAIL_FULL && selection->blocks == NULL)
        writer_reserve(out, job->count * senet_info(senet)->excitation_floats * GATE_BYTES);
    writer_open(out, '{');
    reply_model_member(out, senet_info(senet));
    writer_key(out, "results");
    writer_open(out, '[');
    for (size_t i = 0; i < job->count; i++) {
        const struct batch_image *image = &job->images[i];
        photos_count_attention(exchange, i);
        reply_result(out, senet, image, exchange->upload.images[i].filename, selection);
    }
    writer_close(out, ']');
    return finish_job(exchange, begin);
}
