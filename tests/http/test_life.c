/* test_life.c - many clients at once, clients that stop half way, loading and shutting down. */
#include "client.h"
#include "daemon.h"
#include "pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS  64
#define PICTURES 4

static struct picture pictures[PICTURES];

static int make_pictures(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    for (unsigned i = 0; i < PICTURES; i++)
        pictures[i] = picture_ppm(50 + i, 60, i);
    return 0;
}

static int free_pictures(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PICTURES; i++)
        picture_free(&pictures[i]);
    curl_global_cleanup();
    return 0;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* ---- raw connections ------------------------------------------------------------------------- */

static void send_text(int fd, const void *bytes, size_t size)
{
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* The headers of a POST with that picture, and none of its body. */
static void send_headers(int fd, const struct picture *picture)
{
    char headers[256];
    int size = snprintf(headers, sizeof headers,
                        "POST /classify?excitations=none HTTP/1.1\r\nHost: x\r\n"
                        "X-Request-Id: raw\r\nContent-Length: %zu\r\n\r\n",
                        picture->size);
    send_text(fd, headers, (size_t)size);
}

/* Reads until the connection ends; the answer's status, 0 for none. */
static int read_status(int fd, bool *says_close)
{
    char out[8192];
    size_t used = 0;
    int status = 0;
    for (ssize_t got = 1; got > 0 && used + 1 < sizeof out; used += got > 0 ? (size_t)got : 0)
        got = recv(fd, out + used, sizeof out - 1 - used, 0);
    out[used] = '\0';
    close(fd);
    if (sscanf(out, "HTTP/1.1 %d", &status) != 1)
        return 0;
    *says_close = strcasestr(out, "connection: close") != NULL;
    return status;
}

/* Waits until the daemon has a request's headers: a probe that is sent later is answered later,
 * because one thread takes what arrives in turn. */
static void let_arrive(const struct daemon *daemon)
{
    for (int i = 0; i < 3; i++) {
        struct answer answer = client_get(daemon, "/healthz");
        assert_int_equal(answer.status, 200);
        client_free(&answer);
    }
}

/* ---- many at once ---------------------------------------------------------------------------- */

static json_t *result_of(const struct answer *answer)
{
    if (answer->status != 200)
        fail_msg("status %ld: %s", answer->status, answer->body != NULL ? answer->body : "");
    return json_array_get(client_member(answer->json, "results"), 0);
}

static void many_clients_get_each_their_own_answer(void **state)
{
    struct request requests[CLIENTS];
    struct answer answers[CLIENTS], alone[PICTURES];
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, NULL);
    for (size_t i = 0; i < PICTURES; i++)
        alone[i] = client_post(&daemon, "/classify", pictures[i].bytes, pictures[i].size);
    for (size_t i = 0; i < CLIENTS; i++)
        requests[i] = (struct request){.path = "/classify",
                                       .body = pictures[i % PICTURES].bytes,
                                       .size = pictures[i % PICTURES].size,
                                       .chunked = i % 3 == 0,
                                       .expect = i % 5 == 0};
    client_send_all(&daemon, requests, CLIENTS, answers);
    for (size_t i = 0; i < CLIENTS; i++) {
        const json_t *one = result_of(&alone[i % PICTURES]), *other = result_of(&answers[i]);
        const json_t *a = json_array_get(client_member(one, "top_k"), 0);
        const json_t *b = json_array_get(client_member(other, "top_k"), 0);
        assert_int_equal(json_integer_value(client_member(a, "index")),
                         json_integer_value(client_member(b, "index")));
        assert_float_equal(json_number_value(client_member(a, "logit")),
                           json_number_value(client_member(b, "logit")), 1e-3);
        assert_int_equal(json_integer_value(client_member(one, "width")),
                         json_integer_value(client_member(other, "width")));
        client_free(&answers[i]);
    }
    for (size_t i = 0; i < PICTURES; i++)
        client_free(&alone[i]);
    struct answer statistics = client_get(&daemon, "/se-weights");
    assert_int_equal(json_integer_value(client_member(statistics.json, "images")),
                     CLIENTS + PICTURES);
    client_free(&statistics);
    daemon_stop(&daemon);
}

/* More than the queue holds: each is answered or refused with a time to come back. */
static void an_overload_is_refused_politely(void **state)
{
    static const char *const options[] = {"--queue", "1", "--workers", "1", NULL};
    struct request requests[CLIENTS];
    struct answer answers[CLIENTS];
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    for (size_t i = 0; i < CLIENTS; i++)
        requests[i] = (struct request){.path = "/classify",
                                       .body = pictures[i % PICTURES].bytes,
                                       .size = pictures[i % PICTURES].size};
    client_send_all(&daemon, requests, CLIENTS, answers);
    for (size_t i = 0; i < CLIENTS; i++) {
        if (answers[i].status != 200) {
            client_check_problem(&answers[i], 503, "the queue holds 1");
            assert_true(atol(client_header(&answers[i], "Retry-After")) >= 1);
        }
        client_free(&answers[i]);
    }
    struct answer after = client_post(&daemon, "/classify", pictures[0].bytes, pictures[0].size);
    assert_int_equal(after.status, 200);
    client_free(&after);
    daemon_stop(&daemon);
}

static void a_request_whose_time_is_over_is_not_computed(void **state)
{
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, NULL);
    struct request request = {.path = "/classify",
                              .body = pictures[0].bytes,
                              .size = pictures[0].size,
                              .header = "X-Request-Timeout-Ms: 0"};
    struct answer answer = client_send(&daemon, &request);
    client_check_problem(&answer, 504, "the time was over");
    assert_string_equal(json_string_value(client_member(answer.json, "type")),
                        "urn:senetd:problem:deadline-exceeded");
    client_free(&answer);
    request.header = "X-Request-Timeout-Ms: 600000";
    answer = client_send(&daemon, &request);
    assert_int_equal(answer.status, 200);
    client_free(&answer);
    request.header = "X-Request-Timeout-Ms: soon";
    answer = client_send(&daemon, &request);
    client_check_problem(&answer, 400, "X-Request-Timeout-Ms is 'soon'");
    client_free(&answer);
    request.header = "Priority: u=1, i";
    answer = client_send(&daemon, &request);
    assert_int_equal(answer.status, 200);
    client_free(&answer);
    answer = client_get(&daemon, "/metrics");
    assert_non_null(strstr(answer.body, "senetd_rejected_total{reason=\"deadline-exceeded\"} 1\n"));
    assert_non_null(strstr(answer.body, "\nsenetd_batches_total 2\n"));
    client_free(&answer);
    daemon_stop(&daemon);
}

static void clients_that_stop_half_way_disturb_nobody(void **state)
{
    struct daemon daemon;
    int stalled[8];
    (void)state;
    daemon_start(&daemon, NULL);
    for (size_t i = 0; i < 8; i++) {
        stalled[i] = client_connect(&daemon);
        send_headers(stalled[i], &pictures[0]);
        send_text(stalled[i], pictures[0].bytes, pictures[0].size / 2);
    }
    struct answer answer = client_post(&daemon, "/classify", pictures[1].bytes, pictures[1].size);
    assert_int_equal(answer.status, 200); /* while the others hang */
    client_free(&answer);
    for (size_t i = 0; i < 4; i++)
        close(stalled[i]);
    /* These go away while their image is being computed, or just after. */
    for (size_t i = 0; i < 8; i++) {
        int fd = client_connect(&daemon);
        send_headers(fd, &pictures[0]);
        send_text(fd, pictures[0].bytes, pictures[0].size);
        close(fd);
    }
    answer = client_post(&daemon, "/classify", pictures[1].bytes, pictures[1].size);
    assert_int_equal(answer.status, 200);
    client_free(&answer);
    for (size_t i = 4; i < 8; i++)
        close(stalled[i]);
    daemon_stop(&daemon);
}

static void a_connection_serves_several_requests(void **state)
{
    struct daemon daemon;
    char out[8192];
    (void)state;
    daemon_start(&daemon, NULL);
    int fd = client_connect(&daemon);
    for (size_t i = 0; i < 3; i++) {
        size_t used = 0;
        send_headers(fd, &pictures[i]);
        send_text(fd, pictures[i].bytes, pictures[i].size);
        while (used + 1 < sizeof out) {
            ssize_t got = recv(fd, out + used, sizeof out - 1 - used, 0);
            assert_true(got > 0);
            used += (size_t)got;
            out[used] = '\0';
            if (strstr(out, "\"batch_size\":1}") != NULL)
                break;
        }
        assert_true(strncmp(out, "HTTP/1.1 200 ", 13) == 0);
    }
    close(fd);
    daemon_stop(&daemon);
}

/* ---- loading --------------------------------------------------------------------------------- */

/* The labels are a pipe, so that loading waits until the test writes them. */
static void requests_wait_politely_while_the_model_loads(void **state)
{
    char folder[] = "/tmp/senetd-fifo-XXXXXX", fifo[64];
    struct daemon daemon;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(fifo, sizeof fifo, "%s/labels", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const char *const options[] = {"--labels", fifo, NULL};
    daemon_launch(&daemon, options);

    struct answer answer = client_get(&daemon, "/healthz");
    assert_int_equal(answer.status, 200);
    client_free(&answer);
    static const char *const paths[] = {"/readyz", "/model", "/se-weights"};
    for (size_t i = 0; i < 3; i++) {
        answer = client_get(&daemon, paths[i]);
        client_check_problem(&answer, 503, "being loaded");
        assert_string_equal(client_header(&answer, "Retry-After"), "1");
        client_free(&answer);
    }
    answer = client_post(&daemon, "/classify", pictures[0].bytes, pictures[0].size);
    client_check_problem(&answer, 503, "being loaded");
    client_free(&answer);

    FILE *labels = fopen(fifo, "w");
    assert_non_null(labels);
    for (int i = 0; i < 11; i++)
        fprintf(labels, "label %d\n", i);
    fclose(labels);
    daemon_wait_ready(&daemon);
    answer = client_post(&daemon, "/classify", pictures[0].bytes, pictures[0].size);
    const json_t *top = json_array_get(client_member(result_of(&answer), "top_k"), 0);
    const char *label = json_string_value(client_member(top, "label"));
    assert_true(strncmp(label, "label ", 6) == 0);
    client_free(&answer);
    daemon_stop(&daemon);
    unlink(fifo);
    rmdir(folder);
}

/* ---- shutting down --------------------------------------------------------------------------- */

/* The uploads end after the signal: they were accepted, so they are answered. */
static void shut_down_with_uploads_under_way(int signal)
{
    struct daemon daemon;
    int fds[4];
    daemon_start(&daemon, NULL);
    for (size_t i = 0; i < 4; i++) {
        fds[i] = client_connect(&daemon);
        send_headers(fds[i], &pictures[i]);
        send_text(fds[i], pictures[i].bytes, pictures[i].size / 2);
    }
    let_arrive(&daemon);
    kill(daemon.pid, signal);
    daemon_wait_log(&daemon, "answering what was accepted");
    for (size_t i = 0; i < 4; i++)
        send_text(fds[i], pictures[i].bytes + pictures[i].size / 2,
                  pictures[i].size - pictures[i].size / 2);
    for (size_t i = 0; i < 4; i++) {
        bool says_close = false;
        assert_int_equal(read_status(fds[i], &says_close), 200);
        assert_true(says_close);
    }
    assert_int_equal(daemon_wait(&daemon), 0);
}

static void sigterm_finishes_what_was_accepted(void **state)
{
    (void)state;
    shut_down_with_uploads_under_way(SIGTERM);
}

static void sigint_finishes_what_was_accepted(void **state)
{
    (void)state;
    shut_down_with_uploads_under_way(SIGINT);
}

/* Many images are with the workers when the signal comes. */
static void sigterm_finishes_what_is_being_computed(void **state)
{
    struct daemon daemon;
    int fds[16];
    (void)state;
    daemon_start(&daemon, NULL);
    for (size_t i = 0; i < 16; i++) {
        fds[i] = client_connect(&daemon);
        send_headers(fds[i], &pictures[i % PICTURES]);
        send_text(fds[i], pictures[i % PICTURES].bytes, pictures[i % PICTURES].size);
    }
    let_arrive(&daemon);
    kill(daemon.pid, SIGTERM);
    for (size_t i = 0; i < 16; i++) {
        bool says_close;
        assert_int_equal(read_status(fds[i], &says_close), 200);
    }
    assert_int_equal(daemon_wait(&daemon), 0);
}

static void readiness_goes_off_and_new_clients_are_refused(void **state)
{
    static const char get[] = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    struct daemon daemon;
    char out[4096];
    (void)state;
    daemon_start(&daemon, NULL);
    int upload = client_connect(&daemon), probe = client_connect(&daemon);
    send_headers(upload, &pictures[0]); /* keeps the daemon from ending */
    send_text(probe, get, sizeof get - 1);
    assert_true(recv(probe, out, sizeof out, 0) > 0);
    assert_true(strncmp(out, "HTTP/1.1 200 ", 13) == 0);
    kill(daemon.pid, SIGTERM);
    long status = 1; /* the socket is closed before long */
    for (int i = 0; status != 0 && i < 6000; i++, pause_ms(5)) {
        struct answer answer = client_get(&daemon, "/healthz");
        status = answer.status;
        client_free(&answer);
    }
    send_text(probe, get, sizeof get - 1);
    bool says_close = false;
    assert_int_equal(read_status(probe, &says_close), 503);
    assert_true(says_close);
    send_text(upload, pictures[0].bytes, pictures[0].size);
    assert_int_equal(read_status(upload, &says_close), 200);
    assert_int_equal(daemon_wait(&daemon), 0);
}

static void a_second_signal_ends_at_once(void **state)
{
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, NULL);
    int fd = client_connect(&daemon);
    send_headers(fd, &pictures[0]); /* and never the body */
    let_arrive(&daemon);
    kill(daemon.pid, SIGTERM);
    daemon_wait_log(&daemon, "answering what was accepted");
    kill(daemon.pid, SIGTERM);
    assert_int_equal(daemon_wait(&daemon), 128 + SIGTERM);
    close(fd);
}

/* Readiness goes off first, so that a proxy can look elsewhere; requests are served on. */
static void a_drain_delay_serves_on_with_readiness_off(void **state)
{
    static const char *const options[] = {"--drain-delay", "2", NULL};
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    kill(daemon.pid, SIGTERM);
    daemon_wait_log(&daemon, "answering what was accepted");
    long ready = 200;
    for (int i = 0; ready == 200 && i < 100; i++) {
        struct answer answer = client_get(&daemon, "/readyz");
        ready = answer.status;
        if (ready == 503)
            assert_string_equal(json_string_value(client_member(answer.json, "type")),
                                "urn:senetd:problem:draining");
        client_free(&answer);
    }
    struct answer answer = client_post(&daemon, "/classify", pictures[0].bytes, pictures[0].size);
    /* A machine that stood still for the delay refuses both; else both are answered. */
    assert_true((ready == 503 && answer.status == 200) || answer.status == 0);
    client_free(&answer);
    assert_int_equal(daemon_wait(&daemon), 0);
}

static void a_signal_while_loading_ends_cleanly(void **state)
{
    char directory[] = "/tmp/senetd-fifo-XXXXXX", fifo[64];
    struct daemon daemon;
    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(fifo, sizeof fifo, "%s/labels", directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const char *const options[] = {"--labels", fifo, NULL};
    daemon_launch(&daemon, options);
    kill(daemon.pid, SIGTERM);
    assert_int_equal(daemon_wait(&daemon), 0);
    unlink(fifo);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_clients_get_each_their_own_answer),
        cmocka_unit_test(an_overload_is_refused_politely),
        cmocka_unit_test(a_request_whose_time_is_over_is_not_computed),
        cmocka_unit_test(clients_that_stop_half_way_disturb_nobody),
        cmocka_unit_test(a_connection_serves_several_requests),
        cmocka_unit_test(requests_wait_politely_while_the_model_loads),
        cmocka_unit_test(sigterm_finishes_what_was_accepted),
        cmocka_unit_test(sigint_finishes_what_was_accepted),
        cmocka_unit_test(sigterm_finishes_what_is_being_computed),
        cmocka_unit_test(readiness_goes_off_and_new_clients_are_refused),
        cmocka_unit_test(a_second_signal_ends_at_once),
        cmocka_unit_test(a_drain_delay_serves_on_with_readiness_off),
        cmocka_unit_test(a_signal_while_loading_ends_cleanly),
    };
    return cmocka_run_group_tests(tests, make_pictures, free_pictures);
}
