/* test_v2.c - the Open Inference Protocol of the running daemon, against what the library computes:
 * every form of a tensor, every form of an output, and what is not right. */
#include "client.h"
#include "daemon.h"
#include "pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define INFER     "/v2/models/tiny_timm/infer"
#define INFER_SE  "/v2/models/tiny_timm_se/infer"
#define SIDE      64
#define PLANE     (3 * SIDE * SIDE)
#define MAX_BODY  "2000000"
#define CLASSES   11
#define JSON_ROOM (PLANE * 32 + 4096)

static struct senet *model;
static const struct senet_info *info;
static struct daemon shared;
static struct picture picture, other;
static struct expected expected, other_expected;
static float *pixels; /* [2][3][SIDE][SIDE], what the library makes of the two pictures */

static void preprocess(const struct picture *from, float *out)
{
    struct error err = {0};
    struct image image = {0};
    assert_int_equal(image_decode(from->bytes, from->size,
                                  &(struct image_options){.max_pixels = 100000}, &image, &err),
                     ERROR_NONE);
    assert_int_equal(image_preprocess(&image, &info->preprocess, out, &err), ERROR_NONE);
    image_free(&image);
}

static int start_all(void **state)
{
    static const char *const options[] = {"--max-body", MAX_BODY, "--max-images", "3", NULL};
    struct error err = {0};
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (senet_open(TINY_MODEL, NULL, &model, &err) != ERROR_NONE)
        return -1;
    info = senet_info(model);
    picture = picture_ppm(50, 40, 1);
    other = picture_bmp(33, 70, 2);
    expected = picture_expected(model, &picture);
    other_expected = picture_expected(model, &other);
    pixels = malloc(2 * PLANE * sizeof *pixels);
    assert_non_null(pixels);
    preprocess(&picture, pixels);
    preprocess(&other, pixels + PLANE);
    daemon_start(&shared, options);
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    daemon_stop(&shared);
    picture_expected_free(&expected);
    picture_expected_free(&other_expected);
    picture_free(&picture);
    picture_free(&other);
    free(pixels);
    senet_close(model);
    curl_global_cleanup();
    return 0;
}

/* ---- helpers --------------------------------------------------------------------------------- */

static const char *string(const json_t *object, const char *key)
{
    return json_string_value(client_member(object, key));
}

static json_int_t integer(const json_t *object, const char *key)
{
    return json_integer_value(client_member(object, key));
}

static void check_near(double value, double wanted)
{
    if (!(fabs(value - wanted) <= 1e-4 * fabs(wanted) + 1e-4))
        fail_msg("%.9g, expected %.9g", value, wanted);
}

static void check_ok(const struct answer *answer)
{
    if (answer->status != 200)
        fail_msg("status %ld: %s", answer->status, answer->body != NULL ? answer->body : "");
}

/* A request body: JSON and what follows it. */
struct body {
    char *bytes;
    size_t size, json_size;
};

static struct body body_new(const char *json, const void *tail, size_t tail_size)
{
    struct body body = {.json_size = strlen(json)};
    body.size = body.json_size + tail_size;
    body.bytes = malloc(body.size + 1);
    assert_non_null(body.bytes);
    memcpy(body.bytes, json, body.json_size + 1);
    if (tail_size > 0)
        memcpy(body.bytes + body.json_size, tail, tail_size);
    return body;
}

/* Sends it with Inference-Header-Content-Length, as clients do: without a Content-Type. */
static struct answer send_binary(const char *path, const struct body *body)
{
    char header[80];
    snprintf(header, sizeof header, "Inference-Header-Content-Length: %zu", body->json_size);
    return client_send(
        &shared,
        &(struct request){
            .path = path, .type = "", .body = body->bytes, .size = body->size, .header = header});
}

static struct answer send_json(const char *path, const char *json)
{
    return client_send(
        &shared, &(struct request){
                     .path = path, .type = "application/json", .body = json, .size = strlen(json)});
}

/* The JSON before the tensors of a binary answer; *tensors points behind it. */
static json_t *split_answer(const struct answer *answer, const char **tensors)
{
    check_ok(answer);
    assert_string_equal(client_header(answer, "Content-Type"), "application/octet-stream");
    const char *length = client_header(answer, "Inference-Header-Content-Length");
    assert_non_null(length);
    size_t size = strtoul(length, NULL, 10);
    assert_true(size > 0 && size <= answer->size);
    json_t *root = json_loadb(answer->body, size, 0, NULL);
    assert_non_null(root);
    *tensors = answer->body + size;
    return root;
}

static const json_t *output(const json_t *root, size_t index)
{
    return json_array_get(client_member(root, "outputs"), index);
}

static void check_output(const json_t *told, const char *name, const char *type, size_t images,
                         size_t count)
{
    const json_t *shape = client_member(told, "shape");
    assert_string_equal(string(told, "name"), name);
    assert_string_equal(string(told, "datatype"), type);
    assert_int_equal(json_array_size(shape), 2);
    assert_int_equal(json_integer_value(json_array_get(shape, 0)), images);
    assert_int_equal(json_integer_value(json_array_get(shape, 1)), count);
}

static void check_data(const json_t *told, size_t from, const float *values, size_t count)
{
    const json_t *data = client_member(told, "data");
    assert_true(json_array_size(data) >= from + count);
    for (size_t i = 0; i < count; i++)
        check_near(json_number_value(json_array_get(data, from + i)), (double)values[i]);
}

static void check_floats(const char *bytes, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, bytes + 4 * i, sizeof value);
        check_near((double)value, (double)values[i]);
    }
}

/* {"inputs":[{...,"data":[numbers]}]} of the first images; nested like the shape or flat. */
static char *json_of_pixels(size_t images, bool nested)
{
    size_t room = images * JSON_ROOM, size = 0;
    char *text = malloc(room);
    assert_non_null(text);
    size += (size_t)snprintf(text, room, "{\"id\":\"a\\\"7\",\"inputs\":[{\"data\" : %s[",
                             nested ? "[[[" : "");
    for (size_t i = 0; i < images * PLANE; i++) {
        const char *between = i == 0                     ? ""
                              : !nested || i % SIDE != 0 ? ","
                              : i % (SIDE * SIDE) != 0   ? "],\n["
                              : i % (size_t)PLANE != 0   ? "]],[["
                                                         : "]]],[[[";
        size += (size_t)snprintf(text + size, room - size, "%s%.9g", between, (double)pixels[i]);
    }
    snprintf(text + size, room - size,
             "%s],\"name\":\"input\",\"shape\":[%zu,3,%d,%d],\"datatype\":\"FP32\"}]}",
             nested ? "]]]" : "", images, SIDE, SIDE);
    return text;
}

static struct body body_of_pixels(size_t images, const char *rest)
{
    char json[512];
    size_t size = images * PLANE * sizeof(float);
    snprintf(json, sizeof json,
             "{\"inputs\":[{\"name\":\"input\",\"shape\":[%zu,3,%d,%d],\"datatype\":\"FP32\","
             "\"parameters\":{\"binary_data_size\":%zu}}]%s}",
             images, SIDE, SIDE, size, rest);
    return body_new(json, pixels, size);
}

/* Both pictures as BYTES. */
static struct body body_of_pictures(const char *rest)
{
    char json[512];
    const struct picture *const pictures[] = {&picture, &other};
    size_t size = 0;
    char *tail = malloc(8 + picture.size + other.size);
    assert_non_null(tail);
    for (size_t i = 0; i < 2; i++) {
        for (size_t b = 0; b < 4; b++)
            tail[size++] = (char)(pictures[i]->size >> 8 * b);
        memcpy(tail + size, pictures[i]->bytes, pictures[i]->size);
        size += pictures[i]->size;
    }
    snprintf(json, sizeof json,
             "{\"inputs\":[{\"name\":\"input\",\"shape\":[2],\"datatype\":\"BYTES\","
             "\"parameters\":{\"binary_data_size\":%zu}}]%s}",
             size, rest);
    struct body body = body_new(json, tail, size);
    free(tail);
    return body;
}

/* ---- what the server tells ------------------------------------------------------------------- */

static void metadata_tells_of_server_and_models(void **state)
{
    (void)state;
    struct answer answer = client_get(&shared, "/v2");
    check_ok(&answer);
    assert_string_equal(string(answer.json, "name"), "senetd");
    assert_non_null(strstr(answer.body, "\"binary_tensor_data\""));
    client_free(&answer);
    answer = client_get(&shared, "/v2/");
    check_ok(&answer);
    client_free(&answer);
    answer = client_get(&shared, "/v2/models");
    assert_string_equal(answer.body, "{\"models\":[\"tiny_timm\",\"tiny_timm_se\"]}");
    client_free(&answer);
    answer = client_get(&shared, "/v2/models/tiny_timm/versions/1");
    assert_string_equal(answer.body,
                        "{\"name\":\"tiny_timm\",\"versions\":[\"1\"],\"platform\":"
                        "\"senetd_safetensors\",\"inputs\":[{\"name\":\"input\",\"datatype\":"
                        "\"FP32\",\"shape\":[-1,3,64,64]}],\"outputs\":[{\"name\":\"logits\","
                        "\"datatype\":\"FP32\",\"shape\":[-1,11]}]}");
    client_free(&answer);
    answer = client_get(&shared, "/v2/models/tiny_timm_se");
    const json_t *outputs = client_member(answer.json, "outputs");
    assert_int_equal(json_array_size(outputs), info->blocks);
    for (size_t i = 0; i < info->blocks; i++) {
        const json_t *row = json_array_get(outputs, i);
        assert_string_equal(string(row, "name"), senet_block(model, i)->name);
        assert_int_equal(json_integer_value(json_array_get(client_member(row, "shape"), 1)),
                         senet_block(model, i)->channels);
    }
    client_free(&answer);
}

static void the_description_names_every_infer_path(void **state)
{
    (void)state;
    struct answer answer = client_get(&shared, "/openapi.json");
    check_ok(&answer);
    assert_string_equal(client_header(&answer, "Content-Type"), "application/json");
    const json_t *paths = client_member(answer.json, "paths");
    client_member(paths, "/v2/models/{model}/infer");
    client_member(paths, "/v2/models/{model}/versions/{version}/infer");
    client_free(&answer);
}

static void health_has_status_and_body(void **state)
{
    static const char *const bodies[][2] = {
        {"/v2/health/live", "{\"live\":true}"},
        {"/v2/health/ready", "{\"ready\":true}"},
        {"/v2/models/tiny_timm/ready", "{\"name\":\"tiny_timm\",\"ready\":true}"},
        {"/v2/models/tiny_timm_se/versions/1/ready", "{\"name\":\"tiny_timm_se\",\"ready\":true}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct answer answer = client_get(&shared, bodies[i][0]);
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer.body, bodies[i][1]);
        client_free(&answer);
    }
}

static void the_configuration_is_what_image_client_needs(void **state)
{
    (void)state;
    struct answer answer = client_get(&shared, "/v2/models/tiny_timm/config");
    check_ok(&answer);
    assert_int_equal(integer(answer.json, "max_batch_size"), 3);
    const json_t *input = json_array_get(client_member(answer.json, "input"), 0);
    assert_int_equal(json_array_size(client_member(answer.json, "input")), 1);
    assert_int_equal(json_array_size(client_member(answer.json, "output")), 1);
    assert_string_equal(string(input, "format"), "FORMAT_NCHW");
    assert_string_equal(string(input, "data_type"), "TYPE_FP32");
    assert_int_equal(json_array_size(client_member(input, "dims")), 3);
    client_free(&answer);
}

static void the_index_lists_both_models_and_control_is_refused(void **state)
{
    (void)state;
    struct answer answer = send_json("/v2/repository/index", "{\"ready\":true}");
    check_ok(&answer);
    assert_int_equal(json_array_size(answer.json), 2);
    assert_string_equal(string(json_array_get(answer.json, 1), "name"), "tiny_timm_se");
    assert_string_equal(string(json_array_get(answer.json, 1), "state"), "READY");
    client_free(&answer);
    answer = send_json("/v2/repository/models/tiny_timm/unload", "{}");
    client_check_error(&answer, 403, "not unloaded");
    client_free(&answer);
    answer = send_json("/v2/repository/models/tiny_timm/load", "{}");
    client_check_error(&answer, 403, "admin address only");
    client_free(&answer);
}

/* ---- tensors in ------------------------------------------------------------------------------ */

static void numbers_in_json_give_the_librarys_logits(void **state)
{
    (void)state;
    for (size_t images = 1; images <= 2; images++) {
        for (int nested = 0; nested <= 1; nested++) {
            char *json = json_of_pixels(images, nested);
            struct answer answer = send_json(INFER, json);
            check_ok(&answer);
            assert_string_equal(client_header(&answer, "Content-Type"), "application/json");
            assert_string_equal(string(answer.json, "id"), "a\"7");
            assert_string_equal(string(answer.json, "model_name"), "tiny_timm");
            assert_string_equal(string(answer.json, "model_version"), "1");
            assert_string_equal(string(client_member(answer.json, "parameters"), "sha256"),
                                info->sha256);
            assert_int_equal(json_array_size(client_member(answer.json, "outputs")), 1);
            check_output(output(answer.json, 0), "logits", "FP32", images, CLASSES);
            check_data(output(answer.json, 0), 0, expected.logits, CLASSES);
            if (images == 2)
                check_data(output(answer.json, 0), CLASSES, other_expected.logits, CLASSES);
            client_free(&answer);
            free(json);
        }
    }
}

static void a_binary_tensor_gives_a_binary_answer_where_asked(void **state)
{
    const char *tensors;
    (void)state;
    struct body body =
        body_of_pixels(2, ",\"parameters\":{\"binary_data_output\":true,\"mine\":\"x\"}");
    struct answer answer = send_binary(INFER, &body);
    json_t *root = split_answer(&answer, &tensors);
    check_output(output(root, 0), "logits", "FP32", 2, CLASSES);
    assert_int_equal(integer(client_member(output(root, 0), "parameters"), "binary_data_size"),
                     2 * CLASSES * 4);
    assert_int_equal(answer.size - (size_t)(tensors - answer.body), 2 * CLASSES * 4);
    check_floats(tensors, expected.logits, CLASSES);
    check_floats(tensors + 4 * CLASSES, other_expected.logits, CLASSES);
    json_decref(root);
    client_free(&answer);
    free(body.bytes);
}

static void encoded_images_give_the_logits_of_classify(void **state)
{
    (void)state;
    struct body body = body_of_pictures("");
    struct answer answer = send_binary(INFER, &body);
    check_ok(&answer);
    check_data(output(answer.json, 0), 0, expected.logits, CLASSES);
    check_data(output(answer.json, 0), CLASSES, other_expected.logits, CLASSES);
    struct answer native =
        client_post(&shared, "/classify?topk=11&excitations=none", picture.bytes, picture.size);
    check_ok(&native);
    const json_t *result = json_array_get(client_member(native.json, "results"), 0), *row;
    size_t i;
    json_array_foreach(client_member(result, "top_k"), i, row)
        check_near(json_number_value(client_member(row, "logit")),
                   json_number_value(json_array_get(client_member(output(answer.json, 0), "data"),
                                                    (size_t)integer(row, "index"))));
    client_free(&native);
    client_free(&answer);
    free(body.bytes);
}

/* "..." of {"image":{"b64":"..."}} */
static void images_as_base64_strings_are_taken(void **state)
{
    (void)state;
    char *envelope = picture_json(&picture), *b64 = strchr(strstr(envelope, "b64\":") + 5, '"');
    size_t size = (size_t)(strchr(b64 + 1, '"') + 1 - b64), room = 2 * size + 300;
    char *json = malloc(room);
    assert_non_null(json);
    snprintf(json, room,
             "{\"inputs\":[{\"name\":\"input\",\"shape\":[2,1],\"datatype\":\"BYTES\",\"data\":"
             "[[%.*s], [%.*s]]}]}",
             (int)size, b64, (int)size, b64);
    struct answer answer = send_json(INFER, json);
    check_ok(&answer);
    check_output(output(answer.json, 0), "logits", "FP32", 2, CLASSES);
    check_data(output(answer.json, 0), CLASSES, expected.logits, CLASSES);
    client_free(&answer);
    free(json);
    free(envelope);
}

static void a_raw_body_is_a_tensor_or_an_image(void **state)
{
    const struct body raw[] = {{(char *)pixels, PLANE * sizeof(float), 0},
                               {(char *)picture.bytes, picture.size, 0}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *tensors;
        struct answer answer = send_binary(INFER, &raw[i]);
        json_t *root = split_answer(&answer, &tensors);
        check_output(output(root, 0), "logits", "FP32", 1, CLASSES);
        check_floats(tensors, expected.logits, CLASSES);
        json_decref(root);
        client_free(&answer);
    }
}

/* ---- tensors out ----------------------------------------------------------------------------- */

static void the_second_model_gives_the_excitations(void **state)
{
    const char *tensors;
    (void)state;
    struct body body = body_of_pixels(1, ",\"parameters\":{\"binary_data_output\":true}");
    struct answer answer = send_binary(INFER_SE, &body);
    json_t *root = split_answer(&answer, &tensors);
    assert_int_equal(json_array_size(client_member(root, "outputs")), info->blocks);
    for (size_t i = 0; i < info->blocks; i++) {
        const struct senet_block *block = senet_block(model, i);
        check_output(output(root, i), block->name, "FP32", 1, block->channels);
        check_floats(tensors, expected.excitations + block->offset, block->channels);
        tensors += 4 * block->channels;
    }
    assert_ptr_equal(tensors, answer.body + answer.size);
    json_decref(root);
    client_free(&answer);
    free(body.bytes);
}

static void outputs_are_chosen_by_name_each_in_its_form(void **state)
{
    const char *tensors;
    (void)state;
    struct body body = body_of_pixels(
        1, ",\"outputs\":[{\"name\":\"probabilities\",\"parameters\":{\"binary_data\":true}},"
           "{\"name\":\"logits\"}]");
    struct answer answer = send_binary(INFER, &body);
    json_t *root = split_answer(&answer, &tensors);
    struct senet_top top[CLASSES];
    senet_top_k(expected.logits, CLASSES, CLASSES, top);
    check_output(output(root, 0), "probabilities", "FP32", 1, CLASSES);
    for (size_t i = 0; i < CLASSES; i++)
        check_floats(tensors + 4 * top[i].index, &top[i].probability, 1);
    check_output(output(root, 1), "logits", "FP32", 1, CLASSES);
    check_data(output(root, 1), 0, expected.logits, CLASSES);
    json_decref(root);
    client_free(&answer);
    free(body.bytes);
}

static void check_class(const char *text, size_t size, const struct senet_top *top)
{
    char wanted[128];
    snprintf(wanted, sizeof wanted, ":%zu:%s", top->index, senet_label(model, top->index));
    const char *colon = memchr(text, ':', size);
    assert_non_null(colon);
    check_near(strtod(text, NULL), (double)top->logit);
    assert_int_equal(size - (size_t)(colon - text), strlen(wanted));
    assert_memory_equal(colon, wanted, strlen(wanted));
}

static void classification_gives_value_index_label(void **state)
{
    struct senet_top top[3];
    (void)state;
    senet_top_k(other_expected.logits, CLASSES, 3, top);
    for (int binary = 0; binary <= 1; binary++) {
        char rest[160];
        snprintf(rest, sizeof rest,
                 ",\"outputs\":[{\"name\":\"logits\",\"parameters\":{\"classification\":3,"
                 "\"binary_data\":%s}}]",
                 binary ? "true" : "false");
        struct body body = body_of_pictures(rest);
        struct answer answer = send_binary(INFER, &body);
        const char *at = NULL;
        json_t *root = binary ? split_answer(&answer, &at) : json_incref(answer.json);
        check_ok(&answer);
        check_output(output(root, 0), "logits", "BYTES", 2, 3);
        for (size_t i = 0; i < 6; i++) {
            const char *text;
            size_t size;
            if (binary) {
                size = (unsigned char)at[0]; /* less than 256 */
                text = at + 4;
                at += 4 + size;
            } else {
                text = json_string_value(json_array_get(client_member(output(root, 0), "data"), i));
                size = strlen(text);
            }
            if (i >= 3)
                check_class(text, size, &top[i - 3]);
        }
        json_decref(root);
        client_free(&answer);
        free(body.bytes);
    }
}

/* ---- compressed bodies ----------------------------------------------------------------------- */

static struct body compressed(const void *from, size_t size, int bits)
{
    z_stream stream = {0};
    struct body body = {.size = compressBound(size) + 64};
    body.bytes = malloc(body.size);
    assert_non_null(body.bytes);
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)from;
    stream.avail_in = (uInt)size;
    stream.next_out = (Bytef *)body.bytes;
    stream.avail_out = (uInt)body.size;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    body.size -= stream.avail_out;
    deflateEnd(&stream);
    return body;
}

static struct answer send_encoded(const char *path, const struct body *body, const char *encoding)
{
    char header[64];
    snprintf(header, sizeof header, "Content-Encoding: %s", encoding);
    return client_send(&shared, &(struct request){.path = path,
                                                  .type = "application/json",
                                                  .body = body->bytes,
                                                  .size = body->size,
                                                  .header = header});
}

static void compressed_bodies_are_inflated(void **state)
{
    (void)state;
    char *json = json_of_pixels(1, false);
    struct body gzip = compressed(json, strlen(json), 15 + 16);
    struct body deflated = compressed(json, strlen(json), 15);
    struct answer answer = send_encoded(INFER, &gzip, "gzip");
    check_ok(&answer);
    check_data(output(answer.json, 0), 0, expected.logits, CLASSES);
    client_free(&answer);
    answer = send_encoded(INFER, &deflated, "deflate");
    check_ok(&answer);
    check_data(output(answer.json, 0), 0, expected.logits, CLASSES);
    client_free(&answer);
    answer = send_encoded(INFER, &deflated, "gzip");
    client_check_error(&answer, 400, "not gzip");
    client_free(&answer);
    answer = send_encoded(INFER, &(struct body){gzip.bytes, gzip.size / 2, 0}, "gzip");
    client_check_error(&answer, 400, "ends too early");
    client_free(&answer);
    answer = send_encoded(INFER, &gzip, "br");
    client_check_error(&answer, 415, "expected gzip, deflate or none");
    client_free(&answer);
    struct body photo = compressed(picture.bytes, picture.size, 15 + 16);
    answer = client_send(&shared, &(struct request){.path = "/classify",
                                                    .body = photo.bytes,
                                                    .size = photo.size,
                                                    .header = "Content-Encoding: gzip"});
    check_ok(&answer); /* other routes take them, too */
    client_free(&answer);
    free(photo.bytes);
    free(gzip.bytes);
    free(deflated.bytes);
    free(json);
}

static void a_body_that_inflates_past_the_cap_is_refused(void **state)
{
    (void)state;
    char *zeros = calloc(1, 40000000);
    assert_non_null(zeros);
    struct body bomb = compressed(zeros, 40000000, 15 + 16);
    assert_true(bomb.size < 100000);
    struct answer answer = send_encoded(INFER, &bomb, "gzip");
    client_check_error(&answer, 413, "more than " MAX_BODY " bytes");
    client_free(&answer);
    free(bomb.bytes);
    free(zeros);
}

/* ---- faults ---------------------------------------------------------------------------------- */

#define INPUT(members) "{\"inputs\":[{\"name\":\"input\"," members "}]}"
#define FP32           "\"datatype\":\"FP32\""
#define ONE            "\"shape\":[1,3,64,64]"

static void wrong_requests_are_told_what_is_expected(void **state)
{
    static const struct {
        const char *path, *json;
        long status;
        const char *text;
    } faults[] = {
        {"/v2/models/none/infer", "{}", 404, "unknown model 'none'"},
        {"/v2/models/tiny_timm/versions/2/infer", "{}", 404, "only version 1"},
        {"/v2/nothing", "{}", 404, "no such path"},
        {"/v2/models/tiny_timm", "{}", 405, "GET, HEAD, OPTIONS"},
        {INFER, "", 400, "the body is empty"},
        {INFER, "{", 400, "not JSON"},
        {INFER, "\"", 400, "does not end"},
        {INFER, "[]", 400, "\"inputs\" is an array"},
        {INFER, "{\"inputs\":[]}", 400, "\"inputs\" is an array"},
        {INFER, "{\"inputs\":[1]}", 400, "the one input is called 'input'"},
        {INFER, "{\"inputs\":[{\"name\":\"x\"}]}", 400, "'input', not 'x'"},
        {INFER, "{\"id\":1,\"inputs\":[1]}", 400, "\"id\" is not a string"},
        {INFER, "{\"parameters\":1,\"inputs\":[1]}", 400, "not an object"},
        {INFER, "{\"parameters\":{\"triton_x\":1},\"inputs\":[1]}", 400, "reserved"},
        {INFER, "{\"parameters\":{\"priority\":-1},\"inputs\":[1]}", 400, "priority"},
        {INFER, "{\"parameters\":{\"timeout\":\"1\"},\"inputs\":[1]}", 400, "timeout"},
        {INFER, "{\"parameters\":{\"a\":[]},\"inputs\":[1]}", 400, "string, number, true"},
        {INFER, "{\"outputs\":1,\"inputs\":[1]}", 400, "not an array"},
        {INFER, "{\"outputs\":[1],\"inputs\":[1]}", 400, "string \"name\""},
        {INFER, "{\"outputs\":[{\"name\":\"x\"}],\"inputs\":[1]}", 400, "no output 'x'"},
        {INFER, "{\"outputs\":[{\"name\":\"logits\"},{\"name\":\"logits\"}],\"inputs\":[1]}", 400,
         "asked for twice"},
        {INFER,
         "{\"outputs\":[{\"name\":\"logits\",\"parameters\":{\"shared_memory_region\":\"r\"}}],"
         "\"inputs\":[1]}",
         400, "shared memory"},
        {INFER, INPUT("\"datatype\":\"INT8\"," ONE), 400, "expected FP32"},
        {INFER, INPUT(FP32), 400, "[N,3,64,64]"},
        {INFER, INPUT(FP32 ",\"shape\":[0,3,64,64]"), 400, "[N,3,64,64]"},
        {INFER, INPUT(FP32 ",\"shape\":[1,3,64,65]"), 400, "[N,3,64,64]"},
        {INFER, INPUT(FP32 ",\"shape\":[4,3,64,64]"), 413, "more than 3 images"},
        {INFER, INPUT(FP32 ",\"shape\":[9223372036854775807,3,64,64]"), 413, "more than 3"},
        {INFER, INPUT(FP32 ",\"shape\":[92233720368547758070,3,64,64]"), 400, "not JSON"},
        {INFER, INPUT("\"datatype\":\"BYTES\",\"shape\":[1,2]"), 400, "[N] or [N,1]"},
        {INFER, INPUT(FP32 "," ONE), 400, "neither an array"},
        {INFER, INPUT(FP32 "," ONE ",\"data\":true"), 400, "neither an array"},
        {INFER, INPUT(FP32 "," ONE ",\"data\":[1]"), 400, "1 values in \"data\""},
        {INFER, INPUT(FP32 "," ONE ",\"data\":[1"), 400, "not JSON"},
        {INFER, "{\"inputs\":[{\"data\":[1", 400, "array of data does not end"},
        {INFER, INPUT(FP32 "," ONE ",\"data\":[1],\"data\":[1]"), 400, "not JSON"},
        {INFER, INPUT(FP32 "," ONE ",\"parameters\":{\"binary_data_size\":49152}"), 400,
         "0 bytes follow"},
        {INFER, INPUT("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[1]"), 400, "base64 strings"},
        {INFER, INPUT("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"?\"]"), 400, "base64"},
        {INFER, INPUT("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"=]"), 400, "base64"},
        {INFER, INPUT("\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"\"]"), 400, "2 images"},
        {INFER, INPUT("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"aGVsbG8=\"]"), 400, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct answer answer = send_json(faults[i].path, faults[i].json);
        client_check_error(&answer, faults[i].status, faults[i].text);
        client_free(&answer);
    }
}

static void replace(char *text, const char *from, const char *to)
{
    char *at = strstr(text, from);
    assert_non_null(at);
    memcpy(at, to, strlen(to));
}

static void numbers_that_are_not_right_are_refused(void **state)
{
    static const struct {
        const char *from, *to, *text;
        bool nested;
    } faults[] = {
        {"[", "[1e999,", "finite", false},          {",", ",,", "a number", false},
        {",", ",0x1", "expected", false},           {",", ",NaN,", "a number", false},
        {"],\n[", ",\n   ", "] after a row", true}, {"]],[[", "],[ [", "expected", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        char *json = json_of_pixels(1, faults[i].nested);
        char *data = strchr(strstr(json, "\"data\""), '[');
        replace(data, faults[i].from, faults[i].to);
        if (strstr(faults[i].to, ",,") != NULL || faults[i].to[strlen(faults[i].to) - 1] == ',') {
            /* The number of commas must stay what the shape asks for. */
            char *last = strstr(data, "],\"name\"");
            while (*last != ',')
                last--;
            *last = ' ';
        }
        struct answer answer = send_json(INFER, json);
        client_check_error(&answer, 400, faults[i].text);
        client_free(&answer);
        free(json);
    }
}

static void binary_data_that_is_not_right_is_refused(void **state)
{
    struct body body = body_of_pixels(1, "");
    float *values = (float *)(void *)malloc(PLANE * sizeof(float));
    (void)state;
    assert_non_null(values);
    struct body cut = {body.bytes, body.size - 4, body.json_size};
    struct answer answer = send_binary(INFER, &cut);
    client_check_error(&answer, 400, "bytes follow the JSON");
    client_free(&answer);
    struct body none = {body.bytes, body.size, body.size + 1};
    answer = send_binary(INFER, &none);
    client_check_error(&answer, 400, "Inference-Header-Content-Length is");
    client_free(&answer);
    memcpy(values, pixels, PLANE * sizeof(float));
    values[5] = NAN;
    memcpy(body.bytes + body.json_size, values, PLANE * sizeof(float));
    answer = send_binary(INFER, &body);
    client_check_error(&answer, 400, "value 5 of the tensor is not a finite number");
    client_free(&answer);
    for (size_t i = 0; i < PLANE; i++)
        values[i] = i % 2 ? 3e38f : -3e38f;
    memcpy(body.bytes + body.json_size, values, PLANE * sizeof(float));
    answer = send_binary(INFER, &body);
    /* Whether that overflows depends on the kernels; what is answered is always finite. */
    if (answer.status != 200)
        client_check_error(&answer, 400, "beyond what floats hold");
    else
        for (size_t i = 0; i < CLASSES; i++)
            assert_true(
                json_is_number(json_array_get(client_member(output(answer.json, 0), "data"), i)));
    client_free(&answer);
    free(values);
    free(body.bytes);
    body = body_of_pictures("");
    body.bytes[body.json_size + 2] = 1; /* 65536 bytes more than there are */
    answer = send_binary(INFER, &body);
    client_check_error(&answer, 400, "image 0: expected its length");
    client_free(&answer);
    body.bytes[body.json_size + 2] = 0;
    body.bytes[body.json_size + 8 + picture.size] = 'X'; /* of the second picture's "BM" */
    answer = send_binary(INFER, &body);
    client_check_error(&answer, 400, "image 1: ");
    client_free(&answer);
    free(body.bytes);
}

static void deep_nesting_and_long_documents_are_bounded(void **state)
{
    enum { SIZE = 1000000 };
    (void)state;
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    memset(text, '[', SIZE);
    text[SIZE] = '\0';
    struct answer answer = send_json(INFER, text);
    client_check_error(&answer, 413, "more than 65536 bytes");
    client_free(&answer);
    text[60000] = '\0';
    answer = send_json(INFER, text);
    client_check_error(&answer, 400, "depth");
    client_free(&answer);
    free(text);
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void a_timeout_in_microseconds_is_a_deadline(void **state)
{
    (void)state;
    struct body body = body_of_pixels(1, ",\"parameters\":{\"timeout\":1,\"priority\":1}");
    struct answer answer = send_binary(INFER, &body);
    client_check_error(&answer, 504, "");
    client_free(&answer);
    free(body.bytes);
    body = body_of_pixels(1, ",\"parameters\":{\"timeout\":9000000000000000000,\"priority\":9}");
    answer = send_binary(INFER, &body);
    check_ok(&answer);
    client_free(&answer);
    free(body.bytes);
}

static void statistics_count_what_was_asked(void **state)
{
    struct body body = body_of_pixels(2, "");
    (void)state;
    struct answer before = client_get(&shared, "/v2/models/tiny_timm/versions/1/stats");
    check_ok(&before);
    struct answer answer = send_binary(INFER, &body);
    check_ok(&answer);
    client_free(&answer);
    answer = send_json(INFER, "{}");
    client_free(&answer);
    struct answer after = client_get(&shared, "/v2/models/stats");
    check_ok(&after);
    assert_int_equal(json_array_size(client_member(after.json, "model_stats")), 2);
    const json_t *old = json_array_get(client_member(before.json, "model_stats"), 0);
    const json_t *now = json_array_get(client_member(after.json, "model_stats"), 0);
    const json_t *old_times = client_member(old, "inference_stats");
    const json_t *times = client_member(now, "inference_stats");
    assert_string_equal(string(now, "name"), "tiny_timm");
    assert_int_equal(integer(now, "inference_count") - integer(old, "inference_count"), 2);
    assert_int_equal(integer(client_member(times, "success"), "count") -
                         integer(client_member(old_times, "success"), "count"),
                     1);
    assert_int_equal(integer(client_member(times, "fail"), "count") -
                         integer(client_member(old_times, "fail"), "count"),
                     1);
    assert_true(integer(client_member(times, "compute_infer"), "ns") >
                integer(client_member(old_times, "compute_infer"), "ns"));
    assert_true(json_array_size(client_member(now, "batch_stats")) > 0);
    client_free(&before);
    client_free(&after);
    free(body.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_tells_of_server_and_models),
        cmocka_unit_test(the_description_names_every_infer_path),
        cmocka_unit_test(health_has_status_and_body),
        cmocka_unit_test(the_configuration_is_what_image_client_needs),
        cmocka_unit_test(the_index_lists_both_models_and_control_is_refused),
        cmocka_unit_test(numbers_in_json_give_the_librarys_logits),
        cmocka_unit_test(a_binary_tensor_gives_a_binary_answer_where_asked),
        cmocka_unit_test(encoded_images_give_the_logits_of_classify),
        cmocka_unit_test(images_as_base64_strings_are_taken),
        cmocka_unit_test(a_raw_body_is_a_tensor_or_an_image),
        cmocka_unit_test(the_second_model_gives_the_excitations),
        cmocka_unit_test(outputs_are_chosen_by_name_each_in_its_form),
        cmocka_unit_test(classification_gives_value_index_label),
        cmocka_unit_test(compressed_bodies_are_inflated),
        cmocka_unit_test(a_body_that_inflates_past_the_cap_is_refused),
        cmocka_unit_test(wrong_requests_are_told_what_is_expected),
        cmocka_unit_test(numbers_that_are_not_right_are_refused),
        cmocka_unit_test(binary_data_that_is_not_right_is_refused),
        cmocka_unit_test(deep_nesting_and_long_documents_are_bounded),
        cmocka_unit_test(a_timeout_in_microseconds_is_a_deadline),
        cmocka_unit_test(statistics_count_what_was_asked),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
