/* profile.h - `senetd profile --images DIR`: the reference statistics of a model's excitations. */
#ifndef SENETD_PROFILE_H
#define SENETD_PROFILE_H

#include "batch.h"
#include "config.h"
#include "error.h"
#include "senet.h"

/* Runs the photos of config->images, at most config->limit of a folder, and writes config->output
 * (default: beside the weights). A photo's class is what its folder is named after, or, where no
 * folder is, the predicted one. Progress goes to stderr on a terminal. Broken files are told of
 * and left out. Now and then, and on SIGINT or SIGTERM, the sums are saved in OUTPUT.partial, from
 * which the same command goes on. Errors: ERROR_USAGE (no photos, none that decodes), ERROR_IO,
 * ERROR_MEMORY, ERROR_DRAINING (interrupted). */
enum error_code profile_run(const struct config *config, const struct senet *senet,
                            struct batch *batch, struct error *err) MUST_CHECK;

#endif
