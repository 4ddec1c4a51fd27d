/* problem.c - see problem.h. */
#include "problem.h"
#include "log.h"
#include "metrics.h"
#include "monotonic.h"
#include "reply.h"
#include "route.h"
#include "v2_model.h"
#include "v2_stats.h"

#include <string.h>

static bool is_v2(const char *path)
{
    return strncmp(path, "/v2", 3) == 0 && (path[3] == '\0' || path[3] == '/');
}

/* An inference is what takes a job there; its failure is counted where its model is known. */
static void write_v2(struct exchange *exchange, const char *message)
{
    struct v2_model model;
    const struct route *route = exchange->route;
    if (route != NULL && route->receive != NULL && exchange->model != NULL &&
        v2_model_find(exchange->path, exchange->model->senet, &model, NULL) == ERROR_NONE)
        v2_stats_failure(exchange->service->v2_stats, &model,
                         monotonic_ns() - exchange->headers_ns);
    exchange->out_type = "application/json";
    writer_open(&exchange->out, '{');
    writer_key_string(&exchange->out, "error", message);
    writer_close(&exchange->out, '}');
}

unsigned problem_answer_as(struct exchange *exchange, unsigned status, const char *name,
                           const char *detail)
{
    writer_free(&exchange->out);
    if (is_v2(exchange->path)) {
        write_v2(exchange, detail);
        return status;
    }
    exchange->out_type = "application/problem+json";
    reply_problem(&exchange->out, status, name, detail, exchange->id);
    return status;
}

unsigned problem_answer(struct exchange *exchange, const struct error *err)
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
    return problem_answer_as(exchange, status, error_name(err->code), err->message);
}
