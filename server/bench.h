/* bench.h - `senetd bench`: how fast the network itself runs here, without HTTP or decoding. */
#ifndef SENETD_BENCH_H
#define SENETD_BENCH_H

#include "config.h"
#include "error.h"
#include "senet.h"
#include <stdio.h>

/* Runs batches of config->batch images, one after another, for config->seconds, after a second of
 * warming up, and prints the median, the least and the 95th percentile of the time an image, and
 * images a second at the median; as one JSON object where json is set.
 * Errors: ERROR_MEMORY. */
enum error_code bench_run(const struct config *config, const struct senet *model, size_t threads,
                          bool json, FILE *to, struct error *err) MUST_CHECK;

#endif
