/* exchange.h - one request and its answer, as the routes see them: no libmicrohttpd here.
 *
 * http.c creates it when the headers have arrived, fills the body, and frees it when the
 * connection is done with the request. Until then it belongs to the HTTP thread, except while its
 * job is in flight: then nobody touches it.
 */
#ifndef SENETD_EXCHANGE_H
#define SENETD_EXCHANGE_H

#include "attention.h"
#include "batch.h"
#include "body.h"
#include "error.h"
#include "explain.h"
#include "query.h"
#include "reply.h"
#include "service.h"
#include "upload.h"
#include "writer.h"
#include <stdint.h>

struct route;

struct exchange_header {
    const char *name, *value;
};

struct exchange {
    struct service *service;
    const struct route *route; /* NULL where no route fits */
    struct model *model;       /* of a route that needs it, while it is answered; else NULL */

    /* The request. */
    char id[ATTENTION_ID_BYTES];
    struct query_pair pairs[QUERY_MAX_PAIRS]; /* [pair_count] */
    size_t pair_count;
    char trace[56];               /* traceparent, "" where there is none that is valid */
    const char *path;             /* as it came, decoded, without the query */
    const char *content_type;     /* or NULL */
    const char *accept;           /* or NULL */
    const char *inference_length; /* Inference-Header-Content-Length, or NULL */
    const char *accept_encoding, *if_none_match; /* or NULL */
    struct body body;
    int64_t headers_ns, body_ns; /* CLOCK_MONOTONIC when the headers, the body were complete */

    /* What the route's receive made of it. */
    struct query query;
    struct upload upload;
    struct job *job;
    int64_t deadline_ns; /* of CLOCK_MONOTONIC; 0 for none */
    enum priority priority;
    struct v2_infer *infer;  /* of an inference below /v2 */
    struct explain *explain; /* of POST /explain */

    /* The answer. */
    struct writer out;
    const char *out_type;            /* of the content; a literal */
    size_t inference_bytes;          /* of the JSON before the tensors; 0 for no such header */
    unsigned retry_after;            /* seconds; 0 for no such header */
    char timing[REPLY_TIMING_BYTES]; /* Server-Timing's value; "" for no such header */
    /* Further headers, ended by a NULL name, of static storage; NULL: only "not to be stored". */
    const struct exchange_header *headers;
};

/* Takes the client's request id if it is 1 to 128 of [A-Za-z0-9._-], else makes a random one: it
 * opens GET /se-weights?id=, so it must not be guessed. given may be NULL. */
void exchange_set_id(struct exchange *exchange, const char *given);

/* Takes a traceparent of W3C Trace Context if it is valid. given may be NULL. */
void exchange_set_trace(struct exchange *exchange, const char *given);

/* Reads X-Request-Timeout-Ms, from the headers' arrival on, and Priority (RFC 9218: an urgency u
 * under 3 is high, over 3 low). Either may be NULL. Errors: ERROR_USAGE. */
enum error_code exchange_set_limits(struct exchange *exchange, const char *timeout_ms,
                                    const char *priority, struct error *err) MUST_CHECK;

/* The value of Cache-Status (RFC 9211), a literal: a hit if all images of the job were; NULL where
 * none was looked for. */
const char *exchange_cache_status(const struct exchange *exchange);

/* Takes a reference to the model that serves now, which exchange_release_model gives back.
 * Errors: ERROR_LOADING. */
enum error_code exchange_acquire_model(struct exchange *exchange, struct error *err) MUST_CHECK;
void exchange_release_model(struct exchange *exchange);

/* Says why there is none: ERROR_LOADING, which it returns. */
enum error_code exchange_no_model(const struct exchange *exchange, struct error *err);

#endif
