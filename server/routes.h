/* routes.h - which path answers what: the table of routes and their handlers.
 *
 * A handler returns the HTTP status and has filled the exchange's `out`. A route that takes images
 * works in two steps with the computation between them: receive turns query and body into a job,
 * answer tells of it. Handlers run on the HTTP thread and must not block.
 */
#ifndef SENETD_ROUTES_H
#define SENETD_ROUTES_H

#include "error.h"
#include "exchange.h"
#include <stdbool.h>

enum method {
    METHOD_GET = 1,
    METHOD_HEAD = 2,
    METHOD_POST = 4,
    METHOD_PUT = 8,
    METHOD_OPTIONS = 16,
    METHOD_BODY = 1 << 14,  /* no method: marks a route without a job that reads the body */
    METHOD_ADMIN = 1 << 15, /* no method: marks a route that only the admin listener serves */
};

#define ROUTES_ALLOW_BYTES 64

struct route {
    const char *path; /* "{m}" stands for any one segment */
    unsigned methods; /* a set of enum method; HEAD comes with GET, OPTIONS with all */
    bool needs_model; /* 503 while loading */
    /* Query and body -> exchange->job; NULL for a route without a job. */
    enum error_code (*receive)(struct exchange *exchange, struct error *err);
    unsigned (*answer)(struct exchange *exchange);
    const char *what; /* for the index; NULL for parts of the page */
};

/* The route for a path and method; admin: on the admin listener. Where none fits: NULL, and
 * *path_known tells 405 from 404. */
const struct route *routes_find(const char *path, unsigned method, bool admin, bool *path_known);

/* Whether its handlers look at the body; else it is read and thrown away. */
bool routes_takes_body(const struct route *route);

/* The path as the table has it, "/ui/" for all parts of the page, or "other"; the method's name, or
 * "other": literals. */
const char *routes_name(const char *path);
const char *routes_method_name(unsigned method);

/* The value of the Allow header for a known path, or for all paths together ("*"). */
void routes_allow(const char *path, bool admin, char out[ROUTES_ALLOW_BYTES]);

/* Whether the path is for probes of health: they are answered when all connections are busy. */
bool routes_is_probe(const char *path);

/* Fills the exchange with a problem and returns its status. */
unsigned routes_problem(struct exchange *exchange, const struct error *err);

/* The same for statuses that no error code has (405, 411); name is the problem type's. */
unsigned routes_problem_as(struct exchange *exchange, unsigned status, const char *name,
                           const char *detail);

/* Releases what receive made. */
void routes_release(struct exchange *exchange);

#endif
