/* v2.c - see v2.h. */
#include "v2.h"
#include "problem.h"
#include "v2_infer.h"
#include "v2_meta.h"
#include "v2_model.h"
#include "v2_repository.h"
#include "v2_stats.h"

static const char json_type[] = "application/json";

static unsigned ok(struct exchange *exchange)
{
    exchange->out_type = json_type;
    return 200;
}

/* ---- health ---------------------------------------------------------------------------------- */

/* Probes by status alone and readers of the member "ready" are both served; not ready is an error,
 * which has its text. name is the model's, or NULL for the server. */
static unsigned write_ready(struct exchange *exchange, const char *name)
{
    enum service_state state = service_state(exchange->service);
    struct writer *out = &exchange->out;
    writer_open(out, '{');
    if (name != NULL)
        writer_key_string(out, "name", name);
    writer_key(out, "ready");
    writer_bool(out, state == SERVICE_READY);
    if (state != SERVICE_READY)
        writer_key_string(out, "error",
                          state == SERVICE_LOADING    ? "the model is being loaded"
                          : state == SERVICE_UNLOADED ? "the model is unloaded"
                                                      : "the server is shutting down");
    writer_close(out, '}');
    exchange->out_type = json_type;
    return state == SERVICE_READY ? 200 : 503;
}

static unsigned get_live(struct exchange *exchange)
{
    writer_open(&exchange->out, '{');
    writer_key(&exchange->out, "live");
    writer_bool(&exchange->out, true);
    writer_close(&exchange->out, '}');
    return ok(exchange);
}

static unsigned get_ready(struct exchange *exchange)
{
    return write_ready(exchange, NULL);
}

/* ---- documents ------------------------------------------------------------------------------- */

static unsigned get_server(struct exchange *exchange)
{
    v2_meta_server(&exchange->out);
    return ok(exchange);
}

static unsigned get_models(struct exchange *exchange)
{
    v2_meta_models(&exchange->out, exchange->model->senet);
    return ok(exchange);
}

/* The model of the path; false where the exchange became an error under *status. */
static bool find(struct exchange *exchange, struct v2_model *out, unsigned *status)
{
    struct error err = {0};
    if (v2_model_find(exchange->path, exchange->model->senet, out, &err) == ERROR_NONE)
        return true;
    *status = problem_answer(exchange, &err);
    return false;
}

static unsigned get_model(struct exchange *exchange)
{
    struct v2_model model;
    unsigned status;
    if (!find(exchange, &model, &status))
        return status;
    v2_meta_model(&exchange->out, &model);
    return ok(exchange);
}

static unsigned get_model_ready(struct exchange *exchange)
{
    char name[V2_MODEL_NAME_BYTES];
    struct v2_model model;
    unsigned status;
    if (!find(exchange, &model, &status))
        return status;
    v2_model_name(&model, name);
    return write_ready(exchange, name);
}

static unsigned get_config(struct exchange *exchange)
{
    struct batch_gauges gauges;
    struct v2_model model;
    unsigned status;
    if (!find(exchange, &model, &status))
        return status;
    batch_read_gauges(exchange->model->batch, &gauges);
    v2_meta_config(&exchange->out, &model, exchange->service->config, gauges.workers);
    return ok(exchange);
}

static unsigned write_stats(struct exchange *exchange, const struct v2_model *models, size_t count)
{
    writer_open(&exchange->out, '{');
    writer_key(&exchange->out, "model_stats");
    writer_open(&exchange->out, '[');
    for (size_t i = 0; i < count; i++)
        v2_stats_write(exchange->service->v2_stats, &models[i], &exchange->out);
    writer_close(&exchange->out, ']');
    writer_close(&exchange->out, '}');
    return ok(exchange);
}

static unsigned get_stats(struct exchange *exchange)
{
    struct v2_model model;
    unsigned status;
    return find(exchange, &model, &status) ? write_stats(exchange, &model, 1) : status;
}

static unsigned get_all_stats(struct exchange *exchange)
{
    const struct senet *senet = exchange->model->senet;
    struct v2_model models[V2_MODEL_MOST];
    for (size_t i = 0; i < v2_model_count(senet); i++)
        models[i] = v2_model_at(senet, i);
    return write_stats(exchange, models, v2_model_count(senet));
}

/* ---- the table ------------------------------------------------------------------------------- */

#define MODEL     "/v2/models/{model}"
#define VERSION   MODEL "/versions/{version}"
#define VERSIONED "the same of a version"
#define LOAD      "/v2/repository/models/{model}/load"
#define UNLOAD    "/v2/repository/models/{model}/unload"

static const struct route routes[] = {
    {"/v2", METHOD_GET, false, NULL, get_server, "Open Inference Protocol: the server"},
    {"/v2/", METHOD_GET, false, NULL, get_server, "the same"},
    {"/v2/health/live", METHOD_GET, false, NULL, get_live, "200 while the process lives"},
    {"/v2/health/ready", METHOD_GET, false, NULL, get_ready, "200 once the model serves"},
    {"/v2/models", METHOD_GET, true, NULL, get_models, "names of the models"},
    {"/v2/models/stats", METHOD_GET, true, NULL, get_all_stats, "statistics of all models"},
    {MODEL, METHOD_GET, true, NULL, get_model, "inputs and outputs of a model"},
    {VERSION, METHOD_GET, true, NULL, get_model, VERSIONED},
    {MODEL "/ready", METHOD_GET, true, NULL, get_model_ready, "200 once the model serves"},
    {VERSION "/ready", METHOD_GET, true, NULL, get_model_ready, VERSIONED},
    {MODEL "/config", METHOD_GET, true, NULL, get_config, "Triton's configuration of a model"},
    {VERSION "/config", METHOD_GET, true, NULL, get_config, VERSIONED},
    {MODEL "/stats", METHOD_GET, true, NULL, get_stats, "statistics of a model"},
    {VERSION "/stats", METHOD_GET, true, NULL, get_stats, VERSIONED},
    {MODEL "/infer", METHOD_POST, true, v2_infer_receive, v2_infer_answer,
     "inference on tensors or encoded images"},
    {VERSION "/infer", METHOD_POST, true, v2_infer_receive, v2_infer_answer, VERSIONED},
    {"/v2/repository/index", METHOD_POST | METHOD_BODY, false, NULL, v2_repository_index,
     "state of the models"},
    /* The first that fits counts: on the public listener those of the admin's are not seen. */
    {LOAD, METHOD_POST | METHOD_BODY | METHOD_ADMIN, false, NULL, v2_repository_load,
     "loads the model's weights anew; on the admin address"},
    {UNLOAD, METHOD_POST | METHOD_BODY | METHOD_ADMIN, false, NULL, v2_repository_unload,
     "takes the model out of service; on the admin address"},
    {LOAD, METHOD_POST, false, NULL, v2_repository_refuse, "403: the admin address's"},
    {UNLOAD, METHOD_POST, false, NULL, v2_repository_refuse, "403: the admin address's"},
};

const struct route *v2_route(size_t index)
{
    return index < sizeof routes / sizeof routes[0] ? &routes[index] : NULL;
}
