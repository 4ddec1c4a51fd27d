/* test_json_pool.c - no document uses up the block that its size is given. */
#include "json_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE 65536 /* what a request's document may have */

/* first, then as many pieces as fit, last. */
static char *fill(const char *first, const char *piece, const char *last)
{
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    size_t used = strlen(first);
    memcpy(text, first, used + 1);
    for (; used + strlen(piece) + strlen(last) <= SIZE; used += strlen(piece))
        memcpy(text + used, piece, strlen(piece));
    memcpy(text + used, last, strlen(last) + 1);
    return text;
}

static void check_good(const char *text)
{
    struct error err = {0};
    const json_t *root = NULL;
    void *memory = NULL;
    if (json_pool_parse("it", text, strlen(text), ERROR_USAGE, &root, &memory, &err) != ERROR_NONE)
        fail_msg("%.20s...: %s", text, err.message);
    assert_true(json_array_size(root) > 0 || json_object_size(root) > 0);
    free(memory);
}

static void greedy_documents_are_parsed(void **state)
{
    static const char *const lists[][3] = {
        {"[{}", ",{}", "]"},
        {"[[]", ",[]", "]"},
        {"[1", ",1", "]"},
        {"[1.5", ",1e1", "]"},
        {"[\"\"", ",\"\"", "]"},
        {"[[0]", ",[0]", "]"},
        {"[{\"\":0}", ",{\"\":0}", "]"},
        {"[[[]]", ",[[]]", "]"},
        {"[\"", "\\u00e9", "\"]"},
        {"[true", ",true", "]"},
        {"[{\"\":{}}", ",{\"\":{}}", "]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        char *text = fill(lists[i][0], lists[i][1], lists[i][2]);
        check_good(text);
        free(text);
    }
    check_good("[0]");
    check_good("{\"a\":1}");
}

/* Keys differ, so the table of one object grows. */
static void an_object_of_many_keys_is_parsed(void **state)
{
    char *text = malloc(SIZE + 32);
    size_t used = 1;
    (void)state;
    assert_non_null(text);
    text[0] = '{';
    for (unsigned i = 0; used + 16 < SIZE; i++)
        used += (size_t)sprintf(text + used, "%s\"%x\":{}", i > 0 ? "," : "", i);
    memcpy(text + used, "}", 2);
    check_good(text);
    free(text);
}

static void deep_documents_are_parsed_or_refused(void **state)
{
    char text[8192];
    (void)state;
    for (size_t depth = 2000; depth <= 4000; depth += 2000) {
        struct error err = {0};
        const json_t *root = NULL;
        void *memory = NULL;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        enum error_code code =
            json_pool_parse("it", text, 2 * depth, ERROR_USAGE, &root, &memory, &err);
        assert_int_equal(code, depth == 2000 ? ERROR_NONE : ERROR_USAGE);
        free(memory);
    }
}

static void faults_are_told(void **state)
{
    static const char *const texts[] = {"", "[", "{\"a\":1,\"a\":2}", "[1] x", "a"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct error err = {0};
        const json_t *root = NULL;
        void *memory = NULL;
        assert_int_equal(
            json_pool_parse("it", texts[i], strlen(texts[i]), ERROR_USAGE, &root, &memory, &err),
            ERROR_USAGE);
        assert_non_null(strstr(err.message, "it is not valid JSON: "));
        free(memory);
    }
    json_t *own = json_loads("[1]", 0, NULL); /* jansson elsewhere goes on as before */
    assert_non_null(own);
    json_decref(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_documents_are_parsed),
        cmocka_unit_test(an_object_of_many_keys_is_parsed),
        cmocka_unit_test(deep_documents_are_parsed_or_refused),
        cmocka_unit_test(faults_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
