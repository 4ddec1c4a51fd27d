/* test_load.c - what holds while clients keep coming: reloads, the end, priorities, memory,
 * threads.
 *
 * Each answer is held against what the library computes with the model that the answer names. The
 * long forms of these are tests/bench/server.py's.
 */
#include "client.h"
#include "daemon.h"
#include "pictures.h"
#include "raw.h"
#include "scheduler.h"
#include "traffic.h"
#include "v2_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <linux/sched/types.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MODELS  2
#define RELOADS 12

static const char *const directories[MODELS] = {"tests/golden/fixtures/tiny_timm",
                                                "tests/golden/fixtures/tiny_legacy"};

/* What each model makes of the picture. */
static struct {
    struct senet *model;
    struct expected expected;
} known[MODELS];
static struct picture picture;

static int set_up(void **state)
{
    struct error err = {0};
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    picture = picture_ppm(50, 60, 1);
    for (size_t i = 0; i < MODELS; i++) {
        if (senet_open(directories[i], NULL, &known[i].model, &err) != ERROR_NONE)
            return -1;
        known[i].expected = picture_expected(known[i].model, &picture);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        picture_expected_free(&known[i].expected);
        senet_close(known[i].model);
    }
    picture_free(&picture);
    curl_global_cleanup();
    return 0;
}

static bool is_200(const struct answer *answer, void *context)
{
    (void)context;
    return answer->status == 200;
}

/* ---- reloads --------------------------------------------------------------------------------- */

static bool has_logits(const json_t *top, const struct senet_info *info, const float *logits)
{
    const json_t *row;
    size_t i;
    json_array_foreach(top, i, row)
    {
        size_t class = (size_t)json_integer_value(json_object_get(row, "index"));
        if (class >= info->classes ||
            fabs(json_number_value(json_object_get(row, "logit")) - (double)logits[class]) > 1e-3)
            return false;
    }
    return json_array_size(top) == info->classes;
}

static bool has_gates(const json_t *blocks, const struct senet *model, const float *gates)
{
    const json_t *block, *value;
    size_t i, j;
    json_array_foreach(blocks, i, block)
    {
        const json_t *values = json_object_get(block, "values");
        if (json_array_size(values) != senet_block(model, i)->channels)
            return false;
        json_array_foreach(values, j,
                           value) if (fabs(json_number_value(value) -
                                           (double)gates[senet_block(model, i)->offset + j]) >
                                      1e-3) return false;
    }
    return json_array_size(blocks) == senet_info(model)->blocks;
}

/* Which model the answer names; MODELS for none, or where a number in it is another model's. */
static size_t which_model(const struct answer *answer)
{
    const json_t *named = json_object_get(answer->json, "model");
    const char *sha256 = json_string_value(json_object_get(named, "sha256"));
    const json_t *result = json_array_get(json_object_get(answer->json, "results"), 0);
    for (size_t i = 0; answer->status == 200 && sha256 != NULL && i < MODELS; i++) {
        const struct senet_info *info = senet_info(known[i].model);
        if (strcmp(sha256, info->sha256) != 0)
            continue;
        bool right = has_logits(json_object_get(result, "top_k"), info, known[i].expected.logits) &&
                     has_gates(json_object_get(result, "excitations"), known[i].model,
                               known[i].expected.excitations);
        return right ? i : MODELS;
    }
    return MODELS;
}

static bool is_of_one_model(const struct answer *answer, void *context)
{
    atomic_size_t *seen = context;
    size_t which = which_model(answer);
    if (which < MODELS)
        atomic_fetch_add(&seen[which], 1);
    return which < MODELS;
}

static void wait_for_loads(const struct daemon *daemon, int loads)
{
    char series[80];
    snprintf(series, sizeof series, "\nsenetd_model_loads_total{outcome=\"loaded\"} %d\n", loads);
    for (int i = 0;; i++) {
        struct answer answer = client_get(daemon, "/metrics");
        bool done = answer.body != NULL && strstr(answer.body, series) != NULL;
        client_free(&answer);
        if (done)
            return;
        assert_true(i < 12000);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static void reload_under_load(const char *cache_mb)
{
    char folder[] = "/tmp/senetd-load-XXXXXX", link[64];
    atomic_size_t seen[MODELS] = {0};
    struct daemon daemon;
    assert_non_null(mkdtemp(folder));
    snprintf(link, sizeof link, "%s/model", folder);
    daemon_point_to(link, directories[0]);
    const char *const options[] = {"--weights", link,  "--cache-mb", cache_mb,
                                   "--topk",    "100", NULL};
    const struct request request = {
        .path = "/classify", .body = picture.bytes, .size = picture.size};
    daemon_start(&daemon, options);
    struct traffic *traffic = traffic_start(&daemon, &request, is_of_one_model, seen);
    for (int i = 1; i <= RELOADS; i++) {
        daemon_point_to(link, directories[i % MODELS]);
        kill(daemon.pid, SIGHUP);
        wait_for_loads(&daemon, 1 + i);
        traffic_wait(traffic, 2 * (size_t)TRAFFIC_CLIENTS); /* so some began after the swap */
    }
    traffic_stop(traffic);
    assert_true(atomic_load(&seen[0]) >= RELOADS && atomic_load(&seen[1]) >= RELOADS);
    daemon_stop(&daemon);
    unlink(link);
    rmdir(folder);
}

static void reloads_fail_no_request_and_mix_no_models(void **state)
{
    (void)state;
    reload_under_load("0");
}

static void the_cache_never_serves_another_models_result(void **state)
{
    (void)state;
    reload_under_load("1");
}

/* 200, or told why not; the latter are counted. */
static bool is_200_or_unloaded(const struct answer *answer, void *context)
{
    if (answer->status == 503 && strstr(answer->body, "the model is unloaded") != NULL)
        atomic_fetch_add((atomic_size_t *)context, 1);
    else if (answer->status != 200)
        return false;
    return true;
}

static void command(const struct daemon *admin, const char *path)
{
    struct answer answer = client_send(admin, &(struct request){.method = "POST", .path = path});
    assert_int_equal(answer.status, 200);
    client_free(&answer);
}

static void unloading_under_load_answers_everyone(void **state)
{
    static const char *const options[] = {"--admin-listen", "127.0.0.1:0", NULL};
    const struct request request = {
        .path = "/classify", .body = picture.bytes, .size = picture.size};
    atomic_size_t refused = 0;
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    const struct daemon admin = daemon_admin(&daemon);
    struct traffic *traffic = traffic_start(&daemon, &request, is_200_or_unloaded, &refused);
    for (size_t i = 0; i < 3; i++) {
        traffic_wait(traffic, 2 * (size_t)TRAFFIC_CLIENTS);
        assert_int_equal(atomic_load(&refused) > 0, i > 0);
        command(&admin, "/v2/repository/models/tiny_timm/unload");
        traffic_wait(traffic, 2 * (size_t)TRAFFIC_CLIENTS);
        assert_true(atomic_load(&refused) > i);
        command(&admin, "/v2/repository/models/tiny_timm/load");
    }
    traffic_stop(traffic);
    daemon_stop(&daemon);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* A balancer that sees readiness go off sends no more; what it has sent must be answered. */
static void sigterm_loses_none_of_what_was_sent(void **state)
{
    static const char *const options[] = {"--drain-delay", "2", NULL};
    const struct request request = {
        .path = "/classify?excitations=none", .body = picture.bytes, .size = picture.size};
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    struct traffic *traffic = traffic_start(&daemon, &request, is_200, NULL);
    traffic_wait(traffic, 20);
    kill(daemon.pid, SIGTERM);
    daemon_wait_log(&daemon, "answering what was accepted");
    traffic_stop(traffic);
    assert_int_equal(daemon_wait(&daemon), 0);
}

/* ---- priorities ------------------------------------------------------------------------------ */

/* One worker, one image at a time: without turns the low one would wait for ever. */
static void low_priority_is_served_while_high_keeps_coming(void **state)
{
    static const char *const options[] = {"--workers",   "1", "--decoders", "1",
                                          "--max-batch", "1", NULL};
    const struct request high = {.path = "/classify?excitations=none",
                                 .body = picture.bytes,
                                 .size = picture.size,
                                 .header = "Priority: u=0"};
    struct daemon daemon;
    char json[200];
    (void)state;
    daemon_start(&daemon, options);
    snprintf(json, sizeof json,
             "{\"inputs\":[{\"name\":\"input\",\"shape\":[1],\"datatype\":\"BYTES\",\"parameters\":"
             "{\"binary_data_size\":%zu}}],\"parameters\":{\"priority\":9}}",
             picture.size + 4);
    unsigned char tail[4 + 16384];
    assert_true(picture.size <= sizeof tail - 4);
    for (size_t i = 0; i < 4; i++)
        tail[i] = (unsigned char)(picture.size >> 8 * i);
    memcpy(tail + 4, picture.bytes, picture.size);
    struct v2_body low = v2_client_body(json, tail, picture.size + 4);
    struct traffic *traffic = traffic_start(&daemon, &high, is_200, NULL);
    traffic_wait(traffic, 10);
    char header[80];
    snprintf(header, sizeof header, "Inference-Header-Content-Length: %zu", low.json_size);
    for (int i = 0; i < 3; i++) {
        struct answer answer = client_send(
            &daemon,
            &(struct request){
                .path = INFER, .type = "", .body = low.bytes, .size = low.size, .header = header});
        assert_int_equal(answer.status, 200);
        client_free(&answer);
    }
    traffic_stop(traffic);
    free(low.bytes);
    daemon_stop(&daemon);
}

/* ---- the scheduler --------------------------------------------------------------------------- */

/* Nanoseconds; 0 where the kernel does not tell. */
static uint64_t slice_of(pid_t thread)
{
    struct sched_attr attributes = {.size = sizeof attributes};
    if (syscall(SYS_sched_getattr, thread, &attributes, sizeof attributes, 0) != 0)
        return 0;
    return attributes.sched_runtime;
}

/* Not before Linux 6.12, and not where a sandbox forbids the call. */
static bool may_ask_for_slices(void)
{
    uint64_t asked = slice_of(0) / 2;
    scheduler_ask_slice(asked);
    bool heard = asked > 0 && slice_of(0) == asked;
    scheduler_ask_slice(0);
    return heard;
}

/* Both listeners' threads and only they, or they would wait behind as many others as before. */
static void http_threads_have_short_slices(void **state)
{
    static const char *const options[] = {"--admin-listen", "127.0.0.1:0", NULL};
    struct daemon daemon;
    char path[64], file_name[400], name[64];
    size_t shorter = 0, others = 0;
    (void)state;
    if (!may_ask_for_slices())
        skip();
    uint64_t usual = slice_of(0);
    daemon_start(&daemon, options);
    snprintf(path, sizeof path, "/proc/%d/task", (int)daemon.pid);
    DIR *threads = opendir(path);
    assert_non_null(threads);
    for (const struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file_name, sizeof file_name, "%s/%s/comm", path, entry->d_name);
        FILE *file = fopen(file_name, "r");
        assert_non_null(file);
        assert_non_null(fgets(name, sizeof name, file));
        fclose(file);
        bool is_short = slice_of((pid_t)atol(entry->d_name)) < usual;
        assert_int_equal(is_short, strncmp(name, "MHD", 3) == 0);
        shorter += is_short;
        others += !is_short;
    }
    closedir(threads);
    assert_int_equal(shorter, 2);
    assert_true(others >= 3);
    daemon_stop(&daemon);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* An upload that stands still before its end. */
static int stall(const struct daemon *daemon, const struct picture *large)
{
    static const char headers[] =
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 190000\r\n\r\n";
    int fd = client_connect(daemon);
    raw_send(fd, headers, sizeof headers - 1);
    raw_send(fd, large->bytes, large->size);
    return fd;
}

/* It holds its memory; another that does not fit beside it is refused. */
static void uploads_share_a_budget_of_bytes(void **state)
{
    static const char *const options[] = {"--max-body", "200k", "--queue-bytes", "300k", NULL};
    struct picture large = picture_ppm(250, 200, 1); /* 150 kB */
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    int fd = stall(&daemon, &large);
    struct answer answer = client_post(&daemon, "/classify", large.bytes, large.size);
    for (int i = 0; i < 200 && answer.status != 503; i++) {
        /* The two met half way, and it was the first that did not fit. */
        client_free(&answer);
        close(fd);
        fd = stall(&daemon, &large);
        nanosleep(&(struct timespec){.tv_nsec = 1000000L * i}, NULL);
        answer = client_post(&daemon, "/classify", large.bytes, large.size);
    }
    client_check_problem(&answer, 503, "too many uploads at once");
    assert_string_equal(json_string_value(client_member(answer.json, "type")),
                        "urn:senetd:problem:overloaded");
    assert_non_null(client_header(&answer, "Retry-After"));
    client_free(&answer);
    answer = client_post(&daemon, "/classify", picture.bytes, picture.size); /* this one fits */
    assert_int_equal(answer.status, 200);
    close(fd);
    do {
        client_free(&answer);
        answer = client_post(&daemon, "/classify", large.bytes, large.size);
    } while (answer.status == 503);
    assert_int_equal(answer.status, 200);
    client_free(&answer);
    daemon_stop(&daemon);
    picture_free(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reloads_fail_no_request_and_mix_no_models),
        cmocka_unit_test(the_cache_never_serves_another_models_result),
        cmocka_unit_test(unloading_under_load_answers_everyone),
        cmocka_unit_test(sigterm_loses_none_of_what_was_sent),
        cmocka_unit_test(low_priority_is_served_while_high_keeps_coming),
        cmocka_unit_test(http_threads_have_short_slices),
        cmocka_unit_test(uploads_share_a_budget_of_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
