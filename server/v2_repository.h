/* v2_repository.h - the repository of the Open Inference Protocol: its index, load and unload.
 *
 * The repository holds one network, --weights, under two names (see v2_model.h), which come and go
 * together. Loading and unloading block until they are done: they are the admin listener's, whose
 * thread serves nobody else. Source: Triton's extension model_repository, and what KServe answers.
 */
#ifndef SENETD_V2_REPOSITORY_H
#define SENETD_V2_REPOSITORY_H

#include "exchange.h"

/* Handlers, see routes.h. index: [{"name","version","state","reason"}]; with {"ready":true} only
 * those that serve. */
unsigned v2_repository_index(struct exchange *exchange);

/* Loads --weights anew; answers when the new model serves, or why the old one goes on. */
unsigned v2_repository_load(struct exchange *exchange);

/* Takes the model out of service; answers when its memory is free. */
unsigned v2_repository_unload(struct exchange *exchange);

/* 403, for the public listener. */
unsigned v2_repository_refuse(struct exchange *exchange);

#endif
