/* test_reload.c - new weights take the old ones' place while requests are served.
 *
 * The daemon serves a directory whose name is a symbolic link; a test points it elsewhere and asks
 * for a reload. Each answer must be that of the model whose sha256 it names.
 */
#include "client.h"
#include "daemon.h"
#include "pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MODELS   2
#define REQUESTS 8
#define RELOADS  6

static const char *const directories[MODELS] = {"tests/golden/fixtures/tiny_timm",
                                                "tests/golden/fixtures/tiny_legacy"};
static struct senet *models[MODELS];
static struct picture picture;
static char folder[] = "/tmp/senetd-reload-XXXXXX", link_path[64];

static int set_up(void **state)
{
    struct error err = {0};
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    picture = picture_ppm(50, 60, 1);
    for (size_t i = 0; i < MODELS; i++)
        if (senet_open(directories[i], NULL, &models[i], &err) != ERROR_NONE)
            return -1;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(link_path, sizeof link_path, "%s/model", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODELS; i++)
        senet_close(models[i]);
    picture_free(&picture);
    unlink(link_path);
    rmdir(folder);
    curl_global_cleanup();
    return 0;
}

static void start(struct daemon *daemon)
{
    const char *const options[] = {"--weights", link_path, "--topk", "100", NULL};
    daemon_point_to(link_path, directories[0]);
    daemon_start(daemon, options);
}

/* Which of the models an answer names; its logits must be that model's. */
static size_t check_answer(const struct answer *answer)
{
    if (answer->status != 200)
        fail_msg("status %ld: %s", answer->status, answer->body != NULL ? answer->body : "");
    const json_t *model = client_member(answer->json, "model");
    const char *sha256 = json_string_value(client_member(model, "sha256"));
    size_t which = 0;
    while (which < MODELS && strcmp(senet_info(models[which])->sha256, sha256) != 0)
        which++;
    assert_true(which < MODELS);
    struct expected expected = picture_expected(models[which], &picture);
    const json_t *result = json_array_get(client_member(answer->json, "results"), 0);
    const json_t *top = client_member(result, "top_k");
    assert_int_equal(json_array_size(top), senet_info(models[which])->classes);
    for (size_t i = 0; i < json_array_size(top); i++) {
        const json_t *one = json_array_get(top, i);
        size_t class = (size_t)json_integer_value(client_member(one, "index"));
        assert_float_equal(json_number_value(client_member(one, "logit")), expected.logits[class],
                           1e-3);
    }
    picture_expected_free(&expected);
    return which;
}

static size_t classify(const struct daemon *daemon)
{
    struct answer answer =
        client_post(daemon, "/classify?excitations=none", picture.bytes, picture.size);
    size_t which = check_answer(&answer);
    client_free(&answer);
    return which;
}

static double metric(const struct daemon *daemon, const char *series)
{
    struct answer answer = client_get(daemon, "/metrics");
    assert_int_equal(answer.status, 200);
    const char *line = strstr(answer.body, series);
    assert_non_null(line);
    double value = strtod(line + strlen(series), NULL);
    client_free(&answer);
    return value;
}

/* Waits until that many loads of that outcome are counted. */
static void wait_for(const struct daemon *daemon, const char *outcome, double count)
{
    char series[80];
    snprintf(series, sizeof series, "\nsenetd_model_loads_total{outcome=\"%s\"} ", outcome);
    for (int i = 0; metric(daemon, series) < count; i++) {
        assert_true(i < 6000);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

static void sighup_puts_new_weights_in_place(void **state)
{
    struct daemon daemon;
    (void)state;
    start(&daemon);
    assert_int_equal(classify(&daemon), 0);
    double runs = metric(&daemon, "\nsenetd_batches_total ");
    daemon_point_to(link_path, directories[1]);
    assert_int_equal(classify(&daemon), 0); /* not before it is asked to */
    kill(daemon.pid, SIGHUP);
    wait_for(&daemon, "loaded", 2);
    assert_int_equal(classify(&daemon), 1);
    struct answer statistics = client_get(&daemon, "/se-weights");
    assert_int_equal(json_integer_value(client_member(statistics.json, "images")), 1);
    client_free(&statistics);
    assert_float_equal(metric(&daemon, "\nsenetd_batches_total "), runs + 2, 0);
    daemon_stop(&daemon);
}

static void bad_weights_leave_the_old_ones_in_place(void **state)
{
    struct daemon daemon;
    (void)state;
    start(&daemon);
    daemon_point_to(link_path, "tests/golden"); /* no model there */
    kill(daemon.pid, SIGHUP);
    wait_for(&daemon, "failed", 1);
    daemon_wait_log(&daemon, "the model stays as it is");
    assert_int_equal(classify(&daemon), 0);
    struct answer ready = client_get(&daemon, "/readyz");
    assert_int_equal(ready.status, 200);
    client_free(&ready);
    daemon_point_to(link_path, directories[1]);
    kill(daemon.pid, SIGHUP);
    wait_for(&daemon, "loaded", 2);
    assert_int_equal(classify(&daemon), 1);
    daemon_stop(&daemon);
}

static void no_request_fails_or_sees_half_of_each(void **state)
{
    struct request requests[REQUESTS];
    struct answer answers[REQUESTS];
    struct daemon daemon;
    size_t seen[MODELS] = {0};
    (void)state;
    start(&daemon);
    for (size_t i = 0; i < REQUESTS; i++)
        requests[i] = (struct request){
            .path = "/classify?excitations=none", .body = picture.bytes, .size = picture.size};
    for (int i = 1; i <= RELOADS; i++) {
        daemon_point_to(link_path, directories[i % MODELS]);
        kill(daemon.pid, SIGHUP);
        client_send_all(&daemon, requests, REQUESTS, answers);
        for (size_t j = 0; j < REQUESTS; j++) {
            seen[check_answer(&answers[j])]++;
            client_free(&answers[j]);
        }
        wait_for(&daemon, "loaded", 1 + i);
        seen[classify(&daemon)]++;
    }
    assert_true(seen[0] > 0 && seen[1] > 0);
    daemon_stop(&daemon);
}

/* ---- the admin listener ---------------------------------------------------------------------- */

static void start_with_admin(struct daemon *daemon, struct daemon *admin)
{
    const char *const options[] = {"--weights",      link_path,     "--topk", "100",
                                   "--admin-listen", "127.0.0.1:0", NULL};
    daemon_point_to(link_path, directories[0]);
    daemon_start(daemon, options);
    *admin = daemon_admin(daemon);
}

static struct answer load(const struct daemon *daemon, const char *name, const char *header)
{
    char path[80];
    snprintf(path, sizeof path, "/v2/repository/models/%s/load", name);
    return client_send(daemon, &(struct request){.method = "POST", .path = path, .header = header});
}

static void the_admin_call_answers_when_the_new_model_serves(void **state)
{
    struct daemon daemon, admin;
    (void)state;
    start_with_admin(&daemon, &admin);
    daemon_point_to(link_path, directories[1]);
    struct answer answer = load(&admin, "tiny_timm", NULL);
    assert_int_equal(answer.status, 200);
    const json_t *model = client_member(answer.json, "model");
    assert_string_equal(json_string_value(client_member(model, "sha256")),
                        senet_info(models[1])->sha256);
    client_free(&answer);
    assert_int_equal(classify(&daemon), 1);
    daemon_point_to(link_path, "tests/golden");
    answer = load(&admin, "tiny_legacy", NULL);
    client_check_error(&answer, 500, "model.safetensors");
    client_free(&answer);
    assert_int_equal(classify(&daemon), 1);
    answer = client_send(
        &admin, &(struct request){.method = "POST", .path = "/v2/repository/models/other/load"});
    client_check_error(&answer, 404, "no model 'other'; the one here is 'tiny_legacy'");
    client_free(&answer);
    daemon_stop(&daemon);
}

static void *write_labels_late(void *fifo)
{
    nanosleep(&(struct timespec){.tv_sec = 3}, NULL);
    FILE *labels = fopen(fifo, "w");
    for (int i = 0; labels != NULL && i < 11; i++)
        fprintf(labels, "label %d\n", i);
    if (labels != NULL)
        fclose(labels);
    return NULL;
}

/* The labels are a pipe: loading waits until somebody writes them, longer than a body may stall. */
static void a_load_may_take_long(void **state)
{
    char fifo[80];
    struct daemon daemon;
    pthread_t writer;
    (void)state;
    snprintf(fifo, sizeof fifo, "%s/labels", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const char *const options[] = {
        "--weights",   link_path,         "--labels", fifo, "--admin-listen",
        "127.0.0.1:0", "--stall-timeout", "1",        NULL};
    daemon_point_to(link_path, directories[0]);
    assert_int_equal(pthread_create(&writer, NULL, write_labels_late, fifo), 0);
    daemon_start(&daemon, options);
    pthread_join(writer, NULL);
    const struct daemon admin = daemon_admin(&daemon);
    assert_int_equal(pthread_create(&writer, NULL, write_labels_late, fifo), 0);
    struct answer answer = load(&admin, "tiny_timm", NULL);
    pthread_join(writer, NULL);
    assert_int_equal(answer.status, 200);
    client_free(&answer);
    daemon_stop(&daemon);
    unlink(fifo);
}

static void the_public_listener_has_no_admin_calls(void **state)
{
    struct daemon daemon, admin;
    (void)state;
    start_with_admin(&daemon, &admin);
    struct answer answer = load(&daemon, "tiny_timm", NULL);
    client_check_error(&answer, 403, "admin address only");
    client_free(&answer);
    answer = load(&admin, "tiny_timm", "Origin: http://elsewhere.example");
    client_check_error(&answer, 403, "web pages");
    client_free(&answer);
    daemon_stop(&daemon);
}

/* ---- the cache ------------------------------------------------------------------------------- */

/* Classifies the picture; the answer must be right, and hit or not as expected. */
static void classify_cached(const struct daemon *daemon, const char *path, bool hit, size_t which)
{
    struct answer answer = client_post(daemon, path, picture.bytes, picture.size);
    assert_int_equal(check_answer(&answer), which);
    const json_t *result = json_array_get(client_member(answer.json, "results"), 0);
    assert_int_equal(json_integer_value(client_member(result, "width")), 50);
    assert_int_equal(json_is_true(json_object_get(result, "cached")), hit);
    assert_string_equal(client_header(&answer, "Cache-Status"),
                        hit ? "senetd; hit" : "senetd; fwd=miss");
    client_free(&answer);
}

static void the_cache_does_not_outlive_its_model(void **state)
{
    const char *const options[] = {"--weights",  link_path, "--topk", "100",
                                   "--cache-mb", "1",       NULL};
    struct daemon daemon;
    (void)state;
    daemon_point_to(link_path, directories[0]);
    daemon_start(&daemon, options);
    classify_cached(&daemon, "/classify", false, 0);
    classify_cached(&daemon, "/classify", true, 0);
    classify_cached(&daemon, "/classify?excitations=none", true, 0); /* told anew */
    assert_float_equal(metric(&daemon, "\nsenetd_cache_hits_total "), 2, 0);
    assert_float_equal(metric(&daemon, "\nsenetd_cache_misses_total "), 1, 0);
    assert_float_equal(metric(&daemon, "\nsenetd_batches_total "), 1, 0);
    struct answer bad = client_post(&daemon, "/classify", "no image", 8);
    client_check_problem(&bad, 415, "");
    client_free(&bad);
    daemon_point_to(link_path, directories[1]);
    kill(daemon.pid, SIGHUP);
    wait_for(&daemon, "loaded", 2);
    classify_cached(&daemon, "/classify", false, 1);
    classify_cached(&daemon, "/classify", true, 1);
    daemon_stop(&daemon);
}

static void without_a_cache_nothing_is_said_of_it(void **state)
{
    struct daemon daemon;
    (void)state;
    start(&daemon);
    struct answer answer = client_post(&daemon, "/classify", picture.bytes, picture.size);
    assert_int_equal(answer.status, 200);
    assert_null(client_header(&answer, "Cache-Status"));
    client_free(&answer);
    daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sighup_puts_new_weights_in_place),
        cmocka_unit_test(bad_weights_leave_the_old_ones_in_place),
        cmocka_unit_test(no_request_fails_or_sees_half_of_each),
        cmocka_unit_test(the_admin_call_answers_when_the_new_model_serves),
        cmocka_unit_test(the_cache_does_not_outlive_its_model),
        cmocka_unit_test(without_a_cache_nothing_is_said_of_it),
        cmocka_unit_test(a_load_may_take_long),
        cmocka_unit_test(the_public_listener_has_no_admin_calls),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
