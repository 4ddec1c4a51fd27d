/* v2_reply.c - see v2_reply.h.
 *
 * Numbers in JSON carry 9 significant digits, which is what a float needs to come back the same.
 */
#include "v2_reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOAT_DIGITS 9

/* One answer being written. */
struct answer {
    struct writer *json;
    struct writer binary; /* the tensors that follow it */
    const struct v2_model *model;
    const struct job *job;
    float *scratch;        /* [scratch_floats] */
    struct senet_top *top; /* the same number */
};

static void put_u32(struct writer *w, uint32_t value)
{
    const unsigned char bytes[] = {(unsigned char)value, (unsigned char)(value >> 8),
                                   (unsigned char)(value >> 16), (unsigned char)(value >> 24)};
    writer_raw(w, (const char *)bytes, sizeof bytes);
}

static void put_floats(struct writer *w, const float *values, size_t count)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    writer_raw(w, (const char *)values, count * sizeof(float));
#else
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        put_u32(w, bits);
    }
#endif
}

/* "value:index:label" of the largest values of one image. */
static void write_classes(struct answer *answer, const struct v2_wanted *wanted,
                          const float *values)
{
    senet_top_k(values, wanted->output.count, wanted->classification, answer->top);
    for (size_t i = 0; i < wanted->classification; i++) {
        const char *label = v2_model_label(answer->model, answer->top[i].index);
        char text[512];
        int size =
            snprintf(text, sizeof text, "%f:%zu%s%s", (double)answer->top[i].logit,
                     answer->top[i].index, label != NULL ? ":" : "", label != NULL ? label : "");
        size_t kept = (size_t)size < sizeof text ? (size_t)size : sizeof text - 1;
        if (wanted->binary) {
            put_u32(&answer->binary, (uint32_t)kept);
            writer_raw(&answer->binary, text, kept);
        } else {
            writer_string_n(answer->json, text, kept);
        }
    }
}

static void write_values(struct answer *answer, const struct v2_wanted *wanted, const float *values)
{
    if (wanted->classification > 0) {
        write_classes(answer, wanted, values);
    } else if (wanted->binary) {
        put_floats(&answer->binary, values, wanted->output.count);
    } else {
        for (size_t i = 0; i < wanted->output.count; i++)
            writer_number(answer->json, (double)values[i], FLOAT_DIGITS);
    }
}

static void write_output(struct answer *answer, const struct v2_wanted *wanted)
{
    struct writer *json = answer->json;
    size_t before = answer->binary.size;
    bool classes = wanted->classification > 0;
    writer_open(json, '{');
    writer_key_string(json, "name", wanted->output.name);
    writer_key_string(json, "datatype", classes ? "BYTES" : "FP32");
    writer_key(json, "shape");
    writer_open(json, '[');
    writer_integer(json, answer->job->count);
    writer_integer(json, classes ? wanted->classification : wanted->output.count);
    writer_close(json, ']');
    if (!wanted->binary) {
        writer_key(json, "data");
        writer_open(json, '[');
    }
    for (size_t i = 0; i < answer->job->count; i++)
        write_values(answer, wanted,
                     v2_model_values(answer->model, &wanted->output, &answer->job->images[i],
                                     answer->scratch));
    if (wanted->binary) {
        writer_key(json, "parameters");
        writer_open(json, '{');
        writer_key_integer(json, "binary_data_size", answer->binary.size - before);
        writer_close(json, '}');
    } else {
        writer_close(json, ']');
    }
    writer_close(json, '}');
}

static void write_json(struct answer *answer, const struct v2_request *request)
{
    struct writer *json = answer->json;
    char name[V2_MODEL_NAME_BYTES];
    v2_model_name(answer->model, name);
    writer_open(json, '{');
    writer_key_string(json, "model_name", name);
    writer_key_string(json, "model_version", V2_MODEL_VERSION);
    if (request->id != NULL)
        writer_key_string(json, "id", request->id);
    writer_key(json, "parameters");
    writer_open(json, '{');
    writer_key_string(json, "sha256", senet_info(answer->model->senet)->sha256);
    writer_close(json, '}');
    writer_key(json, "outputs");
    writer_open(json, '[');
    for (size_t i = 0; i < request->wanted_count; i++)
        write_output(answer, &request->wanted[i]);
    writer_close(json, ']');
    writer_close(json, '}');
}

size_t v2_reply_write(struct writer *out, const struct v2_request *request, const struct job *job)
{
    size_t most = 1, json_bytes = 0;
    bool binary = false;
    for (size_t i = 0; i < request->wanted_count; i++) {
        size_t count = request->wanted[i].output.count;
        most = count > most ? count : most;
        binary = binary || request->wanted[i].binary;
    }
    struct answer answer = {.json = out,
                            .model = &request->model,
                            .job = job,
                            .scratch = malloc(most * sizeof *answer.scratch),
                            .top = malloc(most * sizeof *answer.top)};
    if (answer.scratch == NULL || answer.top == NULL) {
        out->failed = true;
    } else {
        write_json(&answer, request);
        json_bytes = out->size;
        writer_raw(out, answer.binary.bytes, answer.binary.size);
        out->failed = out->failed || answer.binary.failed;
    }
    writer_free(&answer.binary);
    free(answer.scratch);
    free(answer.top);
    return binary ? json_bytes : 0;
}
