/* test_framing.c - requests whose end two servers could see in different places are refused, and
 * nothing behind them on the connection is served. By plain sockets, against the real daemon. */
#include "client.h"
#include "daemon.h"
#include "raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A path that answers 200; its answer would betray that the request behind was served. */
#define BEHIND "GET /version HTTP/1.1\r\nHost: smuggled\r\n\r\n"

static struct daemon shared;
static char answer[1 << 16];

static int start_all(void **state)
{
    (void)state;
    daemon_start(&shared, NULL);
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    daemon_stop(&shared);
    return 0;
}

struct attack {
    int status;
    const char *head;
    size_t size; /* of head where it holds a zero byte; else 0 */
    const char *body;
};

#define BYTES(text) text, sizeof(text) - 1

static const struct attack attacks[] = {
    /* Lengths that contradict each other, or are none. */
    {400,
     "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: "
     "chunked\r\n\r\n",
     0, "0\r\n\r\n"},
    {400,
     "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: "
     "5\r\n\r\n",
     0, "0\r\n\r\n"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 0,
     "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 0,
     "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\nCONTENT-LENGTH: 3\r\n\r\n", 0,
     "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length\t: 3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\n Content-Length: 3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3 4\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 0, "abc"},
    {413, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 0,
     "abc"},
    {400, "GET /version HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 0,
     "abc"},
    /* Codings. */
    {501, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", 0,
     "0\r\n\r\n"},
    {501, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 0,
     "0\r\n\r\n"},
    {501, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 0,
     "0\r\n\r\n"},
    {501, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", 0,
     "0\r\n\r\n"},
    {501, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 0,
     "0\r\n\r\n"},
    {501, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked \r\n\r\n", 0,
     "0\r\n\r\n"},
    {501, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n", 0, "0\r\n\r\n"},
    {400,
     "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     0, "0\r\n\r\n"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", 0,
     "0\r\n\r\n"},
    {400,
     "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
     "identity\r\n\r\n",
     0, "0\r\n\r\n"},
    {400, "POST /classify HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 0,
     "0\r\n\r\n"},
    /* Lines that end or continue where not everyone looks for it. */
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\nHost: x\nContent-Length: 3\n\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Lengt: \r\n h: 3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nX: a\r\n Content-Length: 3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nX: a\r\n\tb\r\nContent-Length: 3\r\n\r\n", 0,
     "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nX: a\r\n b\r\n\r\n", 0,
     "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length 3\r\n\r\n", 0, "abc"},
    {400, "POST /classify HTTP/1.1\r\nHost: x\r\n: 3\r\n\r\n", 0, "abc"},
    /* Zero bytes. */
    {400, BYTES("POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\0000\r\n\r\n"), "abc"},
    {400, BYTES("POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length\0: 3\r\n\r\n"), "abc"},
    {400, BYTES("POST /classify HTTP/1.1\r\nHost: x\r\n\0Content-Length: 3\r\n\r\n"), "abc"},
    {400, BYTES("POST /classify HTTP/1.1\r\nHost: x\r\nX: a\0b\r\nContent-Length: 3\r\n\r\n"),
     "abc"},
    {400, BYTES("GET /version\0/../classify HTTP/1.1\r\nHost: x\r\n\r\n"), ""},
    {400, "GET /version%00 HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET /se-weights?layer=1%00 HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, BYTES("GET\0 /version HTTP/1.1\r\nHost: x\r\n\r\n"), ""},
    /* The request line. */
    {505, "GET /version HTTP/1.9\r\nHost: x\r\n\r\n", 0, ""},
    {505, "GET /version HTTP/1.2\r\nHost: x\r\n\r\n", 0, ""},
    {505, "GET /version HTTP/2.0\r\nHost: x\r\n\r\n", 0, ""},
    {505, "GET /version HTTP/0.9\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET /version http/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET /version\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET  /version HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET /version  HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET /version x HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET /ver\x01sion HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "G(T /version HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    /* A whole URL in the request line whose host could end elsewhere. */
    {400, "GET http:///version HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET http://x%2Fversion HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET http://user@x/version HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET http://x\\y/version HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, "GET http://x#y/version HTTP/1.1\r\nHost: x\r\n\r\n", 0, ""},
    {400, BYTES("GET http://x\0/version HTTP/1.1\r\nHost: x\r\n\r\n"), ""},
    {400, "GET http://x/version HTTP/1.1\r\n\r\n", 0, ""},
    {400,
     "POST http://x/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: "
     "3\r\n\r\n",
     0, "abc"},
    /* Host and Expect. */
    {400, "GET /version HTTP/1.1\r\n\r\n", 0, ""},
    {400, "GET /version HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 0, ""},
    {417, "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: foo\r\n\r\n", 0,
     "abc"},
    {417,
     "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue, foo\r\n\r\n",
     0, "abc"},
};

static void ambiguous_requests_are_refused_and_end_the_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        const struct attack *attack = &attacks[i];
        size_t size = attack->size > 0 ? attack->size : strlen(attack->head);
        char text[1024];
        assert_true(size + strlen(attack->body) + sizeof BEHIND <= sizeof text);
        memcpy(text, attack->head, size);
        strcpy(text + size, attack->body);
        strcat(text + size, BEHIND);
        bool closed = raw_talk(&shared, text, size + strlen(text + size), answer, sizeof answer);
        /* The library writes the head of its own answers to a bad Content-Length twice. */
        size_t count = raw_count(answer, attack->status);
        if (!closed || raw_status(answer) != attack->status || raw_count(answer, 0) != count)
            fail_msg("attack %zu: %s\nexpected %d and the end, %s:\n%s", i, attack->head,
                     attack->status, closed ? "got" : "still open", answer);
        assert_null(strstr(answer, "\"compiler\""));
    }
}

/* What is right stays right: with the same request behind, both are served. */
static void clear_requests_may_be_pipelined(void **state)
{
    static const char *const heads[] = {
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /healthz?a=%20b HTTP/1.1\r\nhost:x\r\nX:\r\nY: \t a b\t \r\n\r\n",
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 003\r\n\r\nabc",
    };
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        char text[512];
        int fd = client_connect(&shared);
        strcpy(text, heads[i]);
        strcat(text, BEHIND);
        raw_send(fd, text, strlen(text));
        raw_read_answers(fd, 2, answer, sizeof answer);
        close(fd);
        if ((raw_count(answer, 200) != 2 && i < 3) || raw_count(answer, 0) != 2)
            fail_msg("%s\ngave\n%s", text, answer);
    }
}

/* As to a proxy: where the path begins is said by what was sent, not by what it is decoded to. */
static void a_whole_url_in_the_request_line_is_its_path(void **state)
{
    static const struct {
        const char *line;
        int status;
        const char *holds;
    } requests[] = {
        {"GET http://x/healthz", 200, "alive"},
        {"GET HTTPS://[::1]:8080/healthz", 200, "alive"},
        {"GET http://other.example./healthz?any=thing", 200, "alive"},
        {"GET http://x/%68ealthz", 200, "alive"},
        {"GET http://x/se-weights?layer=99", 400, "no layer '99'"},
        {"GET http://x/classify", 405, "this path takes"},
        {"GET http://x?layer=1", 200, "<!doctype html>"},
        {"GET http://x", 200, "<!doctype html>"},
        {"OPTIONS http://x", 204, "Allow: GET, HEAD, POST, PUT, OPTIONS"},
        {"GET http://x//healthz", 404, "no such path"},
        {"GET http://x/http://x/healthz", 404, "no such path"},
        {"GET /http://x/healthz", 404, "no such path"},
        {"GET http:/healthz", 404, "no such path"},
        {"GET ftp://x/healthz", 404, "no such path"},
        {"GET http%3A//x/healthz", 404, "no such path"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                 requests[i].line);
        raw_talk(&shared, text, strlen(text), answer, sizeof answer);
        if (raw_status(answer) != requests[i].status || strstr(answer, requests[i].holds) == NULL)
            fail_msg("%s\nexpected %d and '%s', got\n%.600s", requests[i].line, requests[i].status,
                     requests[i].holds, answer);
    }
}

/* The library takes a bare LF for the end of a chunk's line, and others do not: so the connection
 * ends with a chunked body. */
static void nothing_is_served_behind_a_chunked_body(void **state)
{
    static const char *const bodies[] = {
        "3\r\nabc\r\n0\r\n\r\n",
        "3;a=b\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        char text[512] = "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        strcat(text, bodies[i]);
        strcat(text, BEHIND);
        assert_true(raw_talk(&shared, text, strlen(text), answer, sizeof answer));
        assert_int_equal(raw_status(answer), 415);
        assert_int_equal(raw_count(answer, 0), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ambiguous_requests_are_refused_and_end_the_connection),
        cmocka_unit_test(clear_requests_may_be_pipelined),
        cmocka_unit_test(a_whole_url_in_the_request_line_is_its_path),
        cmocka_unit_test(nothing_is_served_behind_a_chunked_body),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
