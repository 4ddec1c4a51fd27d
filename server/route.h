/* route.h - what answers a path: a row of the tables in routes.c and v2.c.
 *
 * A handler returns the HTTP status and has filled the exchange's `out`. A route that takes images
 * works in two steps with the computation between them: receive turns query and body into a job,
 * answer tells of it. Handlers run on the HTTP thread and must not block.
 */
#ifndef SENETD_ROUTE_H
#define SENETD_ROUTE_H

#include "error.h"
#include <stdbool.h>

struct exchange;

enum method {
    METHOD_GET = 1,
    METHOD_HEAD = 2,
    METHOD_POST = 4,
    METHOD_PUT = 8,
    METHOD_OPTIONS = 16,
    METHOD_BODY = 1 << 14,  /* no method: marks a route without a job that reads the body */
    METHOD_ADMIN = 1 << 15, /* no method: marks a route that only the admin listener serves */
};

struct route {
    const char *path; /* "{m}" stands for any one segment */
    unsigned methods; /* a set of enum method; HEAD comes with GET, OPTIONS with all */
    bool needs_model; /* 503 while loading */
    /* Query and body -> exchange->job; NULL for a route without a job. */
    enum error_code (*receive)(struct exchange *exchange, struct error *err);
    unsigned (*answer)(struct exchange *exchange);
    const char *what; /* for the index; NULL for parts of the page */
};

#endif
