/* test_tls.c - https by --tls-cert and --tls-key: requests, what the defences do beneath TLS, the
 * files' faults, and a certificate replaced while the daemon serves. Certificates are made here by
 * openssl(1). */
#include "client.h"
#include "daemon.h"
#include "pictures.h"
#include "raw.h"
#include "tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/senetd-tls-XXXXXX";
static char certificate[64], key[64], other_certificate[64], other_key[64];
static struct daemon shared;
static struct picture picture;
static char answer[1 << 16];

static void make_pair(char certificate_path[64], char key_path[64], const char *name)
{
    char command[512];
    snprintf(certificate_path, 64, "%s/%s.pem", folder, name);
    snprintf(key_path, 64, "%s/%s.key", folder, name);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 "
             "-subj /CN=%s -addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s 2>/dev/null",
             name, key_path, certificate_path);
    assert_int_equal(system(command), 0);
    assert_int_equal(chmod(key_path, 0600), 0);
}

static int start_all(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    picture = picture_ppm(40, 40, 1);
    assert_non_null(mkdtemp(folder));
    make_pair(certificate, key, "one");
    make_pair(other_certificate, other_key, "other");
    const char *const options[] = {"--tls-cert",
                                   certificate,
                                   "--tls-key",
                                   key,
                                   "--header-timeout",
                                   "1",
                                   "--idle-timeout",
                                   "1",
                                   "--stall-timeout",
                                   "1",
                                   "--min-rate",
                                   "1000",
                                   "--max-body",
                                   "20000",
                                   "--max-connections",
                                   "32",
                                   NULL};
    daemon_start(&shared, options);
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    char command[128];
    daemon_stop(&shared);
    picture_free(&picture);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    curl_global_cleanup();
    return 0;
}

static void check_alive(const struct daemon *daemon)
{
    struct answer got = client_post(daemon, "/classify", picture.bytes, picture.size);
    assert_int_equal(got.status, 200);
    client_free(&got);
}

/* Sends these bytes through TLS and reads all that comes back until the connection ends. */
static void talk(const char *text)
{
    CURL *curl = curl_easy_init();
    size_t used = 0, moved = 0;
    curl_socket_t fd;
    assert_non_null(curl);
    curl_easy_setopt(curl, CURLOPT_URL, shared.base);
    curl_easy_setopt(curl, CURLOPT_CAINFO, shared.certificate);
    curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
    assert_int_equal(curl_easy_perform(curl), CURLE_OK);
    curl_easy_getinfo(curl, CURLINFO_ACTIVESOCKET, &fd);
    assert_int_equal(curl_easy_send(curl, text, strlen(text), &moved), CURLE_OK);
    assert_int_equal(moved, strlen(text));
    for (;;) {
        CURLcode code = curl_easy_recv(curl, answer + used, sizeof answer - 1 - used, &moved);
        if (code == CURLE_AGAIN) {
            assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 60000), 1);
            continue;
        }
        if (code != CURLE_OK || moved == 0)
            break;
        used += moved;
    }
    answer[used] = '\0';
    curl_easy_cleanup(curl);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void requests_are_served(void **state)
{
    enum { MANY = 12 };
    struct request requests[MANY];
    struct answer answers[MANY];
    (void)state;
    struct answer got = client_get(&shared, "/version");
    assert_int_equal(got.status, 200);
    client_free(&got);
    for (size_t i = 0; i < MANY; i++)
        requests[i] = (struct request){.path = "/classify",
                                       .body = picture.bytes,
                                       .size = picture.size,
                                       .expect = i % 3 == 1,
                                       .chunked = i % 3 == 2};
    client_send_all(&shared, requests, MANY, answers);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(answers[i].status, 200);
        assert_non_null(answers[i].json);
        client_free(&answers[i]);
    }
}

static void pipelined_requests_are_served(void **state)
{
    (void)state;
    talk("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
         "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
         "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(raw_count(answer, 200), 2);
    assert_int_equal(raw_count(answer, 415), 1);
}

static void the_public_address_alone_has_it(void **state)
{
    char text[512];
    (void)state;
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_true(raw_talk(&shared, request, sizeof request - 1, text, sizeof text));
    assert_int_equal(raw_status(text), 0); /* in the clear there is no answer */
    check_alive(&shared);
}

static void health_asks_by_tls(void **state)
{
    char address[32], out[256];
    (void)state;
    snprintf(address, sizeof address, "127.0.0.1:%u", shared.port);
    const char *const asking[] = {"senetd",    "health",    "--listen", address, "--tls-cert",
                                  certificate, "--tls-key", key,        NULL};
    assert_int_equal(daemon_run(asking, out, sizeof out), 0);
    assert_string_equal(out, "ready\n");
    const char *const in_the_clear[] = {"senetd", "health", "--listen", address, NULL};
    assert_int_equal(daemon_run(in_the_clear, out, sizeof out), 1);
}

/* ---- the defences ---------------------------------------------------------------------------- */

static void ambiguous_requests_are_refused(void **state)
{
    static const struct {
        int status;
        const char *text;
    } attacks[] = {
        {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"
              "abc"},
        {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: "
              "chunked\r\n\r\n0\r\n\r\n"},
        {400, "GET /version HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n"},
        {400, "GET /version HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n"},
        {501, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n"},
        {413, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 20001\r\n\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        char text[512];
        strcpy(text, attacks[i].text);
        strcat(text, "GET /version HTTP/1.1\r\nHost: smuggled\r\n\r\n");
        talk(text);
        if (raw_status(answer) != attacks[i].status || raw_count(answer, 0) != 1)
            fail_msg("attack %zu gave\n%s", i, answer);
    }
    check_alive(&shared);
}

/* Before, within and after the handshake. */
static void slow_clients_are_cut_off(void **state)
{
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    (void)state;
    for (size_t size = 0; size < sizeof hello; size += sizeof hello - 1) {
        char got[64];
        int fd = client_connect(&shared);
        raw_send(fd, hello, size);
        assert_true(raw_read(fd, got, sizeof got));
        close(fd);
    }
    talk("GET /version HTTP/1.1\r\nHost: x\r\nX-");
    assert_string_equal(answer, "");
    /* Nothing may be written past the library, so a body that stops gets no 408. */
    talk("POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\nabc");
    assert_string_equal(answer, "");
    check_alive(&shared);
}

/* ---- the files ------------------------------------------------------------------------------- */

static void put_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void faults_of_the_files_are_told(void **state)
{
    char none[64], broken[64], open[64], empty[64], pipe[64], command[512];
    (void)state;
    snprintf(none, sizeof none, "%s/none", folder);
    snprintf(broken, sizeof broken, "%s/broken", folder);
    snprintf(open, sizeof open, "%s/open", folder);
    snprintf(empty, sizeof empty, "%s/empty", folder);
    snprintf(pipe, sizeof pipe, "%s/pipe", folder);
    put_file(broken, "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n", 0600);
    put_file(empty, "", 0600);
    snprintf(command, sizeof command, "cp %s %s && chmod 644 %s && mkfifo -m 600 %s", key, open,
             open, pipe);
    assert_int_equal(system(command), 0);
    const struct {
        const char *certificate, *key;
        enum error_code code;
        const char *message;
    } faults[] = {
        {certificate, NULL, ERROR_USAGE, "go together"},
        {NULL, key, ERROR_USAGE, "go together"},
        {none, key, ERROR_IO, "No such file"},
        {certificate, none, ERROR_IO, "No such file"},
        {folder, key, ERROR_USAGE, "is no file"},
        {certificate, pipe, ERROR_USAGE, "is no file"},
        {empty, key, ERROR_USAGE, "has 0 bytes"},
        {broken, key, ERROR_USAGE, "no certificate in PEM"},
        {key, key, ERROR_USAGE, "no certificate in PEM"},
        {certificate, broken, ERROR_USAGE, "no unencrypted key in PEM"},
        {certificate, open, ERROR_USAGE, "mode 0644"},
        {certificate, other_key, ERROR_USAGE, "does not go with"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct error err = {0};
        assert_int_equal(tls_load(faults[i].certificate, faults[i].key, &err), faults[i].code);
        if (strstr(err.message, faults[i].message) == NULL)
            fail_msg("'%s' lacks '%s'", err.message, faults[i].message);
    }
    struct error err = {0};
    assert_int_equal(tls_load(certificate, key, &err), ERROR_NONE);
    tls_unload();
    char out[256];
    const char *const checking[] = {"senetd",    "--check-config", "--tls-cert", certificate,
                                    "--tls-key", other_key,        NULL};
    assert_int_equal(daemon_run(checking, out, sizeof out), 1);
}

/* A bad one leaves the old one in place. */
static void a_certificate_is_replaced(void **state)
{
    char serving[64], serving_key[64], command[512];
    struct daemon daemon;
    (void)state;
    snprintf(serving, sizeof serving, "%s/serving.pem", folder);
    snprintf(serving_key, sizeof serving_key, "%s/serving.key", folder);
    snprintf(command, sizeof command, "cp %s %s && cp %s %s && chmod 600 %s", certificate, serving,
             key, serving_key, serving_key);
    assert_int_equal(system(command), 0);
    daemon_start(&daemon,
                 (const char *const[]){"--tls-cert", serving, "--tls-key", serving_key, NULL});
    put_file(serving, "nothing\n", 0600);
    kill(daemon.pid, SIGHUP);
    daemon_wait_log(&daemon, "the old certificate goes on");
    daemon.certificate = certificate;
    check_alive(&daemon);
    snprintf(command, sizeof command, "cp %s %s && cp %s %s", other_certificate, serving, other_key,
             serving_key);
    assert_int_equal(system(command), 0);
    kill(daemon.pid, SIGHUP);
    daemon.certificate = other_certificate;
    daemon_wait_ready(&daemon);
    check_alive(&daemon);
    daemon.certificate = certificate;
    struct answer got = client_get(&daemon, "/version");
    assert_int_equal(got.status, 0);
    client_free(&got);
    daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_served),
        cmocka_unit_test(pipelined_requests_are_served),
        cmocka_unit_test(the_public_address_alone_has_it),
        cmocka_unit_test(health_asks_by_tls),
        cmocka_unit_test(ambiguous_requests_are_refused),
        cmocka_unit_test(slow_clients_are_cut_off),
        cmocka_unit_test(faults_of_the_files_are_told),
        cmocka_unit_test(a_certificate_is_replaced),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
