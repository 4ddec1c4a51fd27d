/* headers.h - the headers of requests, as other modules see them, and those of answers. No
 * libmicrohttpd here. */
#ifndef SENETD_HEADERS_H
#define SENETD_HEADERS_H

#include "exchange.h"
#include <stdbool.h>

/* Where a request's headers are looked up. */
struct headers {
    const char *(*get)(void *request, const char *name); /* the value, or NULL */
    void *request;
};

/* What an answer's headers depend on beside the exchange. */
struct headers_facts {
    unsigned status;
    unsigned method;      /* enum method; 0 for one we do not know */
    bool admin;           /* on the admin listener */
    bool closes;          /* no request may follow on the connection */
    struct headers asked; /* the request's */
};

/* Calls add(answer, name, value) for each header of the answer; the strings live as long as the
 * call. Lengths and the date are the library's. */
void headers_answer(const struct exchange *exchange, const struct headers_facts *facts,
                    void (*add)(void *answer, const char *name, const char *value), void *answer);

#endif
