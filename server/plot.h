/* plot.h - `senetd plot`: figures of excitations, see figure.h for their formats. */
#ifndef SENETD_PLOT_H
#define SENETD_PLOT_H

#include "batch.h"
#include "config.h"
#include "error.h"
#include "senet.h"

/* With config->files: one image's top classes and a strip of gates for each block, coloured by
 * z-score where the model has a reference, else by value. With config->classes: the mean gate of
 * each class at chosen blocks, as in the paper's figures on the role of excitation (section 7.2).
 * Writes config->output. Errors: those of figure.h, ERROR_USAGE (no folder named after a class),
 * what is wrong with the image, ERROR_MEMORY. */
enum error_code plot_run(const struct config *config, const struct senet *senet,
                         struct batch *batch, struct error *err) MUST_CHECK;

#endif
