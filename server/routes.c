/* routes.c - see routes.h. */
#include "routes.h"
#include "describe.h"
#include "metrics.h"
#include "openapi.h"
#include "page.h"
#include "photos.h"
#include "problem.h"
#include "statistics.h"
#include "v2.h"
#include "v2_infer.h"

#include <stdio.h>
#include <string.h>

static const char json_type[] = "application/json";

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

void routes_release(struct exchange *exchange)
{
    photos_end_explanation(exchange);
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
    if (!query->has_class || (query->has_layer && query->id == NULL))
        return ERROR_NONE;
    return error_set(err, ERROR_USAGE, "class needs layer, and does not go with id");
}

static unsigned get_se_weights(struct exchange *exchange)
{
    const struct senet *senet = exchange->model->senet;
    struct attention *attention = exchange->model->attention;
    const struct query *query = &exchange->query;
    struct error err = {0};
    const struct reference *reference;
    if (photos_select_layer(exchange,
                            QUERY_LAYER | QUERY_ID | QUERY_CLASS | QUERY_RELATIVE | QUERY_FORMAT,
                            &err) != ERROR_NONE ||
        check_class(query, &err) != ERROR_NONE)
        return problem_answer(exchange, &err);
    reference = query->selection.reference;
    if (query->has_class) {
        if (statistics_class(&exchange->out, senet, attention, reference, query->layer,
                             query->class, &err) != ERROR_NONE)
            return problem_answer(exchange, &err);
    } else if (query->id != NULL && query->format != ARRAYS_NONE) {
        exchange->query.selection.detail = DETAIL_FULL;
        if (statistics_request_arrays(&exchange->out, senet, attention, query->id, query->format,
                                      &query->selection, &err) != ERROR_NONE)
            return problem_answer(exchange, &err);
        exchange->out_type = arrays_type(query->format);
        return 200;
    } else if (query->id != NULL) {
        if (statistics_request(&exchange->out, senet, attention, query->id, &query->selection,
                               &err) != ERROR_NONE)
            return problem_answer(exchange, &err);
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
    if (photos_select_layer(exchange, QUERY_LAYER, &err) != ERROR_NONE ||
        photos_need_reference(exchange, &err) != ERROR_NONE ||
        statistics_reference(&exchange->out, exchange->model->senet, exchange->model->reference,
                             query->has_layer ? &query->layer : NULL, &err) != ERROR_NONE)
        return problem_answer(exchange, &err);
    return ok(exchange);
}

static unsigned get_model(struct exchange *exchange)
{
    struct error err = {0};
    if (no_query(exchange, &err) != ERROR_NONE)
        return problem_answer(exchange, &err);
    describe_model(&exchange->out, exchange->model->senet);
    return ok(exchange);
}

static unsigned get_version(struct exchange *exchange)
{
    struct error err = {0};
    if (no_query(exchange, &err) != ERROR_NONE)
        return problem_answer(exchange, &err);
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
    case SERVICE_UNLOADED:
        exchange_no_model(exchange, &err);
        break;
    case SERVICE_DRAINING:
        error_set(&err, ERROR_DRAINING, "the server is shutting down");
        break;
    }
    return problem_answer(exchange, &err);
}

static unsigned get_root(struct exchange *exchange);

/* ---- the table ------------------------------------------------------------------------------- */

static const struct route routes[] = {
    {"/", METHOD_GET, false, NULL, get_root, "the page; as application/json this list"},
    {"/classify", METHOD_POST | METHOD_PUT, true, photos_receive_classify, photos_answer_results,
     "classes and excitations of images; query: topk, excitations=full|summary|none, layers, "
     "relative, format"},
    {"/explain", METHOD_POST | METHOD_PUT, true, photos_receive_explain, photos_answer_explain,
     "what each block's attention is worth for an image; query: block, mode=identity|mean|zero or "
     "value, channels, topk"},
    {"/compare", METHOD_POST | METHOD_PUT, true, photos_receive_compare, photos_answer_compare,
     "where the excitations of two or more images differ; query: layers, channels, topk"},
    {"/se-weights", METHOD_GET, true, NULL, get_se_weights,
     "excitations of the images served so far; query: layer, id, class, relative, "
     "format"},
    {"/se-weights", METHOD_POST | METHOD_PUT, true, photos_receive_se_weights,
     photos_answer_results, "excitations of images; query: layer, relative, format"},
    {"/reference", METHOD_GET, true, NULL, get_reference,
     "excitations of the model on ordinary photos; query: layer"},
    {"/model", METHOD_GET, true, NULL, get_model, "facts of the model"},
    {"/healthz", METHOD_GET, false, NULL, get_healthz, "200 while the process lives"},
    {"/readyz", METHOD_GET, false, NULL, get_readyz, "200 once the model is loaded and warm"},
    {"/metrics", METHOD_GET, false, NULL, get_metrics, "counters in Prometheus' text format"},
    {"/openapi.json", METHOD_GET, false, NULL, openapi_answer, "OpenAPI description of all this"},
    {"/version", METHOD_GET, false, NULL, get_version, "program, compiler, kernels"},
/* Last, and "/" a second time, which the row above hides. */
#define PAGE_ROUTE(symbol, path, file, type) {path, METHOD_GET, false, NULL, page_answer, NULL},
    PAGE_FILES(PAGE_ROUTE)
#undef PAGE_ROUTE
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
        return problem_answer(exchange, &err);
    writer_open(out, '{');
    writer_key_string(out, "name", "senetd");
    writer_key_string(out, "version", SENETD_VERSION);
    writer_key(out, "routes");
    writer_open(out, '[');
    for (const struct route *route; (route = route_at(count)) != NULL; count++) {
        if (route->what == NULL)
            continue;
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

static unsigned get_root(struct exchange *exchange)
{
    return page_declined(exchange->accept) ? get_index(exchange) : page_answer(exchange);
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

bool routes_takes_body(const struct route *route)
{
    return route->receive != NULL || (route->methods & METHOD_BODY);
}

const char *routes_name(const char *path)
{
    const struct route *route;
    for (size_t i = 0; (route = route_at(i)) != NULL; i++)
        if (matches(route->path, path))
            return route->what != NULL ? route->path : "/ui/";
    return "other";
}

const char *routes_method_name(unsigned method)
{
    for (size_t i = 0; i < METHOD_COUNT; i++)
        if (methods[i].method == method)
            return methods[i].name;
    return "other";
}

bool routes_is_probe(const char *path)
{
    static const char *const probes[] = {"/healthz", "/readyz", "/v2/health/live",
                                         "/v2/health/ready"};
    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++)
        if (strcmp(path, probes[i]) == 0)
            return true;
    return false;
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
