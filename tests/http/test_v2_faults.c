/* test_v2_faults.c - bodies of the Open Inference Protocol that are compressed, and all that is not
 * right. */
#include "v2_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SIDE    V2_CLIENT_SIDE
#define PLANE   V2_CLIENT_PLANE
#define CLASSES V2_CLIENT_CLASSES

/* ---- compressed bodies ----------------------------------------------------------------------- */

static struct v2_body compressed(const void *from, size_t size, int bits)
{
    z_stream stream = {0};
    struct v2_body body = {.size = compressBound(size) + 64};
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

static struct answer send_encoded(const char *path, const struct v2_body *body,
                                  const char *encoding)
{
    char header[64];
    snprintf(header, sizeof header, "Content-Encoding: %s", encoding);
    return client_send(&v2_client.daemon, &(struct request){.path = path,
                                                            .type = "application/json",
                                                            .body = body->bytes,
                                                            .size = body->size,
                                                            .header = header});
}

static void compressed_bodies_are_inflated(void **state)
{
    (void)state;
    char *json = v2_client_pixels_json(1, false);
    struct v2_body gzip = compressed(json, strlen(json), 15 + 16);
    struct v2_body deflated = compressed(json, strlen(json), 15);
    struct answer answer = send_encoded(INFER, &gzip, "gzip");
    v2_client_ok(&answer);
    v2_client_check_data(v2_client_output(answer.json, 0), 0, v2_client.expected.logits, CLASSES);
    client_free(&answer);
    answer = send_encoded(INFER, &deflated, "deflate");
    v2_client_ok(&answer);
    v2_client_check_data(v2_client_output(answer.json, 0), 0, v2_client.expected.logits, CLASSES);
    client_free(&answer);
    answer = send_encoded(INFER, &deflated, "gzip");
    client_check_error(&answer, 400, "not gzip");
    client_free(&answer);
    answer = send_encoded(INFER, &(struct v2_body){gzip.bytes, gzip.size / 2, 0}, "gzip");
    client_check_error(&answer, 400, "ends too early");
    client_free(&answer);
    answer = send_encoded(INFER, &gzip, "br");
    client_check_error(&answer, 415, "expected gzip, deflate or none");
    client_free(&answer);
    struct v2_body photo = compressed(v2_client.picture.bytes, v2_client.picture.size, 15 + 16);
    answer = client_send(&v2_client.daemon, &(struct request){.path = "/classify",
                                                              .body = photo.bytes,
                                                              .size = photo.size,
                                                              .header = "Content-Encoding: gzip"});
    v2_client_ok(&answer); /* other routes take them, too */
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
    struct v2_body bomb = compressed(zeros, 40000000, 15 + 16);
    assert_true(bomb.size < 100000);
    struct answer answer = send_encoded(INFER, &bomb, "gzip");
    client_check_error(&answer, 413, "more than " V2_CLIENT_MAX_BODY " bytes");
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
        {INFER, "{", 400, "not valid JSON"},
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
        {INFER, INPUT(FP32 ",\"shape\":[92233720368547758070,3,64,64]"), 400, "not valid JSON"},
        {INFER, INPUT("\"datatype\":\"BYTES\",\"shape\":[1,2]"), 400, "[N] or [N,1]"},
        {INFER, INPUT(FP32 "," ONE), 400, "neither an array"},
        {INFER, INPUT(FP32 "," ONE ",\"data\":true"), 400, "neither an array"},
        {INFER, INPUT(FP32 "," ONE ",\"data\":[1]"), 400, "1 values in \"data\""},
        {INFER, INPUT(FP32 "," ONE ",\"data\":[1"), 400, "not valid JSON"},
        {INFER, "{\"inputs\":[{\"data\":[1", 400, "array of data does not end"},
        {INFER, INPUT(FP32 "," ONE ",\"data\":[1],\"data\":[1]"), 400, "not valid JSON"},
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
        struct answer answer = v2_client_send_json(faults[i].path, faults[i].json);
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
        char *json = v2_client_pixels_json(1, faults[i].nested);
        char *data = strchr(strstr(json, "\"data\""), '[');
        replace(data, faults[i].from, faults[i].to);
        if (strstr(faults[i].to, ",,") != NULL || faults[i].to[strlen(faults[i].to) - 1] == ',') {
            /* The number of commas must stay what the shape asks for. */
            char *last = strstr(data, "],\"name\"");
            while (*last != ',')
                last--;
            *last = ' ';
        }
        struct answer answer = v2_client_send_json(INFER, json);
        client_check_error(&answer, 400, faults[i].text);
        client_free(&answer);
        free(json);
    }
}

static void binary_data_that_is_not_right_is_refused(void **state)
{
    struct v2_body body = v2_client_pixels(1, "");
    float *values = (float *)(void *)malloc(PLANE * sizeof(float));
    (void)state;
    assert_non_null(values);
    struct v2_body cut = {body.bytes, body.size - 4, body.json_size};
    struct answer answer = v2_client_send_binary(INFER, &cut);
    client_check_error(&answer, 400, "bytes follow the JSON");
    client_free(&answer);
    struct v2_body none = {body.bytes, body.size, body.size + 1};
    answer = v2_client_send_binary(INFER, &none);
    client_check_error(&answer, 400, "Inference-Header-Content-Length is");
    client_free(&answer);
    memcpy(values, v2_client.pixels, PLANE * sizeof(float));
    values[5] = NAN;
    memcpy(body.bytes + body.json_size, values, PLANE * sizeof(float));
    answer = v2_client_send_binary(INFER, &body);
    client_check_error(&answer, 400, "value 5 of the tensor is not a finite number");
    client_free(&answer);
    for (size_t i = 0; i < PLANE; i++)
        values[i] = i % 2 ? 3e38f : -3e38f;
    memcpy(body.bytes + body.json_size, values, PLANE * sizeof(float));
    answer = v2_client_send_binary(INFER, &body);
    /* Whether that overflows depends on the kernels; what is answered is always finite. */
    if (answer.status != 200)
        client_check_error(&answer, 400, "beyond what floats hold");
    else
        for (size_t i = 0; i < CLASSES; i++)
            assert_true(json_is_number(
                json_array_get(client_member(v2_client_output(answer.json, 0), "data"), i)));
    client_free(&answer);
    free(values);
    free(body.bytes);
    body = v2_client_pictures("");
    body.bytes[body.json_size + 2] = 1; /* 65536 bytes more than there are */
    answer = v2_client_send_binary(INFER, &body);
    client_check_error(&answer, 400, "image 0: expected its length");
    client_free(&answer);
    body.bytes[body.json_size + 2] = 0;
    body.bytes[body.json_size + 8 + v2_client.picture.size] =
        'X'; /* of the second picture's "BM" */
    answer = v2_client_send_binary(INFER, &body);
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
    struct answer answer = v2_client_send_json(INFER, text);
    client_check_error(&answer, 413, "more than 65536 bytes");
    client_free(&answer);
    text[60000] = '\0';
    answer = v2_client_send_json(INFER, text);
    client_check_error(&answer, 400, "depth");
    client_free(&answer);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compressed_bodies_are_inflated),
        cmocka_unit_test(a_body_that_inflates_past_the_cap_is_refused),
        cmocka_unit_test(wrong_requests_are_told_what_is_expected),
        cmocka_unit_test(numbers_that_are_not_right_are_refused),
        cmocka_unit_test(binary_data_that_is_not_right_is_refused),
        cmocka_unit_test(deep_nesting_and_long_documents_are_bounded),
    };
    return cmocka_run_group_tests(tests, v2_client_start, v2_client_stop);
}
