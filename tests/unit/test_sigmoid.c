/* test_sigmoid.c - the sigmoid against libm in double. */
#include "sigmoid.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void like_libm(void **state)
{
    (void)state;
    for (double x = -110; x < 110; x += 0.00137) {
        float values[4] = {(float)x, (float)-x, (float)(x / 50), (float)(x * 1e30)}, in[4];
        for (size_t i = 0; i < 4; i++)
            in[i] = values[i];
        sigmoid(values, 4);
        for (size_t i = 0; i < 4; i++) {
            double expected = 1 / (1 + exp(-(double)in[i]));
            if (!(fabs((double)values[i] - expected) < 2e-7))
                fail_msg("sigmoid(%g) is %.9g, expected %.9g", (double)in[i], (double)values[i],
                         expected);
        }
    }
}

static void ends(void **state)
{
    (void)state;
    float values[8] = {0, INFINITY, -INFINITY, NAN, 200, -200, 1, -1};
    sigmoid(values, 8);
    assert_true(values[0] == 0.5F && values[1] == 1 && values[4] == 1);
    assert_true(values[2] >= 0 && values[2] < 1e-37F && values[5] >= 0 && values[5] < 1e-37F);
    assert_true(isnan(values[3]));
    assert_true(values[6] > values[0] && values[7] < values[0]);
}

/* In exactly so much memory, so that the address sanitizer sees a step beyond. */
static void any_count(void **state)
{
    (void)state;
    for (size_t count = 1; count < 10; count++) {
        float *values = malloc(count * sizeof *values);
        assert_non_null(values);
        for (size_t i = 0; i < count; i++)
            values[i] = (float)i;
        sigmoid(values, count);
        for (size_t i = 0; i < count; i++)
            assert_true(fabs((double)values[i] - 1 / (1 + exp(-(double)i))) < 2e-7);
        free(values);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(like_libm), cmocka_unit_test(ends),
                                       cmocka_unit_test(any_count)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
