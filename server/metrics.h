/* metrics.h - what GET /metrics tells, in Prometheus' text format 0.0.4.
 *
 * Everything is counted on the HTTP thread when a request is answered, from what its images carry,
 * so that no worker waits for a counter. Thread-safe: the public and the admin listener count.
 */
#ifndef SENETD_METRICS_H
#define SENETD_METRICS_H

#include "batch.h"
#include "error.h"
#include "service.h"
#include "writer.h"
#include <stddef.h>
#include <stdint.h>

struct metrics;

/* Errors: ERROR_MEMORY. */
enum error_code metrics_new(struct metrics **out, struct error *err) MUST_CHECK;
void metrics_free(struct metrics *metrics); /* accepts NULL */

/* A request that was answered. route is a path of the table or "other", method one that we know or
 * "other": both literals, so that a client cannot make up series. */
void metrics_request(struct metrics *metrics, const char *route, const char *method,
                     unsigned status, int64_t duration_ns);

/* A request refused with 503: "loading", "draining" or "overloaded". */
void metrics_rejected(struct metrics *metrics, const char *reason);

/* The images of a finished job, and the time it took to write the answer. */
void metrics_job(struct metrics *metrics, const struct job *job, int64_t serialize_ns);

void metrics_write(struct metrics *metrics, struct service *service, struct writer *out);

#endif
