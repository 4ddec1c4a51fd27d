/* test_upload.c - the three forms of a body, base64 and JSON that is not as it should be. */
#include "upload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON "application/json"
#define FORM "multipart/form-data; boundary=XX"

static struct upload upload;

static enum error_code parse(const char *type, const char *body, struct error *err)
{
    upload_free(&upload);
    *err = (struct error){0};
    return upload_parse(type, (const uint8_t *)body, strlen(body), 3, &upload, err);
}

static void check_image(size_t index, const char *content, const char *filename)
{
    assert_true(index < upload.count);
    assert_int_equal(upload.images[index].size, strlen(content));
    assert_memory_equal(upload.images[index].bytes, content, strlen(content));
    if (filename == NULL)
        assert_null(upload.images[index].filename);
    else
        assert_string_equal(upload.images[index].filename, filename);
}

static void check_fault(const char *type, const char *body, enum error_code code, const char *part)
{
    struct error err;
    assert_int_equal(parse(type, body, &err), code);
    if (strstr(err.message, part) == NULL)
        fail_msg("%s gave '%s', which lacks '%s'", body, err.message, part);
}

static int free_upload(void **state)
{
    (void)state;
    upload_free(&upload);
    return 0;
}

static void any_other_type_is_one_image(void **state)
{
    static const char *const types[] = {NULL,
                                        "",
                                        "image/jpeg",
                                        "application/x-www-form-urlencoded",
                                        "application/jsonp",
                                        "text/plain; charset=utf-8"};
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        assert_int_equal(parse(types[i], "bytes", &err), ERROR_NONE);
        assert_int_equal(upload.count, 1);
        check_image(0, "bytes", NULL);
    }
    check_fault(NULL, "", ERROR_USAGE, "the body is empty");
}

static void multipart_takes_files_and_parts_named_image(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(
        parse("Multipart/Form-Data; boundary=XX",
              "--XX\r\nContent-Disposition: form-data; name=x; filename=\"a.jpg\"\r\n\r\none\r\n"
              "--XX\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\ntwo\r\n--XX--",
              &err),
        ERROR_NONE);
    assert_int_equal(upload.count, 2);
    check_image(0, "one", "a.jpg");
    check_image(1, "two", NULL);
}

static void other_multipart_is_refused(void **state)
{
    (void)state;
    check_fault(FORM, "--XX\r\nContent-Disposition: form-data; name=topk\r\n\r\n5\r\n--XX--",
                ERROR_USAGE, "part 'topk' is not a file");
    check_fault(FORM, "--XX--", ERROR_USAGE, "no image");
    check_fault("multipart/mixed; boundary=XX", "--XX--", ERROR_USAGE, "multipart/form-data");
}

static void json_carries_base64(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(parse(JSON, "{\"image\":{\"b64\":\"aGVsbG8=\"}}", &err), ERROR_NONE);
    assert_int_equal(upload.count, 1);
    check_image(0, "hello", NULL);
    assert_int_equal(parse("application/json; charset=utf-8",
                           "{\"images\":[{\"b64\":\"aGVs\\r\\nbG8=\",\"filename\":\"\\u00e4.png\"},"
                           "{ \"filename\" : \"b\", \"b64\" : \"aGk\\/\" } ]}\n",
                           &err),
                     ERROR_NONE);
    assert_int_equal(upload.count, 2);
    check_image(0, "hello", "\xC3\xA4.png");
    check_image(1, "hi?", "b");
}

static void json_that_is_not_as_expected_says_so(void **state)
{
    (void)state;
    check_fault(JSON, " ", ERROR_USAGE, "byte 1 of the JSON body: expected {\"image\"");
    check_fault(JSON, "[]", ERROR_USAGE, "byte 0 of the JSON body: expected {\"image\"");
    check_fault(JSON, "{", ERROR_USAGE, "expected \"image\" or \"images\"");
    check_fault(JSON, "{}", ERROR_USAGE, "expected \"image\" or \"images\"");
    check_fault(JSON, "{\"topk\":5}", ERROR_USAGE, "as the only member");
    check_fault(JSON, "{\"image\":{\"b64\":\"\"},\"topk\":5}", ERROR_USAGE, "expected }");
    check_fault(JSON, "{\"image\":\"aGVsbG8=\"}", ERROR_USAGE, "byte 9");
    check_fault(JSON, "{\"image\" {\"b64\":\"\"}}", ERROR_USAGE, "expected :");
    check_fault(JSON, "{\"image\":{}}", ERROR_USAGE, "expected \"b64\" or \"filename\"");
    check_fault(JSON, "{\"image\":{\"filename\":\"a\"}}", ERROR_USAGE, "a member \"b64\"");
    check_fault(JSON, "{\"image\":{\"b64\":5}}", ERROR_USAGE, "expected a string");
    check_fault(JSON, "{\"image\":{\"b64\":\"\",}}", ERROR_USAGE, "expected \"b64\"");
    check_fault(JSON, "{\"image\":{\"b64\":\"\",\"x\":\"\"}}", ERROR_USAGE, "no other member");
    check_fault(JSON, "{\"image\":{\"b64\":\"\",\"b64\":\"\"}}", ERROR_USAGE, "once each");
    check_fault(JSON, "{\"image\":{\"b64\":\"abc", ERROR_USAGE, "string does not end");
    check_fault(JSON, "{\"image\":{\"b64\":\"abc\\\"", ERROR_USAGE, "string does not end");
    check_fault(JSON, "{\"image\":{\"b64\":\"\"}} x", ERROR_USAGE, "expected nothing more");
    check_fault(JSON, "{\"images\":{}}", ERROR_USAGE, "expected an array");
    check_fault(JSON, "{\"images\":[]}", ERROR_USAGE, "expected an object");
    check_fault(JSON, "{\"images\":[{\"b64\":\"\"},7]}", ERROR_USAGE, "expected an object");
    check_fault(JSON, "{\"images\":[{\"b64\":\"\"};", ERROR_USAGE, "expected , or ]");
    check_fault(JSON, "{\"images\":[{\"b64\":\"\"},{\"b64\":\"\"},{\"b64\":\"\"},{\"b64\":\"\"}]}",
                ERROR_TOO_LARGE, "more than 3 images");
}

static void base64_and_file_names_are_checked(void **state)
{
    (void)state;
    check_fault(JSON, "{\"image\":{\"b64\":\"aGVsbG8\"}}", ERROR_USAGE,
                "image 0: b64 is not base64");
    check_fault(JSON, "{\"images\":[{\"b64\":\"\"},{\"b64\":\"a*==\"}]}", ERROR_USAGE, "image 1");
    check_fault(JSON, "{\"image\":{\"b64\":\"\\u0061GVs\"}}", ERROR_USAGE, "not base64");
    check_fault(JSON, "{\"image\":{\"b64\":\"\\\\\"}}", ERROR_USAGE, "not base64");
    check_fault(JSON, "{\"image\":{\"b64\":\"\",\"filename\":\"\\x\"}}", ERROR_USAGE,
                "image 0: filename is not valid JSON: invalid escape");
    check_fault(JSON, "{\"image\":{\"b64\":\"\",\"filename\":\"\xFF\"}}", ERROR_USAGE,
                "image 0: filename is not valid JSON");
    char *body;
    assert_true(asprintf(&body, "{\"image\":{\"b64\":\"\",\"filename\":\"%05000d\"}}", 0) > 0);
    check_fault(JSON, body, ERROR_TOO_LARGE, "image 0: filename has more than 4096 bytes");
    free(body);
}

/* No prefix of a good document is one. */
static void json_cut_anywhere_is_an_error(void **state)
{
    static const char body[] =
        "{ \"images\" : [{\"b64\":\"aGVs\",\"filename\":\"\\\"\"},{\"b64\":\"\"}]}";
    struct error err = {0};
    (void)state;
    for (size_t size = 0; size < sizeof body - 1; size++) {
        uint8_t *copy = malloc(size + 1);
        assert_non_null(copy);
        memcpy(copy, body, size);
        upload_free(&upload);
        err = (struct error){0};
        assert_int_equal(upload_parse(JSON, copy, size, 3, &upload, &err), ERROR_USAGE);
        free(copy);
    }
    assert_int_equal(parse(JSON, body, &err), ERROR_NONE);
    assert_int_equal(upload.count, 2);
    check_image(0, "hel", "\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_other_type_is_one_image),
        cmocka_unit_test(multipart_takes_files_and_parts_named_image),
        cmocka_unit_test(other_multipart_is_refused),
        cmocka_unit_test(json_carries_base64),
        cmocka_unit_test(json_that_is_not_as_expected_says_so),
        cmocka_unit_test(base64_and_file_names_are_checked),
        cmocka_unit_test(json_cut_anywhere_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, free_upload);
}
