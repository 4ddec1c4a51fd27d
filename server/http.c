/* http.c - see http.h.
 *
 * libmicrohttpd calls on_request several times for a request: once with the headers, for each
 * piece of the body, at its end, and after each resume. Where it stands is the exchange's phase.
 * A request that is refused early (no such route, too large, loading) still has its body read and
 * thrown away up to a ceiling, or the client would see a broken pipe instead of the status; one
 * that asked with "Expect: 100-continue" is answered at once.
 *
 * The connection is suspended before its job is published; where the queue refuses, it is resumed
 * at once, so that every upload leaves by the same second call. The queue's done callback only
 * resumes. Only on_completed frees an exchange; it cannot run while suspended.
 */
#include "http.h"
#include "connections.h"
#include "exchange.h"
#include "farewell.h"
#include "framing.h"
#include "inflate.h"
#include "keys.h"
#include "log.h"
#include "metrics.h"
#include "monotonic.h"
#include "page.h"
#include "reply.h"
#include "routes.h"
#include "tls.h"

#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTION_BYTES  ((size_t)64 << 10) /* headers and one piece of a body */
#define OTHER_DESCRIPTORS 256                /* both listeners, lingering sockets, files, pipes */
#define HARD_CEILING      2  /* bodies are swallowed up to this many times the cap */
#define UPLOAD_BUDGET     16 /* all bodies in memory together: this many times the cap */

struct http {
    struct service *service;
    bool admin, encrypted;
    struct MHD_Daemon *daemon;
    struct body_budget budget;
    bool exact_framing;   /* see framing.h; this version of the library is known */
    int quiesced_fd;      /* the listening socket once it accepts no more; else -1 */
    atomic_size_t active; /* requests that began and are not completed */
    struct connections *connections;
};

enum phase {
    PHASE_RECEIVING, /* the body, if any */
    PHASE_COMPUTING, /* the job is in flight, the connection suspended */
    PHASE_ANSWERED,
};

/* An exchange with what only this file needs. */
struct transfer {
    struct exchange exchange; /* first: routes see only this */
    struct http *http;
    struct MHD_Connection *connection;
    struct connection *peer;
    enum phase phase;
    char *method, *path; /* for the log; owned */
    unsigned method_bit; /* enum method, 0 for one we do not know */
    bool path_known;
    struct framing framing;
    unsigned refused_status; /* one that no error code stands for; 0 for the code's own */
    struct error refusal;    /* decided before the body was read */
    size_t received;         /* bytes of the body, kept or not */
    unsigned status;         /* of the answer, 0 before */
    size_t answer_bytes;
};

static const char *header(struct transfer *transfer, const char *name)
{
    return MHD_lookup_connection_value(transfer->connection, MHD_HEADER_KIND, name);
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* Lets pages of the configured origin use the service; without one no page may. */
static void add_cors_headers(struct transfer *transfer, struct MHD_Response *response)
{
    const char *allowed = transfer->http->service->config->cors_origin;
    const char *origin = header(transfer, "Origin");
    if (allowed == NULL || origin == NULL || transfer->http->admin)
        return;
    bool any = strcmp(allowed, "*") == 0;
    if (!any)
        MHD_add_response_header(response, "Vary", "Origin");
    if (!any && strcmp(allowed, origin) != 0)
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", allowed);
    MHD_add_response_header(response, "Access-Control-Expose-Headers",
                            "X-Request-Id, Server-Timing, Retry-After");
    if (header(transfer, "Access-Control-Request-Method") == NULL)
        return;
    char allow[ROUTES_ALLOW_BYTES];
    routes_allow(transfer->path, false, allow);
    MHD_add_response_header(response, "Access-Control-Allow-Methods", allow);
    MHD_add_response_header(response, "Access-Control-Allow-Headers",
                            "Authorization, Content-Type, Priority, X-API-Key, X-Request-Id, "
                            "X-Request-Timeout-Ms");
    MHD_add_response_header(response, "Access-Control-Max-Age", "600");
}

static void add_headers(struct transfer *transfer, struct MHD_Response *response, unsigned status)
{
    struct exchange *exchange = &transfer->exchange;
    MHD_add_response_header(response, "X-Request-Id", exchange->id);
    static const struct exchange_header fleeting[] = {{"Cache-Control", "no-store"}, {NULL, NULL}};
    const struct exchange_header *more = exchange->headers != NULL ? exchange->headers : fleeting;
    for (; more->name != NULL; more++)
        MHD_add_response_header(response, more->name, more->value);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (exchange->out_type != NULL)
        MHD_add_response_header(response, "Content-Type", exchange->out_type);
    if (status == 405 || transfer->method_bit == METHOD_OPTIONS) {
        char allow[ROUTES_ALLOW_BYTES];
        routes_allow(transfer->path, transfer->http->admin, allow);
        MHD_add_response_header(response, "Allow", allow);
    }
    if (status == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer realm=\"senetd\"");
    add_cors_headers(transfer, response);
    if (exchange->retry_after > 0) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%u", exchange->retry_after);
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    if (exchange->inference_bytes > 0) {
        char bytes[24];
        snprintf(bytes, sizeof bytes, "%zu", exchange->inference_bytes);
        MHD_add_response_header(response, "Inference-Header-Content-Length", bytes);
    }
    if (exchange->timing[0] != '\0' && exchange->service->config->server_timing)
        MHD_add_response_header(response, "Server-Timing", exchange->timing);
    const char *cache = exchange_cache_status(exchange);
    if (cache != NULL)
        MHD_add_response_header(response, "Cache-Status", cache);
    /* What follows a chunked body is not trusted to be a request: the library takes a bare LF for
     * the end of a chunk's line, where others read on. */
    if (service_state(exchange->service) == SERVICE_DRAINING || transfer->framing.chunked)
        MHD_add_response_header(response, "Connection", "close");
}

/* The one way out: queues the exchange's content under that status. */
static enum MHD_Result send_answer(struct transfer *transfer, unsigned status)
{
    static char no_memory[] = "{\"type\":\"urn:senetd:problem:out-of-memory\",\"title\":"
                              "\"Service Unavailable\",\"status\":503}";
    struct exchange *exchange = &transfer->exchange;
    struct MHD_Response *response;
    if (exchange->out.failed) {
        status = 503;
        exchange->retry_after = 1;
        exchange->out_type = "application/problem+json";
        transfer->answer_bytes = sizeof no_memory - 1;
        response = MHD_create_response_from_buffer(sizeof no_memory - 1, no_memory,
                                                   MHD_RESPMEM_PERSISTENT);
    } else if (exchange->out.size == 0) {
        response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    } else {
        transfer->answer_bytes = exchange->out.size;
        response = MHD_create_response_from_buffer_with_free_callback(exchange->out.size,
                                                                      exchange->out.bytes, free);
        if (response != NULL)
            exchange->out = (struct writer){0}; /* the response owns the bytes now */
    }
    if (response == NULL)
        return MHD_NO;
    add_headers(transfer, response, status);
    transfer->phase = PHASE_ANSWERED;
    transfer->status = status;
    connections_enter(transfer->http->connections, transfer->peer, CONNECTION_ANSWER);
    exchange_release_model(exchange);
    enum MHD_Result queued = MHD_queue_response(transfer->connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result send_problem(struct transfer *transfer, const struct error *err)
{
    return send_answer(transfer, routes_problem(&transfer->exchange, err));
}

/* The problem types of statuses that no error code has. */
static const char *refusal_name(unsigned status)
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

static enum MHD_Result send_refusal(struct transfer *transfer)
{
    struct exchange *exchange = &transfer->exchange;
    if (transfer->refused_status == 0)
        return send_problem(transfer, &transfer->refusal);
    return send_answer(transfer, routes_problem_as(exchange, transfer->refused_status,
                                                   refusal_name(transfer->refused_status),
                                                   transfer->refusal.message));
}

/* ---- the headers ----------------------------------------------------------------------------- */

static unsigned method_bit(const char *name)
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

static enum MHD_Result take_pair(void *context, enum MHD_ValueKind kind, const char *key,
                                 size_t key_size, const char *value, size_t value_size)
{
    struct transfer *transfer = context;
    struct exchange *exchange = &transfer->exchange;
    (void)kind;
    if (strlen(key) != key_size || (value != NULL && strlen(value) != value_size))
        error_set(&transfer->refusal, ERROR_USAGE, "the query holds a zero byte");
    else if (exchange->pair_count == QUERY_MAX_PAIRS)
        error_set(&transfer->refusal, ERROR_USAGE, "more than %d query keys", QUERY_MAX_PAIRS);
    else
        exchange->pairs[exchange->pair_count++] = (struct query_pair){key, value};
    return transfer->refusal.code == ERROR_NONE ? MHD_YES : MHD_NO;
}

/* Finds the route, or what keeps it from being served: refusal, refused_status. */
static void find_route(struct transfer *transfer)
{
    struct exchange *exchange = &transfer->exchange;
    struct error *refusal = &transfer->refusal;
    exchange->route = routes_find(transfer->path, transfer->method_bit, transfer->http->admin,
                                  &transfer->path_known);
    if (transfer->method_bit == METHOD_OPTIONS && strcmp(transfer->path, "*") == 0)
        transfer->path_known = true;
    if (!transfer->path_known) {
        error_set(refusal, ERROR_NOT_FOUND,
                  "no such path; GET / as application/json lists those that exist");
    } else if (exchange->route == NULL && transfer->method_bit != METHOD_OPTIONS) {
        char allow[ROUTES_ALLOW_BYTES];
        routes_allow(transfer->path, transfer->http->admin, allow);
        transfer->refused_status = 405;
        error_set(refusal, ERROR_USAGE, "this path takes %s", allow);
    }
}

static enum MHD_Result take_header(void *context, enum MHD_ValueKind kind, const char *name,
                                   size_t name_size, const char *value, size_t value_size)
{
    (void)kind;
    framing_header(context, name, name_size, value, value_size);
    return MHD_YES;
}

/* Whether the header can be trusted to tell where the request ends; else a refusal. */
static bool check_framing(struct transfer *transfer, const struct framing_target *target,
                          const char *method, const char *version)
{
    struct framing *framing = &transfer->framing;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(transfer->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    bool exact = transfer->http->exact_framing && info != NULL;
    framing_begin(framing, exact, method, target, version);
    MHD_get_connection_values_n(transfer->connection, MHD_HEADER_KIND, take_header, framing);
    transfer->refused_status =
        framing_end(framing, exact ? info->header_size : 0, &transfer->refusal);
    return transfer->refused_status == 0;
}

/* What the headers say about a body that is to come. */
static void check_length(struct transfer *transfer)
{
    size_t cap = transfer->http->service->config->max_body;
    const struct route *route = transfer->exchange.route;
    bool uploads =
        route != NULL && route->receive != NULL && transfer->method_bit != METHOD_OPTIONS;
    const struct framing *framing = &transfer->framing;
    if (framing->has_length && framing->length > cap) {
        error_set(&transfer->refusal, ERROR_TOO_LARGE,
                  "the body has %" PRIu64 " bytes, at most %zu", framing->length, cap);
    } else if (uploads && !framing->has_length && !framing->chunked &&
               transfer->refusal.code == ERROR_NONE) {
        transfer->refused_status = 411;
        error_set(&transfer->refusal, ERROR_USAGE, "neither Content-Length nor a chunked body");
    }
}

static bool is_refused(const struct transfer *transfer)
{
    return transfer->refusal.code != ERROR_NONE;
}

/* Whether to answer before the body comes: it must not be trusted, the client asked first, or it
 * would send more than is allowed. */
static bool must_answer_now(struct transfer *transfer)
{
    const struct framing *framing = &transfer->framing;
    size_t cap = transfer->http->service->config->max_body;
    bool stranger = transfer->refused_status == 401 && (framing->chunked || framing->length > 0);
    return is_refused(transfer) && (framing->status != 0 || framing->expects_continue || stranger ||
                                    (framing->has_length && framing->length > cap));
}

static struct connection *peer_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

/* The request line has arrived. The library's state of a request begins as NULL. */
static void *on_target(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct http *http = context;
    struct connection *peer = peer_of(connection);
    if (peer == NULL)
        return NULL;
    peer->target = framing_target(uri);
    connections_begin(http->connections, peer);
    return NULL;
}

/* Probes of health and a browser's preflight show none. */
static bool has_key(struct transfer *transfer)
{
    const struct keys *keys = transfer->http->service->keys;
    return keys == NULL || routes_is_probe(transfer->path) || page_is_part(transfer->path) ||
           transfer->method_bit == METHOD_OPTIONS ||
           keys_accept(keys, header(transfer, "Authorization"), header(transfer, "X-API-Key"));
}

static struct transfer *begin(struct http *http, struct MHD_Connection *connection,
                              const char *path, const char *method, const char *version)
{
    struct connection *peer = peer_of(connection);
    struct transfer *transfer = peer != NULL ? calloc(1, sizeof *transfer) : NULL;
    if (transfer == NULL)
        return NULL;
    transfer->http = http;
    transfer->connection = connection;
    transfer->peer = peer;
    transfer->exchange.service = http->service;
    transfer->exchange.headers_ns = monotonic_ns();
    transfer->method = strdup(method);
    transfer->path = strdup(path);
    if (transfer->method == NULL || transfer->path == NULL) {
        free(transfer->method);
        free(transfer->path);
        free(transfer);
        return NULL;
    }
    atomic_fetch_add(&http->active, 1);
    transfer->method_bit = method_bit(method);
    transfer->exchange.path = transfer->path;
    transfer->exchange.content_type = header(transfer, "Content-Type");
    transfer->exchange.accept = header(transfer, "Accept");
    transfer->exchange.inference_length = header(transfer, "Inference-Header-Content-Length");
    transfer->exchange.accept_encoding = header(transfer, "Accept-Encoding");
    transfer->exchange.if_none_match = header(transfer, "If-None-Match");
    exchange_set_id(&transfer->exchange, header(transfer, "X-Request-Id"));
    exchange_set_trace(&transfer->exchange, header(transfer, "traceparent"));
    bool room = connections_serve(http->connections, peer);
    if (!check_framing(transfer, &peer->target, method, version))
        return transfer;
    if (!room && !routes_is_probe(path)) {
        error_set(&transfer->refusal, ERROR_OVERLOADED, "all connections are busy");
        return transfer;
    }
    if (!has_key(transfer)) {
        transfer->refused_status = 401;
        error_set(&transfer->refusal, ERROR_USAGE,
                  "expected an API key: Authorization: Bearer KEY, or X-API-Key: KEY");
        return transfer;
    }
    find_route(transfer);
    if (http->admin && header(transfer, "Origin") != NULL && !is_refused(transfer)) {
        transfer->refused_status = 403; /* a page in a browser of this machine */
        error_set(&transfer->refusal, ERROR_USAGE, "this address takes no requests of web pages");
    }
    const struct route *route = transfer->exchange.route;
    enum service_state state = service_state(http->service);
    if (!is_refused(transfer) && route != NULL && route->needs_model &&
        (state == SERVICE_LOADING || state == SERVICE_UNLOADED))
        exchange_no_model(&transfer->exchange, &transfer->refusal);
    check_length(transfer);
    if (!is_refused(transfer) &&
        exchange_set_limits(&transfer->exchange, header(transfer, "X-Request-Timeout-Ms"),
                            header(transfer, "Priority"), &transfer->refusal) != ERROR_NONE)
        return transfer;
    MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, take_pair, transfer);
    return transfer;
}

/* ---- the body -------------------------------------------------------------------------------- */

/* A piece of the body. Past the hard ceiling the connection ends; the library lets nobody answer
 * in the middle of a body. */
static enum MHD_Result take_piece(struct transfer *transfer, const char *data, size_t size)
{
    struct exchange *exchange = &transfer->exchange;
    size_t ceiling = HARD_CEILING * transfer->http->service->config->max_body;
    transfer->received += size;
    connections_received(transfer->peer, size);
    if (transfer->received > ceiling) {
        error_set(&transfer->refusal, ERROR_TOO_LARGE, "the body has more than %zu bytes",
                  ceiling / HARD_CEILING);
        if (!transfer->http->encrypted) {
            farewell_send(transfer->peer->fd, 413, error_name(ERROR_TOO_LARGE),
                          transfer->refusal.message, exchange->id);
            transfer->peer->told = 413;
        }
        transfer->peer->lingers = true;
        return MHD_NO;
    }
    if (is_refused(transfer) || exchange->route == NULL || !routes_takes_body(exchange->route))
        return MHD_YES; /* nobody wants it */
    struct body_budget *budget = &transfer->http->budget;
    if (body_append(&exchange->body, budget, data, size, &transfer->refusal) != ERROR_NONE)
        body_free(&exchange->body, budget);
    return MHD_YES;
}

/* ---- computing ------------------------------------------------------------------------------- */

/* On a thread of the batch: its last touch of the job. */
static void on_done(struct job *job)
{
    struct transfer *transfer = job->context;
    MHD_resume_connection(transfer->connection);
}

/* On a thread of the connections: nobody waits for the job any more. */
static void on_gone(void *context)
{
    struct transfer *transfer = context;
    batch_abandon(transfer->exchange.model->batch, transfer->exchange.job);
}

static enum MHD_Result compute(struct transfer *transfer)
{
    struct exchange *exchange = &transfer->exchange;
    if (exchange->route->receive(exchange, &transfer->refusal) != ERROR_NONE)
        return send_refusal(transfer);
    exchange->job->context = transfer;
    exchange->job->done = on_done;
    exchange->job->deadline_ns = exchange->deadline_ns;
    exchange->job->priority = exchange->priority;
    transfer->phase = PHASE_COMPUTING;
    MHD_suspend_connection(transfer->connection);
    if (batch_submit(exchange->model->batch, exchange->job, &transfer->refusal) == ERROR_NONE)
        connections_wait(transfer->http->connections, transfer->peer, on_gone, transfer);
    else
        MHD_resume_connection(transfer->connection);
    return MHD_YES;
}

/* The request is complete. */
static enum MHD_Result answer(struct transfer *transfer)
{
    struct exchange *exchange = &transfer->exchange;
    exchange->body_ns = monotonic_ns();
    if (is_refused(transfer))
        return send_refusal(transfer);
    if (transfer->method_bit == METHOD_OPTIONS)
        return send_answer(transfer, 204);
    if (exchange->route->needs_model &&
        exchange_acquire_model(exchange, &transfer->refusal) != ERROR_NONE)
        return send_refusal(transfer);
    if (routes_takes_body(exchange->route) &&
        inflate_body(&exchange->body, &transfer->http->budget, header(transfer, "Content-Encoding"),
                     &transfer->refusal) != ERROR_NONE)
        return send_refusal(transfer);
    if (exchange->route->receive != NULL)
        return compute(transfer);
    return send_answer(transfer, exchange->route->answer(exchange));
}

/* ---- libmicrohttpd's callbacks --------------------------------------------------------------- */

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *data, size_t *size, void **state)
{
    struct transfer *transfer = *state;
    size_t piece = *size;
    if (transfer == NULL) {
        *state = transfer = begin(context, connection, path, method, version);
        if (transfer == NULL)
            return MHD_NO;
        transfer->peer->lingers = must_answer_now(transfer);
        return transfer->peer->lingers ? send_refusal(transfer) : MHD_YES;
    }
    switch (transfer->phase) {
    case PHASE_RECEIVING:
        *size = 0;
        return piece == 0 ? answer(transfer) : take_piece(transfer, data, piece);
    case PHASE_COMPUTING:
        if (is_refused(transfer))
            return send_refusal(transfer);
        if (batch_dropped(transfer->exchange.job) != NULL)
            return send_problem(transfer, batch_dropped(transfer->exchange.job));
        batch_remember(transfer->exchange.model->batch, transfer->exchange.job);
        return send_answer(transfer, transfer->exchange.route->answer(&transfer->exchange));
    case PHASE_ANSWERED:
        *size = 0;
        break;
    }
    return MHD_YES;
}

static void log_request(const struct transfer *transfer, bool complete)
{
    const struct connection *peer = transfer->peer;
    const struct job *job = transfer->exchange.job;
    struct reply_times times = {0};
    if (job != NULL)
        times = reply_sum_times(job->images, job->count);
    log_access(&(struct log_access){
        .client = peer->address,
        .method = transfer->method,
        .path = transfer->path,
        .id = transfer->exchange.id,
        .status = complete ? transfer->status : peer->told,
        .bytes_in = transfer->received,
        .bytes_out = transfer->method_bit == METHOD_HEAD ? 0 : transfer->answer_bytes,
        .images = transfer->exchange.upload.count,
        .duration_ns = monotonic_ns() - transfer->exchange.headers_ns,
        .decode_ns = times.decode_ns,
        .preprocess_ns = times.preprocess_ns,
        .queue_ns = times.queue_ns,
        .inference_ns = times.inference_ns,
        .batch_size = times.batch_size,
        .trace = transfer->exchange.trace,
    });
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how)
{
    struct transfer *transfer = *state;
    struct http *http = context;
    (void)connection;
    if (transfer == NULL)
        return;
    connections_enter(http->connections, transfer->peer, CONNECTION_IDLE);
    log_request(transfer, how == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    if (transfer->status == 0)
        transfer->status = transfer->peer->told;
    if (transfer->status != 0)
        metrics_request(http->service->metrics, routes_name(transfer->path),
                        routes_method_name(transfer->method_bit), transfer->status,
                        monotonic_ns() - transfer->exchange.headers_ns);
    exchange_release_model(&transfer->exchange); /* where no answer was sent */
    routes_release(&transfer->exchange);
    writer_free(&transfer->exchange.out);
    body_free(&transfer->exchange.body, &http->budget);
    free(transfer->method);
    free(transfer->path);
    free(transfer);
    *state = NULL;
    atomic_fetch_sub(&http->active, 1);
}

static enum MHD_Result on_client(void *context, const struct sockaddr *address, socklen_t size)
{
    struct http *http = context;
    (void)size;
    return connections_admit(http->connections, address) ? MHD_YES : MHD_NO;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http *http = context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *socket_context = connections_open(
            http->connections, fd,
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
    } else if (*socket_context != NULL) {
        connections_close(http->connections, *socket_context);
        *socket_context = NULL;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct connections_limits limits_of(const struct config *config, bool encrypted)
{
    const int64_t second_ns = 1000000000;
    return (struct connections_limits){
        .most = config->max_connections,
        .most_per_address = config->max_connections_per_ip,
        .header_ns = (int64_t)config->header_timeout * second_ns,
        .idle_ns = (int64_t)config->idle_timeout * second_ns,
        .stall_ns = (int64_t)config->stall_timeout * second_ns,
        .min_rate = config->min_rate,
        .encrypted = encrypted,
    };
}

/* The usual soft limit is 1024 descriptors. */
static void allow_descriptors(size_t sockets)
{
    struct rlimit limit;
    rlim_t needed = sockets + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
        return;
    limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < needed)
        log_warn("listen", "%zu descriptors are allowed, --max-connections asks for %zu",
                 (size_t)limit.rlim_cur, (size_t)needed);
}

/* NULL with errno. The library's own timeout stays off; see connections.h. */
static struct MHD_Daemon *start_daemon(struct http *http, int listen_fd, size_t sockets)
{
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
                           (http->encrypted ? MHD_USE_TLS : 0);
    return MHD_start_daemon(
        flags, 0, on_client, http, on_request, http, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, http, MHD_OPTION_URI_LOG_CALLBACK, on_target, http,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)sockets, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES,
        /* without TLS the list ends here */
        http->encrypted ? MHD_OPTION_HTTPS_PRIORITIES : MHD_OPTION_END, TLS_PRIORITIES,
        MHD_OPTION_HTTPS_CERT_CALLBACK2, tls_retriever(), MHD_OPTION_END);
}

enum error_code http_start(struct service *service, const struct listener *listener, bool admin,
                           struct http **out, struct error *err)
{
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL) {
        close(listener->fd);
        return error_set(err, ERROR_MEMORY, "no memory for the HTTP server");
    }
    http->service = service;
    http->admin = admin;
    http->encrypted = !admin && service->config->tls_cert != NULL;
    http->quiesced_fd = -1;
    http->exact_framing = strcmp(MHD_get_version(), "0.9.75") == 0;
    http->budget.cap = service->config->max_body;
    http->budget.most = service->config->queue_bytes > 0
                            ? service->config->queue_bytes
                            : UPLOAD_BUDGET * service->config->max_body;
    const struct connections_limits limits = limits_of(service->config, http->encrypted);
    allow_descriptors(limits.most + CONNECTIONS_RESERVE);
    if (connections_start(&limits, &http->connections, err) == ERROR_NONE)
        http->daemon = start_daemon(http, listener->fd, limits.most + CONNECTIONS_RESERVE);
    if (http->daemon == NULL) {
        error_set(err, ERROR_IO, "cannot start the HTTP server: %s", strerror(errno));
        connections_stop(http->connections);
        close(listener->fd);
        free(http);
        return err->code;
    }
    *out = http;
    return ERROR_NONE;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* Ending the socket resets what waits in its backlog: wait until the HTTP thread has taken it. The
 * descriptor stays until that thread has ended, as it may just be using it. */
void http_stop_accepting(struct http *http)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    struct pollfd backlog = {.fd = info != NULL ? info->listen_fd : -1, .events = POLLIN};
    for (int i = 0; i < 100 && poll(&backlog, 1, 0) > 0; i++)
        pause_ms(10);
    http->quiesced_fd = MHD_quiesce_daemon(http->daemon);
    if (http->quiesced_fd >= 0)
        shutdown(http->quiesced_fd, SHUT_RDWR); /* from now on clients are refused */
}

void http_wait_idle(struct http *http, unsigned seconds)
{
    int64_t begin = monotonic_ns(), second = 1000000000;
    for (;;) {
        int64_t waited = monotonic_ns() - begin;
        bool silent = connections_silent(http->connections) > 0 && waited < second;
        if ((atomic_load(&http->active) == 0 && !silent) || waited >= seconds * second)
            return;
        pause_ms(10);
    }
}

void http_stop(struct http *http)
{
    if (http == NULL)
        return;
    MHD_stop_daemon(http->daemon);
    connections_stop(http->connections);
    if (http->quiesced_fd >= 0)
        close(http->quiesced_fd);
    free(http);
}
