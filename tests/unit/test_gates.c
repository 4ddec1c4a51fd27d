/* test_gates.c - a block's statistics against plain sums, for every remainder of the lanes. */
#include "gates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#define MOST 41

static void statistics_agree_with_plain_sums(void **state)
{
    float values[MOST];
    (void)state;
    for (size_t count = 1; count <= MOST; count++) {
        long double sum = 0, squares = 0;
        float least = 2, most = -1;
        size_t low = 0, high = 0;
        for (size_t i = 0; i < count; i++) {
            values[i] = (float)(0.5 + 0.499 * sin((double)(count * 31 + i * 7)));
            sum += (long double)values[i];
            least = fminf(least, values[i]);
            most = fmaxf(most, values[i]);
            low += values[i] < GATES_SATURATED_LOW;
            high += values[i] > GATES_SATURATED_HIGH;
        }
        for (size_t i = 0; i < count; i++) {
            long double distance = (long double)values[i] - sum / (long double)count;
            squares += distance * distance;
        }
        const struct gates gates = gates_of(values, count);
        assert_true(fabs(gates.mean - (double)(sum / (long double)count)) < 1e-12);
        assert_true(fabs(gates.deviation - (double)sqrtl(squares / (long double)count)) < 1e-7);
        assert_true(fabsf(gates.least - least) <= 0 && fabsf(gates.most - most) <= 0);
        assert_int_equal(gates.low, low);
        assert_int_equal(gates.high, high);
    }
}

static void gates_that_hardly_differ_lose_no_digits(void **state)
{
    float values[MOST];
    (void)state;
    for (size_t i = 0; i < MOST; i++)
        values[i] = i % 2 ? 0.75f : 0.75f + 0x1p-24f * 4; /* neighbours */
    const struct gates gates = gates_of(values, MOST);
    double share = 21.0 / MOST, step = (double)values[0] - 0.75;
    assert_true(fabs(gates.deviation / (step * sqrt(share * (1 - share))) - 1) < 1e-9);
    for (size_t i = 0; i < MOST; i++)
        values[i] = 0.3f;
    assert_true(gates_of(values, MOST).deviation <= 0);
}

static void saturation_is_beyond_the_bounds(void **state)
{
    const float values[] = {0, 0.0099f, GATES_SATURATED_LOW, 0.5f, GATES_SATURATED_HIGH, 0.995f, 1};
    (void)state;
    const struct gates gates = gates_of(values, sizeof values / sizeof values[0]);
    assert_int_equal(gates.low, 2);
    assert_int_equal(gates.high, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_agree_with_plain_sums),
        cmocka_unit_test(gates_that_hardly_differ_lose_no_digits),
        cmocka_unit_test(saturation_is_beyond_the_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
