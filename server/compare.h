/* compare.h - POST /compare: in which blocks, and at which gates, two or more images differ. */
#ifndef SENETD_COMPARE_H
#define SENETD_COMPARE_H

#include "batch.h"
#include "query.h"
#include "reference.h"
#include "senet.h"
#include "writer.h"

#define COMPARE_MOST     16 /* images */
#define COMPARE_CHANNELS 8  /* told of a block where the client gives no number */

/* "scale":...,"layers":[...] of a finished job. The distance of two images in a block is the root
 * mean square over its channels of the difference of their gates, in units of the reference's
 * standard deviation (see relative.h), or as it is where reference is NULL. An image with an error
 * has null distances. Then the channels of the largest spread, largest first. */
void compare_members(struct writer *w, const struct senet *senet, const struct reference *reference,
                     const struct job *job, const struct query *query);

#endif
