/* routes.c - see routes.h. */
#include "routes.h"
#include "compare.h"
#include "describe.h"
#include "log.h"
#include "metrics.h"
#include "monotonic.h"
#include "reply.h"
#include "statistics.h"
#include "v2.h"
#include "v2_infer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char json_type[] = "application/json";
static const char problem_type[] = "application/problem+json";

/* Bytes of one gate in an answer, for reserving. */
#define GATE_BYTES 9

unsigned routes_problem_as(struct exchange *exchange, unsigned status, const char *name,
                           const char *detail)
{
    writer_free(&exchange->out);
    if (v2_owns(exchange->path)) {
        v2_error(exchange, detail);
        return status;
    }
    exchange->out_type = problem_type;
    reply_problem(&exchange->out, status, name, detail, exchange->id);
    return status;
}

unsigned routes_problem(struct exchange *exchange, const struct error *err)
{
    unsigned status = reply_status(err->code);
    if (status == 503) {
        const struct model *model = exchange->model;
        exchange->retry_after = model != NULL ? batch_retry_after(model->batch) : 1;
    }
    if (status == 503 || status == 504)
        metrics_rejected(exchange->service->metrics, error_name(err->code));
    if (status == 500)
        log_error(error_name(err->code), "%s", err->message);
    else if (status > 500 && err->code != ERROR_LOADING)
        log_warn(error_name(err->code), "%s", err->message);
    return routes_problem_as(exchange, status, error_name(err->code), err->message);
}

/* Ends a handler that wrote a document. */
static unsigned ok(struct exchange *exchange)
{
    exchange->out_type = json_type;
    return 200;
}

/* For routes without options. */
static enum error_code no_query(const struct exchange *exchange, struct error *err)
{
    struct query query;
    enum error_code code =
        query_parse(exchange->pairs, exchange->pair_count, 0, NULL, 0, &query, err);
    query_free(&query);
    return code;
}

/* ---- images ---------------------------------------------------------------------------------- */

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

/* The model's reference, where it has to be there. */
static enum error_code need_reference(const struct exchange *exchange, struct error *err)
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
    TRY(need_reference(exchange, err));
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

static enum error_code receive_classify(struct exchange *exchange, struct error *err)
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

/* One layer in full, or all in short; no classes. */
static enum error_code select_layer(struct exchange *exchange, unsigned keys, struct error *err)
{
    struct query *query = &exchange->query;
    TRY(query_parse(exchange->pairs, exchange->pair_count, keys, exchange->model->senet, 0, query,
                    err));
    query->selection.detail = query->has_layer ? DETAIL_FULL : DETAIL_SUMMARY;
    TRY(use_reference(exchange, err));
    return query->has_layer ? query_select_layer(query, exchange->model->senet, err) : ERROR_NONE;
}

static enum error_code receive_se_weights(struct exchange *exchange, struct error *err)
{
    TRY(select_layer(exchange, QUERY_LAYER | QUERY_RELATIVE | QUERY_FORMAT, err));
    choose_format(exchange);
    if (exchange->query.format != ARRAYS_NONE)
        exchange->query.selection.detail = DETAIL_FULL;
    return make_job(exchange, err);
}

static enum error_code receive_compare(struct exchange *exchange, struct error *err)
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

static enum error_code receive_explain(struct exchange *exchange, struct error *err)
{
    const struct model *model = exchange->model;
    size_t classes = senet_info(model->senet)->classes, topk = exchange->service->config->topk;
    struct query *query = &exchange->query;
    TRY(query_parse(exchange->pairs, exchange->pair_count,
                    QUERY_TOPK | QUERY_BLOCK | QUERY_MODE | QUERY_VALUE | QUERY_CHANNELS,
                    model->senet, topk < classes ? topk : classes, query, err));
    if (query->mode == MODE_MEAN || query->channels > 0)
        TRY(need_reference(exchange, err));
    TRY(make_job(exchange, err));
    if (exchange->job->count != 1)
        return error_set(err, ERROR_USAGE, "%zu images to explain, expected one",
                         exchange->job->count);
    return explain_new(model->senet, model->reference, query, &exchange->job->images[0],
                       &exchange->explain, err);
}

/* Into the memory of excitations. */
void routes_count_attention(struct exchange *exchange, size_t index)
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
    metrics_job(exchange->service->metrics, exchange->model->senet, job, serialize_ns);
    reply_server_timing(exchange->timing, sizeof exchange->timing, job->images, job->count,
                        serialize_ns);
}

/* The members that end every JSON answer of a job. */
static unsigned finish_job(struct exchange *exchange, int64_t begin_ns)
{
    const struct job *job = exchange->job;
    reply_timing_members(&exchange->out, job->images, job->count,
                         monotonic_ns() - exchange->body_ns);
    writer_close(&exchange->out, '}');
    count_job(exchange, begin_ns);
    return ok(exchange);
}

static unsigned answer_compare(struct exchange *exchange)
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
    if (good < 2)
        return routes_problem(exchange, &job->images[bad].error);
    writer_open(out, '{');
    reply_model_member(out, senet_info(senet));
    writer_key(out, "images");
    writer_open(out, '[');
    for (size_t i = 0; i < job->count; i++) {
        routes_count_attention(exchange, i);
        reply_result(out, senet, &job->images[i], exchange->upload.images[i].filename,
                     &exchange->query.selection);
    }
    writer_close(out, ']');
    compare_members(out, senet, exchange->model->reference, job, &exchange->query);
    return finish_job(exchange, begin);
}

static unsigned answer_explain(struct exchange *exchange)
{
    const struct batch_image *image = &exchange->job->images[0];
    struct writer *out = &exchange->out;
    int64_t begin = monotonic_ns();
    if (image->error.code != ERROR_NONE)
        return routes_problem(exchange, &image->error);
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
        return routes_problem(exchange, &err);
    for (size_t i = 0; i < job->count; i++)
        routes_count_attention(exchange, i);
    count_job(exchange, begin);
    exchange->out_type = arrays_type(exchange->query.format);
    return 200;
}

/* The results of a finished job: a lone bad image is the request's problem, others are told of in
 * their place. */
static unsigned answer_results(struct exchange *exchange)
{
    const struct senet *senet = exchange->model->senet;
    const struct job *job = exchange->job;
    const struct selection *selection = &exchange->query.selection;
    struct writer *out = &exchange->out;
    int64_t begin = monotonic_ns();
    if (job->count == 1 && job->images[0].error.code != ERROR_NONE)
        return routes_problem(exchange, &job->images[0].error);
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
        routes_count_attention(exchange, i);
        reply_result(out, senet, image, exchange->upload.images[i].filename, selection);
    }
    writer_close(out, ']');
    return finish_job(exchange, begin);
}

void routes_release(struct exchange *exchange)
{
    explain_free(exchange->explain);
    exchange->explain = NULL;
    batch_job_free(exchange->job);
    exchange->job = NULL;
    v2_infer_release(exchange);
    upload_free(&exchange->upload);
    query_free(&exchange->query);
}

/* ---- documents ------------------------------------------------------------------------------- */

/* A class's statistics are told of one layer, and nothing else; arrays, of one request. */
static enum error_code check_class(const struct query *query, struct error *err)
{
    if (query->format != ARRAYS_NONE && query->id == NULL)
        return error_set(err, ERROR_USAGE, "format needs id here: statistics are told as JSON");
    if (!query->has_class || (query->has_layer && query->id == NULL && !query->relative))
        return ERROR_NONE;
    return error_set(err, ERROR_USAGE, "class needs layer, and goes with neither id nor relative");
}

static unsigned get_se_weights(struct exchange *exchange)
{
    const struct senet *senet = exchange->model->senet;
    struct attention *attention = exchange->model->attention;
    const struct query *query = &exchange->query;
    struct error err = {0};
    const struct reference *reference;
    if (select_layer(exchange, QUERY_LAYER | QUERY_ID | QUERY_CLASS | QUERY_RELATIVE | QUERY_FORMAT,
                     &err) != ERROR_NONE ||
        check_class(query, &err) != ERROR_NONE)
        return routes_problem(exchange, &err);
    reference = query->selection.reference;
    if (query->has_class) {
        if (statistics_class(&exchange->out, senet, attention, query->layer, query->class, &err) !=
            ERROR_NONE)
            return routes_problem(exchange, &err);
    } else if (query->id != NULL && query->format != ARRAYS_NONE) {
        exchange->query.selection.detail = DETAIL_FULL;
        if (statistics_request_arrays(&exchange->out, senet, attention, query->id, query->format,
                                      &query->selection, &err) != ERROR_NONE)
            return routes_problem(exchange, &err);
        exchange->out_type = arrays_type(query->format);
        return 200;
    } else if (query->id != NULL) {
        if (statistics_request(&exchange->out, senet, attention, query->id, &query->selection,
                               &err) != ERROR_NONE)
            return routes_problem(exchange, &err);
    } else if (query->has_layer) {
        statistics_layer(&exchange->out, senet, attention, reference, query->layer);
    } else {
        statistics_all(&exchange->out, senet, attention, reference);
    }
    return ok(exchange);
}

static unsigned get_reference(struct exchange *exchange)
{
    const struct query *query = &exchange->query;
    struct error err = {0};
    if (select_layer(exchange, QUERY_LAYER, &err) != ERROR_NONE ||
        need_reference(exchange, &err) != ERROR_NONE ||
        statistics_reference(&exchange->out, exchange->model->senet, exchange->model->reference,
                             query->has_layer ? &query->layer : NULL, &err) != ERROR_NONE)
        return routes_problem(exchange, &err);
    return ok(exchange);
}

static unsigned get_model(struct exchange *exchange)
{
    struct error err = {0};
    if (no_query(exchange, &err) != ERROR_NONE)
        return routes_problem(exchange, &err);
    describe_model(&exchange->out, exchange->model->senet);
    return ok(exchange);
}

static unsigned get_version(struct exchange *exchange)
{
    struct error err = {0};
    if (no_query(exchange, &err) != ERROR_NONE)
        return routes_problem(exchange, &err);
    if (exchange_acquire_model(exchange, &err) != ERROR_NONE)
        describe_version(&exchange->out, NULL);
    else
        describe_version(&exchange->out, exchange->model->senet);
    return ok(exchange);
}

static unsigned get_metrics(struct exchange *exchange)
{
    metrics_write(exchange->service->metrics, exchange->service, &exchange->out);
    exchange->out_type = "text/plain; version=0.0.4; charset=utf-8";
    return 200;
}

static unsigned write_status(struct exchange *exchange, const char *status)
{
    writer_open(&exchange->out, '{');
    writer_key_string(&exchange->out, "status", status);
    writer_close(&exchange->out, '}');
    return ok(exchange);
}

/* Probes may carry whatever query they like. */
static unsigned get_healthz(struct exchange *exchange)
{
    return write_status(exchange, "alive");
}

static unsigned get_readyz(struct exchange *exchange)
{
    struct error err = {0};
    switch (service_state(exchange->service)) {
    case SERVICE_READY:
        return write_status(exchange, "ready");
    case SERVICE_LOADING:
        error_set(&err, ERROR_LOADING, "the model is being loaded");
        break;
    case SERVICE_DRAINING:
        error_set(&err, ERROR_DRAINING, "the server is shutting down");
        break;
    }
    return routes_problem(exchange, &err);
}

/* On the admin listener: loads the model anew and answers when it serves or did not come up. */
static unsigned post_load(struct exchange *exchange)
{
    static const char prefix[] = "/v2/repository/models/";
    struct service *service = exchange->service;
    struct error err = {0};
    const char *wanted = exchange->path + sizeof prefix - 1;
    size_t size = strcspn(wanted, "/");
    const char *name = senet_info(exchange->model->senet)->name;
    if (strlen(name) != size || memcmp(name, wanted, size) != 0)
        error_set(&err, ERROR_NOT_FOUND, "no model '%.*s'; the one here is '%s'", (int)size, wanted,
                  name);
    exchange_release_model(exchange); /* or it could not be freed */
    if (err.code != ERROR_NONE || no_query(exchange, &err) != ERROR_NONE ||
        models_load(service->models, &err) != ERROR_NONE ||
        exchange_acquire_model(exchange, &err) != ERROR_NONE)
        return routes_problem(exchange, &err);
    writer_open(&exchange->out, '{');
    reply_model_member(&exchange->out, senet_info(exchange->model->senet));
    writer_close(&exchange->out, '}');
    return ok(exchange);
}

static unsigned get_index(struct exchange *exchange);

/* ---- the table ------------------------------------------------------------------------------- */

static const struct route routes[] = {
    {"/", METHOD_GET, false, NULL, get_index, "this list"},
    {"/classify", METHOD_POST | METHOD_PUT, true, receive_classify, answer_results,
     "classes and excitations of images; query: topk, excitations=full|summary|none, layers, "
     "relative, format"},
    {"/explain", METHOD_POST | METHOD_PUT, true, receive_explain, answer_explain,
     "what each block's attention is worth for an image; query: block, mode=identity|mean|zero or "
     "value, channels, topk"},
    {"/compare", METHOD_POST | METHOD_PUT, true, receive_compare, answer_compare,
     "where the excitations of two or more images differ; query: layers, channels, topk"},
    {"/se-weights", METHOD_GET, true, NULL, get_se_weights,
     "excitations of the images served so far; query: layer, id, class, relative, "
     "format"},
    {"/se-weights", METHOD_POST | METHOD_PUT, true, receive_se_weights, answer_results,
     "excitations of images; query: layer, relative, format"},
    {"/reference", METHOD_GET, true, NULL, get_reference,
     "excitations of the model on ordinary photos; query: layer"},
    {"/model", METHOD_GET, true, NULL, get_model, "facts of the model"},
    {"/healthz", METHOD_GET, false, NULL, get_healthz, "200 while the process lives"},
    {"/readyz", METHOD_GET, false, NULL, get_readyz, "200 once the model is loaded and warm"},
    {"/metrics", METHOD_GET, false, NULL, get_metrics, "counters in Prometheus' text format"},
    {"/v2/repository/models/{m}/load", METHOD_POST | METHOD_ADMIN, true, NULL, post_load,
     "loads the model's weights anew"},
    {"/version", METHOD_GET, false, NULL, get_version, "program, compiler, kernels"},
};
#define ROUTE_COUNT (sizeof routes / sizeof routes[0])

/* The routes of this table and then those of the protocol V2; NULL behind the last. */
static const struct route *route_at(size_t index)
{
    return index < ROUTE_COUNT ? &routes[index] : v2_route(index - ROUTE_COUNT);
}

static const struct {
    enum method method;
    const char *name;
} methods[] = {
    {METHOD_GET, "GET"}, {METHOD_HEAD, "HEAD"},       {METHOD_POST, "POST"},
    {METHOD_PUT, "PUT"}, {METHOD_OPTIONS, "OPTIONS"},
};
#define METHOD_COUNT (sizeof methods / sizeof methods[0])

static unsigned with_implied(unsigned set)
{
    return set | METHOD_OPTIONS | (set & METHOD_GET ? METHOD_HEAD : 0);
}

static unsigned get_index(struct exchange *exchange)
{
    struct error err = {0};
    struct writer *out = &exchange->out;
    size_t count = 0;
    if (no_query(exchange, &err) != ERROR_NONE)
        return routes_problem(exchange, &err);
    writer_open(out, '{');
    writer_key_string(out, "name", "senetd");
    writer_key_string(out, "version", SENETD_VERSION);
    writer_key(out, "routes");
    writer_open(out, '[');
    for (const struct route *route; (route = route_at(count)) != NULL; count++) {
        writer_open(out, '{');
        writer_key_string(out, "path", route->path);
        writer_key(out, "methods");
        writer_open(out, '[');
        for (size_t j = 0; j < METHOD_COUNT; j++)
            if (with_implied(route->methods) & methods[j].method)
                writer_string(out, methods[j].name);
        writer_close(out, ']');
        writer_key_string(out, "what", route->what);
        writer_close(out, '}');
    }
    writer_close(out, ']');
    writer_close(out, '}');
    return ok(exchange);
}

/* "{m}" in the pattern stands for one segment that is not empty. */
static bool matches(const char *pattern, const char *path)
{
    for (; *pattern != '\0'; pattern++) {
        if (*pattern != '{') {
            if (*path++ != *pattern)
                return false;
            continue;
        }
        size_t size = strcspn(path, "/");
        if (size == 0)
            return false;
        path += size;
        pattern = strchr(pattern, '}');
    }
    return *path == '\0';
}

static bool is_hidden(const struct route *route, bool admin)
{
    return (route->methods & METHOD_ADMIN) && !admin;
}

const struct route *routes_find(const char *path, unsigned method, bool admin, bool *path_known)
{
    *path_known = false;
    const struct route *route;
    for (size_t i = 0; (route = route_at(i)) != NULL; i++) {
        if (is_hidden(route, admin) || !matches(route->path, path))
            continue;
        *path_known = true;
        if (with_implied(route->methods) & method)
            return route;
    }
    return NULL;
}

const char *routes_name(const char *path)
{
    const struct route *route;
    for (size_t i = 0; (route = route_at(i)) != NULL; i++)
        if (matches(route->path, path))
            return route->path;
    return "other";
}

const char *routes_method_name(unsigned method)
{
    for (size_t i = 0; i < METHOD_COUNT; i++)
        if (methods[i].method == method)
            return methods[i].name;
    return "other";
}

void routes_allow(const char *path, bool admin, char out[ROUTES_ALLOW_BYTES])
{
    unsigned set = 0;
    const struct route *route;
    for (size_t i = 0; (route = route_at(i)) != NULL; i++)
        if (!is_hidden(route, admin) && (strcmp(path, "*") == 0 || matches(route->path, path)))
            set |= with_implied(route->methods);
    size_t size = 0;
    out[0] = '\0';
    for (size_t j = 0; j < METHOD_COUNT; j++)
        if (set & methods[j].method)
            size += (size_t)snprintf(out + size, ROUTES_ALLOW_BYTES - size, "%s%s",
                                     size > 0 ? ", " : "", methods[j].name);
}
