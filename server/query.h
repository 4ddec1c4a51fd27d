/* query.h - a request's query string -> what to tell.
 *
 * Unknown keys, values and repeated keys are errors that say what was expected: a misspelt option
 * must not be taken for its default. No state.
 */
#ifndef SENETD_QUERY_H
#define SENETD_QUERY_H

#include "arrays.h"
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
    QUERY_RELATIVE = 32, /* 0 or 1 */
    QUERY_CLASS = 64,    /* a label or an index */
    QUERY_BLOCK = 128,   /* "all", or a list as of QUERY_LAYERS */
    QUERY_MODE = 256,
    QUERY_VALUE = 512, /* a gate */
    QUERY_CHANNELS = 1024,
    QUERY_FORMAT = 2048,
};

/* What takes the place of a block's gates. */
enum query_mode {
    MODE_IDENTITY, /* their mean, in every channel */
    MODE_MEAN,     /* each channel's mean in the reference */
    MODE_ZERO,
    MODE_VALUE, /* query.value */
};

#define QUERY_MOST_CHANNELS 64
#define QUERY_MOST_VALUE    10

struct query {
    struct selection selection; /* its blocks are owned by the query */
    bool has_layer;
    size_t layer;   /* of QUERY_LAYER */
    const char *id; /* of QUERY_ID, or NULL; in the pair's memory */
    bool relative, has_class;
    size_t class; /* of QUERY_CLASS */
    enum query_mode mode;
    float value;               /* 0..QUERY_MOST_VALUE */
    enum arrays_format format; /* ARRAYS_NONE for JSON */
    bool has_format;           /* it was asked for in so many words */
    size_t channels;           /* 0 where none are asked for, at most QUERY_MOST_CHANNELS */
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
