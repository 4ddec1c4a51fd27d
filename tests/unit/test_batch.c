/* test_batch.c - the queue: results, isolation of errors, bounds, draining.
 *
 * The model is tiny, images are PPM made here. A job whose done blocks holds its thread, so that
 * the queue can be filled without racing the workers.
 */
#include "batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIDE     40
#define MAX_JOBS 64

static struct senet *model;
static const struct senet_info *info;

static int open_model(void **state)
{
    struct error err = {0};
    (void)state;
    if (senet_open("tests/golden/fixtures/tiny_timm", NULL, &model, &err) != ERROR_NONE)
        return -1;
    info = senet_info(model);
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    senet_close(model);
    return 0;
}

/* A PPM whose pixels depend on seed. */
struct picture {
    uint8_t bytes[SIDE * SIDE * 3 + 32];
    size_t size;
};

static void draw(struct picture *picture, unsigned seed)
{
    int header = snprintf((char *)picture->bytes, 32, "P6 %d %d 255\n", SIDE, SIDE);
    picture->size = (size_t)header + SIDE * SIDE * 3;
    for (size_t i = 0; i < SIDE * SIDE * 3; i++)
        picture->bytes[(size_t)header + i] = (uint8_t)(i * (seed + 3) / 7 + seed * 50);
}

static struct batch *start(size_t workers, size_t max_batch, size_t max_waiting)
{
    struct batch *batch = NULL;
    struct error err = {0};
    const struct batch_options options = {.workers = workers,
                                          .decoders = workers,
                                          .max_batch = max_batch,
                                          .max_waiting = max_waiting,
                                          .max_pixels = 10000};
    if (batch_start(model, &options, &batch, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return batch;
}

static void post(struct job *job)
{
    sem_post(job->context);
}

static struct job *new_job(struct batch *batch, size_t count, const struct picture *pictures,
                           sem_t *done)
{
    struct job *job = NULL;
    struct error err = {0};
    assert_int_equal(batch_job_new(batch, count, &job, &err), ERROR_NONE);
    for (size_t i = 0; i < count; i++) {
        job->images[i].bytes = pictures[i].bytes;
        job->images[i].size = pictures[i].size;
    }
    job->done = post;
    job->context = done;
    return job;
}

static void submit(struct batch *batch, struct job *job)
{
    struct error err = {0};
    if (batch_submit(batch, job, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
}

/* Logits and gates of a picture, computed without any queue. */
static void check_image(const struct batch_image *result, const struct picture *picture)
{
    const struct preprocess *preprocess = &info->preprocess;
    struct error err = {0};
    struct image image = {0};
    struct senet_context *context;
    float *input = calloc(3 * preprocess->width * preprocess->height, sizeof(float));
    float *logits = calloc(info->classes, sizeof(float));
    float *gates = calloc(info->excitation_floats, sizeof(float));
    assert_true(input != NULL && logits != NULL && gates != NULL);
    assert_int_equal(image_decode(picture->bytes, picture->size,
                                  &(struct image_options){.max_pixels = 10000}, &image, &err),
                     ERROR_NONE);
    assert_int_equal(image_preprocess(&image, preprocess, input, &err), ERROR_NONE);
    assert_int_equal(
        senet_context_new(model, 1, preprocess->height, preprocess->width, &context, &err),
        ERROR_NONE);
    senet_run(context, 1, input, logits, gates);
    assert_int_equal(result->error.code, ERROR_NONE);
    assert_int_equal(result->width, SIDE);
    assert_int_equal(result->height, SIDE);
    assert_int_equal(result->format, IMAGE_PNM);
    for (size_t i = 0; i < info->classes; i++)
        assert_float_equal(result->logits[i], logits[i], 1e-4);
    for (size_t i = 0; i < info->excitation_floats; i++)
        assert_float_equal(result->excitations[i], gates[i], 1e-5);
    senet_context_free(context);
    image_free(&image);
    free(input);
    free(logits);
    free(gates);
}

static void results_are_those_of_each_image(void **state)
{
    enum { COUNT = 9 };
    static struct picture pictures[COUNT];
    sem_t done;
    (void)state;
    sem_init(&done, 0, 0);
    struct batch *batch = start(2, 4, 100);
    for (unsigned i = 0; i < COUNT; i++)
        draw(&pictures[i], i);
    struct job *job = new_job(batch, COUNT, pictures, &done);
    submit(batch, job);
    sem_wait(&done);
    for (size_t i = 0; i < COUNT; i++) {
        check_image(&job->images[i], &pictures[i]);
        assert_in_range(job->images[i].batch_size, 1, 4);
        assert_true(job->images[i].run > 0 && job->images[i].inference_ns > 0);
        assert_true(job->images[i].decode_ns > 0 && job->images[i].preprocess_ns > 0);
        assert_true(job->images[i].queue_ns >= 0);
    }
    batch_stop(batch);
    batch_job_free(job);
    sem_destroy(&done);
}

static void a_bad_image_spoils_no_other(void **state)
{
    static struct picture pictures[5];
    sem_t done;
    (void)state;
    sem_init(&done, 0, 0);
    struct batch *batch = start(1, 8, 100);
    for (unsigned i = 0; i < 5; i++)
        draw(&pictures[i], i);
    struct job *job = new_job(batch, 5, pictures, &done);
    job->images[0].bytes = (const uint8_t *)"hello";
    job->images[0].size = 5;
    job->images[2].size = 100; /* cut off */
    error_set(&job->images[4].error, ERROR_IO, "set before");
    submit(batch, job);
    sem_wait(&done);
    assert_int_equal(job->images[0].error.code, ERROR_UNKNOWN_FORMAT);
    check_image(&job->images[1], &pictures[1]);
    assert_int_equal(job->images[2].error.code, ERROR_UNDECODABLE);
    check_image(&job->images[3], &pictures[3]);
    assert_int_equal(job->images[4].error.code, ERROR_IO);
    batch_stop(batch);
    batch_job_free(job);
    sem_destroy(&done);
}

/* An input that is no image: here bytes that are floats already. */
static enum error_code take_floats(const struct batch_image *image, float *input, struct error *err)
{
    assert_ptr_equal(image->context, info);
    if (image->size != 3 * info->preprocess.width * info->preprocess.height * sizeof(float))
        return error_set(err, ERROR_USAGE, "%zu bytes", image->size);
    memcpy(input, image->bytes, image->size);
    return ERROR_NONE;
}

static void an_input_may_come_prepared(void **state)
{
    static struct picture pictures[3];
    struct image pixels = {0};
    struct error err = {0};
    sem_t done;
    size_t bytes = 3 * info->preprocess.width * info->preprocess.height * sizeof(float);
    float *input = malloc(bytes);
    (void)state;
    assert_non_null(input);
    sem_init(&done, 0, 0);
    struct batch *batch = start(1, 4, 100);
    for (unsigned i = 0; i < 3; i++)
        draw(&pictures[i], i);
    assert_int_equal(image_decode(pictures[1].bytes, pictures[1].size,
                                  &(struct image_options){.max_pixels = 10000}, &pixels, &err),
                     ERROR_NONE);
    assert_int_equal(image_preprocess(&pixels, &info->preprocess, input, &err), ERROR_NONE);
    image_free(&pixels);
    struct job *job = new_job(batch, 3, pictures, &done);
    for (size_t i = 1; i < 3; i++) {
        job->images[i].prepare = take_floats;
        job->images[i].context = info;
    }
    job->images[1].bytes = (const uint8_t *)input;
    job->images[1].size = bytes;
    submit(batch, job);
    sem_wait(&done);
    check_image(&job->images[0], &pictures[0]);
    assert_int_equal(job->images[1].error.code, ERROR_NONE);
    assert_int_equal(job->images[1].width, 0);
    job->images[1].width = job->images[1].height = SIDE;
    job->images[1].format = IMAGE_PNM;
    check_image(&job->images[1], &pictures[1]);
    assert_int_equal(job->images[2].error.code, ERROR_USAGE);
    batch_stop(batch);
    batch_job_free(job);
    sem_destroy(&done);
    free(input);
}

static void a_job_of_bad_images_only_is_finished(void **state)
{
    static struct picture pictures[2];
    sem_t done;
    (void)state;
    sem_init(&done, 0, 0);
    struct batch *batch = start(1, 2, 10);
    pictures[0].size = pictures[1].size = 1;
    struct job *job = new_job(batch, 2, pictures, &done);
    submit(batch, job);
    sem_wait(&done);
    assert_int_equal(batch_waiting(batch), 0);
    batch_stop(batch);
    batch_job_free(job);
    sem_destroy(&done);
}

/* A job that holds the worker in its done until `go` is posted. */
struct gate {
    sem_t reached, go;
};

static void hold(struct job *job)
{
    struct gate *gate = job->context;
    sem_post(&gate->reached);
    sem_wait(&gate->go);
}

static void the_queue_is_bounded(void **state)
{
    static struct picture pictures[4];
    struct gate gate;
    sem_t done;
    struct error err = {0};
    (void)state;
    sem_init(&gate.reached, 0, 0);
    sem_init(&gate.go, 0, 0);
    sem_init(&done, 0, 0);
    struct batch *batch = start(1, 2, 3);
    for (unsigned i = 0; i < 4; i++)
        draw(&pictures[i], i);
    struct job *held = new_job(batch, 1, pictures, &done);
    held->done = hold;
    held->context = &gate;
    submit(batch, held);
    sem_wait(&gate.reached); /* the one worker is busy from here on */
    struct job *two = new_job(batch, 2, pictures, &done);
    struct job *more = new_job(batch, 2, pictures, &done);
    struct job *one = new_job(batch, 1, pictures, &done);
    struct job *many = new_job(batch, 4, pictures, &done);
    submit(batch, two);
    assert_int_equal(batch_submit(batch, more, &err), ERROR_OVERLOADED);
    assert_string_equal(err.message, "2 images are waiting, the queue holds 3");
    submit(batch, one); /* exactly full */
    assert_int_equal(batch_waiting(batch), 3);
    assert_true(batch_retry_after(batch) >= 1);
    err = (struct error){0};
    assert_int_equal(batch_submit(batch, many, &err), ERROR_TOO_LARGE);
    sem_post(&gate.go);
    sem_wait(&done);
    sem_wait(&done);
    submit(batch, more); /* there is room again */
    sem_wait(&done);
    batch_stop(batch);
    struct job *jobs[] = {held, two, more, one, many};
    for (size_t i = 0; i < 5; i++)
        batch_job_free(jobs[i]);
}

static void a_free_worker_takes_what_is_ready_at_once(void **state)
{
    static struct picture pictures[3];
    struct gate gate;
    sem_t done;
    (void)state;
    sem_init(&gate.reached, 0, 0);
    sem_init(&gate.go, 0, 0);
    sem_init(&done, 0, 0);
    struct batch *batch = start(1, 8, 100);
    for (unsigned i = 0; i < 3; i++)
        draw(&pictures[i], i);
    struct job *held = new_job(batch, 1, pictures, &done);
    held->done = hold;
    held->context = &gate;
    submit(batch, held);
    sem_wait(&gate.reached);
    assert_int_equal(held->images[0].batch_size, 1);
    struct job *jobs[3];
    for (size_t i = 0; i < 3; i++) {
        jobs[i] = new_job(batch, 1, &pictures[i], &done);
        submit(batch, jobs[i]);
    }
    /* A job that fails in the one decoder passes after all before it: they are ready then. */
    static struct picture bad = {.size = 1};
    struct job *last = new_job(batch, 1, &bad, &done);
    submit(batch, last);
    sem_wait(&done);
    sem_post(&gate.go);
    for (size_t i = 0; i < 3; i++)
        sem_wait(&done);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(jobs[i]->images[0].batch_size, 3);
        assert_int_equal(jobs[i]->images[0].run, 2);
        check_image(&jobs[i]->images[0], &pictures[i]);
    }
    batch_stop(batch);
    for (size_t i = 0; i < 3; i++)
        batch_job_free(jobs[i]);
    batch_job_free(last);
    batch_job_free(held);
}

static void draining_finishes_what_was_accepted(void **state)
{
    static struct picture pictures[3];
    struct job *jobs[MAX_JOBS];
    sem_t done;
    struct error err = {0};
    int finished = 0;
    (void)state;
    sem_init(&done, 0, 0);
    struct batch *batch = start(2, 4, 3 * MAX_JOBS);
    for (unsigned i = 0; i < 3; i++)
        draw(&pictures[i], i);
    for (size_t i = 0; i < MAX_JOBS; i++) {
        jobs[i] = new_job(batch, 3, pictures, &done);
        submit(batch, jobs[i]);
    }
    struct job *late = new_job(batch, 1, pictures, &done);
    batch_close(batch);
    assert_int_equal(batch_submit(batch, late, &err), ERROR_DRAINING);
    batch_drain(batch);
    sem_getvalue(&done, &finished);
    assert_int_equal(finished, MAX_JOBS);
    for (size_t i = 0; i < MAX_JOBS; i++)
        for (size_t j = 0; j < 3; j++)
            assert_int_equal(jobs[i]->images[j].error.code, ERROR_NONE);
    check_image(&jobs[MAX_JOBS - 1]->images[2], &pictures[2]);
    batch_stop(batch);
    for (size_t i = 0; i < MAX_JOBS; i++)
        batch_job_free(jobs[i]);
    batch_job_free(late);
    sem_destroy(&done);
}

static void *submit_many(void *argument)
{
    struct batch *batch = argument;
    struct picture *picture = calloc(1, sizeof *picture);
    sem_t done;
    sem_init(&done, 0, 0);
    assert_non_null(picture);
    draw(picture, 1);
    for (size_t i = 0; i < 20; i++) {
        struct job *job = new_job(batch, 1, picture, &done);
        submit(batch, job);
        sem_wait(&done);
        assert_int_equal(job->images[0].error.code, ERROR_NONE);
        batch_job_free(job); /* at once: done was the last touch */
    }
    free(picture);
    return NULL;
}

static void many_threads_may_submit(void **state)
{
    pthread_t threads[4];
    (void)state;
    struct batch *batch = start(2, 4, 100);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, batch), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    batch_stop(batch);
}

/* A batch of one worker that is held, as long as a test needs the queue to stand still. */
struct held {
    struct batch *batch;
    struct gate gate;
    struct job *job;
};

static void start_held(struct held *held, const struct picture *picture, size_t max_batch)
{
    sem_init(&held->gate.reached, 0, 0);
    sem_init(&held->gate.go, 0, 0);
    held->batch = start(1, max_batch, 100);
    held->job = new_job(held->batch, 1, picture, NULL);
    held->job->done = hold;
    held->job->context = &held->gate;
    submit(held->batch, held->job);
    sem_wait(&held->gate.reached);
}

static void stop_held(struct held *held)
{
    batch_stop(held->batch);
    batch_job_free(held->job);
}

static void a_large_request_does_not_hold_up_a_small_one(void **state)
{
    enum { COUNT = 64 };
    static struct picture pictures[COUNT];
    struct held held;
    sem_t done;
    (void)state;
    sem_init(&done, 0, 0);
    for (unsigned i = 0; i < COUNT; i++)
        draw(&pictures[i], i);
    start_held(&held, pictures, 2);
    struct job *large = new_job(held.batch, COUNT, pictures, &done);
    struct job *small = new_job(held.batch, 1, pictures, &done);
    submit(held.batch, large);
    submit(held.batch, small);
    sem_post(&held.gate.go);
    sem_wait(&done);
    sem_wait(&done);
    /* Slots keep a few images of the large one ahead, no more. */
    assert_true(small->images[0].run + COUNT / 3 < large->images[COUNT - 1].run);
    check_image(&small->images[0], &pictures[0]);
    check_image(&large->images[COUNT - 1], &pictures[COUNT - 1]);
    stop_held(&held);
    batch_job_free(large);
    batch_job_free(small);
}

/* Of 21 turns 16 are high's and 1 is low's; two images may have been decoded before. */
static void low_priority_waits_its_turn_and_no_longer(void **state)
{
    enum { COUNT = 60 };
    static struct picture picture;
    struct held held;
    struct job *high[COUNT];
    sem_t done;
    (void)state;
    sem_init(&done, 0, 0);
    draw(&picture, 1);
    start_held(&held, &picture, 1);
    struct job *low = new_job(held.batch, 1, &picture, &done);
    low->priority = PRIORITY_LOW;
    for (size_t i = 0; i < COUNT; i++) {
        high[i] = new_job(held.batch, 1, &picture, &done);
        high[i]->priority = PRIORITY_HIGH;
        submit(held.batch, high[i]);
        if (i == COUNT / 3)
            submit(held.batch, low);
    }
    sem_post(&held.gate.go);
    for (size_t i = 0; i < COUNT + 1; i++)
        sem_wait(&done);
    assert_true(low->images[0].run > 8 && low->images[0].run < 30);
    stop_held(&held);
    for (size_t i = 0; i < COUNT; i++)
        batch_job_free(high[i]);
    batch_job_free(low);
}

/* While the worker stands still: dropping needs none. */
static void expired_and_abandoned_jobs_are_dropped(void **state)
{
    static struct picture pictures[3];
    struct held held;
    sem_t done;
    (void)state;
    sem_init(&done, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        draw(&pictures[i], i);
    start_held(&held, pictures, 1);
    struct job *patient = new_job(held.batch, 3, pictures, &done);
    struct job *expired = new_job(held.batch, 3, pictures, &done);
    struct job *left = new_job(held.batch, 2, pictures, &done);
    submit(held.batch, patient);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    expired->deadline_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + 5000000;
    submit(held.batch, expired);
    sem_wait(&done);
    submit(held.batch, left);
    assert_null(batch_dropped(patient));
    batch_abandon(held.batch, left);
    sem_wait(&done);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(expired->images[i].error.code, ERROR_DEADLINE);
    assert_int_equal(batch_dropped(expired)->code, ERROR_DEADLINE);
    assert_int_equal(batch_dropped(left)->code, ERROR_ABANDONED);
    assert_int_equal(batch_waiting(held.batch), 3);
    sem_post(&held.gate.go);
    sem_wait(&done);
    assert_null(batch_dropped(patient));
    check_image(&patient->images[2], &pictures[2]);
    stop_held(&held);
    batch_job_free(patient);
    batch_job_free(expired);
    batch_job_free(left);
}

static void cancelling_drops_what_has_not_begun(void **state)
{
    static struct picture pictures[3];
    struct held held;
    sem_t done;
    (void)state;
    sem_init(&done, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        draw(&pictures[i], i);
    start_held(&held, pictures, 1);
    struct job *job = new_job(held.batch, 3, pictures, &done);
    submit(held.batch, job);
    batch_close(held.batch);
    batch_cancel(held.batch);
    sem_post(&held.gate.go); /* an image that is being decoded is dropped by the worker */
    sem_wait(&done);
    assert_int_equal(batch_dropped(job)->code, ERROR_DRAINING);
    stop_held(&held);
    batch_job_free(job);
}

static void a_delay_lets_a_batch_fill(void **state)
{
    static struct picture pictures[2];
    struct batch *batch = NULL;
    struct error err = {0};
    sem_t done;
    const struct batch_options options = {.workers = 1,
                                          .decoders = 1,
                                          .max_batch = 2,
                                          .max_waiting = 4,
                                          .max_pixels = 10000,
                                          .batch_delay_ns = 60000000000};
    (void)state;
    sem_init(&done, 0, 0);
    assert_int_equal(batch_start(model, &options, &batch, &err), ERROR_NONE);
    draw(&pictures[0], 0);
    draw(&pictures[1], 1);
    struct job *first = new_job(batch, 1, &pictures[0], &done);
    struct job *second = new_job(batch, 1, &pictures[1], &done);
    submit(batch, first);
    submit(batch, second);
    sem_wait(&done); /* long before a minute is over: the batch is full */
    sem_wait(&done);
    assert_int_equal(first->images[0].batch_size, 2);
    batch_stop(batch);
    batch_job_free(first);
    batch_job_free(second);
}

static void a_stuck_worker_makes_no_progress(void **state)
{
    static struct picture picture;
    struct gate gate;
    (void)state;
    sem_init(&gate.reached, 0, 0);
    sem_init(&gate.go, 0, 0);
    struct batch *batch = start(1, 2, 3);
    draw(&picture, 1);
    while (!batch_progressed(batch)) /* an idle one wakes when it is asked */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    struct job *held = new_job(batch, 1, &picture, NULL);
    held->done = hold;
    held->context = &gate;
    submit(batch, held);
    sem_wait(&gate.reached);
    batch_progressed(batch);
    assert_false(batch_progressed(batch));
    assert_false(batch_progressed(batch));
    sem_post(&gate.go);
    while (!batch_progressed(batch))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    batch_stop(batch);
    batch_job_free(held);
}

static void stopping_an_idle_or_absent_queue_is_quiet(void **state)
{
    (void)state;
    batch_stop(NULL);
    batch_stop(start(2, 2, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_those_of_each_image),
        cmocka_unit_test(a_bad_image_spoils_no_other),
        cmocka_unit_test(an_input_may_come_prepared),
        cmocka_unit_test(a_job_of_bad_images_only_is_finished),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(a_free_worker_takes_what_is_ready_at_once),
        cmocka_unit_test(draining_finishes_what_was_accepted),
        cmocka_unit_test(many_threads_may_submit),
        cmocka_unit_test(a_large_request_does_not_hold_up_a_small_one),
        cmocka_unit_test(low_priority_waits_its_turn_and_no_longer),
        cmocka_unit_test(expired_and_abandoned_jobs_are_dropped),
        cmocka_unit_test(cancelling_drops_what_has_not_begun),
        cmocka_unit_test(a_delay_lets_a_batch_fill),
        cmocka_unit_test(a_stuck_worker_makes_no_progress),
        cmocka_unit_test(stopping_an_idle_or_absent_queue_is_quiet),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
