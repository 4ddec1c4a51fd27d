/* test_api.c - every endpoint of the running daemon, against what the library computes itself. */
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
#include <unistd.h>

static struct senet *model;
static const struct senet_info *info;
static struct daemon shared;

static int start_all(void **state)
{
    struct error err = {0};
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (senet_open(TINY_MODEL, NULL, &model, &err) != ERROR_NONE)
        return -1;
    info = senet_info(model);
    daemon_start(&shared, NULL);
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    daemon_stop(&shared);
    senet_close(model);
    curl_global_cleanup();
    return 0;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = client_member(object, key);
    if (!json_is_number(value))
        fail_msg("%s is no number", key);
    return json_number_value(value);
}

static const char *string(const json_t *object, const char *key)
{
    return json_string_value(client_member(object, key));
}

static void check_near(double value, double expected, double relative, double absolute)
{
    if (fabs(value - expected) > relative * fabs(expected) + absolute)
        fail_msg("%.9g, expected %.9g", value, expected);
}

/* ---- /classify ------------------------------------------------------------------------------- */

static void check_top_k(const json_t *result, const struct expected *expected, size_t k)
{
    struct senet_top *top = calloc(k, sizeof *top);
    const json_t *told = client_member(result, "top_k");
    assert_non_null(top);
    senet_top_k(expected->logits, info->classes, k, top);
    assert_int_equal(json_array_size(told), k);
    for (size_t i = 0; i < k; i++) {
        const json_t *row = json_array_get(told, i);
        assert_int_equal(number(row, "index"), top[i].index);
        assert_string_equal(string(row, "label"), senet_label(model, top[i].index));
        check_near(number(row, "logit"), (double)top[i].logit, 1e-4, 1e-4);
        check_near(number(row, "probability"), (double)top[i].probability, 1e-3, 1e-5);
    }
    free(top);
}

static void check_excitations(const json_t *result, const struct expected *expected)
{
    const json_t *told = client_member(result, "excitations");
    assert_int_equal(json_array_size(told), info->blocks);
    for (size_t i = 0; i < info->blocks; i++) {
        const struct senet_block *block = senet_block(model, i);
        const json_t *row = json_array_get(told, i), *values = client_member(row, "values");
        assert_int_equal(number(row, "layer"), i);
        assert_string_equal(string(row, "name"), block->name);
        assert_string_equal(string(row, "paper_name"), block->paper_name);
        assert_int_equal(json_array_size(values), block->channels);
        for (size_t c = 0; c < block->channels; c++)
            check_near(json_number_value(json_array_get(values, c)),
                       (double)expected->excitations[block->offset + c], 1e-4, 1e-5);
    }
}

/* The only result of an answer. */
static const json_t *only_result(const struct answer *answer)
{
    if (answer->status != 200)
        fail_msg("status %ld: %s", answer->status, answer->body != NULL ? answer->body : "");
    const json_t *results = client_member(answer->json, "results");
    assert_int_equal(json_array_size(results), 1);
    return json_array_get(results, 0);
}

static void check_picture(struct picture picture, const char *format, size_t width, size_t height)
{
    struct expected expected = picture_expected(model, &picture);
    struct answer answer = client_post(&shared, "/classify", picture.bytes, picture.size);
    const json_t *result = only_result(&answer);
    assert_true(json_is_null(client_member(result, "filename")));
    assert_string_equal(string(result, "format"), format);
    assert_int_equal(number(result, "width"), width);
    assert_int_equal(number(result, "height"), height);
    check_top_k(result, &expected, 5);
    check_excitations(result, &expected);
    client_free(&answer);
    picture_expected_free(&expected);
    picture_free(&picture);
}

static void classify_gives_what_the_library_computes(void **state)
{
    (void)state;
    check_picture(picture_ppm(50, 40, 1), "pnm", 50, 40);
    check_picture(picture_bmp(33, 70, 2), "bmp", 33, 70);
    check_picture(picture_file("tests/data/cat.jpg"), "jpeg", 451, 300);
}

static void an_answer_tells_of_model_and_timing(void **state)
{
    struct picture picture = picture_ppm(50, 40, 1);
    (void)state;
    struct answer answer = client_post(&shared, "/classify", picture.bytes, picture.size);
    const json_t *told = client_member(answer.json, "model");
    assert_string_equal(string(told, "name"), info->name);
    assert_string_equal(string(told, "sha256"), info->sha256);
    assert_string_equal(string(told, "precision"), info->precision);
    assert_int_equal(number(told, "classes"), info->classes);
    const json_t *timing = client_member(answer.json, "timing_ms");
    double parts = number(timing, "decode") + number(timing, "preprocess") +
                   number(timing, "queue") + number(timing, "inference");
    assert_true(parts > 0 && parts <= number(timing, "total"));
    assert_int_equal(number(answer.json, "batch_size"), 1);
    assert_string_equal(client_header(&answer, "Content-Type"), "application/json");
    client_free(&answer);
    picture_free(&picture);
}

/* Results without what may differ between two ways to send the same image. */
static json_t *bare_result(struct answer *answer)
{
    json_t *result = json_deep_copy(only_result(answer));
    json_object_del(result, "filename");
    client_free(answer);
    return result;
}

static void every_form_of_a_body_gives_the_same(void **state)
{
    struct picture picture = picture_bmp(60, 45, 3);
    char *json = picture_json(&picture);
    const struct part part = {"image", "x.bmp", picture.bytes, picture.size};
    (void)state;
    const struct request requests[] = {
        {.path = "/classify", .body = picture.bytes, .size = picture.size},
        {.path = "/classify", .method = "PUT", .body = picture.bytes, .size = picture.size},
        {.path = "/classify", .type = "image/png", .body = picture.bytes, .size = picture.size},
        {.path = "/classify", .body = picture.bytes, .size = picture.size, .chunked = true},
        {.path = "/classify", .body = picture.bytes, .size = picture.size, .expect = true},
        {.path = "/classify", .type = "application/json", .body = json, .size = strlen(json)},
    };
    struct answer answer = client_form(&shared, "/classify", &part, 1);
    json_t *first = bare_result(&answer);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        answer = client_send(&shared, &requests[i]);
        json_t *other = bare_result(&answer);
        if (!json_equal(first, other))
            fail_msg("form %zu gives another result", i);
        json_decref(other);
    }
    json_decref(first);
    free(json);
    picture_free(&picture);
}

static void one_bad_image_of_several_is_told_in_its_place(void **state)
{
    struct picture one = picture_ppm(40, 40, 1), two = picture_bmp(40, 50, 2);
    const struct part parts[] = {{"image", "one.ppm", one.bytes, one.size},
                                 {"image", "b\"a\xFF.txt", "no image", 8},
                                 {"whatever", "two.bmp", two.bytes, two.size}};
    (void)state;
    struct answer answer = client_form(&shared, "/classify", parts, 3);
    assert_int_equal(answer.status, 200);
    const json_t *results = client_member(answer.json, "results");
    assert_int_equal(json_array_size(results), 3);
    struct expected expected = picture_expected(model, &one);
    check_excitations(json_array_get(results, 0), &expected);
    assert_string_equal(string(json_array_get(results, 0), "filename"), "one.ppm");
    picture_expected_free(&expected);
    expected = picture_expected(model, &two);
    check_top_k(json_array_get(results, 2), &expected, 5);
    check_excitations(json_array_get(results, 2), &expected);
    picture_expected_free(&expected);
    const json_t *bad = json_array_get(results, 1);
    assert_int_equal(number(client_member(bad, "error"), "status"), 415);
    assert_null(json_object_get(bad, "top_k"));
    assert_non_null(strstr(string(bad, "filename"), "\xEF\xBF\xBD.txt"));
    client_free(&answer);
    picture_free(&one);
    picture_free(&two);
}

static void the_query_selects_what_is_told(void **state)
{
    struct picture picture = picture_ppm(50, 40, 4);
    (void)state;
    struct answer answer =
        client_post(&shared, "/classify?topk=2&layers=SE_4_1,0", picture.bytes, picture.size);
    const json_t *result = only_result(&answer), *told = client_member(result, "excitations");
    assert_int_equal(json_array_size(client_member(result, "top_k")), 2);
    assert_int_equal(json_array_size(told), 2);
    assert_int_equal(number(json_array_get(told, 0), "layer"), 0);
    assert_string_equal(string(json_array_get(told, 1), "paper_name"), "SE_4_1");
    client_free(&answer);

    answer = client_post(&shared, "/classify?excitations=summary", picture.bytes, picture.size);
    told = client_member(only_result(&answer), "excitations");
    assert_int_equal(json_array_size(told), info->blocks);
    assert_null(json_object_get(json_array_get(told, 0), "values"));
    client_free(&answer);

    answer = client_post(&shared, "/classify?excitations=none", picture.bytes, picture.size);
    assert_null(json_object_get(only_result(&answer), "excitations"));
    client_free(&answer);
    picture_free(&picture);
}

/* ---- /se-weights ----------------------------------------------------------------------------- */

#define IMAGES 5
#define LAYER  2

/* Values of LAYER in the answers to IMAGES pictures, [IMAGES][channels]. */
static void classify_some(const struct daemon *daemon, size_t channels, double *values)
{
    for (unsigned i = 0; i < IMAGES; i++) {
        struct picture picture = picture_ppm(40 + i, 44, i);
        struct answer answer =
            client_post(daemon, "/classify?layers=2", picture.bytes, picture.size);
        const json_t *layer = json_array_get(client_member(only_result(&answer), "excitations"), 0);
        for (size_t c = 0; c < channels; c++)
            values[i * channels + c] =
                json_number_value(json_array_get(client_member(layer, "values"), c));
        client_free(&answer);
        picture_free(&picture);
    }
}

static void check_channel(const json_t *told, const double *values, size_t channels, size_t c)
{
    double sum = 0, squares = 0, least = 1, most = 0;
    for (size_t i = 0; i < IMAGES; i++) {
        double value = values[i * channels + c];
        sum += value;
        squares += value * value;
        least = fmin(least, value);
        most = fmax(most, value);
    }
    double mean = sum / IMAGES;
    check_near(json_number_value(json_array_get(client_member(told, "mean"), c)), mean, 1e-4, 1e-9);
    check_near(json_number_value(json_array_get(client_member(told, "std"), c)),
               sqrt(fmax(0, squares / IMAGES - mean * mean)), 1e-3, 3e-5);
    check_near(json_number_value(json_array_get(client_member(told, "min"), c)), least, 1e-4, 0);
    check_near(json_number_value(json_array_get(client_member(told, "max"), c)), most, 1e-4, 0);
}

static void statistics_agree_with_the_answers(void **state)
{
    const struct senet_block *block = senet_block(model, LAYER);
    double *values = calloc(IMAGES * block->channels, sizeof *values);
    struct daemon fresh;
    (void)state;
    assert_non_null(values);
    daemon_start(&fresh, NULL);
    struct answer answer = client_get(&fresh, "/se-weights?layer=2");
    assert_int_equal(number(answer.json, "images"), 0);
    assert_true(json_is_null(client_member(answer.json, "mean")));
    client_free(&answer);

    classify_some(&fresh, block->channels, values);
    answer = client_get(&fresh, "/se-weights?layer=layer2.0");
    assert_int_equal(answer.status, 200);
    assert_int_equal(number(answer.json, "images"), IMAGES);
    assert_int_equal(number(answer.json, "channels"), block->channels);
    assert_int_equal(number(answer.json, "reduced"), block->reduced);
    assert_int_equal(number(answer.json, "reduction"), block->channels / block->reduced);
    assert_int_equal(json_array_size(client_member(answer.json, "mean")), block->channels);
    for (size_t c = 0; c < block->channels; c++)
        check_channel(answer.json, values, block->channels, c);
    client_free(&answer);

    answer = client_get(&fresh, "/se-weights");
    const json_t *layers = client_member(answer.json, "layers");
    assert_int_equal(json_array_size(layers), info->blocks);
    double sum = 0;
    for (size_t i = 0; i < IMAGES * block->channels; i++)
        sum += values[i];
    check_near(number(json_array_get(layers, LAYER), "mean"),
               sum / (double)(IMAGES * block->channels), 1e-4, 0);
    client_free(&answer);
    free(values);
    daemon_stop(&fresh);
}

static void vectors_of_a_request_are_found_by_its_id(void **state)
{
    struct picture picture = picture_ppm(64, 64, 7);
    (void)state;
    const struct request request = {.path = "/classify",
                                    .body = picture.bytes,
                                    .size = picture.size,
                                    .header = "X-Request-Id: my-image.7"};
    struct answer sent = client_send(&shared, &request);
    struct answer found = client_get(&shared, "/se-weights?id=my-image.7&layer=3");
    assert_int_equal(found.status, 200);
    const json_t *images = client_member(found.json, "images");
    assert_int_equal(json_array_size(images), 1);
    const json_t *told = client_member(json_array_get(images, 0), "excitations");
    assert_int_equal(json_array_size(told), 1);
    assert_true(json_equal(json_array_get(told, 0),
                           json_array_get(client_member(only_result(&sent), "excitations"), 3)));
    client_free(&found);
    found = client_get(&shared, "/se-weights?id=my-image.8");
    client_check_problem(&found, 404, "my-image.8");
    client_free(&found);
    client_free(&sent);
    picture_free(&picture);
}

static void an_image_may_be_posted_for_its_vector_alone(void **state)
{
    struct picture picture = picture_ppm(64, 30, 8);
    (void)state;
    struct answer whole = client_post(&shared, "/classify", picture.bytes, picture.size);
    struct answer one =
        client_post(&shared, "/se-weights?layer=SE_2_2", picture.bytes, picture.size);
    const json_t *result = only_result(&one), *told = client_member(result, "excitations");
    assert_null(json_object_get(result, "top_k"));
    assert_int_equal(json_array_size(told), 1);
    assert_true(json_equal(json_array_get(told, 0),
                           json_array_get(client_member(only_result(&whole), "excitations"), 1)));
    client_free(&one);
    one = client_post(&shared, "/se-weights", picture.bytes, picture.size);
    told = client_member(only_result(&one), "excitations");
    assert_int_equal(json_array_size(told), info->blocks);
    assert_null(json_object_get(json_array_get(told, 0), "values"));
    client_free(&one);
    client_free(&whole);
    picture_free(&picture);
}

static void a_plain_resnet_answers_without_excitations(void **state)
{
    static const char *const options[] = {"--weights", "tests/golden/fixtures/tiny_resnet", NULL};
    struct picture picture = picture_ppm(40, 40, 1);
    struct daemon plain;
    (void)state;
    daemon_start(&plain, options);
    struct answer answer = client_post(&plain, "/classify", picture.bytes, picture.size);
    assert_int_equal(json_array_size(client_member(only_result(&answer), "excitations")), 0);
    client_free(&answer);
    answer = client_get(&plain, "/se-weights");
    assert_int_equal(json_array_size(client_member(answer.json, "layers")), 0);
    assert_int_equal(number(answer.json, "images"), 1);
    client_free(&answer);
    answer = client_get(&plain, "/se-weights?layer=0");
    client_check_problem(&answer, 404, "plain ResNet");
    client_free(&answer);
    picture_free(&picture);
    daemon_stop(&plain);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void the_model_is_described(void **state)
{
    (void)state;
    struct answer answer = client_get(&shared, "/model");
    assert_int_equal(answer.status, 200);
    assert_string_equal(string(answer.json, "architecture"), info->architecture);
    assert_string_equal(string(answer.json, "kernels"), info->kernels);
    assert_int_equal(number(answer.json, "parameters"), info->parameters);
    assert_int_equal(json_array_size(client_member(answer.json, "blocks")), info->blocks);
    const json_t *labels = client_member(answer.json, "labels");
    assert_int_equal(json_array_size(labels), info->classes);
    assert_string_equal(json_string_value(json_array_get(labels, 1)), senet_label(model, 1));
    const json_t *preprocess = client_member(answer.json, "preprocess");
    assert_int_equal(number(preprocess, "width"), info->preprocess.width);
    assert_string_equal(string(preprocess, "interpolation"), "bicubic");
    client_free(&answer);
}

static void probes_and_version_answer(void **state)
{
    static const char *const paths[] = {"/healthz", "/readyz?from=probe", "/version"};
    static const char *const members[] = {"status", "status", "kernels"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct answer answer = client_get(&shared, paths[i]);
        assert_int_equal(answer.status, 200);
        client_member(answer.json, members[i]);
        client_free(&answer);
    }
}

static void head_gives_the_headers_of_get(void **state)
{
    static const char *const paths[] = {"/model", "/healthz", "/readyz", "/version", "/se-weights"};
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct answer get = client_get(&shared, paths[i]);
        struct answer head =
            client_send(&shared, &(struct request){.path = paths[i], .method = "HEAD"});
        char length[32];
        snprintf(length, sizeof length, "%zu", get.size);
        assert_int_equal(head.status, 200);
        assert_int_equal(head.size, 0);
        assert_string_equal(client_header(&head, "Content-Length"), length);
        assert_string_equal(client_header(&head, "Content-Type"), "application/json");
        client_free(&get);
        client_free(&head);
    }
}

static void options_lists_the_methods(void **state)
{
    (void)state;
    struct answer answer =
        client_send(&shared, &(struct request){.path = "/se-weights", .method = "OPTIONS"});
    assert_int_equal(answer.status, 204);
    assert_string_equal(client_header(&answer, "Allow"), "GET, HEAD, POST, PUT, OPTIONS");
    client_free(&answer);
}

static void a_request_id_is_echoed_or_made(void **state)
{
    (void)state;
    struct answer one = client_send(
        &shared, &(struct request){.path = "/healthz", .header = "X-Request-Id: a-B.9_"});
    assert_string_equal(client_header(&one, "X-Request-Id"), "a-B.9_");
    client_free(&one);
    one = client_send(&shared,
                      &(struct request){.path = "/healthz", .header = "X-Request-Id: no spaces"});
    char first[129];
    snprintf(first, sizeof first, "%s", client_header(&one, "X-Request-Id"));
    assert_int_equal(strlen(first), 32);
    struct answer two = client_get(&shared, "/healthz");
    assert_int_equal(strlen(client_header(&two, "X-Request-Id")), 32);
    assert_string_not_equal(client_header(&two, "X-Request-Id"), first);
    client_free(&one);
    client_free(&two);
}

static void ipv6_is_served_where_there_is_any(void **state)
{
    static const char *const options[] = {"--listen", "[::1]:0", NULL};
    struct daemon six;
    (void)state;
    if (access("/proc/net/if_inet6", R_OK) != 0)
        skip();
    daemon_launch(&six, options);
    snprintf(six.base, sizeof six.base, "http://[::1]:%u", six.port);
    daemon_wait_ready(&six);
    daemon_wait_log(&six, "http://[::1]:");
    daemon_stop(&six);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classify_gives_what_the_library_computes),
        cmocka_unit_test(an_answer_tells_of_model_and_timing),
        cmocka_unit_test(every_form_of_a_body_gives_the_same),
        cmocka_unit_test(one_bad_image_of_several_is_told_in_its_place),
        cmocka_unit_test(the_query_selects_what_is_told),
        cmocka_unit_test(statistics_agree_with_the_answers),
        cmocka_unit_test(vectors_of_a_request_are_found_by_its_id),
        cmocka_unit_test(an_image_may_be_posted_for_its_vector_alone),
        cmocka_unit_test(a_plain_resnet_answers_without_excitations),
        cmocka_unit_test(the_model_is_described),
        cmocka_unit_test(probes_and_version_answer),
        cmocka_unit_test(head_gives_the_headers_of_get),
        cmocka_unit_test(options_lists_the_methods),
        cmocka_unit_test(a_request_id_is_echoed_or_made),
        cmocka_unit_test(ipv6_is_served_where_there_is_any),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
