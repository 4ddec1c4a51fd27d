/* model_config.h - timm's config.json beside a checkpoint.
 *
 * Read: architecture, num_classes, and from pretrained_cfg input_size [3, h, w], crop_pct,
 * crop_mode, interpolation, mean, std, num_classes. Other keys are of training and left alone.
 */
#ifndef SENETD_MODEL_CONFIG_H
#define SENETD_MODEL_CONFIG_H

#include "error.h"
#include "image.h"

struct model_config {
    char architecture[64]; /* "" where it is not said */
    size_t classes;        /* 0 where it is not said */
    struct preprocess preprocess;
};

/* Overwrites in *config what the file says. Errors: ERROR_IO, ERROR_WEIGHTS (which key, what was
 * found, what was expected), ERROR_MEMORY. */
enum error_code model_config_read(const char *path, struct model_config *config,
                                  struct error *err) MUST_CHECK;

#endif
