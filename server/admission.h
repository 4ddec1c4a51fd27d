/* admission.h - whether a request is let in: decided from its header, before a body comes. No
 * libmicrohttpd here. */
#ifndef SENETD_ADMISSION_H
#define SENETD_ADMISSION_H

#include "error.h"
#include "exchange.h"
#include "framing.h"
#include "headers.h"
#include <stdbool.h>

struct admission {
    unsigned method; /* enum method, 0 for one we do not know */
    struct framing framing;
    unsigned refused_status; /* one that no error code stands for; 0 for the code's own */
    struct error refusal;    /* the first reason found */
};

/* The method's bit of enum method; 0 for one we do not know. */
unsigned admission_method(const char *name);

/* Finds the exchange's route and limits, or what keeps it from being served. The method is known
 * and the framing was found good. admin: on the admin listener; room: more than probes of health
 * may be served. */
void admission_decide(struct admission *admission, struct exchange *exchange,
                      const struct headers *asked, bool admin, bool room);

bool admission_is_refused(const struct admission *admission);

/* Whether to answer before the body comes: it must not be trusted, the client asked first, or it
 * would send more than max_body. */
bool admission_must_answer_now(const struct admission *admission, size_t max_body);

/* Fills the exchange with the refusal and returns its status. */
unsigned admission_problem(const struct admission *admission, struct exchange *exchange);

#endif
