/* describe.h - documents about the service itself -> JSON: the model, its version, statistics.
 *
 * Each function appends one document to a writer. No state of its own.
 */
#ifndef SENETD_DESCRIBE_H
#define SENETD_DESCRIBE_H

#include "attention.h"
#include "error.h"
#include "query.h"
#include "senet.h"
#include "writer.h"

/* Everything that senet_info knows, the blocks, the preprocessing and the labels. */
void describe_model(struct writer *w, const struct senet *model);

/* The same facts for a person: lines "name  value". */
void describe_model_text(struct writer *w, const struct senet *model);

/* Program, compiler and libraries; model may be NULL while it loads. */
void describe_version(struct writer *w, const struct senet *model);

/* Running statistics: of one block, gate by gate, or of all blocks in short. */
void describe_layer_statistics(struct writer *w, const struct senet *model,
                               struct attention *attention, size_t layer);
void describe_all_statistics(struct writer *w, const struct senet *model,
                             struct attention *attention);

/* The vectors kept of one request. Errors: ERROR_NOT_FOUND. */
enum error_code describe_request(struct writer *w, const struct senet *model,
                                 struct attention *attention, const char *id,
                                 const struct selection *selection, struct error *err) MUST_CHECK;

#endif
