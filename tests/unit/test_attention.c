/* test_attention.c - statistics against sums in long double, and the bounds of what is kept. */
#include "attention.h"
#include "gates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOATS 5

static struct attention *attention;

static int open_attention(void **state)
{
    struct error err = {0};
    (void)state;
    return attention_new(FLOATS, &attention, &err) == ERROR_NONE ? 0 : -1;
}

static int close_attention(void **state)
{
    (void)state;
    attention_free(attention);
    return 0;
}

/* Gate g of image i: anything in (0, 1) that differs. */
static float gate(size_t i, size_t g)
{
    return (float)(0.5 + 0.49 * sin((double)(i * 7 + g * 3 + 1)));
}

static void add_image(const char *id, size_t position, size_t i)
{
    float gates[FLOATS];
    for (size_t g = 0; g < FLOATS; g++)
        gates[g] = gate(i, g);
    attention_add(attention, id, position, i % 3, gates);
}

static void nothing_is_told_before_the_first_image(void **state)
{
    double mean[FLOATS] = {42};
    size_t positions[ATTENTION_IMAGES];
    float *vectors;
    (void)state;
    assert_int_equal(attention_statistics(attention, 0, FLOATS, mean, NULL, NULL, NULL), 0);
    assert_true(mean[0] == 42);
    assert_int_equal(attention_find(attention, "a", positions, &vectors), 0);
    free(vectors);
}

static void statistics_agree_with_plain_sums(void **state)
{
    enum { IMAGES = 1000, OFFSET = 1, COUNT = 3 };
    double mean[COUNT], deviation[COUNT];
    float least[COUNT], most[COUNT];
    (void)state;
    for (size_t i = 0; i < IMAGES; i++)
        add_image("a", 0, i);
    assert_int_equal(attention_statistics(attention, OFFSET, COUNT, mean, deviation, least, most),
                     IMAGES);
    for (size_t g = 0; g < COUNT; g++) {
        long double sum = 0, squares = 0;
        float low = 1, high = 0;
        for (size_t i = 0; i < IMAGES; i++) {
            float value = gate(i, g + OFFSET);
            sum += value;
            low = fminf(low, value);
            high = fmaxf(high, value);
        }
        for (size_t i = 0; i < IMAGES; i++)
            squares += powl(gate(i, g + OFFSET) - sum / IMAGES, 2);
        assert_true(fabs(mean[g] - (double)(sum / IMAGES)) < 1e-12);
        assert_true(fabs(deviation[g] - (double)sqrtl(squares / IMAGES)) < 1e-12);
        assert_true(least[g] == low && most[g] == high);
    }
}

/* gate() goes from 0.01 to 0.99, this a little beyond both. */
static void a_block_has_one_mean_and_a_saturated_share(void **state)
{
    enum { IMAGES = 300 };
    double mean = 42, saturated = 42;
    long double sum = 0;
    size_t beyond = 0;
    (void)state;
    attention_block(attention, 1, 3, &mean, &saturated);
    assert_true(fabs(mean) + fabs(saturated) <= 0);
    for (size_t i = 0; i < IMAGES; i++) {
        float gates[FLOATS];
        for (size_t g = 0; g < FLOATS; g++)
            gates[g] = 1.02F * gate(i, g) - 0.01F;
        for (size_t g = 1; g < 4; g++) {
            sum += (long double)gates[g];
            beyond += gates[g] < GATES_SATURATED_LOW || gates[g] > GATES_SATURATED_HIGH;
        }
        attention_add(attention, "a", 0, i % 3, gates);
    }
    attention_block(attention, 1, 3, &mean, &saturated);
    assert_true(beyond > 20);
    assert_true(fabs(mean - (double)(sum / (3 * IMAGES))) < 1e-12);
    assert_true(fabs(saturated - (double)beyond / (3 * IMAGES)) < 1e-12);
}

static void each_class_has_sums_of_its_own(void **state)
{
    double mean[FLOATS], deviation[FLOATS];
    size_t classes[ATTENTION_CLASSES];
    uint64_t images[ATTENTION_CLASSES];
    (void)state;
    for (size_t i = 0; i < 10; i++)
        add_image("a", 0, i);
    assert_int_equal(attention_class_statistics(attention, 1, 0, FLOATS, mean, deviation), 3);
    for (size_t g = 0; g < FLOATS; g++) {
        double a = (double)gate(1, g), b = (double)gate(4, g), c = (double)gate(7, g);
        double middle = (a + b + c) / 3;
        assert_true(fabs(mean[g] - middle) < 1e-12);
        double square = pow(a - middle, 2) + pow(b - middle, 2) + pow(c - middle, 2);
        assert_true(fabs(deviation[g] - sqrt(square / 3)) < 1e-12);
    }
    assert_int_equal(attention_classes(attention, classes, images), 3);
    assert_true(classes[0] == 0 && images[0] == 4);
    assert_int_equal(attention_class_statistics(attention, 5, 0, FLOATS, mean, deviation), 0);
}

/* The rarest class gives way once all places are taken. */
static void classes_are_bounded(void **state)
{
    float gates[FLOATS] = {0};
    double mean[FLOATS], deviation[FLOATS];
    (void)state;
    for (size_t round = 0; round < 2; round++)
        for (size_t class = 0; class < ATTENTION_CLASSES; class ++)
            if (class != 7 || round == 0)
                attention_add(attention, "a", 0, class, gates);
    gates[0] = 0.5F;
    attention_add(attention, "a", 0, 1000, gates);
    assert_int_equal(attention_class_statistics(attention, 7, 0, FLOATS, mean, deviation), 0);
    assert_int_equal(attention_class_statistics(attention, 1000, 0, FLOATS, mean, deviation), 1);
    assert_true(mean[0] == 0.5);
    assert_int_equal(attention_class_statistics(attention, 8, 0, FLOATS, mean, deviation), 2);
}

static void the_recent_mean_forgets(void **state)
{
    float gates[FLOATS] = {0};
    double mean[FLOATS];
    (void)state;
    assert_true(attention_recent(attention, 0, FLOATS, mean) == 0);
    for (size_t i = 0; i < 100; i++)
        attention_add(attention, "a", 0, 0, gates);
    assert_true(fabs(attention_recent(attention, 0, FLOATS, mean) - 0.01) < 1e-12);
    assert_true(mean[2] == 0);
    gates[2] = 1;
    for (size_t i = 0; i < 10 * ATTENTION_WINDOW; i++)
        attention_add(attention, "a", 0, 0, gates);
    double squares = attention_recent(attention, 0, FLOATS, mean);
    assert_true(mean[2] > 0.999 && mean[1] == 0);
    double share = 1.0 / ATTENTION_WINDOW; /* of a geometric series */
    assert_true(fabs(squares - share / (2 - share)) < 1e-6);
}

static void requests_are_found_by_their_id(void **state)
{
    size_t positions[ATTENTION_IMAGES];
    float *vectors;
    (void)state;
    add_image("first", 0, 10);
    add_image("second", 0, 20);
    add_image("second", 2, 21); /* image 1 was broken */
    add_image("third", 0, 30);
    assert_int_equal(attention_find(attention, "second", positions, &vectors), 2);
    assert_int_equal(positions[0], 0);
    assert_int_equal(positions[1], 2);
    assert_true(vectors[1] == gate(20, 1));
    assert_true(vectors[FLOATS + 4] == gate(21, 4));
    free(vectors);
    assert_int_equal(attention_find(attention, "sec", positions, &vectors), 0);
    free(vectors);
}

static void the_newest_of_equal_ids_wins(void **state)
{
    size_t positions[ATTENTION_IMAGES];
    float *vectors;
    (void)state;
    add_image("same", 0, 1);
    add_image("same", 0, 2);
    assert_int_equal(attention_find(attention, "same", positions, &vectors), 1);
    assert_true(vectors[0] == gate(2, 0));
    free(vectors);
}

static bool is_kept(const char *id)
{
    size_t positions[ATTENTION_IMAGES];
    float *vectors;
    size_t images = attention_find(attention, id, positions, &vectors);
    free(vectors);
    return images > 0;
}

static void old_requests_are_forgotten(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3 * ATTENTION_REQUESTS; i++) {
        char id[16];
        snprintf(id, sizeof id, "%zu", i);
        add_image(id, 0, i);
        if (i == 0)
            assert_true(is_kept("0"));
        if (i == ATTENTION_REQUESTS - 1)
            assert_true(is_kept("0"));
        if (i == ATTENTION_REQUESTS)
            assert_false(is_kept("0"));
    }
    assert_true(is_kept("767"));
    assert_true(is_kept("512"));
    assert_false(is_kept("511"));
}

static void images_are_bounded_over_all_requests(void **state)
{
    size_t positions[ATTENTION_IMAGES];
    float *vectors;
    (void)state;
    add_image("early", 0, 1);
    for (size_t i = 0; i < ATTENTION_IMAGES - 1; i++)
        add_image("large", i, i);
    assert_true(is_kept("early"));
    assert_int_equal(attention_find(attention, "large", positions, &vectors), ATTENTION_IMAGES - 1);
    free(vectors);
    add_image("large", ATTENTION_IMAGES - 1, 0);
    assert_false(is_kept("early"));
    assert_true(is_kept("large"));
    add_image("large", ATTENTION_IMAGES, 0);
    assert_false(is_kept("large")); /* its first image is gone */
    add_image("late", 0, 3);
    assert_true(is_kept("late"));
}

static void a_model_without_blocks_is_counted_too(void **state)
{
    struct attention *none;
    struct error err = {0};
    float nothing = 0;
    (void)state;
    assert_int_equal(attention_new(0, &none, &err), ERROR_NONE);
    attention_add(none, "a", 0, 0, &nothing);
    assert_int_equal(attention_statistics(none, 0, 0, NULL, NULL, NULL, NULL), 1);
    attention_free(none);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_attention, close_attention)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_told_before_the_first_image),
        TEST(statistics_agree_with_plain_sums),
        TEST(a_block_has_one_mean_and_a_saturated_share),
        TEST(each_class_has_sums_of_its_own),
        TEST(classes_are_bounded),
        TEST(the_recent_mean_forgets),
        TEST(requests_are_found_by_their_id),
        TEST(the_newest_of_equal_ids_wins),
        TEST(old_requests_are_forgotten),
        TEST(images_are_bounded_over_all_requests),
        TEST(a_model_without_blocks_is_counted_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
