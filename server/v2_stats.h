/* v2_stats.h - the statistics extension of the Open Inference Protocol: counts and times since
 * start of the requests that came by it, for each of the two models.
 *
 * A run of the network that several requests shared counts for each in proportion to its images.
 * Thread-safe: the public and the admin listener count; the workers never come here.
 */
#ifndef SENETD_V2_STATS_H
#define SENETD_V2_STATS_H

#include "batch.h"
#include "error.h"
#include "v2_model.h"
#include "writer.h"
#include <stdint.h>

struct v2_stats;

/* Errors: ERROR_MEMORY. */
enum error_code v2_stats_new(struct v2_stats **out, struct error *err) MUST_CHECK;
void v2_stats_free(struct v2_stats *stats); /* accepts NULL */

/* A request that was answered: total_ns since its headers, output_ns to write the answer. */
void v2_stats_success(struct v2_stats *stats, const struct v2_model *model, const struct job *job,
                      int64_t total_ns, int64_t output_ns);

void v2_stats_failure(struct v2_stats *stats, const struct v2_model *model, int64_t total_ns);

/* One element of "model_stats". */
void v2_stats_write(struct v2_stats *stats, const struct v2_model *model, struct writer *out);

#endif
