/* calibration.h - how large the input of each convolution gets on real photos, for int8.
 *
 * The network runs in fp32 on photo after photo, and the absolute values that each convolution
 * reads are counted in a histogram, zeros aside, which every scale holds exactly. From it comes the
 * scale: the largest value that int8 should still tell from larger ones, divided by the levels
 * there are. The mean of every input channel is kept too: it tells by how much rounded weights
 * shift an output.
 *
 * Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
 * arXiv:1806.08342 (one scale a layer for activations, one an output channel for weights);
 * Nagel et al., arXiv:1906.04721, section 4.2 (bias correction). One thread at a time.
 */
#ifndef SENETD_CALIBRATION_H
#define SENETD_CALIBRATION_H

#include "error.h"
#include "senet.h"

struct calibration;

/* By what the largest value is chosen. */
enum calibration_method {
    CALIBRATION_MSE,        /* least mean square of what clipping and rounding take away */
    CALIBRATION_ENTROPY,    /* least Kullback-Leibler divergence of the quantised distribution */
    CALIBRATION_PERCENTILE, /* 99.99 % of the values are below it */
    CALIBRATION_MAX,        /* nothing is clipped */
};

/* The model must be open in fp32, and outlive *out.
 * Errors: ERROR_USAGE (another precision), ERROR_MEMORY. */
SENET_API enum error_code calibration_new(const struct senet *model, struct calibration **out,
                                          struct error *err) MUST_CHECK;

/* Accepts NULL. */
SENET_API void calibration_free(struct calibration *calibration);

/* Looks at one photo, input [3][height][width] as for senet_run, of the model's own size. */
SENET_API void calibration_see(struct calibration *calibration, const float *input);

/* Copies the checkpoint `from`, of the same model, to `to` with NAME.input_scale [1] and
 * NAME.input_mean [in] for every convolution NAME, F32; what an earlier calibration wrote is
 * dropped. At least one photo must have been seen; *layers is set to the number of scales.
 * Errors: ERROR_IO, ERROR_WEIGHTS (from cannot be read), ERROR_USAGE (nothing seen),
 * ERROR_MEMORY. */
SENET_API enum error_code calibration_write(const struct calibration *calibration,
                                            enum calibration_method method, const char *from,
                                            const char *to, size_t *layers,
                                            struct error *err) MUST_CHECK;

#endif
