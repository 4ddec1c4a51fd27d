/* senet_model.h - what other files of model/ may see of a loaded model; users have senet.h. */
#ifndef SENETD_SENET_MODEL_H
#define SENETD_SENET_MODEL_H

#include "network.h"
#include "senet.h"

/* Both live as long as the model. */
const struct architecture *senet_architecture(const struct senet *model);
const struct kernels *senet_kernels(const struct senet *model);

/* senet_run on one image, shown to the observer. */
void senet_run_observed(struct senet_context *context, const float *input,
                        struct network_observer *observer, float *logits);

#endif
