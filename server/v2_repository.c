/* v2_repository.c - see v2_repository.h.
 *
 * Clients of Triton send a body with parameters, others none. Those that would change how the model
 * is loaded are refused and not ignored: the model would not be what the client thinks it is.
 */
#include "v2_repository.h"
#include "json_pool.h"
#include "problem.h"
#include "reply.h"
#include "v2_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX       "/v2/repository/models/"
#define SUFFIX       "_se"
#define MOST_BODY    ((size_t)64 << 10)
#define UNLOAD_VIEWS "unload_dependents"

static unsigned ok(struct exchange *exchange)
{
    exchange->out_type = "application/json";
    return 200;
}

/* ---- the body -------------------------------------------------------------------------------- */

/* *root: the body, NULL where it is empty; it lives in *memory, which the caller frees. */
static enum error_code read_body(const struct exchange *exchange, const json_t **root,
                                 void **memory, struct error *err)
{
    const struct body *body = &exchange->body;
    *root = NULL;
    *memory = NULL;
    if (body->size == 0)
        return ERROR_NONE;
    if (body->size > MOST_BODY)
        return error_set(err, ERROR_TOO_LARGE, "the request has more than %zu bytes of JSON",
                         MOST_BODY);
    TRY(json_pool_parse("the request", (const char *)body->bytes, body->size, ERROR_USAGE, root,
                        memory, err));
    return json_is_object(*root) ? ERROR_NONE
                                 : error_set(err, ERROR_USAGE, "the request is not a JSON object");
}

/* Refuses parameters but the one that may be there; NULL for none. */
static enum error_code check_parameters(const struct exchange *exchange, const char *allowed,
                                        struct error *err)
{
    const json_t *root;
    json_t *value;
    const char *name;
    void *memory;
    enum error_code code = read_body(exchange, &root, &memory, err);
    json_t *parameters = code == ERROR_NONE ? json_object_get(root, "parameters") : NULL;
    if (parameters != NULL && !json_is_object(parameters))
        code = error_set(err, ERROR_USAGE, "\"parameters\" is not an object");
    json_object_foreach(parameters, name, value)
    {
        if (allowed == NULL || strcmp(name, allowed) != 0)
            code = error_set(err, ERROR_USAGE,
                             "parameter \"%.64s\" is not supported; the model is loaded from "
                             "--weights as it is there",
                             name);
        else if (!json_is_boolean(value))
            code = error_set(err, ERROR_USAGE, "parameter \"%s\" is not true or false", name);
    }
    free(memory);
    return code;
}

/* ---- the index ------------------------------------------------------------------------------- */

static void write_row(struct writer *w, const struct models_last *last, bool excitations,
                      enum service_state state)
{
    char name[V2_MODEL_NAME_BYTES];
    bool ready = state == SERVICE_READY, unloaded = state == SERVICE_UNLOADED;
    snprintf(name, sizeof name, "%s%s", last->name, excitations ? SUFFIX : "");
    writer_open(w, '{');
    writer_key_string(w, "name", name);
    writer_key_string(w, "version", V2_MODEL_VERSION);
    writer_key_string(w, "state", ready ? "READY" : unloaded ? "UNAVAILABLE" : "UNLOADING");
    writer_key_string(w, "reason",
                      ready      ? ""
                      : unloaded ? "unloaded"
                                 : "the server is shutting down");
    writer_close(w, '}');
}

unsigned v2_repository_index(struct exchange *exchange)
{
    const struct models_last last = models_last(exchange->service->models);
    enum service_state state = service_state(exchange->service);
    struct error err = {0};
    const json_t *root;
    void *memory = NULL;
    bool only_ready = false;
    if (state == SERVICE_LOADING)
        exchange_no_model(exchange, &err);
    else if (read_body(exchange, &root, &memory, &err) == ERROR_NONE) {
        const json_t *ready = json_object_get(root, "ready");
        only_ready = json_is_true(ready);
        if (ready != NULL && !json_is_boolean(ready))
            error_set(&err, ERROR_USAGE, "\"ready\" is not true or false");
    }
    free(memory);
    if (err.code != ERROR_NONE)
        return problem_answer(exchange, &err);
    writer_open(&exchange->out, '[');
    for (int i = 0; i < (last.excitations ? 2 : 1); i++)
        if (state == SERVICE_READY || !only_ready)
            write_row(&exchange->out, &last, i == 1, state);
    writer_close(&exchange->out, ']');
    return ok(exchange);
}

/* ---- load and unload ------------------------------------------------------------------------- */

/* Whether the path names the one model; its other name goes along with it. */
static enum error_code check_name(const struct exchange *exchange, struct error *err)
{
    const struct models_last last = models_last(exchange->service->models);
    const char *wanted = exchange->path + sizeof PREFIX - 1;
    size_t size = strcspn(wanted, "/"), length = strlen(last.name);
    bool known = length > 0 && size >= length && memcmp(wanted, last.name, length) == 0;
    if (known && size == length)
        return ERROR_NONE;
    if (known && last.excitations && size == length + sizeof SUFFIX - 1 &&
        memcmp(wanted + length, SUFFIX, sizeof SUFFIX - 1) == 0)
        return error_set(err, ERROR_USAGE,
                         "'%.*s' shows the excitations of '%s': load or unload that one", (int)size,
                         wanted, last.name);
    return error_set(err, ERROR_NOT_FOUND, "no model '%.*s'; the one here is '%s'",
                     size < 64 ? (int)size : 64, wanted, last.name);
}

unsigned v2_repository_load(struct exchange *exchange)
{
    struct error err = {0};
    if (service_state(exchange->service) == SERVICE_LOADING)
        exchange_no_model(exchange, &err);
    if (err.code != ERROR_NONE || check_name(exchange, &err) != ERROR_NONE ||
        check_parameters(exchange, NULL, &err) != ERROR_NONE ||
        models_load(exchange->service->models, &err) != ERROR_NONE ||
        exchange_acquire_model(exchange, &err) != ERROR_NONE)
        return problem_answer(exchange, &err);
    const struct senet_info *info = senet_info(exchange->model->senet);
    writer_open(&exchange->out, '{');
    writer_key_string(&exchange->out, "name", info->name);
    writer_key(&exchange->out, "load");
    writer_bool(&exchange->out, true);
    reply_model_member(&exchange->out, info);
    writer_close(&exchange->out, '}');
    return ok(exchange);
}

unsigned v2_repository_unload(struct exchange *exchange)
{
    struct models *models = exchange->service->models;
    struct error err = {0};
    if (service_state(exchange->service) == SERVICE_LOADING)
        exchange_no_model(exchange, &err);
    if (err.code != ERROR_NONE || check_name(exchange, &err) != ERROR_NONE ||
        check_parameters(exchange, UNLOAD_VIEWS, &err) != ERROR_NONE ||
        models_unload(models, &err) != ERROR_NONE)
        return problem_answer(exchange, &err);
    models_notify_ready(models); /* of whatever is there now */
    writer_open(&exchange->out, '{');
    writer_key_string(&exchange->out, "name", models_last(models).name);
    writer_key(&exchange->out, "unload");
    writer_bool(&exchange->out, true);
    writer_close(&exchange->out, '}');
    return ok(exchange);
}

unsigned v2_repository_refuse(struct exchange *exchange)
{
    return problem_answer_as(exchange, 403, "forbidden",
                             "models are loaded and unloaded by the admin address only");
}
