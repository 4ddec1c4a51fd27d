/* test_writer.c - numbers against strtod, strings and commas against jansson. */
#include "writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state = 88172645463325252u;

/* xorshift64: the same numbers in every run. */
static uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static double random_unit(void)
{
    return (double)(random_bits() >> 11) / 9007199254740992.0;
}

static const char *terminated(struct writer *w)
{
    writer_raw(w, "", 1);
    assert_false(w->failed);
    return w->bytes;
}

/* Half a unit of the last kept digit, and a little for the ties that scaling may turn. */
static void check_close(double value, unsigned digits)
{
    struct writer w = {0};
    writer_number(&w, value, digits);
    const char *text = terminated(&w);
    char *end;
    double read = strtod(text, &end);
    int exponent = value == 0 ? 0 : (int)floor(log10(fabs(value)));
    double allowed = 0.5 * pow(10, exponent + 1 - (int)digits) * (1 + 1e-6);
    if (*end != '\0' || fabs(read - value) > allowed)
        fail_msg("%.17g with %u digits became %s", value, digits, text);
    size_t figures = 0, kept = 0; /* kept: without the zeros at the end */
    for (const char *at = text; *at != '\0' && *at != 'e'; at++) {
        if (*at >= (figures > 0 ? '0' : '1') && *at <= '9')
            figures++;
        if (*at >= '1' && *at <= '9')
            kept = figures;
    }
    if (kept > digits)
        fail_msg("%.17g with %u digits became %s: too many", value, digits, text);
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    if (json == NULL)
        fail_msg("%.17g with %u digits became %s, which is not JSON", value, digits, text);
    json_decref(json);
    writer_free(&w);
}

static void numbers_are_nearest_with_the_digits_asked_for(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        double unit = random_unit();
        check_close((double)(float)unit, 5);
        check_close(pow(unit, 12), 5);
        check_close((unit - 0.5) * 60, 6);
        check_close((random_unit() < 0.5 ? -1 : 1) * pow(10, 40 * unit - 20), 1 + i % 9);
    }
}

static void powers_of_ten_and_their_neighbours_are_right(void **state)
{
    (void)state;
    for (unsigned digits = 1; digits <= 9; digits++)
        for (int exponent = -12; exponent <= 12; exponent++) {
            double power = pow(10, exponent);
            check_close(power, digits);
            check_close(nextafter(power, 0), digits);
            check_close(-nextafter(power, 1e300), digits);
            check_close(power * 0.999995, digits);
        }
}

static void check_text(double value, unsigned digits, const char *expected)
{
    struct writer w = {0};
    writer_number(&w, value, digits);
    assert_string_equal(terminated(&w), expected);
    writer_free(&w);
}

static void numbers_are_short(void **state)
{
    (void)state;
    check_text(0, 5, "0");
    check_text(-0.0, 5, "0");
    check_text(1, 5, "1");
    check_text(0.5, 5, "0.5");
    check_text(0.123456, 5, "0.12346");
    check_text(0.999999, 5, "1");
    check_text(0.00123456, 5, "0.0012346");
    check_text(0.00001, 5, "0.00001");
    check_text(0.00000123456, 5, "1.2346e-06");
    check_text(-0.000002, 5, "-2e-06");
    check_text(0.0000099999996, 5, "1e-05");
    check_text(0.00000000099999996, 5, "1e-09");
    check_text(-12.3456789, 6, "-12.3457");
    check_text(100, 5, "100");
    check_text(99999.7, 5, "100000");
    check_text(INFINITY, 5, "null");
    check_text(NAN, 5, "null");
}

/* One that is short for a gate's, one near it on either side, or one that no gate has. */
static float any_float(void)
{
    static const float odd[] = {0, -0.0f, 1, -1, 1.5f, 1e-5f, 1e-30f, -0.25f, 1e9f, NAN, INFINITY};
    double unit = random_unit();
    double round = floor(unit * 1000) / pow(10, (double)(random_bits() % 7));
    switch (random_bits() % 5) {
    case 0:
        return (float)unit;
    case 1:
        return (float)pow(unit, 12);
    case 2:
        return nextafterf((float)round, random_bits() % 2 ? 0 : 1);
    case 3:
        return (float)(1 - pow(unit, 12)); /* saturated */
    default:
        return odd[random_bits() % (sizeof odd / sizeof *odd)];
    }
}

/* Of every length, whichever way the vectors of the machine take. */
static void arrays_are_as_their_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3000; i++) {
        float values[200];
        size_t count = i % 201;
        unsigned digits = 1 + (unsigned)(i % 9);
        struct writer array = {0}, single = {0};
        for (size_t j = 0; j < count; j++)
            values[j] = any_float();
        writer_floats(&array, values, count, digits);
        writer_open(&single, '[');
        for (size_t j = 0; j < count; j++)
            writer_number(&single, (double)values[j], digits);
        writer_close(&single, ']');
        assert_string_equal(terminated(&array), terminated(&single));
        writer_free(&array);
        writer_free(&single);
    }
}

static void check_string(const char *bytes, size_t size, const char *expected)
{
    struct writer w = {0};
    writer_string_n(&w, bytes, size);
    json_error_t fault;
    json_t *json = json_loadb(w.bytes, w.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    if (json == NULL)
        fail_msg("%.*s is not JSON: %s", (int)w.size, w.bytes, fault.text);
    assert_string_equal(json_string_value(json), expected);
    json_decref(json);
    writer_free(&w);
}

static void strings_survive_and_broken_utf8_is_replaced(void **state)
{
    (void)state;
    check_string("plain", 5, "plain");
    check_string("a\"b\\c\n\x01\x7f/", 9, "a\"b\\c\n\x01\x7f/");
    check_string("Kätzchen \xF0\x9F\x90\x88", 14, "Kätzchen \xF0\x9F\x90\x88");
    check_string("\xFF", 1, "\xEF\xBF\xBD");
    check_string("a\xC3", 2, "a\xEF\xBF\xBD");
    check_string("\xC0\xAF", 2, "\xEF\xBF\xBD\xEF\xBF\xBD");                 /* overlong */
    check_string("\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"); /* surrogate */
    check_string("\xF4\x90\x80\x80", 4,
                 "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"); /* past U+10FFFF */
}

static void any_bytes_give_valid_json(void **state)
{
    (void)state;
    for (int i = 0; i < 5000; i++) {
        char bytes[24];
        for (size_t j = 0; j < sizeof bytes; j++)
            bytes[j] = (char)(random_bits() >> 20);
        struct writer w = {0};
        writer_string_n(&w, bytes, sizeof bytes);
        json_t *json = json_loadb(w.bytes, w.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(json);
        json_decref(json);
        writer_free(&w);
    }
}

static void commas_come_by_themselves(void **state)
{
    struct writer w = {0};
    const float floats[] = {0.25f, 0.5f};
    (void)state;
    writer_open(&w, '{');
    writer_key_integer(&w, "a", 18446744073709551615u);
    writer_key(&w, "b");
    writer_open(&w, '[');
    writer_open(&w, '[');
    writer_close(&w, ']');
    writer_taken(&w); /* as if written out: the comma must still come */
    writer_string(&w, "ends with [");
    writer_null(&w);
    writer_bool(&w, true);
    writer_floats(&w, floats, 2, 5);
    writer_close(&w, ']');
    writer_key_string(&w, "c", NULL);
    writer_close(&w, '}');
    assert_string_equal(terminated(&w), ",\"ends with [\",null,true,[0.25,0.5]],\"c\":null}");
    writer_free(&w);
}

static void a_lack_of_memory_is_remembered(void **state)
{
    struct writer w = {0};
    (void)state;
    writer_text(&w, "x");
    writer_reserve(&w, SIZE_MAX / 2);
    assert_true(w.failed);
    writer_integer(&w, 5);
    assert_int_equal(w.size, 1);
    writer_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_nearest_with_the_digits_asked_for),
        cmocka_unit_test(powers_of_ten_and_their_neighbours_are_right),
        cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(arrays_are_as_their_numbers),
        cmocka_unit_test(strings_survive_and_broken_utf8_is_replaced),
        cmocka_unit_test(any_bytes_give_valid_json),
        cmocka_unit_test(commas_come_by_themselves),
        cmocka_unit_test(a_lack_of_memory_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
