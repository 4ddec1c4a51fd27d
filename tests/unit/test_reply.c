/* test_reply.c - results and problems as JSON documents, read back by jansson. */
#include "reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct senet *model;
static const struct senet_info *info;
static float *excitations, *logits;

static int open_model(void **state)
{
    struct error err = {0};
    (void)state;
    if (senet_open("tests/golden/fixtures/tiny_timm", NULL, &model, &err) != ERROR_NONE)
        return -1;
    info = senet_info(model);
    excitations = calloc(info->excitation_floats, sizeof(float));
    logits = calloc(info->classes, sizeof(float));
    if (excitations == NULL || logits == NULL)
        return -1;
    for (size_t i = 0; i < info->excitation_floats; i++)
        excitations[i] = (float)((i * 37) % 101) / 100.0f; /* 0 and 1 among them: saturated */
    for (size_t i = 0; i < info->classes; i++)
        logits[i] = (float)((i * 5) % info->classes) - 3.5f;
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    free(excitations);
    free(logits);
    senet_close(model);
    return 0;
}

/* Parses and frees what was written; the caller releases the value. */
static json_t *parsed(struct writer *w)
{
    json_error_t fault;
    assert_false(w->failed);
    json_t *json = json_loadb(w->bytes, w->size, JSON_REJECT_DUPLICATES, &fault);
    if (json == NULL)
        fail_msg("%.*s: %s", (int)w->size, w->bytes, fault.text);
    writer_free(w);
    return json;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("%s is missing or no number", key);
    return json_number_value(value);
}

static void check_near(double value, double expected, double relative)
{
    if (fabs(value - expected) > relative * fabs(expected) + 1e-12)
        fail_msg("%.9g, expected %.9g", value, expected);
}

static void every_error_code_has_its_status(void **state)
{
    (void)state;
    assert_int_equal(reply_status(ERROR_USAGE), 400);
    assert_int_equal(reply_status(ERROR_NOT_FOUND), 404);
    assert_int_equal(reply_status(ERROR_TOO_LARGE), 413);
    assert_int_equal(reply_status(ERROR_UNKNOWN_FORMAT), 415);
    assert_int_equal(reply_status(ERROR_UNDECODABLE), 422);
    assert_int_equal(reply_status(ERROR_LOADING), 503);
    assert_int_equal(reply_status(ERROR_OVERLOADED), 503);
    assert_int_equal(reply_status(ERROR_DRAINING), 503);
    assert_int_equal(reply_status(ERROR_DEADLINE), 504);
    assert_int_equal(reply_status(ERROR_MEMORY), 503);
    assert_int_equal(reply_status(ERROR_INTERNAL), 500);
    assert_int_equal(reply_status(ERROR_WEIGHTS), 500);
    assert_int_equal(reply_status(ERROR_IO), 500);
}

static void a_problem_is_that_of_rfc_9457(void **state)
{
    struct writer w = {0};
    (void)state;
    reply_problem(&w, 422, "undecodable-image", "row \"7\" is\tbroken \xFF", "id-1");
    json_t *json = parsed(&w);
    assert_string_equal(json_string_value(json_object_get(json, "type")),
                        "urn:senetd:problem:undecodable-image");
    assert_string_equal(json_string_value(json_object_get(json, "title")), "Unprocessable Content");
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 422);
    assert_string_equal(json_string_value(json_object_get(json, "detail")),
                        "row \"7\" is\tbroken \xEF\xBF\xBD");
    assert_string_equal(json_string_value(json_object_get(json, "instance")), "id-1");
    json_decref(json);
}

static struct batch_image good_image(void)
{
    return (struct batch_image){.format = IMAGE_PNG,
                                .width = 30,
                                .height = 20,
                                .logits = logits,
                                .excitations = excitations,
                                .decode_ns = 1500000,
                                .preprocess_ns = 250000,
                                .queue_ns = 1000,
                                .run_begin_ns = 2000000,
                                .inference_ns = 12345678,
                                .batch_size = 2,
                                .run = 1};
}

static void check_block(const json_t *told, size_t index)
{
    const struct senet_block *block = senet_block(model, index);
    const float *gates = excitations + block->offset;
    const json_t *values = json_object_get(told, "values");
    double sum = 0, squares = 0;
    size_t low = 0, high = 0;
    assert_int_equal(number(told, "layer"), index);
    assert_int_equal(number(told, "stage"), block->stage);
    assert_int_equal(number(told, "block"), block->block);
    assert_int_equal(number(told, "channels"), block->channels);
    assert_string_equal(json_string_value(json_object_get(told, "name")), block->name);
    assert_string_equal(json_string_value(json_object_get(told, "paper_name")), block->paper_name);
    assert_int_equal(json_array_size(values), block->channels);
    for (size_t i = 0; i < block->channels; i++) {
        check_near(json_number_value(json_array_get(values, i)), (double)gates[i], 5e-5);
        sum += (double)gates[i];
        low += gates[i] < 0.01f;
        high += gates[i] > 0.99f;
    }
    double mean = sum / (double)block->channels;
    for (size_t i = 0; i < block->channels; i++)
        squares += ((double)gates[i] - mean) * ((double)gates[i] - mean);
    check_near(number(told, "mean"), mean, 1e-4);
    check_near(number(told, "std"), sqrt(squares / (double)block->channels), 1e-4);
    check_near(number(told, "saturated_low"), (double)low / (double)block->channels, 1e-4);
    check_near(number(told, "saturated_high"), (double)high / (double)block->channels, 1e-4);
}

static void a_result_tells_classes_and_every_gate(void **state)
{
    struct writer w = {0};
    struct batch_image image = good_image();
    const struct selection all = {.topk = 3, .detail = DETAIL_FULL};
    (void)state;
    reply_result(&w, model, &image, "K\xE4tzchen \"1\".png", &all);
    json_t *json = parsed(&w);
    assert_string_equal(json_string_value(json_object_get(json, "filename")),
                        "K\xEF\xBF\xBDtzchen \"1\".png");
    assert_string_equal(json_string_value(json_object_get(json, "format")), "png");
    assert_int_equal(number(json, "width"), 30);
    assert_int_equal(number(json, "height"), 20);
    const json_t *top = json_object_get(json, "top_k");
    assert_int_equal(json_array_size(top), 3);
    size_t best = (size_t)number(json_array_get(top, 0), "index");
    check_near(number(json_array_get(top, 0), "logit"), (double)logits[best], 1e-5);
    assert_string_equal(json_string_value(json_object_get(json_array_get(top, 0), "label")),
                        senet_label(model, best));
    double sum = 0;
    for (size_t i = 0; i < info->classes; i++)
        sum += exp((double)(logits[i] - logits[best]));
    check_near(number(json_array_get(top, 0), "probability"), 1 / sum, 1e-5);
    const json_t *told = json_object_get(json, "excitations");
    assert_int_equal(json_array_size(told), info->blocks);
    for (size_t i = 0; i < info->blocks; i++)
        check_block(json_array_get(told, i), i);
    json_decref(json);
}

static void a_selection_narrows_what_is_told(void **state)
{
    struct writer w = {0};
    struct batch_image image = good_image();
    bool blocks[64] = {[1] = true, [4] = true};
    struct selection some = {.topk = 0, .detail = DETAIL_SUMMARY, .blocks = blocks};
    (void)state;
    reply_result(&w, model, &image, NULL, &some);
    json_t *json = parsed(&w);
    assert_true(json_is_null(json_object_get(json, "filename")));
    assert_null(json_object_get(json, "top_k"));
    const json_t *told = json_object_get(json, "excitations");
    assert_int_equal(json_array_size(told), 2);
    assert_int_equal(number(json_array_get(told, 1), "layer"), 4);
    assert_null(json_object_get(json_array_get(told, 0), "values"));
    json_decref(json);

    some.detail = DETAIL_NONE;
    reply_result(&w, model, &image, NULL, &some);
    json = parsed(&w);
    assert_null(json_object_get(json, "excitations"));
    json_decref(json);
}

static void a_bad_image_is_told_in_its_place(void **state)
{
    struct writer w = {0};
    struct batch_image image = {0};
    const struct selection all = {.topk = 3, .detail = DETAIL_FULL};
    (void)state;
    error_set(&image.error, ERROR_UNKNOWN_FORMAT, "not an image");
    reply_result(&w, model, &image, "a.txt", &all);
    json_t *json = parsed(&w);
    const json_t *error = json_object_get(json, "error");
    assert_int_equal(number(error, "status"), 415);
    assert_string_equal(json_string_value(json_object_get(error, "detail")), "not an image");
    assert_null(json_object_get(json, "top_k"));
    json_decref(json);
}

static double inference_ms(const struct batch_image *images, size_t count)
{
    return (double)reply_sum_times(images, count).inference_ns / 1e6;
}

static void runs_side_by_side_count_once(void **state)
{
    struct batch_image images[3] = {good_image(), good_image(), good_image()};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        images[i].run = 3 - i;
        images[i].inference_ns = 10000000;
    }
    images[2].run_begin_ns = 1000000; /* to 11 ms */
    images[1].run_begin_ns = 6000000; /* to 16 ms */
    images[0].run_begin_ns = 20000000;
    check_near(inference_ms(images, 1), 10, 1e-9);
    check_near(inference_ms(images, 2), 20, 1e-9);
    check_near(inference_ms(images, 3), 25, 1e-9);
    images[1].inference_ns = 2000000; /* within the first */
    check_near(inference_ms(images, 3), 20, 1e-9);
    images[1].run = 0; /* from the cache */
    images[1].run_begin_ns = images[1].inference_ns = 0;
    check_near(inference_ms(images, 3), 20, 1e-9);
}

static void timings_add_up(void **state)
{
    struct writer w = {0};
    struct batch_image images[4] = {good_image(), good_image(), good_image(), {0}};
    (void)state;
    images[1].queue_ns = 5000000;
    images[2].run = 2;
    images[2].run_begin_ns = 30000000;
    images[2].batch_size = 1;
    images[2].inference_ns = 1000000;
    error_set(&images[3].error, ERROR_UNDECODABLE, "broken");
    writer_open(&w, '{');
    reply_timing_members(&w, images, 4, 20000000);
    writer_close(&w, '}');
    json_t *json = parsed(&w);
    const json_t *timing = json_object_get(json, "timing_ms");
    check_near(number(timing, "decode"), 4.5, 1e-4);
    check_near(number(timing, "preprocess"), 0.75, 1e-4);
    check_near(number(timing, "queue"), 5, 1e-4);
    check_near(number(timing, "inference"), 13.345678, 1e-4);
    check_near(number(timing, "total"), 20, 1e-4);
    assert_int_equal(number(json, "batch_size"), 2);
    json_decref(json);
}

static void server_timing_has_three_decimals_and_room(void **state)
{
    char timing[REPLY_TIMING_BYTES];
    struct batch_image image = {.decode_ns = 1499,
                                .preprocess_ns = 1500,
                                .queue_ns = 999500,
                                .inference_ns = 34567890,
                                .run = 1};
    (void)state;
    reply_server_timing(timing, &image, 1, 0);
    assert_string_equal(timing, "decode;dur=0.001, preprocess;dur=0.002, queue;dur=1.000, "
                                "infer;dur=34.568, serialize;dur=0.000");
    image.decode_ns = image.preprocess_ns = image.queue_ns = image.inference_ns = INT64_MAX;
    reply_server_timing(timing, &image, 1, INT64_MAX);
    assert_non_null(strstr(timing, "serialize;dur=9223372036854.776"));
    assert_true(strlen(timing) < REPLY_TIMING_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_code_has_its_status),
        cmocka_unit_test(a_problem_is_that_of_rfc_9457),
        cmocka_unit_test(a_result_tells_classes_and_every_gate),
        cmocka_unit_test(a_selection_narrows_what_is_told),
        cmocka_unit_test(a_bad_image_is_told_in_its_place),
        cmocka_unit_test(timings_add_up),
        cmocka_unit_test(runs_side_by_side_count_once),
        cmocka_unit_test(server_timing_has_three_decimals_and_room),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
