/* test_base64.c - the vectors of RFC 4648, an own encoder over all lengths, and what is refused. */
#include "base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* Decodes a copy of exactly that size, so that the address sanitizer sees a read past its end. */
static bool decode(const char *text, uint8_t *out, size_t *out_size)
{
    size_t size = strlen(text);
    char *copy = malloc(size > 0 ? size : 1);
    uint8_t *exact = malloc(BASE64_ROOM(size));
    assert_true(copy != NULL && exact != NULL);
    memcpy(copy, text, size);
    bool good = base64_decode(copy, size, exact, out_size);
    if (good)
        memcpy(out, exact, *out_size);
    free(copy);
    free(exact);
    return good;
}

static void check_text(const char *text, const char *expected)
{
    uint8_t out[256];
    size_t size;
    if (!decode(text, out, &size))
        fail_msg("'%s' was refused", text);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(out, expected, size);
}

static void the_vectors_of_rfc_4648_decode(void **state)
{
    (void)state;
    check_text("", "");
    check_text("Zg==", "f");
    check_text("Zm8=", "fo");
    check_text("Zm9v", "foo");
    check_text("Zm9vYg==", "foob");
    check_text("Zm9vYmE=", "fooba");
    check_text("Zm9vYmFy", "foobar");
}

static void white_space_is_skipped_anywhere(void **state)
{
    (void)state;
    check_text(" Z\nm9v\r\nYmF\ty ", "foobar");
    check_text("Zm9vYg=\n=\n", "foob");
}

static void what_is_not_base64_is_refused(void **state)
{
    static const char *const bad[] = {"Z",    "Zg",       "Zg=",   "Zm9",        "=",
                                      "====", "Z===",     "Zg===", "Zg==Zg==",   "Zm9vYg=a",
                                      "Zm*v", "Zm9v-_==", "\x80",  "Zm9v\xFFm9v"};
    uint8_t out[256];
    size_t size;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (decode(bad[i], out, &size))
            fail_msg("'%s' was accepted", bad[i]);
}

/* Every length to 200, all byte values, broken into lines of a length that drifts. */
static void all_lengths_come_back(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (void)state;
    for (size_t length = 0; length <= 200; length++) {
        uint8_t bytes[204] = {0}, out[512];
        char text[512];
        size_t used = 0, size;
        for (size_t i = 0; i < length; i++)
            bytes[i] = (uint8_t)(i * 91 + length * 13);
        for (size_t i = 0; i < length; i += 3) {
            uint32_t bits = (uint32_t)(bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2]);
            for (size_t j = 0; j < 4; j++)
                text[used++] = i + j > length ? '=' : digits[bits >> (18 - 6 * j) & 63];
            if (i % (length + 1) > 60)
                text[used++] = '\n';
        }
        text[used] = '\0';
        assert_true(decode(text, out, &size));
        assert_int_equal(size, length);
        assert_memory_equal(out, bytes, length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_rfc_4648_decode),
        cmocka_unit_test(white_space_is_skipped_anywhere),
        cmocka_unit_test(what_is_not_base64_is_refused),
        cmocka_unit_test(all_lengths_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
