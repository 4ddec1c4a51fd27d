/* test_trimming.c - when memory goes back to the system. */
#include "trimming.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND ((int64_t)1000000000)

static void once_a_burst_is_over(void **state)
{
    struct trimming trimming = {0};
    (void)state;
    trimming_note(&trimming, 100);
    trimming_note(&trimming, 60);
    assert_true(trimming_wanted(&trimming));
    assert_false(trimming_due(&trimming, 60, SECOND));
    assert_false(trimming_due(&trimming, 13, SECOND));
    assert_true(trimming_due(&trimming, 12, SECOND));
    assert_false(trimming_wanted(&trimming));
    assert_false(trimming_due(&trimming, 0, 100 * SECOND));
}

static void not_for_a_few(void **state)
{
    struct trimming trimming = {0};
    (void)state;
    trimming_note(&trimming, 31);
    assert_false(trimming_wanted(&trimming));
    assert_false(trimming_due(&trimming, 0, SECOND));
}

static void not_all_the_time(void **state)
{
    struct trimming trimming = {0};
    (void)state;
    trimming_note(&trimming, 40);
    assert_true(trimming_due(&trimming, 0, SECOND));
    trimming_note(&trimming, 40);
    assert_false(trimming_due(&trimming, 0, 2 * SECOND));
    assert_true(trimming_wanted(&trimming));
    assert_true(trimming_due(&trimming, 0, 11 * SECOND));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once_a_burst_is_over),
        cmocka_unit_test(not_for_a_few),
        cmocka_unit_test(not_all_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
