/* test_query.c - query strings against a tiny model with six SE blocks, and one with none. */
#include "query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define EVERY (QUERY_TOPK | QUERY_EXCITATIONS | QUERY_LAYERS | QUERY_LAYER | QUERY_ID)

static struct senet *model, *plain;
static struct query query;

static int open_models(void **state)
{
    struct error err = {0};
    (void)state;
    return senet_open("tests/golden/fixtures/tiny_timm", NULL, &model, &err) == ERROR_NONE &&
                   senet_open("tests/golden/fixtures/tiny_resnet", NULL, &plain, &err) == ERROR_NONE
               ? 0
               : -1;
}

static int close_models(void **state)
{
    (void)state;
    query_free(&query);
    senet_close(model);
    senet_close(plain);
    return 0;
}

static enum error_code parse_one(const char *key, const char *value, unsigned accepted,
                                 struct error *err)
{
    const struct query_pair pair = {key, value};
    *err = (struct error){0};
    query_free(&query);
    return query_parse(&pair, 1, accepted, model, 5, &query, err);
}

static void check_fault(const char *key, const char *value, unsigned accepted, const char *part)
{
    struct error err;
    assert_int_equal(parse_one(key, value, accepted, &err), ERROR_USAGE);
    if (strstr(err.message, part) == NULL)
        fail_msg("%s=%s gave '%s', which lacks '%s'", key, value, err.message, part);
}

static void an_empty_query_gives_the_defaults(void **state)
{
    struct error err = {0};
    (void)state;
    query_free(&query);
    assert_int_equal(query_parse(NULL, 0, EVERY, model, 5, &query, &err), ERROR_NONE);
    assert_int_equal(query.selection.topk, 5);
    assert_int_equal(query.selection.detail, DETAIL_FULL);
    assert_null(query.selection.blocks);
    assert_false(query.has_layer);
    assert_null(query.id);
}

static void values_are_taken(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(parse_one("topk", "11", EVERY, &err), ERROR_NONE);
    assert_int_equal(query.selection.topk, 11);
    assert_int_equal(parse_one("excitations", "summary", EVERY, &err), ERROR_NONE);
    assert_int_equal(query.selection.detail, DETAIL_SUMMARY);
    assert_int_equal(parse_one("excitations", "none", EVERY, &err), ERROR_NONE);
    assert_int_equal(query.selection.detail, DETAIL_NONE);
    assert_int_equal(parse_one("id", "abc", EVERY, &err), ERROR_NONE);
    assert_string_equal(query.id, "abc");
    assert_int_equal(parse_one("value", "5e-1", QUERY_VALUE, &err), ERROR_NONE);
    assert_true(query.value == 0.5F);
}

static void layers_go_by_index_name_and_the_papers_name(void **state)
{
    static const struct {
        const char *text;
        size_t layer;
    } names[] = {{"0", 0}, {"5", 5}, {"layer2.0", 2}, {"SE_4_2", 4}, {"se_5_1", 5}};
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(parse_one("layer", names[i].text, EVERY, &err), ERROR_NONE);
        assert_true(query.has_layer);
        assert_int_equal(query.layer, names[i].layer);
    }
    assert_int_equal(parse_one("layers", "SE_2_1,3,layer4.0,3", EVERY, &err), ERROR_NONE);
    const bool expected[] = {true, false, false, true, false, true};
    assert_memory_equal(query.selection.blocks, expected, sizeof expected);
}

static void wrong_values_say_what_is_expected(void **state)
{
    (void)state;
    check_fault("topk", "0", EVERY, "expected 1 to 11");
    check_fault("topk", "12", EVERY, "expected 1 to 11");
    check_fault("topk", "-1", EVERY, "expected 1 to 11");
    check_fault("topk", "5 ", EVERY, "expected 1 to 11");
    check_fault("topk", "99999999999999999999", EVERY, "expected 1 to 11");
    check_fault("topk", "", EVERY, "has no value");
    check_fault("topk", NULL, EVERY, "has no value");
    check_fault("excitations", "all", EVERY, "expected full, summary or none");
    check_fault("layer", "6", EVERY, "expected 0 to 5, or a name such as layer1.0 or SE_2_1");
    check_fault("layer", "1,2", EVERY, "no layer '1,2'");
    check_fault("layers", "1,,2", EVERY, "no layer ''");
    check_fault("layers", "1,", EVERY, "no layer ''");
    check_fault("value", "-0.1", QUERY_VALUE, "expected a number of 0 to");
    check_fault("value", "0x1", QUERY_VALUE, "expected a number of 0 to");
    check_fault("value", "0x1p-1", QUERY_VALUE, "expected a number of 0 to");
    check_fault("value", "nan", QUERY_VALUE, "expected a number of 0 to");
    check_fault("value", "inf", QUERY_VALUE, "expected a number of 0 to");
    check_fault("value", " 1", QUERY_VALUE, "expected a number of 0 to");
    check_fault("value", "1e", QUERY_VALUE, "expected a number of 0 to");
}

static void unknown_keys_say_what_is_known(void **state)
{
    (void)state;
    check_fault("top_k", "5", QUERY_TOPK | QUERY_LAYERS, "expected one of: topk, layers");
    check_fault("id", "x", QUERY_TOPK, "unknown query key 'id'");
    check_fault("x", "y", 0, "expected none here");
}

static void a_key_twice_is_an_error(void **state)
{
    const struct query_pair pairs[] = {{"layers", "1"}, {"layers", "2"}};
    struct error err = {0};
    (void)state;
    query_free(&query);
    assert_int_equal(query_parse(pairs, 2, EVERY, model, 5, &query, &err), ERROR_USAGE);
    assert_string_equal(err.message, "layers is given twice");
}

static void a_plain_resnet_has_no_layers(void **state)
{
    const struct query_pair pair = {"layer", "0"};
    struct error err = {0};
    (void)state;
    query_free(&query);
    assert_int_equal(query_parse(&pair, 1, EVERY, plain, 5, &query, &err), ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "plain ResNet"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_query_gives_the_defaults),
        cmocka_unit_test(values_are_taken),
        cmocka_unit_test(layers_go_by_index_name_and_the_papers_name),
        cmocka_unit_test(wrong_values_say_what_is_expected),
        cmocka_unit_test(unknown_keys_say_what_is_known),
        cmocka_unit_test(a_key_twice_is_an_error),
        cmocka_unit_test(a_plain_resnet_has_no_layers),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
