/* test_multipart.c - bodies as browsers and curl send them, and every way to break one. */
#include "multipart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PARTS   4
#define DISPOSITION "Content-Disposition: form-data; name=\"image\"; filename=\"cat.jpg\"\r\n"

static struct multipart_part parts[MAX_PARTS];
static size_t count;

/* Parses a copy of exactly that size, so that the address sanitizer sees a read past its end. */
static enum error_code parse_bytes(const char *body, size_t size, struct error *err)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, body, size);
    *err = (struct error){0};
    enum error_code code = multipart_parse(copy, size, "XX", parts, MAX_PARTS, &count, err);
    free(copy); /* the parts' bytes dangle; only their sizes are looked at from here on */
    return code;
}

static void check_fault(const char *body, enum error_code code, const char *part)
{
    struct error err;
    assert_int_equal(parse_bytes(body, strlen(body), &err), code);
    if (strstr(err.message, part) == NULL)
        fail_msg("got '%s', which lacks '%s'", err.message, part);
}

static void parts_point_into_the_body(void **state)
{
    static const char body[] =
        "a preamble\r\n--XX\r\n" DISPOSITION "Content-Type: image/jpeg\r\n\r\n"
        "one\r\n--XX  \r\n"
        "content-disposition: FORM-DATA; filename=b.png; NAME=other\r\n"
        "Content-Transfer-Encoding: binary\r\n\r\n"
        "\r\n-two\0--X\r\n--XX--\r\nan epilogue";
    struct error err = {0};
    (void)state;
    assert_int_equal(multipart_parse((const uint8_t *)body, sizeof body - 1, "XX", parts, MAX_PARTS,
                                     &count, &err),
                     ERROR_NONE);
    assert_int_equal(count, 2);
    assert_string_equal(parts[0].name, "image");
    assert_string_equal(parts[0].filename, "cat.jpg");
    assert_true(parts[0].has_filename);
    assert_int_equal(parts[0].size, 3);
    assert_memory_equal(parts[0].bytes, "one", 3);
    assert_string_equal(parts[1].name, "other");
    assert_string_equal(parts[1].filename, "b.png");
    assert_int_equal(parts[1].size, 10);
    assert_memory_equal(parts[1].bytes, "\r\n-two\0--X", 10);
}

static void file_names_may_hold_quotes_semicolons_and_backslashes(void **state)
{
    struct error err;
    static const char body[] = "--XX\r\nContent-Disposition: form-data; name=\"image\"; "
                               "filename=\"C:\\dir\\a\\\"b;name=x.jpg\"\r\n\r\n\r\n--XX--";
    (void)state;
    assert_int_equal(parse_bytes(body, sizeof body - 1, &err), ERROR_NONE);
    assert_string_equal(parts[0].name, "image");
    assert_string_equal(parts[0].filename, "C:\\dir\\a\"b;name=x.jpg");
    assert_int_equal(parts[0].size, 0);
}

static void long_file_names_are_cut(void **state)
{
    char body[1024] = "--XX\r\nContent-Disposition: form-data; name=i; filename=\"";
    struct error err;
    (void)state;
    size_t size = strlen(body);
    memset(body + size, 'n', 600);
    memcpy(body + size + 600, "\"\r\n\r\nabc\r\n--XX--", 17);
    assert_int_equal(parse_bytes(body, strlen(body), &err), ERROR_NONE);
    assert_int_equal(strlen(parts[0].filename), sizeof parts[0].filename - 1);
    assert_int_equal(parts[0].size, 3);
}

static void a_part_without_a_file_name_says_so(void **state)
{
    struct error err;
    static const char body[] =
        "--XX\r\nContent-Disposition: form-data; name=\"topk\"\r\n\r\n5\r\n--XX--";
    (void)state;
    assert_int_equal(parse_bytes(body, sizeof body - 1, &err), ERROR_NONE);
    assert_false(parts[0].has_filename);
}

static void broken_bodies_say_what_is_wrong(void **state)
{
    (void)state;
    check_fault("", ERROR_USAGE, "does not contain its boundary");
    check_fault("--X", ERROR_USAGE, "does not contain its boundary");
    check_fault("--XX", ERROR_USAGE, "not followed by a line end");
    check_fault("--XXX\r\n", ERROR_USAGE, "not followed by a line end");
    check_fault("--XX\n", ERROR_USAGE, "not followed by a line end");
    check_fault("--XX\r\n" DISPOSITION, ERROR_USAGE, "part 1: a header line is cut off");
    check_fault("--XX\r\n" DISPOSITION "\r\nabc", ERROR_USAGE, "ends within part 1");
    check_fault("--XX\r\n" DISPOSITION "\r\nabc\r\n--XX", ERROR_USAGE, "not followed by");
    check_fault("--XX\r\n\r\nabc\r\n--XX--", ERROR_USAGE, "no Content-Disposition");
    check_fault("--XX\r\nno colon\r\n\r\nabc\r\n--XX--", ERROR_USAGE, "without a colon");
    check_fault("--XX\r\n" DISPOSITION DISPOSITION "\r\nabc\r\n--XX--", ERROR_USAGE,
                "two Content-Disposition");
    check_fault("--XX\r\nContent-Disposition: attachment; name=a\r\n\r\nabc\r\n--XX--", ERROR_USAGE,
                "is not form-data");
    check_fault("--XX\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--XX--", ERROR_USAGE,
                "gives no name");
    check_fault("--XX\r\nContent-Disposition: form-data; name=\"a\r\n\r\nabc\r\n--XX--",
                ERROR_USAGE, "malformed Content-Disposition");
    check_fault("--XX\r\n" DISPOSITION "Content-Transfer-Encoding: base64\r\n\r\nabc\r\n--XX--",
                ERROR_USAGE, "'base64', expected binary");
}

static void counts_and_lengths_are_bounded(void **state)
{
    char body[16384] = "";
    struct error err;
    (void)state;
    for (size_t i = 0; i <= MAX_PARTS; i++)
        strncat(body, "--XX\r\n" DISPOSITION "\r\n\r\n", sizeof body - strlen(body) - 1);
    strncat(body, "--XX--", sizeof body - strlen(body) - 1);
    check_fault(body, ERROR_TOO_LARGE, "more than 4 parts");

    memcpy(body, "--XX\r\n", 7);
    for (size_t i = 0; i < 20; i++)
        strncat(body, "X-A: b\r\n", sizeof body - strlen(body) - 1);
    check_fault(body, ERROR_USAGE, "more than 16 headers");

    memset(body, 'h', sizeof body);
    memcpy(body, "--XX\r\n", 6);
    assert_int_equal(parse_bytes(body, sizeof body, &err), ERROR_USAGE);
    assert_non_null(strstr(err.message, "too long"));
}

/* Every prefix of a good body is either an error or, from the closing boundary on, good. */
static void a_body_cut_anywhere_is_an_error(void **state)
{
    static const char body[] =
        "--XX\r\n" DISPOSITION "\r\nabc\r\n--XX\r\n" DISPOSITION "\r\n\r\n--XX--";
    struct error err;
    (void)state;
    for (size_t size = 0; size < sizeof body - 1; size++)
        assert_int_equal(parse_bytes(body, size, &err), ERROR_USAGE);
    assert_int_equal(parse_bytes(body, sizeof body - 1, &err), ERROR_NONE);
    assert_int_equal(count, 2);
}

static void check_boundary(const char *content_type, const char *expected)
{
    char boundary[MULTIPART_BOUNDARY_BYTES];
    struct error err = {0};
    enum error_code code = multipart_boundary(content_type, boundary, &err);
    if (expected == NULL) {
        assert_int_equal(code, ERROR_USAGE);
        return;
    }
    assert_int_equal(code, ERROR_NONE);
    assert_string_equal(boundary, expected);
}

static void boundaries_are_found(void **state)
{
    char longest[200] = "multipart/form-data; boundary=";
    (void)state;
    check_boundary("multipart/form-data; boundary=abc", "abc");
    check_boundary("multipart/form-data;charset=utf-8 ; BOUNDARY=\"a b;c\"", "a b;c");
    check_boundary("multipart/form-data", NULL);
    check_boundary("multipart/form-data; boundary", NULL);
    check_boundary("multipart/form-data; boundary=", NULL);
    check_boundary("multipart/form-data; boundary=\"abc", NULL);
    size_t size = strlen(longest);
    memset(longest + size, 'b', 70);
    check_boundary(longest, longest + size);
    longest[size + 70] = 'b';
    check_boundary(longest, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_point_into_the_body),
        cmocka_unit_test(file_names_may_hold_quotes_semicolons_and_backslashes),
        cmocka_unit_test(long_file_names_are_cut),
        cmocka_unit_test(a_part_without_a_file_name_says_so),
        cmocka_unit_test(broken_bodies_say_what_is_wrong),
        cmocka_unit_test(counts_and_lengths_are_bounded),
        cmocka_unit_test(a_body_cut_anywhere_is_an_error),
        cmocka_unit_test(boundaries_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
