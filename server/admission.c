/* admission.c - see admission.h. */
#include "admission.h"
#include "keys.h"
#include "page.h"
#include "problem.h"
#include "routes.h"

#include <inttypes.h>
#include <string.h>

unsigned admission_method(const char *name)
{
    static const struct {
        const char *name;
        enum method bit;
    } known[] = {{"GET", METHOD_GET},
                 {"HEAD", METHOD_HEAD},
                 {"POST", METHOD_POST},
                 {"PUT", METHOD_PUT},
                 {"OPTIONS", METHOD_OPTIONS}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i].name) == 0)
            return known[i].bit;
    return 0;
}

bool admission_is_refused(const struct admission *admission)
{
    return admission->refusal.code != ERROR_NONE;
}

/* With a status that no error code has. */
static void refuse(struct admission *admission, unsigned status, const char *why)
{
    admission->refused_status = status;
    error_set(&admission->refusal, ERROR_USAGE, "%s", why);
}

/* Probes of health and a browser's preflight show none. */
static bool has_key(const struct admission *admission, const struct exchange *exchange,
                    const struct headers *asked)
{
    const struct keys *keys = exchange->service->keys;
    return keys == NULL || routes_is_probe(exchange->path) || page_is_part(exchange->path) ||
           admission->method == METHOD_OPTIONS ||
           keys_accept(keys, asked->get(asked->request, "Authorization"),
                       asked->get(asked->request, "X-API-Key"));
}

static void find_route(struct admission *admission, struct exchange *exchange, bool admin)
{
    bool known;
    exchange->route = routes_find(exchange->path, admission->method, admin, &known);
    if (admission->method == METHOD_OPTIONS && strcmp(exchange->path, "*") == 0)
        known = true;
    if (!known) {
        error_set(&admission->refusal, ERROR_NOT_FOUND,
                  "no such path; GET / as application/json lists those that exist");
    } else if (exchange->route == NULL && admission->method != METHOD_OPTIONS) {
        char allow[ROUTES_ALLOW_BYTES];
        routes_allow(exchange->path, admin, allow);
        admission->refused_status = 405;
        error_set(&admission->refusal, ERROR_USAGE, "this path takes %s", allow);
    }
}

/* What the headers say about a body that is to come. */
static void check_length(struct admission *admission, const struct exchange *exchange)
{
    size_t cap = exchange->service->config->max_body;
    const struct route *route = exchange->route;
    const struct framing *framing = &admission->framing;
    bool uploads = route != NULL && route->receive != NULL && admission->method != METHOD_OPTIONS;
    if (framing->has_length && framing->length > cap)
        error_set(&admission->refusal, ERROR_TOO_LARGE,
                  "the body has %" PRIu64 " bytes, at most %zu", framing->length, cap);
    else if (uploads && !framing->has_length && !framing->chunked &&
             !admission_is_refused(admission))
        refuse(admission, 411, "neither Content-Length nor a chunked body");
}

void admission_decide(struct admission *admission, struct exchange *exchange,
                      const struct headers *asked, bool admin, bool room)
{
    struct error *refusal = &admission->refusal;
    if (!room && !routes_is_probe(exchange->path)) {
        error_set(refusal, ERROR_OVERLOADED, "all connections are busy");
        return;
    }
    if (!has_key(admission, exchange, asked)) {
        refuse(admission, 401, "expected an API key: Authorization: Bearer KEY, or X-API-Key: KEY");
        return;
    }
    find_route(admission, exchange, admin);
    if (admin && asked->get(asked->request, "Origin") != NULL && !admission_is_refused(admission))
        refuse(admission, 403, /* a page in a browser of this machine */
               "this address takes no requests of web pages");
    enum service_state state = service_state(exchange->service);
    if (!admission_is_refused(admission) && exchange->route != NULL &&
        exchange->route->needs_model && (state == SERVICE_LOADING || state == SERVICE_UNLOADED))
        exchange_no_model(exchange, refusal);
    check_length(admission, exchange);
    if (!admission_is_refused(admission)) {
        enum error_code code =
            exchange_set_limits(exchange, asked->get(asked->request, "X-Request-Timeout-Ms"),
                                asked->get(asked->request, "Priority"), refusal);
        (void)code; /* the refusal has it */
    }
}

bool admission_must_answer_now(const struct admission *admission, size_t max_body)
{
    const struct framing *framing = &admission->framing;
    bool stranger = admission->refused_status == 401 && (framing->chunked || framing->length > 0);
    return admission_is_refused(admission) &&
           (framing->status != 0 || framing->expects_continue || stranger ||
            (framing->has_length && framing->length > max_body));
}

/* The problem types of statuses that no error code has. */
static const char *name_of(unsigned status)
{
    switch (status) {
    case 401:
        return "unauthorized";
    case 403:
        return "forbidden";
    case 405:
        return "method-not-allowed";
    case 411:
        return "length-required";
    case 417:
        return "expectation-failed";
    case 501:
        return "not-implemented";
    case 505:
        return "http-version-not-supported";
    default:
        return error_name(ERROR_USAGE);
    }
}

unsigned admission_problem(const struct admission *admission, struct exchange *exchange)
{
    if (admission->refused_status == 0)
        return problem_answer(exchange, &admission->refusal);
    return problem_answer_as(exchange, admission->refused_status,
                             name_of(admission->refused_status), admission->refusal.message);
}
