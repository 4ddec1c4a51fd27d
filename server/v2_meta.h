/* v2_meta.h - the documents of the Open Inference Protocol about server and models -> JSON.
 *
 * Source: the protocol's text and Triton's extensions model_configuration and model_repository.
 * Each function appends one document to a writer. No state.
 */
#ifndef SENETD_V2_META_H
#define SENETD_V2_META_H

#include "config.h"
#include "v2_model.h"
#include "writer.h"

/* Name, version, extensions. */
void v2_meta_server(struct writer *w);

/* Names of all models. */
void v2_meta_models(struct writer *w, const struct senet *senet);

/* Inputs and outputs of one. */
void v2_meta_model(struct writer *w, const struct v2_model *model);

/* The same as Triton's ModelConfig. */
void v2_meta_config(struct writer *w, const struct v2_model *model, const struct config *config,
                    size_t workers);

#endif
