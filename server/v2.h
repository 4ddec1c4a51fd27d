/* v2.h - the Open Inference Protocol (KServe's V2, Triton's HTTP protocol): its routes.
 *
 * Handlers of everything below /v2 but inference itself, which is v2_infer.c's; errors there are
 * problem.c's too.
 */
#ifndef SENETD_V2_H
#define SENETD_V2_H

#include "route.h"
#include <stddef.h>

/* The index'th route, whose path may hold {segments}; NULL behind the last. */
const struct route *v2_route(size_t index);

#endif
