/* test_v2.c - the Open Inference Protocol of the running daemon, against what the library computes:
 * metadata, every form of a tensor, every form of an output. */
#include "v2_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIDE    V2_CLIENT_SIDE
#define PLANE   V2_CLIENT_PLANE
#define CLASSES V2_CLIENT_CLASSES

/* ---- what the server tells ------------------------------------------------------------------- */

static void metadata_tells_of_server_and_models(void **state)
{
    (void)state;
    struct answer answer = client_get(&v2_client.daemon, "/v2");
    v2_client_ok(&answer);
    assert_string_equal(v2_client_string(answer.json, "name"), "senetd");
    assert_non_null(strstr(answer.body, "\"binary_tensor_data\""));
    client_free(&answer);
    answer = client_get(&v2_client.daemon, "/v2/");
    v2_client_ok(&answer);
    client_free(&answer);
    answer = client_get(&v2_client.daemon, "/v2/models");
    assert_string_equal(answer.body, "{\"models\":[\"tiny_timm\",\"tiny_timm_se\"]}");
    client_free(&answer);
    answer = client_get(&v2_client.daemon, "/v2/models/tiny_timm/versions/1");
    assert_string_equal(answer.body,
                        "{\"name\":\"tiny_timm\",\"versions\":[\"1\"],\"platform\":"
                        "\"senetd_safetensors\",\"inputs\":[{\"name\":\"input\",\"datatype\":"
                        "\"FP32\",\"shape\":[-1,3,64,64]}],\"outputs\":[{\"name\":\"logits\","
                        "\"datatype\":\"FP32\",\"shape\":[-1,11]}]}");
    client_free(&answer);
    answer = client_get(&v2_client.daemon, "/v2/models/tiny_timm_se");
    const json_t *outputs = client_member(answer.json, "outputs");
    assert_int_equal(json_array_size(outputs), v2_client.info->blocks);
    for (size_t i = 0; i < v2_client.info->blocks; i++) {
        const json_t *row = json_array_get(outputs, i);
        assert_string_equal(v2_client_string(row, "name"), senet_block(v2_client.model, i)->name);
        assert_int_equal(json_integer_value(json_array_get(client_member(row, "shape"), 1)),
                         senet_block(v2_client.model, i)->channels);
    }
    client_free(&answer);
}

static void the_description_names_every_infer_path(void **state)
{
    (void)state;
    struct answer answer = client_get(&v2_client.daemon, "/openapi.json");
    v2_client_ok(&answer);
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
        struct answer answer = client_get(&v2_client.daemon, bodies[i][0]);
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer.body, bodies[i][1]);
        client_free(&answer);
    }
}

static void the_configuration_is_what_image_client_needs(void **state)
{
    (void)state;
    struct answer answer = client_get(&v2_client.daemon, "/v2/models/tiny_timm/config");
    v2_client_ok(&answer);
    assert_int_equal(v2_client_integer(answer.json, "max_batch_size"), 3);
    const json_t *input = json_array_get(client_member(answer.json, "input"), 0);
    assert_int_equal(json_array_size(client_member(answer.json, "input")), 1);
    assert_int_equal(json_array_size(client_member(answer.json, "output")), 1);
    assert_string_equal(v2_client_string(input, "format"), "FORMAT_NCHW");
    assert_string_equal(v2_client_string(input, "data_type"), "TYPE_FP32");
    assert_int_equal(json_array_size(client_member(input, "dims")), 3);
    client_free(&answer);
}

/* ---- tensors in ------------------------------------------------------------------------------ */

static void numbers_in_json_give_the_librarys_logits(void **state)
{
    (void)state;
    for (size_t images = 1; images <= 2; images++) {
        for (int nested = 0; nested <= 1; nested++) {
            char *json = v2_client_pixels_json(images, nested);
            struct answer answer = v2_client_send_json(INFER, json);
            v2_client_ok(&answer);
            assert_string_equal(client_header(&answer, "Content-Type"), "application/json");
            assert_string_equal(v2_client_string(answer.json, "id"), "a\"7");
            assert_string_equal(v2_client_string(answer.json, "model_name"), "tiny_timm");
            assert_string_equal(v2_client_string(answer.json, "model_version"), "1");
            assert_string_equal(
                v2_client_string(client_member(answer.json, "parameters"), "sha256"),
                v2_client.info->sha256);
            assert_int_equal(json_array_size(client_member(answer.json, "outputs")), 1);
            v2_client_check_output(v2_client_output(answer.json, 0), "logits", "FP32", images,
                                   CLASSES);
            v2_client_check_data(v2_client_output(answer.json, 0), 0, v2_client.expected.logits,
                                 CLASSES);
            if (images == 2)
                v2_client_check_data(v2_client_output(answer.json, 0), CLASSES,
                                     v2_client.other_expected.logits, CLASSES);
            client_free(&answer);
            free(json);
        }
    }
}

static void a_binary_tensor_gives_a_binary_answer_where_asked(void **state)
{
    const char *tensors;
    (void)state;
    struct v2_body body =
        v2_client_pixels(2, ",\"parameters\":{\"binary_data_output\":true,\"mine\":\"x\"}");
    struct answer answer = v2_client_send_binary(INFER, &body);
    json_t *root = v2_client_split(&answer, &tensors);
    v2_client_check_output(v2_client_output(root, 0), "logits", "FP32", 2, CLASSES);
    assert_int_equal(v2_client_integer(client_member(v2_client_output(root, 0), "parameters"),
                                       "binary_data_size"),
                     2 * CLASSES * 4);
    assert_int_equal(answer.size - (size_t)(tensors - answer.body), 2 * CLASSES * 4);
    v2_client_check_floats(tensors, v2_client.expected.logits, CLASSES);
    v2_client_check_floats(tensors + 4 * CLASSES, v2_client.other_expected.logits, CLASSES);
    json_decref(root);
    client_free(&answer);
    free(body.bytes);
}

static void encoded_images_give_the_logits_of_classify(void **state)
{
    (void)state;
    struct v2_body body = v2_client_pictures("");
    struct answer answer = v2_client_send_binary(INFER, &body);
    v2_client_ok(&answer);
    v2_client_check_data(v2_client_output(answer.json, 0), 0, v2_client.expected.logits, CLASSES);
    v2_client_check_data(v2_client_output(answer.json, 0), CLASSES, v2_client.other_expected.logits,
                         CLASSES);
    struct answer native = client_post(&v2_client.daemon, "/classify?topk=11&excitations=none",
                                       v2_client.picture.bytes, v2_client.picture.size);
    v2_client_ok(&native);
    const json_t *result = json_array_get(client_member(native.json, "results"), 0), *row;
    size_t i;
    json_array_foreach(client_member(result, "top_k"), i, row) v2_client_near(
        json_number_value(client_member(row, "logit")),
        json_number_value(json_array_get(client_member(v2_client_output(answer.json, 0), "data"),
                                         (size_t)v2_client_integer(row, "index"))));
    client_free(&native);
    client_free(&answer);
    free(body.bytes);
}

/* "..." of {"image":{"b64":"..."}} */
static void images_as_base64_strings_are_taken(void **state)
{
    (void)state;
    char *envelope = picture_json(&v2_client.picture),
         *b64 = strchr(strstr(envelope, "b64\":") + 5, '"');
    size_t size = (size_t)(strchr(b64 + 1, '"') + 1 - b64), room = 2 * size + 300;
    char *json = malloc(room);
    assert_non_null(json);
    snprintf(json, room,
             "{\"inputs\":[{\"name\":\"input\",\"shape\":[2,1],\"datatype\":\"BYTES\",\"data\":"
             "[[%.*s], [%.*s]]}]}",
             (int)size, b64, (int)size, b64);
    struct answer answer = v2_client_send_json(INFER, json);
    v2_client_ok(&answer);
    v2_client_check_output(v2_client_output(answer.json, 0), "logits", "FP32", 2, CLASSES);
    v2_client_check_data(v2_client_output(answer.json, 0), CLASSES, v2_client.expected.logits,
                         CLASSES);
    client_free(&answer);
    free(json);
    free(envelope);
}

static void a_raw_body_is_a_tensor_or_an_image(void **state)
{
    const struct v2_body raw[] = {{(char *)v2_client.pixels, PLANE * sizeof(float), 0},
                                  {(char *)v2_client.picture.bytes, v2_client.picture.size, 0}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *tensors;
        struct answer answer = v2_client_send_binary(INFER, &raw[i]);
        json_t *root = v2_client_split(&answer, &tensors);
        v2_client_check_output(v2_client_output(root, 0), "logits", "FP32", 1, CLASSES);
        v2_client_check_floats(tensors, v2_client.expected.logits, CLASSES);
        json_decref(root);
        client_free(&answer);
    }
}

/* ---- tensors out ----------------------------------------------------------------------------- */

static void the_second_model_gives_the_excitations(void **state)
{
    const char *tensors;
    (void)state;
    struct v2_body body = v2_client_pixels(1, ",\"parameters\":{\"binary_data_output\":true}");
    struct answer answer = v2_client_send_binary(INFER_SE, &body);
    json_t *root = v2_client_split(&answer, &tensors);
    assert_int_equal(json_array_size(client_member(root, "outputs")), v2_client.info->blocks);
    for (size_t i = 0; i < v2_client.info->blocks; i++) {
        const struct senet_block *block = senet_block(v2_client.model, i);
        v2_client_check_output(v2_client_output(root, i), block->name, "FP32", 1, block->channels);
        v2_client_check_floats(tensors, v2_client.expected.excitations + block->offset,
                               block->channels);
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
    struct v2_body body = v2_client_pixels(
        1, ",\"outputs\":[{\"name\":\"probabilities\",\"parameters\":{\"binary_data\":true}},"
           "{\"name\":\"logits\"}]");
    struct answer answer = v2_client_send_binary(INFER, &body);
    json_t *root = v2_client_split(&answer, &tensors);
    struct senet_top top[CLASSES];
    senet_top_k(v2_client.expected.logits, CLASSES, CLASSES, top);
    v2_client_check_output(v2_client_output(root, 0), "probabilities", "FP32", 1, CLASSES);
    for (size_t i = 0; i < CLASSES; i++)
        v2_client_check_floats(tensors + 4 * top[i].index, &top[i].probability, 1);
    v2_client_check_output(v2_client_output(root, 1), "logits", "FP32", 1, CLASSES);
    v2_client_check_data(v2_client_output(root, 1), 0, v2_client.expected.logits, CLASSES);
    json_decref(root);
    client_free(&answer);
    free(body.bytes);
}

static void check_class(const char *text, size_t size, const struct senet_top *top)
{
    char wanted[128];
    snprintf(wanted, sizeof wanted, ":%zu:%s", top->index,
             senet_label(v2_client.model, top->index));
    const char *colon = memchr(text, ':', size);
    assert_non_null(colon);
    v2_client_near(strtod(text, NULL), (double)top->logit);
    assert_int_equal(size - (size_t)(colon - text), strlen(wanted));
    assert_memory_equal(colon, wanted, strlen(wanted));
}

static void classification_gives_value_index_label(void **state)
{
    struct senet_top top[3];
    (void)state;
    senet_top_k(v2_client.other_expected.logits, CLASSES, 3, top);
    for (int binary = 0; binary <= 1; binary++) {
        char rest[160];
        snprintf(rest, sizeof rest,
                 ",\"outputs\":[{\"name\":\"logits\",\"parameters\":{\"classification\":3,"
                 "\"binary_data\":%s}}]",
                 binary ? "true" : "false");
        struct v2_body body = v2_client_pictures(rest);
        struct answer answer = v2_client_send_binary(INFER, &body);
        const char *at = NULL;
        json_t *root = binary ? v2_client_split(&answer, &at) : json_incref(answer.json);
        v2_client_ok(&answer);
        v2_client_check_output(v2_client_output(root, 0), "logits", "BYTES", 2, 3);
        for (size_t i = 0; i < 6; i++) {
            const char *text;
            size_t size;
            if (binary) {
                size = (unsigned char)at[0]; /* less than 256 */
                text = at + 4;
                at += 4 + size;
            } else {
                text = json_string_value(
                    json_array_get(client_member(v2_client_output(root, 0), "data"), i));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_tells_of_server_and_models),
        cmocka_unit_test(the_description_names_every_infer_path),
        cmocka_unit_test(health_has_status_and_body),
        cmocka_unit_test(the_configuration_is_what_image_client_needs),
        cmocka_unit_test(numbers_in_json_give_the_librarys_logits),
        cmocka_unit_test(a_binary_tensor_gives_a_binary_answer_where_asked),
        cmocka_unit_test(encoded_images_give_the_logits_of_classify),
        cmocka_unit_test(images_as_base64_strings_are_taken),
        cmocka_unit_test(a_raw_body_is_a_tensor_or_an_image),
        cmocka_unit_test(the_second_model_gives_the_excitations),
        cmocka_unit_test(outputs_are_chosen_by_name_each_in_its_form),
        cmocka_unit_test(classification_gives_value_index_label),
    };
    return cmocka_run_group_tests(tests, v2_client_start, v2_client_stop);
}
