/* test_identical.c - the same image gives the same bits, whatever it is computed beside: 100 times
 * alone and 100 times in batches with other images. The bits are those of the Open Inference
 * Protocol's binary tensors, at fp32. */
#include "client.h"
#include "daemon.h"
#include "pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define TIMES  100
#define AROUND 4 /* in each mixed round: this many of the image, and of each other kind */
#define OTHERS 3

static struct daemon shared;
static struct picture picture, others[OTHERS];

static const char *const models[] = {"/v2/models/tiny_timm/infer", "/v2/models/tiny_timm_se/infer"};

static int start_all(void **state)
{
    /* A single worker that waits for more, so that what arrives together is computed together. */
    static const char *const options[] = {"--workers",   "1",           "--batch-delay-us",
                                          "5000",        "--max-batch", "7",
                                          "--log-level", "warn",        NULL};
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    picture = picture_file("tests/data/cat.jpg");
    others[0] = picture_file("tests/data/coffee.jpg");
    others[1] = picture_ppm(300, 200, 3);
    others[2] = picture_bmp(40, 60, 5);
    daemon_start(&shared, options);
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    daemon_stop(&shared);
    picture_free(&picture);
    for (size_t i = 0; i < OTHERS; i++)
        picture_free(&others[i]);
    curl_global_cleanup();
    return 0;
}

/* A bare image in, binary tensors out. */
static struct request ask(const char *path, const struct picture *image)
{
    return (struct request){.path = path,
                            .type = "",
                            .body = image->bytes,
                            .size = image->size,
                            .header = "Inference-Header-Content-Length: 0"};
}

/* What lies behind the answer's JSON. */
static const char *tensors(const struct answer *answer, size_t *size)
{
    assert_int_equal(answer->status, 200);
    const char *length = client_header(answer, "Inference-Header-Content-Length");
    assert_non_null(length);
    size_t json = strtoul(length, NULL, 10);
    assert_true(json < answer->size);
    *size = answer->size - json;
    return answer->body + json;
}

static void check_same(const struct answer *one, const struct answer *two)
{
    size_t size, other_size;
    const char *bits = tensors(one, &size), *other_bits = tensors(two, &other_size);
    assert_int_equal(size, other_size);
    assert_memory_equal(bits, other_bits, size);
}

/* Images that were computed in batches of more than one. */
static double batched(void)
{
    struct answer answer = client_get(&shared, "/metrics");
    double alone = -1, all = -1;
    assert_int_equal(answer.status, 200);
    const char *at = strstr(answer.body, "senetd_batch_size_bucket{le=\"1\"} ");
    if (at != NULL)
        alone = strtod(strchr(at, ' '), NULL);
    at = strstr(answer.body, "senetd_batch_size_count ");
    if (at != NULL)
        all = strtod(strchr(at, ' '), NULL);
    assert_true(alone >= 0 && all >= 0);
    client_free(&answer);
    return all - alone;
}

static void alone_and_in_company_the_bits_are_the_same(void **state)
{
    enum { ROUND = AROUND * (1 + OTHERS) };
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        const struct request request = ask(models[m], &picture);
        struct answer first = client_send(&shared, &request);
        for (size_t i = 1; i < TIMES; i++) {
            struct answer answer = client_send(&shared, &request);
            check_same(&first, &answer);
            client_free(&answer);
        }
        double before = batched();
        for (size_t i = 0; i < TIMES; i += AROUND) {
            struct request requests[ROUND];
            struct answer answers[ROUND];
            for (size_t j = 0; j < ROUND; j++)
                requests[j] = ask(models[m], j % (1 + OTHERS) == i / AROUND % (1 + OTHERS)
                                                 ? &picture
                                                 : &others[j % OTHERS]);
            client_send_all(&shared, requests, ROUND, answers);
            for (size_t j = 0; j < ROUND; j++) {
                if (requests[j].body == picture.bytes)
                    check_same(&first, &answers[j]);
                assert_int_equal(answers[j].status, 200);
                client_free(&answers[j]);
            }
        }
        assert_true(batched() > before);
        client_free(&first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_and_in_company_the_bits_are_the_same),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
