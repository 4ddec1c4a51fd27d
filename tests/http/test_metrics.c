/* test_metrics.c - /metrics counts what was asked, in a form that Prometheus reads. */
#include "client.h"
#include "daemon.h"
#include "pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct daemon daemon_;

static int start(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    daemon_start(&daemon_, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_);
    curl_global_cleanup();
    return 0;
}

/* The value of the series with exactly this name and labels; fails where there is none. */
static double value_of(const struct answer *metrics, const char *series)
{
    size_t size = strlen(series);
    for (const char *line = metrics->body; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, series, size) == 0 && line[size] == ' ')
            return strtod(line + size, NULL);
    }
    fail_msg("no series %s", series);
    return 0;
}

static void classify(const char *path, const void *body, size_t size, long status)
{
    struct answer answer = client_post(&daemon_, path, body, size);
    assert_int_equal(answer.status, status);
    client_free(&answer);
}

static void requests_and_images_are_counted(void **state)
{
    (void)state;
    struct picture picture = picture_ppm(40, 30, 1);
    for (size_t i = 0; i < 3; i++)
        classify("/classify", picture.bytes, picture.size, 200);
    classify("/classify", "no image", 8, 415);
    struct answer unknown = client_get(&daemon_, "/made/up/by/a/client");
    client_free(&unknown);
    struct answer metrics = client_get(&daemon_, "/metrics");
    assert_int_equal(metrics.status, 200);
    assert_non_null(strstr(client_header(&metrics, "Content-Type"), "version=0.0.4"));
    static const struct {
        const char *series;
        double value;
    } expected[] = {
        {"senetd_http_requests_total{route=\"/classify\",method=\"POST\",code=\"200\"}", 3},
        {"senetd_http_requests_total{route=\"/classify\",method=\"POST\",code=\"415\"}", 1},
        {"senetd_http_requests_total{route=\"other\",method=\"GET\",code=\"404\"}", 1},
        {"senetd_inferences_total", 3},
        {"senetd_stage_duration_seconds_count{stage=\"decode\"}", 3},
        {"senetd_stage_duration_seconds_count{stage=\"infer\"}", 3},
        {"senetd_batch_size_count", 3},
        {"senetd_batch_size_bucket{le=\"+Inf\"}", 3},
        {"senetd_rejected_total{reason=\"overloaded\"}", 0},
        {"senetd_queue_depth", 0},
        {"senetd_workers_busy", 0},
        {"senetd_model_ready", 1},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        if (value_of(&metrics, expected[i].series) != expected[i].value)
            fail_msg("%s is %g, expected %g", expected[i].series,
                     value_of(&metrics, expected[i].series), expected[i].value);
    double gate = value_of(&metrics, "senetd_se_gate_mean{block=\"layer1.0\"}");
    assert_true(gate > 0 && gate < 1);
    assert_true(value_of(&metrics, "process_resident_memory_bytes") > 1e6);
    client_free(&metrics);
    picture_free(&picture);
}

/* Every line is a comment or a sample, as the exposition format has them. */
static void every_line_is_well_formed(void **state)
{
    (void)state;
    regex_t sample;
    assert_int_equal(regcomp(&sample,
                             "^[a-z_]+(\\{[a-z_0-9]+=\"[^\"]*\"(,[a-z_0-9]+=\"[^\"]*\")*\\})? "
                             "[0-9.e+-]+$",
                             REG_EXTENDED | REG_NOSUB),
                     0);
    struct answer metrics = client_get(&daemon_, "/metrics");
    char *rest = metrics.body, *line;
    size_t samples = 0;
    while ((line = strsep(&rest, "\n")) != NULL && rest != NULL) {
        bool comment = strncmp(line, "# HELP ", 7) == 0 || strncmp(line, "# TYPE ", 7) == 0;
        if (!comment && regexec(&sample, line, 0, NULL, 0) != 0)
            fail_msg("line '%s'", line);
        samples += !comment;
    }
    assert_true(samples > 50);
    assert_string_equal(line, ""); /* the last line ends */
    client_free(&metrics);
    regfree(&sample);
}

static void answers_carry_their_timing(void **state)
{
    (void)state;
    struct picture picture = picture_ppm(40, 30, 1);
    struct answer answer = client_post(&daemon_, "/classify", picture.bytes, picture.size);
    const char *timing = client_header(&answer, "Server-Timing");
    assert_non_null(timing);
    static const char *const stages[] = {
        "decode;dur=", "preprocess;dur=", "queue;dur=", "infer;dur=", "serialize;dur="};
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++)
        assert_non_null(strstr(timing, stages[i]));
    client_free(&answer);
    picture_free(&picture);
}

static void a_trace_is_passed_on_into_the_log(void **state)
{
    (void)state;
    struct answer answer = client_send(
        &daemon_, &(struct request){.path = "/healthz",
                                    .header = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-"
                                              "b7ad6b7169203331-01"});
    assert_int_equal(answer.status, 200);
    client_free(&answer);
    daemon_wait_log(&daemon_, "\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"");
    static const char *const wrong[] = {
        "traceparent: 00-1af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "traceparent: 00-1AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "traceparent: ff-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "traceparent: 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "traceparent: 00"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char id[64];
        answer = client_send(&daemon_, &(struct request){.path = "/healthz", .header = wrong[i]});
        snprintf(id, sizeof id, "%s", client_header(&answer, "X-Request-Id"));
        client_free(&answer);
        daemon_wait_log(&daemon_, id);
    }
    FILE *log = fopen(daemon_.log_path, "r");
    char line[2048];
    assert_non_null(log);
    while (fgets(line, sizeof line, log) != NULL)
        assert_null(strcasestr(line, "1af7651916"));
    fclose(log);
}

static void server_timing_can_be_switched_off(void **state)
{
    static const char *const options[] = {"--server-timing", "off", NULL};
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    struct picture picture = picture_ppm(40, 30, 1);
    struct answer answer = client_post(&daemon, "/classify", picture.bytes, picture.size);
    assert_int_equal(answer.status, 200);
    assert_null(client_header(&answer, "Server-Timing"));
    client_free(&answer);
    picture_free(&picture);
    daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_and_images_are_counted),
        cmocka_unit_test(every_line_is_well_formed),
        cmocka_unit_test(answers_carry_their_timing),
        cmocka_unit_test(a_trace_is_passed_on_into_the_log),
        cmocka_unit_test(server_timing_can_be_switched_off),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
