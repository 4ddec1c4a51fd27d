/* routes.h - which path answers what: the table of routes (see route.h) and their handlers. */
#ifndef SENETD_ROUTES_H
#define SENETD_ROUTES_H

#include "exchange.h"
#include "route.h"
#include <stdbool.h>

#define ROUTES_ALLOW_BYTES 64

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

/* Releases what receive made. */
void routes_release(struct exchange *exchange);

#endif
