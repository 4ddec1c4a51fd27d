/* http.h - HTTP/1.1 over libmicrohttpd: connections, uploads, waiting for the workers, answers.
 *
 * One thread serves all connections, by epoll, or by poll where they are encrypted. A request whose
 * images are being computed is suspended: it costs no thread and delays nobody. The routes say what
 * to answer.
 */
#ifndef SENETD_HTTP_H
#define SENETD_HTTP_H

#include "error.h"
#include "listener.h"
#include "service.h"
#include <stdbool.h>
#include <stddef.h>

struct http;

/* Serves on the listener's socket, which it owns from now on, also after an error. admin: also the
 * routes that change the daemon; they may block this listener, so it is one of its own. Until
 * service->state leaves SERVICE_LOADING, routes that need the model answer 503.
 * Errors: ERROR_IO, ERROR_MEMORY. */
enum error_code http_start(struct service *service, const struct listener *listener, bool admin,
                           struct http **out, struct error *err) MUST_CHECK;

/* Accepts what waits in the socket's backlog, then refuses. Connections live on; their answers ask
 * to close them. The state must be SERVICE_DRAINING or SERVICE_LOADING. */
void http_stop_accepting(struct http *http);

/* Returns once every request that began is answered, or after that many seconds. A connection
 * that was accepted and is still silent gets one second to begin. */
void http_wait_idle(struct http *http, unsigned seconds);

/* Closes all connections and frees. No job may be in flight, and none be submitted from now on
 * (batch_close, batch_drain). Accepts NULL. */
void http_stop(struct http *http);

#endif
