/* v2_model.c - see v2_model.h. */
#include "v2_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PREFIX   "/v2/models/"
#define VERSIONS "/versions/"

size_t v2_model_count(const struct senet *senet)
{
    return senet_info(senet)->blocks > 0 ? V2_MODEL_MOST : V2_MODEL_MOST - 1;
}

struct v2_model v2_model_at(const struct senet *senet, size_t index)
{
    return (struct v2_model){.senet = senet, .excitations = index == 1};
}

void v2_model_name(const struct v2_model *model, char out[V2_MODEL_NAME_BYTES])
{
    snprintf(out, V2_MODEL_NAME_BYTES, "%s%s", senet_info(model->senet)->name,
             model->excitations ? "_se" : "");
}

/* The segment of a path that begins at text. */
static bool is_segment(const char *text, const char *value)
{
    size_t size = strcspn(text, "/");
    return size == strlen(value) && memcmp(text, value, size) == 0;
}

enum error_code v2_model_find(const char *path, const struct senet *senet, struct v2_model *out,
                              struct error *err)
{
    const char *name = path + sizeof PREFIX - 1;
    const char *rest = name + strcspn(name, "/");
    bool found = false;
    for (size_t i = 0; i < v2_model_count(senet) && !found; i++) {
        char known[V2_MODEL_NAME_BYTES];
        *out = v2_model_at(senet, i);
        v2_model_name(out, known);
        found = is_segment(name, known);
    }
    if (!found)
        return error_set(err, ERROR_NOT_FOUND,
                         "unknown model '%.*s'; GET /v2/models lists those that exist",
                         rest - name < 64 ? (int)(rest - name) : 64, name);
    if (strncmp(rest, VERSIONS, sizeof VERSIONS - 1) == 0 &&
        !is_segment(rest + sizeof VERSIONS - 1, V2_MODEL_VERSION))
        return error_set(err, ERROR_NOT_FOUND, "model '%.*s' has only version %s",
                         (int)(rest - name), name, V2_MODEL_VERSION);
    return ERROR_NONE;
}

size_t v2_model_outputs(const struct v2_model *model)
{
    return model->excitations ? senet_info(model->senet)->blocks : 2;
}

size_t v2_model_listed(const struct v2_model *model)
{
    return model->excitations ? senet_info(model->senet)->blocks : 1;
}

struct v2_output v2_model_output(const struct v2_model *model, size_t index)
{
    size_t classes = senet_info(model->senet)->classes;
    if (!model->excitations)
        return index == 0 ? (struct v2_output){.name = "logits", .count = classes}
                          : (struct v2_output){
                                .name = "probabilities", .count = classes, .probabilities = true};
    const struct senet_block *block = senet_block(model->senet, index);
    return (struct v2_output){
        .name = block->name, .count = block->channels, .offset = block->offset};
}

static void softmax(const float *logits, size_t count, float *out)
{
    float most = logits[0];
    double sum = 0;
    for (size_t i = 1; i < count; i++)
        most = fmaxf(most, logits[i]);
    for (size_t i = 0; i < count; i++)
        sum += exp((double)logits[i] - (double)most);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(exp((double)logits[i] - (double)most) / sum);
}

const float *v2_model_values(const struct v2_model *model, const struct v2_output *output,
                             const struct batch_image *image, float *scratch)
{
    if (model->excitations)
        return image->excitations + output->offset;
    if (!output->probabilities)
        return image->logits;
    softmax(image->logits, output->count, scratch);
    return scratch;
}

const char *v2_model_label(const struct v2_model *model, size_t index)
{
    return model->excitations ? NULL : senet_label(model->senet, index);
}
