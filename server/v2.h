/* v2.h - the Open Inference Protocol (KServe's V2, Triton's HTTP protocol): its routes.
 *
 * Handlers of everything below /v2 but inference itself, which is v2_infer.c's. Errors here are
 * {"error":"text"} of type application/json, as clients of the protocol expect.
 */
#ifndef SENETD_V2_H
#define SENETD_V2_H

#include "exchange.h"
#include "routes.h"
#include <stdbool.h>
#include <stddef.h>

/* Whether the path is "/v2" or below it. */
bool v2_owns(const char *path);

/* The index'th route, whose path may hold {segments}; NULL behind the last. */
const struct route *v2_route(size_t index);

/* Fills the exchange with an error, and counts it where the request was an inference. */
void v2_error(struct exchange *exchange, const char *message);

#endif
