/* openapi.h - the description of everything that is served, OpenAPI 3.1: openapi.json as it lies
 * beside this file, in the binary. No state.
 */
#ifndef SENETD_OPENAPI_H
#define SENETD_OPENAPI_H

#include "exchange.h"

/* Answers GET /openapi.json. */
unsigned openapi_answer(struct exchange *exchange);

#endif
