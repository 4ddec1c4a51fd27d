/* test_abuse.c - clients that are slow, silent, many, too loud or half gone; bodies made to hurt.
 * Each gets a fitting status or a closed connection, and the next client is served. The daemon has
 * short deadlines; the tests wait for what must happen and measure no time. */
#include "client.h"
#include "daemon.h"
#include "pictures.h"
#include "raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CAP         20000 /* --max-body */
#define CONNECTIONS 8     /* --max-connections */

static struct daemon shared;
static struct picture picture;
static char answer[1 << 16];

static int start_all(void **state)
{
    static const char *const options[] = {"--max-body",
                                          "20000",
                                          "--max-images",
                                          "3",
                                          "--header-timeout",
                                          "1",
                                          "--idle-timeout",
                                          "1",
                                          "--stall-timeout",
                                          "1",
                                          "--min-rate",
                                          "1000",
                                          "--max-connections",
                                          "8",
                                          NULL};
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

static void check_alive(void)
{
    struct answer got = client_post(&shared, "/classify", picture.bytes, picture.size);
    assert_int_equal(got.status, 200);
    client_free(&got);
}

/* Once it has found out about clients that left, of which there were more than it may serve. */
static void wait_alive(void)
{
    struct answer got = client_post(&shared, "/classify", picture.bytes, picture.size);
    for (int i = 0; i < 600 && got.status != 200; i++) {
        client_free(&got);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        got = client_post(&shared, "/classify", picture.bytes, picture.size);
    }
    assert_int_equal(got.status, 200);
    client_free(&got);
}

static void send_text(int fd, const char *text)
{
    raw_send(fd, text, strlen(text));
}

/* ---- slow clients ---------------------------------------------------------------------------- */

static void a_header_that_does_not_end_is_cut_off(void **state)
{
    static const char *const beginnings[] = {"", "G", "GET / HTTP/1.1\r\nHost: x\r\nX-"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        int fd = client_connect(&shared);
        send_text(fd, beginnings[i]);
        assert_true(raw_read(fd, answer, sizeof answer));
        assert_int_equal(raw_status(answer), 0);
        close(fd);
    }
    check_alive();
}

/* Sends a byte at a time until the daemon has had enough; whether it had. */
static bool trickle(int fd)
{
    for (int i = 0; i < 600; i++) {
        char got;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        if (send(fd, "a", 1, MSG_NOSIGNAL) < 0)
            return true;
        if (recv(fd, &got, 1, MSG_DONTWAIT | MSG_PEEK) >= 0 || errno != EAGAIN)
            return true;
    }
    return false;
}

static void a_byte_now_and_then_does_not_help(void **state)
{
    static const char *const beginnings[] = {
        "GET /", "GET / HTTP/1.1\r\nHost: ",
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        int fd = client_connect(&shared);
        send_text(fd, beginnings[i]);
        assert_true(trickle(fd));
        close(fd);
    }
    check_alive();
}

static void a_body_that_stops_is_408(void **state)
{
    static const char *const heads[] = {
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\nabc",
        "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\nabc",
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_true(raw_talk(&shared, heads[i], strlen(heads[i]), answer, sizeof answer));
        assert_int_equal(raw_status(answer), 408);
        assert_non_null(strstr(answer, "urn:senetd:problem:request-timeout"));
    }
    check_alive();
}

static void an_idle_connection_is_closed(void **state)
{
    static const char text[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)state;
    assert_true(raw_talk(&shared, text, sizeof text - 1, answer, sizeof answer));
    assert_int_equal(raw_count(answer, 200), 1);
}

/* Asks for megabytes and reads none of them. */
static void a_client_that_does_not_read_is_cut_off(void **state)
{
    static const char text[] = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = client_connect(&shared), small = 4096;
    (void)state;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    /* Once its answers do not go out, the daemon reads no more; then it ends the connection. */
    for (int i = 0; i < 1000000 && send(fd, text, sizeof text - 1, MSG_NOSIGNAL) > 0; i++)
        ;
    assert_true(errno == ECONNRESET || errno == EPIPE);
    close(fd);
    check_alive();
}

/* All of this answer fits into the kernel's buffers: then nothing of it may stay there. */
static void an_answer_that_nobody_reads_is_dropped(void **state)
{
    static const char text[] = "GET /ui/d3.js HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = client_connect(&shared), small = 4096, fault = 0;
    socklen_t size = sizeof fault;
    (void)state;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    send_text(fd, text);
    struct pollfd end = {.fd = fd, .events = 0}; /* that of a reset alone */
    assert_int_equal(poll(&end, 1, 60000), 1);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &size), 0);
    assert_int_equal(fault, ECONNRESET);
    close(fd);
    check_alive();
}

/* ---- many clients ---------------------------------------------------------------------------- */

static void silent_connections_make_room_for_others(void **state)
{
    enum { MANY = 20 * CONNECTIONS };
    int fds[MANY];
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        fds[i] = client_connect(&shared);
        if (i % CONNECTIONS == 0)
            check_alive();
    }
    check_alive();
    for (size_t i = 0; i < MANY; i++)
        close(fds[i]);
}

/* All connections are busy with a body: others are told to come again, probes are answered. */
static void probes_are_answered_when_all_connections_are_busy(void **state)
{
    static const char *const options[] = {"--max-connections", "2", NULL};
    static const char head[] = "POST /classify HTTP/1.1\r\nHost: x\r\n"
                               "Expect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    struct daemon daemon;
    int fds[2];
    (void)state;
    daemon_start(&daemon, options);
    for (size_t i = 0; i < 2; i++) {
        fds[i] = client_connect(&daemon);
        raw_send(fds[i], head, sizeof head - 1);
        raw_read_answers(fds[i], 1, answer, sizeof answer);
        assert_int_equal(raw_status(answer), 100);
    }
    struct answer got = client_get(&daemon, "/version");
    client_check_problem(&got, 503, "connections");
    assert_non_null(client_header(&got, "Retry-After"));
    client_free(&got);
    static const char *const probes[] = {"/healthz", "/readyz"};
    for (size_t i = 0; i < 2; i++) {
        got = client_get(&daemon, probes[i]);
        assert_int_equal(got.status, 200);
        client_free(&got);
    }
    for (size_t i = 0; i < 2; i++) {
        raw_send(fds[i], "abcdefghi", 9);
        raw_read_answers(fds[i], 1, answer, sizeof answer);
        assert_int_equal(raw_status(answer), 415);
        close(fds[i]);
    }
    daemon_stop(&daemon);
}

static void an_address_may_have_only_so_many_connections(void **state)
{
    static const char *const options[] = {"--max-connections-per-ip", "3", NULL};
    static const char text[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    struct daemon daemon;
    int fds[4];
    (void)state;
    daemon_start(&daemon, options);
    for (size_t i = 0; i < 3; i++) {
        do { /* those of daemon_start may still be open */
            fds[i] = client_connect(&daemon);
            raw_send(fds[i], text, sizeof text - 1);
        } while (raw_read_answers(fds[i], 1, answer, sizeof answer) && close(fds[i]) == 0);
        assert_int_equal(raw_status(answer), 200);
    }
    fds[3] = client_connect(&daemon);
    raw_send(fds[3], text, sizeof text - 1);
    assert_true(raw_read(fds[3], answer, sizeof answer));
    assert_int_equal(raw_status(answer), 0);
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
    daemon_stop(&daemon);
}

/* ---- bodies that are too large --------------------------------------------------------------- */

/* Told at once by its length, and told also to a client that goes on sending. */
static void a_length_over_the_cap_is_413_before_the_body(void **state)
{
    static const char *const lengths[] = {"20001", "100000000", "99999999999999999999999"};
    char text[256], *body = calloc(1, 1 << 20);
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof text,
                 "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n", lengths[i]);
        assert_true(raw_talk(&shared, text, strlen(text), answer, sizeof answer));
        assert_int_equal(raw_status(answer), 413);
    }
    snprintf(text, sizeof text,
             "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    int fd = client_connect(&shared);
    send_text(fd, text);
    raw_send(fd, body, 1 << 20);
    assert_true(raw_read(fd, answer, sizeof answer));
    assert_int_equal(raw_status(answer), 413);
    assert_non_null(strstr(answer, "at most 20000"));
    close(fd);
    free(body);
    check_alive();
}

/* Without a length: swallowed up to twice the cap, then told. */
static void a_chunked_body_without_end_is_413(void **state)
{
    char chunk[1000];
    (void)state;
    memset(chunk, 'a', sizeof chunk);
    int fd = client_connect(&shared);
    send_text(fd, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < 5 * CAP / 1000; i++) {
        send_text(fd, "3e8\r\n");
        raw_send(fd, chunk, sizeof chunk);
        send_text(fd, "\r\n");
    }
    assert_true(raw_read(fd, answer, sizeof answer));
    assert_int_equal(raw_status(answer), 413);
    assert_non_null(strstr(answer, "urn:senetd:problem:too-large"));
    close(fd);
    check_alive();
}

/* ---- multipart ------------------------------------------------------------------------------- */

static void check_form(const char *type, const char *body, size_t size, int status)
{
    struct answer got = client_send(
        &shared, &(struct request){.path = "/classify", .type = type, .body = body, .size = size});
    if (got.status != status)
        fail_msg("%s, %.60s... gave %ld, expected %d", type, body, got.status, status);
    client_free(&got);
}

static void malformed_forms_are_400(void **state)
{
    static const struct {
        const char *type, *body;
        int status;
    } forms[] = {
        {"multipart/form-data", "--X\r\n\r\nabc\r\n--X--\r\n", 400},
        {"multipart/form-data; boundary=", "--\r\n\r\nabc\r\n----\r\n", 400},
        {"multipart/form-data; boundary=\"", "--\"\r\n\r\nabc\r\n", 400},
        {"multipart/form-data; boundary=X; boundary=Y", "--Y\r\n\r\nabc\r\n--Y--\r\n", 400},
        {"multipart/mixed; boundary=X", "--X\r\n\r\nabc\r\n--X--\r\n", 400},
        {"multipart/form-data; boundary=X",
         "--X\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\nabc", 400},
        {"multipart/form-data; boundary=X", "--X", 400},
        {"multipart/form-data; boundary=X", "--X\r\n", 400},
        {"multipart/form-data; boundary=X", "--X\r\n\r\nabc\r\n--X--\r\n", 400},
        {"multipart/form-data; boundary=X", "--X--\r\n", 400},
        {"multipart/form-data; boundary=X",
         "--X\r\nContent-Disposition: form-data; name=image; filename=a\r\n"
         "Content-Type: multipart/mixed; "
         "boundary=Y\r\n\r\n--Y\r\n\r\nabc\r\n--Y--\r\n\r\n--X--\r\n",
         415},
    };
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        check_form(forms[i].type, forms[i].body, strlen(forms[i].body), forms[i].status);
    check_alive();
}

/* In a daemon that takes bodies of megabytes. */
static void giant_forms_are_refused(void **state)
{
    enum { ROOM = 8 << 20, PARTS = 100000 };
    static const char *const options[] = {"--max-body", "8m", NULL};
    static const char part[] = "--X\r\n\r\n\r\n";
    struct daemon daemon;
    char *body = malloc(ROOM);
    (void)state;
    assert_non_null(body);
    daemon_start(&daemon, options);
    const struct request request = {
        .path = "/classify", .type = "multipart/form-data; boundary=X", .body = body};
    struct request now = request;
    for (now.size = 0; now.size < PARTS * (sizeof part - 1); now.size += sizeof part - 1)
        memcpy(body + now.size, part, sizeof part - 1);
    struct answer got = client_send(&daemon, &now);
    assert_true(got.status == 400 || got.status == 413);
    client_free(&got);
    static const char before[] = "--X\r\nContent-Disposition: form-data; name=\"";
    memset(body, 'n', 1 << 20);
    memcpy(body, before, sizeof before - 1);
    now.size = (1 << 20) + (size_t)sprintf(body + (1 << 20), "\"\r\n\r\nabc\r\n--X--\r\n");
    got = client_send(&daemon, &now);
    client_check_problem(&got, 400, "");
    client_free(&got);
    char *type = malloc((1 << 20) + 64); /* a header this long is the library's to refuse */
    assert_non_null(type);
    int used = sprintf(type, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
                             "Content-Type: multipart/form-data; boundary=");
    int fd = client_connect(&daemon);
    raw_send(fd, type, (size_t)used);
    memset(type, 'b', 1 << 20);
    raw_send(fd, type, 1 << 20);
    raw_read(fd, answer, sizeof answer);
    assert_true(raw_status(answer) == 0 || raw_status(answer) == 431);
    close(fd);
    free(type);
    free(body);
    got = client_post(&daemon, "/classify", picture.bytes, picture.size);
    assert_int_equal(got.status, 200);
    client_free(&got);
    daemon_stop(&daemon);
}

/* ---- connections that break ------------------------------------------------------------------ */

static void broken_connections_do_no_harm(void **state)
{
    static const char *const texts[] = {
        "",
        "POST /classify HTTP/1.1\r\nHo",
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
        "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na",
        "POST /classify HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        "GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /ver",
        "POST /classify HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
    };
    (void)state;
    for (size_t round = 0; round < 60; round++) {
        int fd = client_connect(&shared);
        send_text(fd, texts[round % 7]);
        if (round % 3 == 0)
            shutdown(fd, SHUT_WR);
        if (round % 3 == 1)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                       sizeof(struct linger));
        close(fd);
    }
    /* A whole request whose client leaves before the answer. */
    char head[128];
    snprintf(head, sizeof head, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
             picture.size);
    for (size_t round = 0; round < 60; round++) {
        int fd = client_connect(&shared);
        send_text(fd, head);
        raw_send(fd, picture.bytes, picture.size);
        if (round % 2 == 0)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                       sizeof(struct linger));
        close(fd);
    }
    wait_alive();
}

/* Without descriptors the daemon waits, and goes on when there are some again. */
static void a_lack_of_descriptors_is_survived(void **state)
{
    struct rlimit before, none;
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, NULL);
    int first = client_connect(&daemon); /* the library waits for one of its connections to end */
    send_text(first, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_read_answers(first, 1, answer, sizeof answer);
    assert_int_equal(raw_status(answer), 200);
    assert_int_equal(prlimit(daemon.pid, RLIMIT_NOFILE, NULL, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(daemon.pid, RLIMIT_NOFILE, &none, NULL), 0);
    int waiting = client_connect(&daemon);
    send_text(waiting, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    send_text(first, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_read_answers(first, 1, answer, sizeof answer);
    assert_int_equal(raw_status(answer), 200); /* it lives */
    assert_int_equal(prlimit(daemon.pid, RLIMIT_NOFILE, &before, NULL), 0);
    close(first);
    raw_read_answers(waiting, 1, answer, sizeof answer);
    assert_int_equal(raw_status(answer), 200);
    close(waiting);
    daemon_stop(&daemon);
}

/* ---- who may --------------------------------------------------------------------------------- */

#define KEY "0123456789abcdef-second"

static void a_key_is_asked_for(void **state)
{
    static const struct {
        const char *method, *path, *header;
        long status;
    } cases[] = {
        {NULL, "/", NULL, 200}, /* the page, which asks for the key */
        {NULL, "/ui/app.js", NULL, 200},
        {NULL, "/version", NULL, 401},
        {NULL, "/nothing", NULL, 401},
        {NULL, "/version", "Authorization: Bearer " KEY, 200},
        {NULL, "/version", "authorization: bearer  " KEY, 200},
        {NULL, "/version", "X-API-Key: " KEY, 200},
        {NULL, "/version", "X-API-Key: 0123456789abcdef-first", 200},
        {NULL, "/version", "X-API-Key: " KEY "x", 401},
        {NULL, "/version", "X-API-Key: 0123456789abcdef", 401},
        {NULL, "/version", "Authorization: Basic " KEY, 401},
        {NULL, "/version", "Authorization: Bearer", 401},
        {NULL, "/healthz", NULL, 200},
        {NULL, "/readyz", NULL, 200},
        {"OPTIONS", "/version", NULL, 204},
    };
    char path[] = "/tmp/senetd-keys-XXXXXX";
    static const char keys[] = "# ours\n0123456789abcdef-first\n\n  " KEY "  \n";
    int fd = mkstemp(path);
    struct daemon daemon;
    (void)state;
    assert_true(fd >= 0 && write(fd, keys, sizeof keys - 1) == (ssize_t)sizeof keys - 1);
    close(fd);
    daemon_start(&daemon, (const char *const[]){"--api-key-file", path, NULL});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer got = client_send(&daemon, &(struct request){.method = cases[i].method,
                                                                   .path = cases[i].path,
                                                                   .header = cases[i].header});
        if (got.status != cases[i].status)
            fail_msg("case %zu gave %ld", i, got.status);
        if (got.status == 401) {
            client_check_problem(&got, 401, "API key");
            assert_non_null(client_header(&got, "WWW-Authenticate"));
        }
        client_free(&got);
    }
    /* A stranger's body is not read. */
    static const char text[] =
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\nabc";
    assert_true(raw_talk(&daemon, text, sizeof text - 1, answer, sizeof answer));
    assert_int_equal(raw_status(answer), 401);
    daemon_stop(&daemon);
    unlink(path);
}

static void pages_of_one_origin_may(void **state)
{
    static const char ours[] = "Origin: https://example.org";
    struct daemon daemon;
    (void)state;
    struct answer got = client_send(&shared, &(struct request){.path = "/version", .header = ours});
    assert_int_equal(got.status, 200);
    assert_null(client_header(&got, "Access-Control-Allow-Origin"));
    client_free(&got);
    daemon_start(&daemon, (const char *const[]){"--cors-origin", "https://example.org", NULL});
    got = client_send(&daemon, &(struct request){.path = "/version", .header = ours});
    assert_string_equal(client_header(&got, "Access-Control-Allow-Origin"), "https://example.org");
    assert_string_equal(client_header(&got, "Vary"), "Origin");
    client_free(&got);
    got =
        client_send(&daemon, &(struct request){.path = "/version", .header = "Origin: https://x"});
    assert_null(client_header(&got, "Access-Control-Allow-Origin"));
    client_free(&got);
    static const char preflight[] =
        "OPTIONS /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Origin: https://example.org\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    assert_true(raw_talk(&daemon, preflight, sizeof preflight - 1, answer, sizeof answer));
    assert_int_equal(raw_status(answer), 204);
    assert_non_null(strstr(answer, "Access-Control-Allow-Methods: POST"));
    daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_that_does_not_end_is_cut_off),
        cmocka_unit_test(a_byte_now_and_then_does_not_help),
        cmocka_unit_test(a_body_that_stops_is_408),
        cmocka_unit_test(an_idle_connection_is_closed),
        cmocka_unit_test(a_client_that_does_not_read_is_cut_off),
        cmocka_unit_test(an_answer_that_nobody_reads_is_dropped),
        cmocka_unit_test(silent_connections_make_room_for_others),
        cmocka_unit_test(probes_are_answered_when_all_connections_are_busy),
        cmocka_unit_test(an_address_may_have_only_so_many_connections),
        cmocka_unit_test(a_length_over_the_cap_is_413_before_the_body),
        cmocka_unit_test(a_chunked_body_without_end_is_413),
        cmocka_unit_test(malformed_forms_are_400),
        cmocka_unit_test(giant_forms_are_refused),
        cmocka_unit_test(broken_connections_do_no_harm),
        cmocka_unit_test(a_lack_of_descriptors_is_survived),
        cmocka_unit_test(a_key_is_asked_for),
        cmocka_unit_test(pages_of_one_origin_may),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
