/* problem.h - the answer to what went wrong: a problem of RFC 9457, or below /v2 the error of that
 * protocol, {"error":"text"}, as its clients expect. */
#ifndef SENETD_PROBLEM_H
#define SENETD_PROBLEM_H

#include "error.h"
#include "exchange.h"

/* Fills the exchange with it and returns its status. Rejections are counted, the server's own
 * faults logged. */
unsigned problem_answer(struct exchange *exchange, const struct error *err);

/* The same for statuses that no error code has (405, 411); name is the problem type's. */
unsigned problem_answer_as(struct exchange *exchange, unsigned status, const char *name,
                           const char *detail);

#endif
