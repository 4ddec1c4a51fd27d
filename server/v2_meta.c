/* v2_meta.c - see v2_meta.h. */
#include "v2_meta.h"

/* Extensions that work here; clients take this list at its word. */
static const char *const extensions[] = {
    "binary_tensor_data", "classification",  "model_configuration", "model_repository",
    "parameters",         "schedule_policy", "statistics"};

void v2_meta_server(struct writer *w)
{
    writer_open(w, '{');
    writer_key_string(w, "name", "senetd");
    writer_key_string(w, "version", SENETD_VERSION);
    writer_key(w, "extensions");
    writer_open(w, '[');
    for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++)
        writer_string(w, extensions[i]);
    writer_close(w, ']');
    writer_close(w, '}');
}

static void write_name(struct writer *w, const struct v2_model *model)
{
    char name[V2_MODEL_NAME_BYTES];
    v2_model_name(model, name);
    writer_key_string(w, "name", name);
}

void v2_meta_models(struct writer *w, const struct senet *senet)
{
    writer_open(w, '{');
    writer_key(w, "models");
    writer_open(w, '[');
    for (size_t i = 0; i < v2_model_count(senet); i++) {
        const struct v2_model model = v2_model_at(senet, i);
        char name[V2_MODEL_NAME_BYTES];
        v2_model_name(&model, name);
        writer_string(w, name);
    }
    writer_close(w, ']');
    writer_close(w, '}');
}

/* Name, datatype and shape with -1 for the images of a request. */
static void write_tensor(struct writer *w, const char *name, const size_t *sides, size_t rank)
{
    writer_open(w, '{');
    writer_key_string(w, "name", name);
    writer_key_string(w, "datatype", "FP32");
    writer_key(w, "shape");
    writer_text(w, "[-1");
    for (size_t i = 0; i < rank; i++)
        writer_integer(w, sides[i]);
    writer_close(w, ']');
    writer_close(w, '}');
}

void v2_meta_model(struct writer *w, const struct v2_model *model)
{
    const struct preprocess *preprocess = &senet_info(model->senet)->preprocess;
    const size_t sides[] = {3, preprocess->height, preprocess->width};
    writer_open(w, '{');
    write_name(w, model);
    writer_key(w, "versions");
    writer_text(w, "[\"" V2_MODEL_VERSION "\"]");
    writer_key_string(w, "platform", "senetd_safetensors");
    writer_key(w, "inputs");
    writer_open(w, '[');
    write_tensor(w, V2_MODEL_INPUT, sides, 3);
    writer_close(w, ']');
    writer_key(w, "outputs");
    writer_open(w, '[');
    for (size_t i = 0; i < v2_model_listed(model); i++) {
        const struct v2_output output = v2_model_output(model, i);
        write_tensor(w, output.name, &output.count, 1);
    }
    writer_close(w, ']');
    writer_close(w, '}');
}

/* A ModelInput or ModelOutput; its dims do not count the images. */
static void write_config_tensor(struct writer *w, const char *name, const char *format,
                                const size_t *sides, size_t rank)
{
    writer_open(w, '{');
    writer_key_string(w, "name", name);
    writer_key_string(w, "data_type", "TYPE_FP32");
    if (format != NULL)
        writer_key_string(w, "format", format);
    writer_key(w, "dims");
    writer_open(w, '[');
    for (size_t i = 0; i < rank; i++)
        writer_integer(w, sides[i]);
    writer_close(w, ']');
    writer_close(w, '}');
}

void v2_meta_config(struct writer *w, const struct v2_model *model, const struct config *config,
                    size_t workers)
{
    const struct preprocess *preprocess = &senet_info(model->senet)->preprocess;
    const size_t sides[] = {3, preprocess->height, preprocess->width};
    writer_open(w, '{');
    write_name(w, model);
    writer_key_string(w, "platform", "senetd_safetensors");
    writer_key_string(w, "backend", "senetd");
    writer_key(w, "version_policy");
    writer_text(w, "{\"latest\":{\"num_versions\":1}}");
    writer_key_integer(w, "max_batch_size", config->max_images);
    writer_key(w, "input");
    writer_open(w, '[');
    write_config_tensor(w, V2_MODEL_INPUT, "FORMAT_NCHW", sides, 3);
    writer_close(w, ']');
    writer_key(w, "output");
    writer_open(w, '[');
    for (size_t i = 0; i < v2_model_listed(model); i++) {
        const struct v2_output output = v2_model_output(model, i);
        write_config_tensor(w, output.name, NULL, &output.count, 1);
    }
    writer_close(w, ']');
    writer_key(w, "instance_group");
    writer_open(w, '[');
    writer_open(w, '{');
    write_name(w, model);
    writer_key_string(w, "kind", "KIND_CPU");
    writer_key_integer(w, "count", workers);
    writer_close(w, '}');
    writer_close(w, ']');
    writer_close(w, '}');
}
