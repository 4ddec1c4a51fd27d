/* query.h - a request's query string -> what to tell.
 *
 * Unknown keys, values and repeated keys are errors that say what was expected: a misspelt option
 * must not be taken for its default. No state.
 */
#ifndef SENETD_QUERY_H
#define SENETD_QUERY_H

#include "error.h"
#include "reply.h"
#include "senet.h"
#include <stdbool.h>
#include <stddef.h>

#define QUERY_MAX_PAIRS 8 /* more than any route knows keys */

struct query_pair {
    const char *key, *value; /* decoded; value is NULL for a key without '=' */
};

/* Keys that a route accepts. */
enum query_key {
    QUERY_TOPK = 1,
    QUERY_EXCITATIONS = 2,
    QUERY_LAYERS = 4, /* a list */
    QUERY_LAYER = 8,  /* one */
    QUERY_ID = 16,
};

struct query {
    struct selection selection; /* its blocks are owned by the query */
    bool has_layer;
    size_t layer;   /* of QUERY_LAYER */
    const char *id; /* of QUERY_ID, or NULL; in the pair's memory */
};

/* accepted is a set of enum query_key. model may be NULL for routes that accept none.
 * query_free also after an error. Errors: ERROR_USAGE; ERROR_NOT_FOUND for a layer of a model that
 * has none; ERROR_MEMORY. */
enum error_code query_parse(const struct query_pair *pairs, size_t count, unsigned accepted,
                            const struct senet *model, size_t default_topk, struct query *out,
                            struct error *err) MUST_CHECK;

/* Narrows the selection to query->layer. Errors: ERROR_MEMORY. */
enum error_code query_select_layer(struct query *query, const struct senet *model,
                                   struct error *err) MUST_CHECK;

/* Accepts a zeroed struct. */
void query_free(struct query *query);

#endif
