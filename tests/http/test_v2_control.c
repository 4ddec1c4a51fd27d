/* test_v2_control.c - the Open Inference Protocol: the repository, limits of a request, statistics.
 */
#include "v2_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX      "/v2/repository/index"
#define REPOSITORY "/v2/repository/models/"
#define BOTH                                                                                       \
    "[{\"name\":\"tiny_timm\",\"version\":\"1\",\"state\":\"%s\",\"reason\":\"%s\"},"              \
    "{\"name\":\"tiny_timm_se\",\"version\":\"1\",\"state\":\"%s\",\"reason\":\"%s\"}]"

static struct daemon *public = &v2_client.daemon, admin;

static int find_admin(void **state)
{
    (void)state;
    admin = daemon_admin(public);
    return 0;
}

static struct answer post(const struct daemon *daemon, const char *path, const char *json)
{
    return client_send(daemon, &(struct request){.method = "POST",
                                                 .path = path,
                                                 .type = json != NULL ? "application/json" : NULL,
                                                 .body = json,
                                                 .size = json != NULL ? strlen(json) : 0});
}

/* Posts to the admin address and expects 200 with that text. */
static void command(const char *path, const char *json, const char *text)
{
    struct answer answer = post(&admin, path, json);
    v2_client_ok(&answer);
    assert_non_null(strstr(answer.body, text));
    client_free(&answer);
}

static void check_index(const char *filter, const char *wanted)
{
    struct answer answer = post(public, INDEX, filter);
    v2_client_ok(&answer);
    assert_string_equal(answer.body, wanted);
    client_free(&answer);
}

static void check_status(const char *path, long status, const char *text)
{
    struct answer answer = client_get(public, path);
    assert_int_equal(answer.status, status);
    assert_non_null(strstr(answer.body, text));
    client_free(&answer);
}

/* ---- the repository -------------------------------------------------------------------------- */

static void the_index_lists_both_models(void **state)
{
    char ready[512];
    (void)state;
    snprintf(ready, sizeof ready, BOTH, "READY", "", "READY", "");
    check_index(NULL, ready);
    check_index("{}", ready);
    check_index("{\"ready\":true}", ready);
    struct answer answer = post(public, INDEX, "[]");
    client_check_error(&answer, 400, "not a JSON object");
    client_free(&answer);
    answer = post(public, INDEX, "{\"ready\":1}");
    client_check_error(&answer, 400, "true or false");
    client_free(&answer);
    answer = post(public, INDEX, "{");
    client_check_error(&answer, 400, "not valid JSON");
    client_free(&answer);
}

static void the_public_address_changes_nothing(void **state)
{
    static const char *const calls[] = {"load", "unload"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char path[80];
        snprintf(path, sizeof path, REPOSITORY "tiny_timm/%s", calls[i]);
        struct answer answer = post(public, path, "{}");
        client_check_error(&answer, 403, "admin address only");
        client_free(&answer);
    }
    check_status("/v2/health/ready", 200, "true");
}

static void an_unloaded_model_serves_nothing_until_it_is_loaded(void **state)
{
    char gone[512];
    (void)state;
    snprintf(gone, sizeof gone, BOTH, "UNAVAILABLE", "unloaded", "UNAVAILABLE", "unloaded");
    for (int again = 0; again < 2; again++) /* what is unloaded may be unloaded */
        command(REPOSITORY "tiny_timm/unload", "{\"parameters\":{\"unload_dependents\":false}}",
                "\"name\":\"tiny_timm\",\"unload\":true");
    check_index("{}", gone);
    check_index("{\"ready\":true}", "[]");
    check_status("/readyz", 503, "unloaded");
    check_status("/healthz", 200, "alive");
    check_status("/v2/health/live", 200, "true");
    check_status("/v2/health/ready", 503, "unloaded");
    check_status("/v2/models/tiny_timm/ready", 503, "unloaded");
    check_status("/v2/models/tiny_timm", 503, "unloaded");
    check_status("/metrics", 200, "\nsenetd_model_ready 0\n");
    struct v2_body body = v2_client_pixels(1, "");
    struct answer answer = v2_client_send_binary(INFER, &body);
    client_check_error(&answer, 503, "the model is unloaded");
    client_free(&answer);
    answer = client_post(public, "/classify", v2_client.picture.bytes, v2_client.picture.size);
    client_check_problem(&answer, 503, "the model is unloaded");
    client_free(&answer);
    command(REPOSITORY "tiny_timm/load", NULL, "\"name\":\"tiny_timm\",\"load\":true");
    check_status("/v2/health/ready", 200, "true");
    answer = v2_client_send_binary(INFER, &body);
    v2_client_ok(&answer);
    v2_client_check_data(v2_client_output(answer.json, 0), 0, v2_client.expected.logits,
                         V2_CLIENT_CLASSES);
    client_free(&answer);
    free(body.bytes);
}

static void what_a_load_cannot_do_is_refused(void **state)
{
    static const struct {
        const char *path, *json;
        long status;
        const char *text;
    } faults[] = {
        {REPOSITORY "none/load", NULL, 404, "no model 'none'; the one here is 'tiny_timm'"},
        {REPOSITORY "tiny/unload", NULL, 404, "no model 'tiny'"},
        {REPOSITORY "tiny_timm_s/unload", NULL, 404, "no model 'tiny_timm_s'"},
        {REPOSITORY "tiny_timm_se/unload", NULL, 400, "load or unload that one"},
        {REPOSITORY "tiny_timm/load", "{\"parameters\":{\"config\":\"{}\"}}", 400,
         "parameter \"config\" is not supported"},
        {REPOSITORY "tiny_timm/load", "{\"parameters\":1}", 400, "not an object"},
        {REPOSITORY "tiny_timm/load", "1", 400, "not a JSON object"},
        {REPOSITORY "tiny_timm/unload", "{\"parameters\":{\"unload_dependents\":1}}", 400,
         "true or false"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct answer answer = post(&admin, faults[i].path, faults[i].json);
        client_check_error(&answer, faults[i].status, faults[i].text);
        client_free(&answer);
    }
    check_status("/v2/health/ready", 200, "true");
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void a_timeout_in_microseconds_is_a_deadline(void **state)
{
    (void)state;
    struct v2_body body = v2_client_pixels(1, ",\"parameters\":{\"timeout\":1,\"priority\":1}");
    struct answer answer = v2_client_send_binary(INFER, &body);
    client_check_error(&answer, 504, "");
    client_free(&answer);
    free(body.bytes);
    body = v2_client_pixels(1, ",\"parameters\":{\"timeout\":9000000000000000000,\"priority\":9}");
    answer = v2_client_send_binary(INFER, &body);
    v2_client_ok(&answer);
    client_free(&answer);
    free(body.bytes);
}

static void statistics_count_what_was_asked(void **state)
{
    struct v2_body body = v2_client_pixels(2, "");
    (void)state;
    struct answer before = client_get(&v2_client.daemon, "/v2/models/tiny_timm/versions/1/stats");
    v2_client_ok(&before);
    struct answer answer = v2_client_send_binary(INFER, &body);
    v2_client_ok(&answer);
    client_free(&answer);
    answer = v2_client_send_json(INFER, "{}");
    client_free(&answer);
    struct answer after = client_get(&v2_client.daemon, "/v2/models/stats");
    v2_client_ok(&after);
    assert_int_equal(json_array_size(client_member(after.json, "model_stats")), 2);
    const json_t *old = json_array_get(client_member(before.json, "model_stats"), 0);
    const json_t *now = json_array_get(client_member(after.json, "model_stats"), 0);
    const json_t *old_times = client_member(old, "inference_stats");
    const json_t *times = client_member(now, "inference_stats");
    assert_string_equal(v2_client_string(now, "name"), "tiny_timm");
    assert_int_equal(
        v2_client_integer(now, "inference_count") - v2_client_integer(old, "inference_count"), 2);
    assert_int_equal(v2_client_integer(client_member(times, "success"), "count") -
                         v2_client_integer(client_member(old_times, "success"), "count"),
                     1);
    assert_int_equal(v2_client_integer(client_member(times, "fail"), "count") -
                         v2_client_integer(client_member(old_times, "fail"), "count"),
                     1);
    assert_true(v2_client_integer(client_member(times, "compute_infer"), "ns") >
                v2_client_integer(client_member(old_times, "compute_infer"), "ns"));
    assert_true(json_array_size(client_member(now, "batch_stats")) > 0);
    client_free(&before);
    client_free(&after);
    free(body.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_index_lists_both_models, find_admin),
        cmocka_unit_test_setup(the_public_address_changes_nothing, find_admin),
        cmocka_unit_test_setup(an_unloaded_model_serves_nothing_until_it_is_loaded, find_admin),
        cmocka_unit_test_setup(what_a_load_cannot_do_is_refused, find_admin),
        cmocka_unit_test_setup(a_timeout_in_microseconds_is_a_deadline, find_admin),
        cmocka_unit_test_setup(statistics_count_what_was_asked, find_admin),
    };
    return cmocka_run_group_tests(tests, v2_client_start, v2_client_stop);
}
