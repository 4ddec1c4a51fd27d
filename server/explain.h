/* explain.h - POST /explain: what a block's attention, or a single gate, is worth for one image.
 *
 * Ablation, no gradients: the network runs with gates replaced, and the answer is what changes. One
 * replacement a block, or, within one block, each of 16 groups of neighbouring channels and the
 * gates furthest from their reference mean, one at a time. The work is bounded: at most about 8.6
 * whole runs for all 16 blocks of an SE-ResNet-50, and as many block runs as EXPLAIN_BLOCK_RUNS for
 * channels. Everything is allocated before the job is submitted; a worker of the queue runs it like
 * any other image. Few may be in flight, for their memory and for the other requests' sake.
 */
#ifndef SENETD_EXPLAIN_H
#define SENETD_EXPLAIN_H

#include "batch.h"
#include "error.h"
#include "query.h"
#include "reference.h"
#include "senet.h"
#include "writer.h"

#define EXPLAIN_GROUPS     16
#define EXPLAIN_BLOCK_RUNS 256
#define EXPLAIN_SINGLES    512 /* gates replaced one at a time */
#define EXPLAIN_MOST       8   /* in flight: each holds a worker as long as many photos */

struct explain;

/* Hooks itself into the image. reference may be NULL where neither MODE_MEAN nor channels are asked
 * for. Errors: ERROR_USAGE (channels without one block), ERROR_NOT_FOUND (a model without blocks),
 * ERROR_MEMORY. */
enum error_code explain_new(const struct senet *senet, const struct reference *reference,
                            const struct query *query, struct batch_image *image,
                            struct explain **out, struct error *err) MUST_CHECK;

/* Accepts NULL. */
void explain_free(struct explain *explain);

/* "mode":...,"blocks":[...] and, where asked for, "channels":{...} of the finished image. */
void explain_members(struct writer *w, const struct explain *explain,
                     const struct batch_image *image);

#endif
