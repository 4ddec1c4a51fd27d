/* body.h - an upload in memory: grows as it arrives, within its own cap and a budget for all.
 *
 * A struct body belongs to one thread, a struct body_budget is shared. Zeroed memory is an empty
 * body.
 */
#ifndef SENETD_BODY_H
#define SENETD_BODY_H

#include "error.h"
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct body_budget {
    size_t cap;  /* bytes of one body */
    size_t most; /* bytes of all bodies together */
    atomic_size_t used;
};

struct body {
    uint8_t *bytes; /* [size], owned; NULL while empty */
    size_t size, capacity;
};

/* Errors: ERROR_TOO_LARGE (over the cap), ERROR_OVERLOADED (over the budget), ERROR_MEMORY; the
 * body stays as it was. */
enum error_code body_append(struct body *body, struct body_budget *budget, const void *data,
                            size_t size, struct error *err) MUST_CHECK;

/* Empties the body and gives its share back. */
void body_free(struct body *body, struct body_budget *budget);

#endif
