/* v2_request.c - see v2_request.h. */
#include "v2_request.h"
#include "image.h"
#include "json_pool.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define RESERVED "triton_" /* parameters with names of this kind are the protocol's own */

/* What the parts of a request share while it is read. */
struct reader {
    const uint8_t *body;
    size_t size, json_bytes; /* of the whole body, of the JSON in it */
    size_t max_images;
    size_t height, width;
    struct v2_scan scan;
    struct v2_request *out;
    struct error *err;
};

static size_t tensor_floats(const struct reader *in)
{
    return 3 * in->height * in->width; /* both sides are at most 4096 */
}

/* ---- parameters ------------------------------------------------------------------------------ */

/* An object that may be missing. */
static enum error_code get_parameters(const struct reader *in, const json_t *owner, json_t **out)
{
    *out = json_object_get(owner, "parameters");
    if (*out != NULL && !json_is_object(*out))
        return error_set(in->err, ERROR_USAGE, "\"parameters\" is not an object");
    return ERROR_NONE;
}

/* Leaves *out where there is no such parameter. */
static enum error_code read_flag(const struct reader *in, const json_t *parameters,
                                 const char *name, bool *out)
{
    const json_t *value = json_object_get(parameters, name);
    if (value != NULL && !json_is_boolean(value))
        return error_set(in->err, ERROR_USAGE, "parameter \"%s\" is not true or false", name);
    if (value != NULL)
        *out = json_is_true(value);
    return ERROR_NONE;
}

static enum error_code read_count(const struct reader *in, const json_t *parameters,
                                  const char *name, uint64_t *out)
{
    const json_t *value = json_object_get(parameters, name);
    if (value != NULL && (!json_is_integer(value) || json_integer_value(value) < 0))
        return error_set(in->err, ERROR_USAGE, "parameter \"%s\" is not a whole number from 0 up",
                         name);
    if (value != NULL)
        *out = (uint64_t)json_integer_value(value);
    return ERROR_NONE;
}

static enum error_code refuse_shared_memory(const struct reader *in, const json_t *parameters)
{
    if (json_object_get(parameters, "shared_memory_region") != NULL)
        return error_set(in->err, ERROR_USAGE,
                         "shared memory is not supported; send and receive tensors in the body");
    return ERROR_NONE;
}

/* Those of the whole request. Unknown ones are the client's business. */
static enum error_code read_request_parameters(const struct reader *in, const json_t *root,
                                               bool *binary)
{
    json_t *parameters, *value;
    const char *name;
    TRY(get_parameters(in, root, &parameters));
    json_object_foreach(parameters, name, value)
    {
        if (strncmp(name, RESERVED, sizeof RESERVED - 1) == 0)
            return error_set(in->err, ERROR_USAGE,
                             "parameter \"%.64s\": names that begin with " RESERVED " are reserved",
                             name);
        if (json_is_object(value) || json_is_array(value) || json_is_null(value))
            return error_set(in->err, ERROR_USAGE,
                             "parameter \"%.64s\" is not a string, number, true or false", name);
    }
    TRY(read_flag(in, parameters, "binary_data_output", binary));
    TRY(read_count(in, parameters, "priority", &in->out->priority));
    return read_count(in, parameters, "timeout", &in->out->timeout_us);
}

/* ---- outputs --------------------------------------------------------------------------------- */

static enum error_code reserve_outputs(const struct reader *in)
{
    size_t most = v2_model_outputs(&in->out->model);
    in->out->wanted = calloc(most, sizeof *in->out->wanted);
    in->out->wanted_count = 0;
    return in->out->wanted == NULL
               ? error_set(in->err, ERROR_MEMORY, "no memory for the list of outputs")
               : ERROR_NONE;
}

static void want_all(const struct reader *in, bool binary)
{
    struct v2_request *out = in->out;
    for (size_t i = 0; i < v2_model_listed(&out->model); i++)
        out->wanted[out->wanted_count++] =
            (struct v2_wanted){.output = v2_model_output(&out->model, i), .binary = binary};
}

static enum error_code find_output(const struct reader *in, const char *name,
                                   struct v2_output *found)
{
    struct v2_request *out = in->out;
    for (size_t i = 0; i < out->wanted_count; i++)
        if (strcmp(out->wanted[i].output.name, name) == 0)
            return error_set(in->err, ERROR_USAGE, "output '%.64s' is asked for twice", name);
    size_t count = v2_model_outputs(&out->model);
    for (size_t i = 0; i < count; i++) {
        *found = v2_model_output(&out->model, i);
        if (strcmp(found->name, name) == 0)
            return ERROR_NONE;
    }
    char model[V2_MODEL_NAME_BYTES];
    v2_model_name(&out->model, model);
    return error_set(in->err, ERROR_USAGE, "model '%s' has no output '%.64s'; its first is '%s'",
                     model, name, v2_model_output(&out->model, 0).name);
}

static enum error_code read_output(const struct reader *in, const json_t *object, bool binary)
{
    struct v2_wanted wanted = {.binary = binary};
    const char *name = json_string_value(json_object_get(object, "name"));
    json_t *parameters;
    uint64_t classes = 0;
    if (name == NULL)
        return error_set(in->err, ERROR_USAGE,
                         "an element of \"outputs\" is not an object with a string \"name\"");
    TRY(find_output(in, name, &wanted.output));
    TRY(get_parameters(in, object, &parameters));
    TRY(refuse_shared_memory(in, parameters));
    TRY(read_flag(in, parameters, "binary_data", &wanted.binary));
    TRY(read_count(in, parameters, "classification", &classes));
    wanted.classification = classes < wanted.output.count ? (size_t)classes : wanted.output.count;
    in->out->wanted[in->out->wanted_count++] = wanted;
    return ERROR_NONE;
}

static enum error_code read_outputs(const struct reader *in, const json_t *root, bool binary)
{
    const json_t *outputs = json_object_get(root, "outputs");
    TRY(reserve_outputs(in));
    if (outputs != NULL && !json_is_array(outputs))
        return error_set(in->err, ERROR_USAGE, "\"outputs\" is not an array");
    if (json_array_size(outputs) == 0)
        want_all(in, binary);
    for (size_t i = 0; i < json_array_size(outputs); i++)
        TRY(read_output(in, json_array_get(outputs, i), binary));
    return ERROR_NONE;
}

/* ---- the input ------------------------------------------------------------------------------- */

static enum error_code wrong_shape(const struct reader *in, bool images)
{
    if (images)
        return error_set(in->err, ERROR_USAGE,
                         "input '%s' of BYTES: expected a shape [N] or [N,1], N from 1",
                         V2_MODEL_INPUT);
    return error_set(in->err, ERROR_USAGE,
                     "input '%s' of FP32: expected a shape [N,3,%zu,%zu], N from 1", V2_MODEL_INPUT,
                     in->height, in->width);
}

/* The shape -> the number of images. */
static enum error_code read_shape(const struct reader *in, const json_t *input, bool images)
{
    const size_t tensor[] = {0, 3, in->height, in->width}, list[] = {0, 1};
    const size_t *expected = images ? list : tensor;
    const json_t *shape = json_object_get(input, "shape");
    size_t rank = json_array_size(shape);
    if (images ? rank != 1 && rank != 2 : rank != 4)
        return wrong_shape(in, images);
    for (size_t i = 0; i < rank; i++) {
        const json_t *side = json_array_get(shape, i);
        json_int_t value = json_integer_value(side);
        if (!json_is_integer(side) || value < 1 || (i > 0 && value != (json_int_t)expected[i]))
            return wrong_shape(in, images);
        if (i == 0 && (uint64_t)value > in->max_images)
            return error_set(in->err, ERROR_TOO_LARGE, "more than %zu images in one request",
                             in->max_images);
        if (i == 0)
            in->out->images = (size_t)value;
    }
    return ERROR_NONE;
}

static enum error_code take_binary(const struct reader *in, uint64_t size, bool images)
{
    struct v2_request *out = in->out;
    size_t behind = in->size - in->json_bytes;
    size_t floats = out->images * tensor_floats(in) * sizeof(float);
    if (size != behind)
        return error_set(in->err, ERROR_USAGE,
                         "input '%s' has a binary_data_size of %llu, but %zu bytes follow the JSON",
                         V2_MODEL_INPUT, (unsigned long long)size, behind);
    if (!images && size != floats)
        return error_set(in->err, ERROR_USAGE, "input '%s' has %zu bytes, its shape needs %zu",
                         V2_MODEL_INPUT, behind, floats);
    out->form = images ? V2_FORM_BYTES : V2_FORM_FLOATS;
    out->data = in->body + in->json_bytes;
    out->size = behind;
    return ERROR_NONE;
}

static enum error_code take_text(const struct reader *in, const json_t *input, bool images)
{
    struct v2_request *out = in->out;
    if (!json_is_true(json_object_get(input, "data")) || in->scan.arrays != 1)
        return error_set(in->err, ERROR_USAGE,
                         "input '%s' has neither an array \"data\" nor a binary_data_size",
                         V2_MODEL_INPUT);
    if (in->size != in->json_bytes)
        return error_set(in->err, ERROR_USAGE,
                         "%zu bytes follow the JSON, but no input has a binary_data_size",
                         in->size - in->json_bytes);
    if (!images && in->scan.commas + 1 != out->images * tensor_floats(in))
        return error_set(in->err, ERROR_USAGE,
                         "input '%s' has %zu values in \"data\", its shape needs %zu",
                         V2_MODEL_INPUT, in->scan.commas + 1, out->images * tensor_floats(in));
    out->form = images ? V2_FORM_STRINGS : V2_FORM_NUMBERS;
    out->data = (const uint8_t *)in->scan.data;
    out->size = in->scan.data_size;
    out->commas = in->scan.commas;
    return ERROR_NONE;
}

static enum error_code read_input(const struct reader *in, const json_t *input)
{
    const char *name = json_string_value(json_object_get(input, "name"));
    const char *type = json_string_value(json_object_get(input, "datatype"));
    json_t *parameters;
    uint64_t size = UINT64_MAX;
    if (name == NULL || strcmp(name, V2_MODEL_INPUT) != 0)
        return error_set(in->err, ERROR_USAGE, "the one input is called '%s', not '%.64s'",
                         V2_MODEL_INPUT, name != NULL ? name : "");
    if (type == NULL || (strcmp(type, "FP32") != 0 && strcmp(type, "BYTES") != 0))
        return error_set(in->err, ERROR_USAGE,
                         "input '%s' has datatype '%.64s', expected FP32 (preprocessed pixels) or "
                         "BYTES (encoded images)",
                         V2_MODEL_INPUT, type != NULL ? type : "");
    bool images = strcmp(type, "BYTES") == 0;
    TRY(read_shape(in, input, images));
    TRY(get_parameters(in, input, &parameters));
    TRY(refuse_shared_memory(in, parameters));
    TRY(read_count(in, parameters, "binary_data_size", &size));
    if (size == UINT64_MAX)
        return take_text(in, input, images);
    if (json_object_get(input, "data") != NULL)
        return error_set(in->err, ERROR_USAGE,
                         "input '%s' has both \"data\" and a binary_data_size", V2_MODEL_INPUT);
    return take_binary(in, size, images);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum error_code read_document(struct reader *in)
{
    bool binary = false;
    TRY(v2_scan_text((const char *)in->body, in->json_bytes, &in->scan, in->err));
    const struct writer *rest = &in->scan.rest;
    TRY(json_pool_parse("the request", rest->bytes != NULL ? rest->bytes : "", rest->size,
                        ERROR_USAGE, &in->out->root, &in->out->memory, in->err));
    const json_t *root = in->out->root;
    const json_t *inputs = json_object_get(root, "inputs"), *id = json_object_get(root, "id");
    if (!json_is_array(inputs) || json_array_size(inputs) != 1)
        return error_set(in->err, ERROR_USAGE,
                         "expected an object whose \"inputs\" is an array of the one input '%s'",
                         V2_MODEL_INPUT);
    if (id != NULL && !json_is_string(id))
        return error_set(in->err, ERROR_USAGE, "\"id\" is not a string");
    in->out->id = json_string_value(id);
    TRY(read_request_parameters(in, root, &binary));
    TRY(read_outputs(in, root, binary));
    return read_input(in, json_array_get(inputs, 0));
}

/* The body is one tensor: of the network's size, or else an encoded image. A photo's file may have
 * just that size, so the two commonest kinds are looked for; as floats they begin with a value
 * that no pixel has. */
static enum error_code read_raw(const struct reader *in)
{
    struct v2_request *out = in->out;
    enum image_format format = image_sniff(in->body, in->size);
    bool floats = in->size == tensor_floats(in) * sizeof(float) && format != IMAGE_JPEG &&
                  format != IMAGE_PNG;
    out->form = floats ? V2_FORM_FLOATS : V2_FORM_IMAGE;
    out->images = 1;
    out->data = in->body;
    out->size = in->size;
    TRY(reserve_outputs(in));
    want_all(in, true);
    return ERROR_NONE;
}

static enum error_code read_json_size(struct reader *in, const char *text)
{
    size_t value = 0, i = 0;
    for (; i < 10 && isdigit((unsigned char)text[i]); i++)
        value = value * 10 + (size_t)(text[i] - '0');
    if (i == 0 || text[i] != '\0' || value > in->size)
        return error_set(in->err, ERROR_USAGE,
                         "Inference-Header-Content-Length is '%.20s', expected 0 to %zu, the "
                         "length of the body",
                         text, in->size);
    in->json_bytes = value;
    return ERROR_NONE;
}

enum error_code v2_request_parse(const uint8_t *body, size_t size, const char *json_size,
                                 const struct v2_model *model, size_t max_images,
                                 struct v2_request *out, struct error *err)
{
    const struct preprocess *preprocess = &senet_info(model->senet)->preprocess;
    struct reader in = {.body = body,
                        .size = size,
                        .json_bytes = size,
                        .max_images = max_images,
                        .height = preprocess->height,
                        .width = preprocess->width,
                        .out = out,
                        .err = err};
    *out = (struct v2_request){.model = *model};
    if (size == 0)
        return error_set(err, ERROR_USAGE, "the body is empty, expected an inference request");
    if (json_size != NULL)
        TRY(read_json_size(&in, json_size));
    if (in.json_bytes == 0)
        return read_raw(&in);
    enum error_code code = read_document(&in);
    v2_scan_free(&in.scan);
    return code;
}

void v2_request_free(struct v2_request *request)
{
    free(request->memory);
    free(request->wanted);
    *request = (struct v2_request){0};
}
