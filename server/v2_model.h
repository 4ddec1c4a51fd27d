/* v2_model.h - the models that the Open Inference Protocol sees: two views of the one network.
 *
 *   NAME     output "logits" [N, classes]; "probabilities", their softmax, where asked for by name
 *   NAME_se  the excitations: one output [N, channels] a block, named as in the checkpoint
 *
 * Two, because clients such as Triton's image_client want a classifier with exactly one output.
 * A plain ResNet has only the first. Both take the same input. No state.
 */
#ifndef SENETD_V2_MODEL_H
#define SENETD_V2_MODEL_H

#include "batch.h"
#include "error.h"
#include "senet.h"
#include <stdbool.h>
#include <stddef.h>

#define V2_MODEL_INPUT      "input"
#define V2_MODEL_VERSION    "1"
#define V2_MODEL_NAME_BYTES 80
#define V2_MODEL_MOST       2 /* views */

struct v2_model {
    const struct senet *senet;
    bool excitations; /* NAME_se */
};

struct v2_output {
    const char *name;
    size_t count;       /* floats of one image */
    size_t offset;      /* of a block, in an image's excitations */
    bool probabilities; /* the softmax of the logits */
};

/* How many there are: V2_MODEL_MOST or one less. The index'th of them. */
size_t v2_model_count(const struct senet *senet);
struct v2_model v2_model_at(const struct senet *senet, size_t index);

void v2_model_name(const struct v2_model *model, char out[V2_MODEL_NAME_BYTES]);

/* The model of a path /v2/models/NAME[/versions/V][/...]. Errors: ERROR_NOT_FOUND. */
enum error_code v2_model_find(const char *path, const struct senet *senet, struct v2_model *out,
                              struct error *err) MUST_CHECK;

/* All outputs, and how many of them, from the first, are told of in the model's metadata and
 * answered to who asks for none by name. */
size_t v2_model_outputs(const struct v2_model *model);
size_t v2_model_listed(const struct v2_model *model);
struct v2_output v2_model_output(const struct v2_model *model, size_t index);

/* One image's values of an output, [count]; probabilities are computed into scratch, [count]. */
const float *v2_model_values(const struct v2_model *model, const struct v2_output *output,
                             const struct batch_image *image, float *scratch);

/* Label of a value's place, or NULL where it has none (a gate). */
const char *v2_model_label(const struct v2_model *model, size_t index);

#endif
