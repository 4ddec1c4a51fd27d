/* quantize.h - the command that calibrates a model for int8: senetd quantize --calibrate DIR. */
#ifndef SENETD_QUANTIZE_H
#define SENETD_QUANTIZE_H

#include "config.h"
#include "error.h"
#include "senet.h"

/* Looks at the photos in config->calibrate and its folders (at most config->limit of each) through
 * the model, which is open in fp32, and writes the directory config->output: model.safetensors with
 * the scales, and what else of config.json and labels.txt lies beside the weights. Then runs photos
 * through the result, and prints how far int8 agrees. Files that are not photos are named on
 * standard error and left out.
 * Errors: ERROR_IO, ERROR_USAGE (no photo), ERROR_WEIGHTS, ERROR_MEMORY. */
enum error_code quantize_run(const struct config *config, const struct senet *senet,
                             struct error *err) MUST_CHECK;

#endif
