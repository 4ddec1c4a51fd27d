/* headers.c - see headers.h. */
#include "headers.h"
#include "routes.h"

#include <stdio.h>
#include <string.h>

struct sink {
    void (*add)(void *answer, const char *name, const char *value);
    void *answer;
};

static void add(const struct sink *sink, const char *name, const char *value)
{
    sink->add(sink->answer, name, value);
}

static void add_number(const struct sink *sink, const char *name, size_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", value);
    add(sink, name, text);
}

/* Lets pages of the configured origin use the service; without one no page may. */
static void add_cors(const struct exchange *exchange, const struct headers_facts *facts,
                     const struct sink *sink)
{
    const struct headers *asked = &facts->asked;
    const char *allowed = exchange->service->config->cors_origin;
    const char *origin = asked->get(asked->request, "Origin");
    if (allowed == NULL || origin == NULL || facts->admin)
        return;
    bool any = strcmp(allowed, "*") == 0;
    if (!any)
        add(sink, "Vary", "Origin");
    if (!any && strcmp(allowed, origin) != 0)
        return;
    add(sink, "Access-Control-Allow-Origin", allowed);
    add(sink, "Access-Control-Expose-Headers", "X-Request-Id, Server-Timing, Retry-After");
    if (asked->get(asked->request, "Access-Control-Request-Method") == NULL)
        return;
    char allow[ROUTES_ALLOW_BYTES];
    routes_allow(exchange->path, false, allow);
    add(sink, "Access-Control-Allow-Methods", allow);
    add(sink, "Access-Control-Allow-Headers",
        "Authorization, Content-Type, Priority, X-API-Key, X-Request-Id, X-Request-Timeout-Ms");
    add(sink, "Access-Control-Max-Age", "600");
}

void headers_answer(const struct exchange *exchange, const struct headers_facts *facts,
                    void (*add_to)(void *answer, const char *name, const char *value), void *answer)
{
    static const struct exchange_header fleeting[] = {{"Cache-Control", "no-store"}, {NULL, NULL}};
    const struct sink sink = {add_to, answer};
    const struct exchange_header *more = exchange->headers != NULL ? exchange->headers : fleeting;
    add(&sink, "X-Request-Id", exchange->id);
    for (; more->name != NULL; more++)
        add(&sink, more->name, more->value);
    add(&sink, "X-Content-Type-Options", "nosniff");
    if (exchange->out_type != NULL)
        add(&sink, "Content-Type", exchange->out_type);
    if (facts->status == 405 || facts->method == METHOD_OPTIONS) {
        char allow[ROUTES_ALLOW_BYTES];
        routes_allow(exchange->path, facts->admin, allow);
        add(&sink, "Allow", allow);
    }
    if (facts->status == 401)
        add(&sink, "WWW-Authenticate", "Bearer realm=\"senetd\"");
    add_cors(exchange, facts, &sink);
    if (exchange->retry_after > 0)
        add_number(&sink, "Retry-After", exchange->retry_after);
    if (exchange->inference_bytes > 0)
        add_number(&sink, "Inference-Header-Content-Length", exchange->inference_bytes);
    if (exchange->timing[0] != '\0' && exchange->service->config->server_timing)
        add(&sink, "Server-Timing", exchange->timing);
    const char *cache = exchange_cache_status(exchange);
    if (cache != NULL)
        add(&sink, "Cache-Status", cache);
    if (facts->closes)
        add(&sink, "Connection", "close");
}
