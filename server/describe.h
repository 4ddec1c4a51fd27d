/* describe.h - documents about the model and the program -> JSON.
 *
 * Each function appends one document to a writer. No state of its own.
 */
#ifndef SENETD_DESCRIBE_H
#define SENETD_DESCRIBE_H

#include "senet.h"
#include "writer.h"

/* Everything that senet_info knows, the blocks, the preprocessing and the labels. */
void describe_model(struct writer *w, const struct senet *model);

/* The same facts for a person: lines "name  value". */
void describe_model_text(struct writer *w, const struct senet *model);

/* Program, compiler and libraries; model may be NULL while it loads. */
void describe_version(struct writer *w, const struct senet *model);

/* A block's geometry: reply_block_members, and the widths of its bottleneck. */
void describe_block_members(struct writer *w, const struct senet *model, size_t layer);

#endif
