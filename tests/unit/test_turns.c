/* test_turns.c - the order in which waiting images are taken. */
#include "batch.h"
#include "turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES 64

/* A job of count images, all waiting. */
struct request {
    struct job job;
    struct batch_image images[IMAGES];
};

static struct request *request(struct turns *turns, size_t count, enum priority priority)
{
    struct request *made = calloc(1, sizeof *made);
    assert_non_null(made);
    made->job.priority = priority;
    for (size_t i = 0; i < count; i++) {
        made->images[i].job = &made->job;
        turns_push(turns, &made->job.encoded, &made->images[i]);
    }
    return made;
}

static void requests_take_turns_image_by_image(void **state)
{
    struct turns turns = {0};
    (void)state;
    struct request *large = request(&turns, 3, PRIORITY_NORMAL);
    struct request *small = request(&turns, 1, PRIORITY_NORMAL);
    struct request *middle = request(&turns, 2, PRIORITY_NORMAL);
    assert_int_equal(turns.count, 6);
    const struct batch_image *expected[] = {&large->images[0],  &small->images[0],
                                            &middle->images[0], &large->images[1],
                                            &middle->images[1], &large->images[2]};
    for (size_t i = 0; i < 6; i++) {
        assert_ptr_equal(turns_peek(&turns), expected[i]);
        assert_ptr_equal(turns_pop(&turns), expected[i]);
    }
    assert_null(turns_pop(&turns));
    assert_null(turns_peek(&turns));
    free(large);
    free(small);
    free(middle);
}

static void urgent_ones_go_first_and_none_starves(void **state)
{
    struct turns turns = {0};
    size_t taken[PRIORITIES] = {0};
    (void)state;
    struct request *low = request(&turns, IMAGES, PRIORITY_LOW);
    struct request *normal = request(&turns, IMAGES, PRIORITY_NORMAL);
    struct request *high = request(&turns, IMAGES, PRIORITY_HIGH);
    assert_ptr_equal(turns_peek(&turns), &high->images[0]);
    for (size_t i = 0; i < 42; i++)
        taken[turns_pop(&turns)->job->priority]++;
    assert_int_equal(taken[PRIORITY_HIGH], 32);
    assert_int_equal(taken[PRIORITY_NORMAL], 8);
    assert_int_equal(taken[PRIORITY_LOW], 2);
    free(low);
    free(normal);
    free(high);
}

static void an_empty_line_saves_up_nothing(void **state)
{
    struct turns turns = {0};
    (void)state;
    struct request *low = request(&turns, IMAGES, PRIORITY_LOW);
    for (size_t i = 0; i < 30; i++)
        assert_ptr_equal(turns_pop(&turns), &low->images[i]);
    struct request *high = request(&turns, 16, PRIORITY_HIGH);
    for (size_t i = 0; i < 8; i++)
        assert_ptr_equal(turns_pop(&turns), &high->images[i]);
    free(low);
    free(high);
}

static int is_job(const struct job *job, void *context)
{
    return job == context;
}

static void one_job_can_be_removed(void **state)
{
    struct turns turns = {0};
    size_t removed = 0;
    (void)state;
    struct request *a = request(&turns, 2, PRIORITY_NORMAL);
    struct request *b = request(&turns, 3, PRIORITY_NORMAL);
    struct request *c = request(&turns, 1, PRIORITY_LOW);
    for (const struct batch_image *image = turns_remove(&turns, is_job, &b->job); image != NULL;
         image = image->next, removed++)
        assert_ptr_equal(image->job, &b->job);
    assert_int_equal(removed, 3);
    assert_int_equal(turns.count, 3);
    assert_ptr_equal(turns_pop(&turns), &a->images[0]);
    turns_push(&turns, &b->job.encoded, &b->images[0]); /* it may come again */
    while (turns_pop(&turns) != NULL)
        removed++;
    assert_int_equal(removed, 6);
    assert_null(turns_remove(&turns, is_job, &a->job));
    free(a);
    free(b);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_take_turns_image_by_image),
        cmocka_unit_test(urgent_ones_go_first_and_none_starves),
        cmocka_unit_test(an_empty_line_saves_up_nothing),
        cmocka_unit_test(one_job_can_be_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
