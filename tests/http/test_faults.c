/* test_faults.c - what the daemon says to requests that are not right, and its command line. */
#include "client.h"
#include "daemon.h"
#include "pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CAP 20000 /* --max-body of the shared daemon */

static struct daemon shared;
static struct picture picture;

static int start_all(void **state)
{
    static const char *const options[] = {
        "--max-body", "20000", "--max-images", "3", "--max-pixels", "5000", "--queue", "2", NULL};
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    picture = picture_ppm(40, 40, 1);
    daemon_start(&shared, options);
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    daemon_stop(&shared);
    picture_free(&picture);
    curl_global_cleanup();
    return 0;
}

/* The daemon is none the worse. */
static void check_alive(void)
{
    struct answer answer = client_post(&shared, "/classify", picture.bytes, picture.size);
    assert_int_equal(answer.status, 200);
    client_free(&answer);
}

static void wrong_requests_are_told_what_is_expected(void **state)
{
    static const struct {
        const char *method, *path, *type, *body;
        long status;
        const char *detail;
    } faults[] = {
        {"GET", "/nothing", NULL, NULL, 404, "lists those"},
        {"GET", "/classify/", NULL, NULL, 404, "lists those"},
        {"GET", "/classify", NULL, NULL, 405, "POST, PUT, OPTIONS"},
        {"HEAD", "/classify", NULL, NULL, 405, ""},
        {"DELETE", "/model", NULL, NULL, 405, "GET, HEAD, OPTIONS"},
        {"POST", "/model", NULL, "x", 405, "GET, HEAD, OPTIONS"},
        {"BREW", "/", NULL, NULL, 405, "GET, HEAD, OPTIONS"},
        {"POST", "/classify", NULL, "", 400, "empty"},
        {"POST", "/classify", NULL, "hello", 415, ""},
        {"POST", "/classify?topk=0", NULL, "x", 400, "expected 1 to 11"},
        {"POST", "/classify?topk=12", NULL, "x", 400, "expected 1 to 11"},
        {"POST", "/classify?topk", NULL, "x", 400, "topk has no value"},
        {"POST", "/classify?k=1", NULL, "x", 400, "unknown query key 'k'"},
        {"POST", "/classify?layers=9", NULL, "x", 400, "no layer '9'"},
        {"POST", "/classify?topk=1&topk=2", NULL, "x", 400, "given twice"},
        {"POST", "/classify?excitations=some", NULL, "x", 400, "full, summary or none"},
        {"POST", "/classify?topk=1%00", NULL, "x", 400, "zero byte"},
        {"POST", "/classify?a&b&c&d&e&f&g&h&i", NULL, "x", 400, "more than 8"},
        {"GET", "/se-weights?layer=99", NULL, NULL, 400, "no layer '99'"},
        {"GET", "/se-weights?id=x", NULL, NULL, 404, "no excitations of a request 'x'"},
        {"GET", "/model?x=1", NULL, NULL, 400, "expected none here"},
        {"POST", "/classify", "application/json", "{", 400, "byte 1 of the JSON body"},
        {"POST", "/classify", "application/json", "{\"image\":{\"b64\":\"?\"}}", 400, "base64"},
        {"POST", "/classify", "application/json", "{\"image\":{\"b64\":\"aGVsbG8=\"}}", 415, ""},
        {"POST", "/classify", "multipart/form-data", "x", 400, "no boundary"},
        {"POST", "/classify", "multipart/form-data; boundary=X", "x", 400, "its boundary"},
        {"POST", "/classify", "multipart/form-data; boundary=X", "--X--", 400, "no image"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const char *body = faults[i].body;
        struct answer answer =
            client_send(&shared, &(struct request){.method = faults[i].method,
                                                   .path = faults[i].path,
                                                   .type = faults[i].type,
                                                   .body = body,
                                                   .size = body != NULL ? strlen(body) : 0});
        if (answer.status != faults[i].status)
            fail_msg("%s %s gave %ld, expected %ld", faults[i].method, faults[i].path,
                     answer.status, faults[i].status);
        if (strcmp(faults[i].method, "HEAD") != 0)
            client_check_problem(&answer, faults[i].status, faults[i].detail);
        if (faults[i].status == 405)
            assert_non_null(client_header(&answer, "Allow"));
        client_free(&answer);
    }
    check_alive();
}

static void a_broken_image_is_422_and_says_why(void **state)
{
    (void)state;
    struct answer answer = client_post(&shared, "/classify", picture.bytes, picture.size / 2);
    client_check_problem(&answer, 422, "");
    assert_true(strlen(json_string_value(client_member(answer.json, "detail"))) > 10);
    client_free(&answer);
    check_alive();
}

/* Its header alone tells, before any pixel is decoded. */
static void an_image_of_too_many_pixels_is_413(void **state)
{
    struct picture cat = picture_file("tests/data/cat.jpg");
    (void)state;
    struct answer answer = client_post(&shared, "/classify", cat.bytes, 5000);
    client_check_problem(&answer, 413, "451 x 300");
    client_free(&answer);
    picture_free(&cat);
}

static void too_many_images_are_refused(void **state)
{
    struct part parts[4];
    (void)state;
    for (size_t i = 0; i < 4; i++)
        parts[i] = (struct part){"image", "a.ppm", picture.bytes, picture.size / 4};
    struct answer answer = client_form(&shared, "/classify", parts, 4);
    client_check_problem(&answer, 413, "more than 3 parts");
    client_free(&answer);
    /* Three may be sent, but the queue holds two: refused after the connection was suspended. */
    answer = client_form(&shared, "/classify", parts, 3);
    client_check_problem(&answer, 413, "the queue holds 2");
    client_free(&answer);
    answer = client_form(&shared, "/classify", parts, 2);
    assert_int_equal(answer.status, 200);
    client_free(&answer);
}

static void plain_fields_are_refused(void **state)
{
    const struct part parts[] = {{"image", "a.ppm", picture.bytes, picture.size},
                                 {"topk", NULL, "3", 1}};
    (void)state;
    struct answer answer = client_form(&shared, "/classify", parts, 2);
    client_check_problem(&answer, 400, "part 'topk' is not a file");
    client_free(&answer);
}

/* ---- bodies that are too large --------------------------------------------------------------- */

static void check_too_large(size_t size, bool expect, bool chunked)
{
    char *body = calloc(1, size);
    assert_non_null(body);
    struct answer answer = client_send(
        &shared,
        &(struct request){
            .path = "/classify", .body = body, .size = size, .expect = expect, .chunked = chunked});
    client_check_problem(&answer, 413, "20000");
    client_free(&answer);
    free(body);
    check_alive();
}

static void a_body_over_the_cap_is_413(void **state)
{
    (void)state;
    check_too_large(CAP + 1, false, false);
    check_too_large(2 * CAP, false, false);
    check_too_large(CAP + 1, true, false);
    check_too_large(100 * CAP, true, false);
    check_too_large(CAP + 1, false, true);
    check_too_large(2 * CAP, true, true);
}

static void a_body_of_exactly_the_cap_is_taken(void **state)
{
    char *body = calloc(1, CAP);
    (void)state;
    assert_non_null(body);
    struct answer answer = client_post(&shared, "/classify", body, CAP);
    client_check_problem(&answer, 415, "");
    client_free(&answer);
    free(body);
}

/* Past the hard ceiling the connection ends; nothing else may happen. */
static void an_endless_body_is_cut_off(void **state)
{
    char *body = calloc(1, 100 * CAP);
    (void)state;
    assert_non_null(body);
    struct answer answer = client_send(
        &shared,
        &(struct request){.path = "/classify", .body = body, .size = 100 * CAP, .chunked = true});
    assert_true(answer.status == 0 || answer.status == 413);
    client_free(&answer);
    free(body);
    check_alive();
}

static void a_post_without_a_length_is_411(void **state)
{
    static const char text[] = "POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char out[4096];
    size_t used = 0;
    int fd = client_connect(&shared);
    (void)state;
    assert_int_equal(send(fd, text, sizeof text - 1, MSG_NOSIGNAL), (ssize_t)sizeof text - 1);
    for (ssize_t got = 1; got > 0 && used + 1 < sizeof out; used += got > 0 ? (size_t)got : 0)
        got = recv(fd, out + used, sizeof out - 1 - used, 0);
    out[used] = '\0';
    close(fd);
    assert_true(strncmp(out, "HTTP/1.1 411 ", 13) == 0);
    assert_non_null(strstr(out, "urn:senetd:problem:length-required"));
}

/* Whatever is sent, the daemon lives. */
static void nonsense_does_no_harm(void **state)
{
    static const char *const lines[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x01\xFE",
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello",
        "PUT /classify HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
        "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        "GET /%00%00%ff?%=%&&&==& HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        int fd = client_connect(&shared);
        assert_true(send(fd, lines[i], strlen(lines[i]), MSG_NOSIGNAL) > 0);
        shutdown(fd, SHUT_WR);
        check_alive();
        close(fd);
    }
}

/* ---- the command line ------------------------------------------------------------------------ */

static char output[1 << 20];

static void check_prints_facts_and_fails_without_a_model(void **state)
{
    static const char *const good[] = {"senetd", "--check", NULL};
    static const char *const bad[] = {"senetd", "--check", "--weights", "tests/data/cat.jpg", NULL};
    (void)state;
    assert_int_equal(daemon_run(good, output, sizeof output), 0);
    assert_non_null(strstr(output, "seresnet_tiny"));
    assert_int_equal(daemon_run(bad, output, sizeof output), 1);
}

static void a_wrong_option_is_status_2(void **state)
{
    static const char *const arguments[] = {"senetd", "--wieghts", "x", NULL};
    static const char *const address[] = {"senetd", "--listen", "nowhere", NULL};
    (void)state;
    assert_int_equal(daemon_run(arguments, output, sizeof output), 2);
    assert_int_equal(daemon_run(address, output, sizeof output), 1);
}

static void help_and_version_need_no_model(void **state)
{
    static const char *const help[] = {"senetd", "--help", NULL};
    static const char *const version[] = {"senetd", "--version", NULL};
    (void)state;
    assert_int_equal(daemon_run(help, output, sizeof output), 0);
    assert_non_null(strstr(output, "--max-body"));
    assert_int_equal(daemon_run(version, output, sizeof output), 0);
    assert_true(strncmp(output, "senetd ", 7) == 0);
}

static void bench_reports_its_runs(void **state)
{
    static const char *const arguments[] = {"senetd", "bench",     "--json", "--batch",
                                            "3",      "--seconds", "1",      "--threads",
                                            "2",      "--layers",  "on",     NULL};
    json_error_t fault;
    (void)state;
    assert_int_equal(daemon_run(arguments, output, sizeof output), 0);
    json_t *told = json_loads(output, JSON_REJECT_DUPLICATES, &fault);
    if (told == NULL)
        fail_msg("%s", fault.text);
    assert_int_equal(json_integer_value(client_member(told, "batch")), 3);
    assert_int_equal(json_integer_value(client_member(told, "threads")), 2);
    assert_true(json_integer_value(client_member(told, "runs")) > 0);
    const json_t *ms = client_member(told, "ms_per_image");
    double least = json_number_value(client_member(ms, "min"));
    double median = json_number_value(client_member(ms, "median"));
    assert_true(least > 0 && least <= median);
    assert_true(json_number_value(client_member(told, "memory_gb_per_s")) > 0);
    const json_t *operations = client_member(told, "operations"), *stem;
    assert_true(json_array_size(operations) > 10);
    stem = json_array_get(operations, 0);
    assert_string_equal(json_string_value(client_member(stem, "name")), "stem");
    assert_true(json_number_value(client_member(stem, "gflops")) > 0);
    assert_true(json_number_value(client_member(stem, "gb_per_s")) > 0);
    json_decref(told);
}

static void classify_prints_the_answer_of_the_server(void **state)
{
    static const char *const arguments[] = {"senetd",
                                            "classify",
                                            "--max-images",
                                            "2",
                                            "--json",
                                            "tests/data/cat.jpg",
                                            "tests/data/README.md",
                                            "tests/data/none.jpg",
                                            "tests/data/rocket.jpg",
                                            NULL};
    json_error_t fault;
    struct daemon daemon;
    struct picture cat = picture_file("tests/data/cat.jpg");
    (void)state;
    assert_int_equal(daemon_run(arguments, output, sizeof output), 1); /* two are no images */
    json_t *told = json_loads(output, JSON_REJECT_DUPLICATES, &fault);
    if (told == NULL)
        fail_msg("%s", fault.text);
    const json_t *results = client_member(told, "results");
    assert_int_equal(json_array_size(results), 4);
    client_member(told, "timing_ms");
    for (size_t i = 1; i <= 2; i++)
        client_member(json_array_get(results, i), "error");

    daemon_start(&daemon, NULL);
    const struct part part = {"image", "tests/data/cat.jpg", cat.bytes, cat.size};
    struct answer answer = client_form(&daemon, "/classify", &part, 1);
    json_t *first = json_array_get(results, 0);
    json_t *served = json_array_get(client_member(answer.json, "results"), 0);
    json_object_del(first, "filename"); /* curl sends the base name */
    json_object_del(served, "filename");
    assert_true(json_equal(first, served));
    client_free(&answer);
    json_decref(told);
    picture_free(&cat);
    daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_requests_are_told_what_is_expected),
        cmocka_unit_test(a_broken_image_is_422_and_says_why),
        cmocka_unit_test(an_image_of_too_many_pixels_is_413),
        cmocka_unit_test(too_many_images_are_refused),
        cmocka_unit_test(plain_fields_are_refused),
        cmocka_unit_test(a_body_over_the_cap_is_413),
        cmocka_unit_test(a_body_of_exactly_the_cap_is_taken),
        cmocka_unit_test(an_endless_body_is_cut_off),
        cmocka_unit_test(a_post_without_a_length_is_411),
        cmocka_unit_test(nonsense_does_no_harm),
        cmocka_unit_test(check_prints_facts_and_fails_without_a_model),
        cmocka_unit_test(a_wrong_option_is_status_2),
        cmocka_unit_test(help_and_version_need_no_model),
        cmocka_unit_test(bench_reports_its_runs),
        cmocka_unit_test(classify_prints_the_answer_of_the_server),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
