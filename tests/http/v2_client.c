/* v2_client.c - see v2_client.h. */
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

#define SIDE      V2_CLIENT_SIDE
#define PLANE     V2_CLIENT_PLANE
#define JSON_ROOM (PLANE * 32 + 4096)

struct v2_client v2_client;

static void preprocess(const struct picture *from, float *out)
{
    struct error err = {0};
    struct image image = {0};
    assert_int_equal(image_decode(from->bytes, from->size,
                                  &(struct image_options){.max_pixels = 100000}, &image, &err),
                     ERROR_NONE);
    assert_int_equal(image_preprocess(&image, &v2_client.info->preprocess, out, &err), ERROR_NONE);
    image_free(&image);
}

int v2_client_start(void **state)
{
    static const char *const options[] = {"--max-body", V2_CLIENT_MAX_BODY, "--max-images",
                                          "3",          "--admin-listen",   "127.0.0.1:0",
                                          NULL};
    struct v2_client *own = &v2_client;
    struct error err = {0};
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (senet_open(TINY_MODEL, NULL, &own->model, &err) != ERROR_NONE)
        return -1;
    own->info = senet_info(own->model);
    own->picture = picture_ppm(50, 40, 1);
    own->other = picture_bmp(33, 70, 2);
    own->expected = picture_expected(own->model, &own->picture);
    own->other_expected = picture_expected(own->model, &own->other);
    own->pixels = malloc(2 * PLANE * sizeof *own->pixels);
    assert_non_null(own->pixels);
    preprocess(&own->picture, own->pixels);
    preprocess(&own->other, own->pixels + PLANE);
    daemon_start(&own->daemon, options);
    return 0;
}

int v2_client_stop(void **state)
{
    struct v2_client *own = &v2_client;
    (void)state;
    daemon_stop(&own->daemon);
    picture_expected_free(&own->expected);
    picture_expected_free(&own->other_expected);
    picture_free(&own->picture);
    picture_free(&own->other);
    free(own->pixels);
    senet_close(own->model);
    curl_global_cleanup();
    return 0;
}

const char *v2_client_string(const json_t *object, const char *key)
{
    return json_string_value(client_member(object, key));
}

json_int_t v2_client_integer(const json_t *object, const char *key)
{
    return json_integer_value(client_member(object, key));
}

void v2_client_near(double value, double wanted)
{
    if (!(fabs(value - wanted) <= 1e-4 * fabs(wanted) + 1e-4))
        fail_msg("%.9g, expected %.9g", value, wanted);
}

void v2_client_ok(const struct answer *answer)
{
    if (answer->status != 200)
        fail_msg("status %ld: %s", answer->status, answer->body != NULL ? answer->body : "");
}

struct v2_body v2_client_body(const char *json, const void *tail, size_t tail_size)
{
    struct v2_body body = {.json_size = strlen(json)};
    body.size = body.json_size + tail_size;
    body.bytes = malloc(body.size + 1);
    assert_non_null(body.bytes);
    memcpy(body.bytes, json, body.json_size + 1);
    if (tail_size > 0)
        memcpy(body.bytes + body.json_size, tail, tail_size);
    return body;
}

/* Sends it with Inference-Header-Content-Length, as clients do: without a Content-Type. */
struct answer v2_client_send_binary(const char *path, const struct v2_body *body)
{
    char header[80];
    snprintf(header, sizeof header, "Inference-Header-Content-Length: %zu", body->json_size);
    return client_send(
        &v2_client.daemon,
        &(struct request){
            .path = path, .type = "", .body = body->bytes, .size = body->size, .header = header});
}

struct answer v2_client_send_json(const char *path, const char *json)
{
    return client_send(&v2_client.daemon, &(struct request){.path = path,
                                                            .type = "application/json",
                                                            .body = json,
                                                            .size = strlen(json)});
}

/* The JSON before the tensors of a binary answer; *tensors points behind it. */
json_t *v2_client_split(const struct answer *answer, const char **tensors)
{
    v2_client_ok(answer);
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

const json_t *v2_client_output(const json_t *root, size_t index)
{
    return json_array_get(client_member(root, "outputs"), index);
}

void v2_client_check_output(const json_t *told, const char *name, const char *type, size_t images,
                            size_t count)
{
    const json_t *shape = client_member(told, "shape");
    assert_string_equal(v2_client_string(told, "name"), name);
    assert_string_equal(v2_client_string(told, "datatype"), type);
    assert_int_equal(json_array_size(shape), 2);
    assert_int_equal(json_integer_value(json_array_get(shape, 0)), images);
    assert_int_equal(json_integer_value(json_array_get(shape, 1)), count);
}

void v2_client_check_data(const json_t *told, size_t from, const float *values, size_t count)
{
    const json_t *data = client_member(told, "data");
    assert_true(json_array_size(data) >= from + count);
    for (size_t i = 0; i < count; i++)
        v2_client_near(json_number_value(json_array_get(data, from + i)), (double)values[i]);
}

void v2_client_check_floats(const char *bytes, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, bytes + 4 * i, sizeof value);
        v2_client_near((double)value, (double)values[i]);
    }
}

/* {"inputs":[{...,"data":[numbers]}]} of the first images; nested like the shape or flat. */
char *v2_client_pixels_json(size_t images, bool nested)
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
        size += (size_t)snprintf(text + size, room - size, "%s%.9g", between,
                                 (double)v2_client.pixels[i]);
    }
    snprintf(text + size, room - size,
             "%s],\"name\":\"input\",\"shape\":[%zu,3,%d,%d],\"datatype\":\"FP32\"}]}",
             nested ? "]]]" : "", images, SIDE, SIDE);
    return text;
}

struct v2_body v2_client_pixels(size_t images, const char *rest)
{
    char json[512];
    size_t size = images * PLANE * sizeof(float);
    snprintf(json, sizeof json,
             "{\"inputs\":[{\"name\":\"input\",\"shape\":[%zu,3,%d,%d],\"datatype\":\"FP32\","
             "\"parameters\":{\"binary_data_size\":%zu}}]%s}",
             images, SIDE, SIDE, size, rest);
    return v2_client_body(json, v2_client.pixels, size);
}

/* Both pictures as BYTES. */
struct v2_body v2_client_pictures(const char *rest)
{
    char json[512];
    const struct picture *const pictures[] = {&v2_client.picture, &v2_client.other};
    size_t size = 0;
    char *tail = malloc(8 + v2_client.picture.size + v2_client.other.size);
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
    struct v2_body body = v2_client_body(json, tail, size);
    free(tail);
    return body;
}
