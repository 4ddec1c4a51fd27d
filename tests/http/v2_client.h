/* v2_client.h - requests of the Open Inference Protocol to a daemon, and checks of what it answers.
 *
 * v2_client_start and _stop set up and tear down a group of tests: a daemon with the tiny model,
 * two pictures, and what the library, without any daemon, computes of them.
 */
#ifndef SENETD_TEST_V2_CLIENT_H
#define SENETD_TEST_V2_CLIENT_H

#include "client.h"
#include "daemon.h"
#include "pictures.h"

#include <stdbool.h>
#include <stddef.h>

#define INFER    "/v2/models/tiny_timm/infer"
#define INFER_SE "/v2/models/tiny_timm_se/infer"

#define V2_CLIENT_SIDE     64
#define V2_CLIENT_PLANE    (3 * V2_CLIENT_SIDE * V2_CLIENT_SIDE)
#define V2_CLIENT_MAX_BODY "2000000"
#define V2_CLIENT_CLASSES  11

struct v2_client {
    struct senet *model;
    const struct senet_info *info;
    struct daemon daemon; /* takes 3 images in a request, has an admin address */
    struct picture picture, other;
    struct expected expected, other_expected;
    float *pixels; /* [2][3][SIDE][SIDE], what the library makes of the two pictures */
};

extern struct v2_client v2_client;

int v2_client_start(void **state);
int v2_client_stop(void **state);

/* A request body: JSON and what follows it. The caller frees bytes. */
struct v2_body {
    char *bytes;
    size_t size, json_size;
};

struct v2_body v2_client_body(const char *json, const void *tail, size_t tail_size);

/* The first images as a binary tensor; both pictures as BYTES. rest: further members, ",...". */
struct v2_body v2_client_pixels(size_t images, const char *rest);
struct v2_body v2_client_pictures(const char *rest);

/* {"inputs":[{...,"data":[numbers]}]} of the first images; nested like the shape or flat. The
 * caller frees it. */
char *v2_client_pixels_json(size_t images, bool nested);

/* Sends it with Inference-Header-Content-Length, as clients do: without a Content-Type. */
struct answer v2_client_send_binary(const char *path, const struct v2_body *body);
struct answer v2_client_send_json(const char *path, const char *json);

/* Members that must be there. */
const char *v2_client_string(const json_t *object, const char *key);
json_int_t v2_client_integer(const json_t *object, const char *key);

/* The index'th output of an answer. */
const json_t *v2_client_output(const json_t *root, size_t index);

/* The JSON before the tensors of a binary answer, a new reference; *tensors points behind it. */
json_t *v2_client_split(const struct answer *answer, const char **tensors);

/* Each fails the test unless it is so. */
void v2_client_ok(const struct answer *answer); /* 200 */
void v2_client_near(double value, double wanted);
void v2_client_check_output(const json_t *told, const char *name, const char *type, size_t images,
                            size_t count);
void v2_client_check_data(const json_t *told, size_t from, const float *values, size_t count);
void v2_client_check_floats(const char *bytes, const float *values, size_t count);

#endif
