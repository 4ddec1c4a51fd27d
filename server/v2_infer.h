/* v2_infer.h - POST /v2/models/NAME/infer, from the body to the answer: the two steps of a route
 * that takes images (routes.h). Runs on the HTTP thread.
 */
#ifndef SENETD_V2_INFER_H
#define SENETD_V2_INFER_H

#include "error.h"
#include "exchange.h"

enum error_code v2_infer_receive(struct exchange *exchange, struct error *err) MUST_CHECK;
unsigned v2_infer_answer(struct exchange *exchange);

/* Releases what receive made. */
void v2_infer_release(struct exchange *exchange);

#endif
