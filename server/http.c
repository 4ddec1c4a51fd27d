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
#include "admission.h"
#include "connections.h"
#include "exchange.h"
#include "farewell.h"
#include "framing.h"
#include "headers.h"
#include "inflate.h"
#include "log.h"
#include "metrics.h"
#include "monotonic.h"
#include "problem.h"
#include "reply.h"
#include "routes.h"
#include "scheduler.h"
#include "tls.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTION_BYTES  ((size_t)64 << 10) /* headers and one piece of a body */
#define OTHER_DESCRIPTORS 256                /* both listeners, lingering sockets, files, pipes */
#define HARD_CEILING      2      /* bodies are swallowed up to this many times the cap */
#define SLICE_NS          100000 /* of the library's thread: a request at a time, and all wait */
#define UPLOAD_BUDGET     16     /* all bodies in memory together: this many times the cap */

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
    struct admission admission;
    size_t received; /* bytes of the body, kept or not */
    unsigned status; /* of the answer, 0 before */
    size_t answer_bytes;
};

static const char *header(struct transfer *transfer, const char *name)
{
    return MHD_lookup_connection_value(transfer->connection, MHD_HEADER_KIND, name);
}

static const char *get_header(void *request, const char *name)
{
    return header(request, name);
}

/* ---- the answer ------------------------------------------------------------------------------ */

struct answer {
    struct MHD_Response *response;
    bool complete; /* no header is missing for want of memory */
};

static void add_header(void *context, const char *name, const char *value)
{
    struct answer *answer = context;
    if (MHD_add_response_header(answer->response, name, value) != MHD_YES)
        answer->complete = false;
}

/* False where not all of them could be. */
static bool add_headers(struct transfer *transfer, struct MHD_Response *response, unsigned status)
{
    const struct admission *admission = &transfer->admission;
    const struct headers_facts facts = {
        .status = status,
        .method = admission->method,
        .admin = transfer->http->admin,
        /* What follows a chunked body is not trusted to be a request: the library takes a bare LF
         * for the end of a chunk's line, where others read on. */
        .closes = service_state(transfer->exchange.service) == SERVICE_DRAINING ||
                  admission->framing.chunked,
        .asked = {get_header, transfer},
    };
    struct answer answer = {response, true};
    headers_answer(&transfer->exchange, &facts, add_header, &answer);
    return answer.complete;
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
    if (!add_headers(transfer, response, status)) {
        MHD_destroy_response(response); /* rather none than one that lacks "Connection: close" */
        return MHD_NO;
    }
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
    return send_answer(transfer, problem_answer(&transfer->exchange, err));
}

static enum MHD_Result send_refusal(struct transfer *transfer)
{
    return send_answer(transfer, admission_problem(&transfer->admission, &transfer->exchange));
}

/* ---- the headers ----------------------------------------------------------------------------- */

static enum MHD_Result take_pair(void *context, enum MHD_ValueKind kind, const char *key,
                                 size_t key_size, const char *value, size_t value_size)
{
    struct transfer *transfer = context;
    struct exchange *exchange = &transfer->exchange;
    struct error *refusal = &transfer->admission.refusal;
    (void)kind;
    if (strlen(key) != key_size || (value != NULL && strlen(value) != value_size))
        error_set(refusal, ERROR_USAGE, "the query holds a zero byte");
    else if (exchange->pair_count == QUERY_MAX_PAIRS)
        error_set(refusal, ERROR_USAGE, "more than %d query keys", QUERY_MAX_PAIRS);
    else
        exchange->pairs[exchange->pair_count++] = (struct query_pair){key, value};
    return refusal->code == ERROR_NONE ? MHD_YES : MHD_NO;
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
    struct admission *admission = &transfer->admission;
    struct framing *framing = &admission->framing;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(transfer->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    bool exact = transfer->http->exact_framing && info != NULL;
    framing_begin(framing, exact, method, target, version);
    MHD_get_connection_values_n(transfer->connection, MHD_HEADER_KIND, take_header, framing);
    admission->refused_status =
        framing_end(framing, exact ? info->header_size : 0, &admission->refusal);
    return admission->refused_status == 0;
}

static bool is_refused(const struct transfer *transfer)
{
    return admission_is_refused(&transfer->admission);
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

/* Without scheme and host, where the client sent them as it would to a proxy. Which host that is
 * does not matter here. */
static const char *path_of(const struct framing_target *target, const char *url, const char *method)
{
    const char *path = url + target->origin_bytes; /* not escaped, so as long as it was sent */
    if (target->origin_bytes == 0 || *path != '\0')
        return path;
    return strcmp(method, "OPTIONS") == 0 ? "*" : "/";
}

static struct transfer *begin(struct http *http, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version)
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
    transfer->path = strdup(path_of(&peer->target, url, method));
    if (transfer->method == NULL || transfer->path == NULL) {
        free(transfer->method);
        free(transfer->path);
        free(transfer);
        return NULL;
    }
    atomic_fetch_add(&http->active, 1);
    transfer->admission.method = admission_method(method);
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
    const struct headers asked = {get_header, transfer};
    admission_decide(&transfer->admission, &transfer->exchange, &asked, http->admin, room);
    if (!is_refused(transfer))
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
        error_set(&transfer->admission.refusal, ERROR_TOO_LARGE, "the body has more than %zu bytes",
                  ceiling / HARD_CEILING);
        if (!transfer->http->encrypted) {
            farewell_send(transfer->peer->fd, 413, error_name(ERROR_TOO_LARGE),
                          transfer->admission.refusal.message, exchange->id);
            transfer->peer->told = 413;
        }
        transfer->peer->lingers = true;
        return MHD_NO;
    }
    if (is_refused(transfer) || exchange->route == NULL || !routes_takes_body(exchange->route))
        return MHD_YES; /* nobody wants it */
    struct body_budget *budget = &transfer->http->budget;
    if (body_append(&exchange->body, budget, data, size, &transfer->admission.refusal) !=
        ERROR_NONE)
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
    if (exchange->route->receive(exchange, &transfer->admission.refusal) != ERROR_NONE)
        return send_refusal(transfer);
    exchange->job->context = transfer;
    exchange->job->done = on_done;
    exchange->job->deadline_ns = exchange->deadline_ns;
    exchange->job->priority = exchange->priority;
    transfer->phase = PHASE_COMPUTING;
    MHD_suspend_connection(transfer->connection);
    if (batch_submit(exchange->model->batch, exchange->job, &transfer->admission.refusal) ==
        ERROR_NONE)
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
    if (transfer->admission.method == METHOD_OPTIONS)
        return send_answer(transfer, 204);
    if (exchange->route->needs_model &&
        exchange_acquire_model(exchange, &transfer->admission.refusal) != ERROR_NONE)
        return send_refusal(transfer);
    if (routes_takes_body(exchange->route) &&
        inflate_body(&exchange->body, &transfer->http->budget, header(transfer, "Content-Encoding"),
                     &transfer->admission.refusal) != ERROR_NONE)
        return send_refusal(transfer);
    if (exchange->route->receive != NULL)
        return compute(transfer);
    if (exchange->route->methods & METHOD_ADMIN) /* may take long, and the client is not to blame */
        connections_enter(transfer->http->connections, transfer->peer, CONNECTION_WAITING);
    return send_answer(transfer, exchange->route->answer(exchange));
}

/* ---- libmicrohttpd's callbacks --------------------------------------------------------------- */

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    struct transfer *transfer = *state;
    size_t piece = *size;
    if (transfer == NULL) {
        *state = transfer = begin(context, connection, url, method, version);
        if (transfer == NULL)
            return MHD_NO;
        transfer->peer->lingers = admission_must_answer_now(
            &transfer->admission, transfer->http->service->config->max_body);
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
        .bytes_out = transfer->admission.method == METHOD_HEAD ? 0 : transfer->answer_bytes,
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
                        routes_method_name(transfer->admission.method), transfer->status,
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

/* NULL with errno. The library's own timeout stays off; see connections.h. Its threads take no
 * signals: where its poll is interrupted it forgets a resumed connection. */
static struct MHD_Daemon *start_daemon(struct http *http, int listen_fd, size_t sockets)
{
    /* With epoll the library reads in a loop from a client that stops within a handshake. */
    const unsigned waits = http->encrypted ? MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_TLS
                                           : MHD_USE_EPOLL_INTERNAL_THREAD;
    const unsigned flags = waits | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    scheduler_ask_slice(SLICE_NS);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        flags, 0, on_client, http, on_request, http, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, http, MHD_OPTION_URI_LOG_CALLBACK, on_target, http,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)sockets, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES,
        /* without TLS the list ends here */
        http->encrypted ? MHD_OPTION_HTTPS_PRIORITIES : MHD_OPTION_END, TLS_PRIORITIES,
        MHD_OPTION_HTTPS_CERT_CALLBACK2, tls_retriever(), MHD_OPTION_END);
    int cause = errno;
    scheduler_ask_slice(0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = cause;
    return daemon;
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
