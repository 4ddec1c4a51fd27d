/* test_page.c - the page and its files over HTTP; what they do is tests/browser's matter. */
#include "client.h"
#include "page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct daemon shared;

static int start(void **state)
{
    (void)state;
    daemon_start(&shared, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&shared);
    return 0;
}

static struct answer get_with(const char *path, const char *header)
{
    return client_send(&shared, &(struct request){.path = path, .header = header});
}

static const struct {
    const char *path, *type;
} files[] = {
#define ROW(symbol, path, file, type) {path, type},
    PAGE_FILES(ROW)
#undef ROW
};
#define FILE_COUNT (sizeof files / sizeof files[0])

static void every_file_is_served_with_its_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < FILE_COUNT; i++) {
        struct answer answer = client_get(&shared, files[i].path);
        assert_int_equal(answer.status, 200);
        assert_true(answer.size > 0);
        assert_string_equal(client_header(&answer, "Content-Type"), files[i].type);
        assert_string_equal(client_header(&answer, "X-Content-Type-Options"), "nosniff");
        assert_string_equal(client_header(&answer, "Cache-Control"), "no-cache");
        assert_null(client_header(&answer, "Content-Encoding"));
        client_free(&answer);
    }
}

static void the_page_names_only_files_that_exist(void **state)
{
    (void)state;
    struct answer page = client_get(&shared, "/");
    size_t found = 0;
    for (const char *at = page.body; (at = strstr(at, "\"/ui/")) != NULL; found++) {
        char path[64] = "";
        size_t size = strcspn(++at, "\"");
        assert_true(size < sizeof path);
        memcpy(path, at, size);
        struct answer file = client_get(&shared, path);
        assert_int_equal(file.status, 200);
        client_free(&file);
    }
    assert_true(found >= 4);
    client_free(&page);
}

/* No script or style in the page itself, and a policy that would refuse it. */
static void the_policy_is_strict(void **state)
{
    (void)state;
    struct answer page = client_get(&shared, "/");
    const char *policy = client_header(&page, "Content-Security-Policy");
    assert_non_null(policy);
    assert_non_null(strstr(policy, "default-src 'none'"));
    assert_non_null(strstr(policy, "frame-ancestors 'none'"));
    assert_null(strstr(policy, "unsafe"));
    assert_string_equal(client_header(&page, "Referrer-Policy"), "no-referrer");
    assert_null(strstr(page.body, "<style"));
    assert_null(strstr(page.body, " style="));
    assert_null(strstr(page.body, "<script>"));
    assert_null(strstr(page.body, "http://"));
    assert_null(strstr(page.body, "https://"));
    client_free(&page);
}

static void gzip_is_sent_to_those_who_take_it(void **state)
{
    static const struct {
        const char *header;
        bool gzip;
    } cases[] = {
        {"Accept-Encoding: gzip", true},         {"Accept-Encoding: br, GZIP;q=0.5", true},
        {"Accept-Encoding: gzip;q=0", false},    {"Accept-Encoding: gzip;q=0.000, br", false},
        {"Accept-Encoding: deflate, br", false}, {"Accept-Encoding: gzipped", false},
        {"Accept-Encoding: br;q=0,gzip ", true},
    };
    (void)state;
    struct answer plain = client_get(&shared, "/ui/d3.js");
    char plain_tag[64];
    snprintf(plain_tag, sizeof plain_tag, "%s", client_header(&plain, "ETag"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer answer = get_with("/ui/d3.js", cases[i].header);
        const unsigned char *bytes = (const unsigned char *)answer.body;
        const char *encoding = client_header(&answer, "Content-Encoding");
        if (cases[i].gzip) {
            assert_non_null(encoding);
            assert_string_equal(encoding, "gzip");
            assert_true(answer.size > 18 && answer.size < plain.size / 2);
            assert_int_equal(bytes[0] << 8 | bytes[1], 0x1f8b);
            /* A gzip file ends with the size of its content. */
            const unsigned char *end = bytes + answer.size - 4;
            assert_int_equal(end[0] | end[1] << 8 | end[2] << 16 | end[3] << 24, plain.size);
            assert_string_not_equal(client_header(&answer, "ETag"), plain_tag);
        } else {
            assert_null(encoding);
            assert_int_equal(answer.size, plain.size);
        }
        client_free(&answer);
    }
    client_free(&plain);
}

static void a_known_file_is_not_sent_again(void **state)
{
    (void)state;
    struct answer first = client_get(&shared, "/ui/app.js");
    char header[128];
    snprintf(header, sizeof header, "If-None-Match: \"other\", W/%s",
             client_header(&first, "ETag"));
    struct answer again = get_with("/ui/app.js", header);
    assert_int_equal(again.status, 304);
    assert_int_equal(again.size, 0);
    assert_non_null(client_header(&again, "ETag"));
    client_free(&again);
    again = get_with("/ui/app.js", "If-None-Match: \"other\"");
    assert_int_equal(again.status, 200);
    client_free(&again);
    client_free(&first);
}

static void methods_are_those_of_a_document(void **state)
{
    (void)state;
    struct answer get = client_get(&shared, "/ui/style.css");
    struct answer head =
        client_send(&shared, &(struct request){.path = "/ui/style.css", .method = "HEAD"});
    char length[32];
    snprintf(length, sizeof length, "%zu", get.size);
    assert_int_equal(head.status, 200);
    assert_int_equal(head.size, 0);
    assert_string_equal(client_header(&head, "Content-Length"), length);
    client_free(&get);
    client_free(&head);
    struct answer post = client_post(&shared, "/ui/style.css", "x", 1);
    client_check_problem(&post, 405, "GET, HEAD, OPTIONS");
    client_free(&post);
    struct answer none = client_get(&shared, "/ui/none.js");
    client_check_problem(&none, 404, "no such path");
    client_free(&none);
}

/* Programs that ask for JSON get the list of routes; browsers and everyone else the page. */
static void json_is_for_those_who_ask(void **state)
{
    (void)state;
    struct answer list = get_with("/", "Accept: application/json");
    assert_string_equal(client_header(&list, "Content-Type"), "application/json");
    json_t *routes = client_member(list.json, "routes");
    assert_true(json_array_size(routes) >= 9);
    for (size_t i = 0; i < json_array_size(routes); i++)
        assert_null(
            strstr(json_string_value(client_member(json_array_get(routes, i), "path")), "/ui/"));
    client_free(&list);
    struct answer page = get_with("/", "Accept: text/html,application/json;q=0.9,*/*;q=0.8");
    assert_string_equal(client_header(&page, "Content-Type"), "text/html; charset=utf-8");
    client_free(&page);
}

static void the_page_counts_as_one_route(void **state)
{
    (void)state;
    struct answer file = client_get(&shared, "/ui/dom.js");
    client_free(&file);
    struct answer metrics = client_get(&shared, "/metrics");
    assert_non_null(strstr(metrics.body, "route=\"/ui/\""));
    assert_null(strstr(metrics.body, "route=\"/ui/dom.js\""));
    client_free(&metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_is_served_with_its_type),
        cmocka_unit_test(the_page_names_only_files_that_exist),
        cmocka_unit_test(the_policy_is_strict),
        cmocka_unit_test(gzip_is_sent_to_those_who_take_it),
        cmocka_unit_test(a_known_file_is_not_sent_again),
        cmocka_unit_test(methods_are_those_of_a_document),
        cmocka_unit_test(json_is_for_those_who_ask),
        cmocka_unit_test(the_page_counts_as_one_route),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
