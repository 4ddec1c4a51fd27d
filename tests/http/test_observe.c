/* test_observe.c - what is told of excitations beyond their values: reference, drift, classes,
 * comparison, ablation.
 *
 * The photos are crops of those under tests/data; senetd profile makes the tiny model's reference
 * from some of them, and others are then sent.
 */
#include "client.h"
#include "crops.h"
#include "daemon.h"
#include "image.h"
#include "pictures.h"
#include "reference.h"
#include "senet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM = 40 };

static struct senet *model;
static const struct senet_info *info;
static struct daemon shared;

static int start(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    crops_make();
    if (senet_open(crops_path("model"), NULL, &model, NULL) != ERROR_NONE)
        return -1;
    info = senet_info(model);
    const char *const options[] = {"--weights", crops_path("model"), NULL};
    daemon_start(&shared, options);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&shared);
    senet_close(model);
    curl_global_cleanup();
    return crops_remove();
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = client_member(object, key);
    if (!json_is_number(value))
        fail_msg("%s is no number", key);
    return json_number_value(value);
}

static double element(const json_t *object, const char *key, size_t index)
{
    return json_number_value(json_array_get(client_member(object, key), index));
}

static struct answer get(const char *path)
{
    struct answer answer = client_get(&shared, path);
    if (answer.status != 200)
        fail_msg("%s: status %ld: %s", path, answer.status, answer.body);
    return answer;
}

/* ---- the reference -----------------------------------------------------------------------------
 */

static void the_reference_is_told(void **state)
{
    (void)state;
    struct reference *reference = crops_reference(model);
    struct answer all = get("/reference"), one = get("/reference?layer=2");
    assert_int_equal(number(all.json, "images"), CROPS_SAMPLE);
    assert_int_equal(json_array_size(client_member(all.json, "layers")), info->blocks);
    const json_t *layer = json_array_get(client_member(one.json, "layers"), 0);
    size_t offset = senet_block(model, 2)->offset;
    crops_near(element(layer, "mean", 5), (double)reference->mean[offset + 5], 1e-6);
    crops_near(element(layer, "std", 5), (double)reference->std[offset + 5], 1e-6);
    assert_int_equal(json_array_size(client_member(layer, "quantiles")), REFERENCE_LEVELS);
    const json_t *classes = client_member(layer, "classes");
    assert_int_equal(json_array_size(classes), 2);
    assert_int_equal(number(json_array_get(classes, 1), "index"), 10);
    client_free(&all);
    client_free(&one);
    reference_free(reference);
}

/* The z-scores of a block's gates[channels] that an object tells. */
static void check_scores(const json_t *layer, const struct senet_block *block, const float *gates,
                         const struct reference *reference)
{
    double squares = 0;
    for (size_t i = 0; i < block->channels; i++) {
        size_t g = block->offset + i;
        double z =
            ((double)gates[i] - (double)reference->mean[g]) / fmax((double)reference->std[g], 0.01);
        crops_near(element(layer, "z", i), z, 1e-3);
        squares += z * z / (double)block->channels;
    }
    crops_near(number(layer, "distance"), sqrt(squares), 1e-3);
}

/* /se-weights, of the photo sent and of the request remembered. */
static void check_relative_of_one_block(const struct picture *picture,
                                        const struct expected *expected,
                                        const struct reference *reference)
{
    const struct senet_block *block = senet_block(model, 2);
    char path[256];
    struct answer answer =
        client_post(&shared, "/se-weights?layer=2&relative=1", picture->bytes, picture->size);
    assert_int_equal(answer.status, 200);
    const json_t *result = json_array_get(client_member(answer.json, "results"), 0);
    check_scores(json_array_get(client_member(result, "excitations"), 0), block,
                 expected->excitations + block->offset, reference);
    snprintf(path, sizeof path, "/se-weights?layer=2&relative=1&id=%s",
             client_header(&answer, "X-Request-Id"));
    client_free(&answer);
    answer = get(path);
    const json_t *kept = json_array_get(client_member(answer.json, "images"), 0);
    check_scores(json_array_get(client_member(kept, "excitations"), 0), block,
                 expected->excitations + block->offset, reference);
    client_free(&answer);
}

/* Of the means over the photos served: all, and those of one predicted class. */
static void running_means_are_told_relative_to_it(void **state)
{
    float means[512];
    struct senet_top top;
    (void)state;
    const struct senet_block *block = senet_block(model, 2);
    struct reference *reference = crops_reference(model);
    struct picture picture = crops_picture(500, COLOUR);
    struct expected expected = picture_expected(model, &picture);
    senet_top_k(expected.logits, info->classes, 1, &top);
    struct answer answer = client_post(&shared, "/classify", picture.bytes, picture.size);
    assert_int_equal(answer.status, 200);
    client_free(&answer);
    for (size_t of_class = 0; of_class < 2; of_class++) {
        char path[128] = "/se-weights?layer=2&relative=1";
        if (of_class)
            snprintf(path, sizeof path, "/se-weights?layer=2&relative=1&class=%zu", top.index);
        answer = get(path);
        for (size_t i = 0; i < block->channels; i++)
            means[i] = (float)element(answer.json, "mean", i);
        check_scores(answer.json, block, means, reference);
        client_free(&answer);
    }
    picture_expected_free(&expected);
    picture_free(&picture);
    reference_free(reference);
}

static void gates_are_told_relative_to_it(void **state)
{
    (void)state;
    struct reference *reference = crops_reference(model);
    struct picture picture = crops_picture(500, COLOUR);
    struct expected expected = picture_expected(model, &picture);
    struct answer answer =
        client_post(&shared, "/classify?relative=1&layers=3", picture.bytes, picture.size);
    assert_int_equal(answer.status, 200);
    const json_t *result = json_array_get(client_member(answer.json, "results"), 0);
    const json_t *layer = json_array_get(client_member(result, "excitations"), 0);
    const struct senet_block *block = senet_block(model, 3);
    check_scores(layer, block, expected.excitations + block->offset, reference);
    client_free(&answer);
    check_relative_of_one_block(&picture, &expected, reference);
    picture_expected_free(&expected);
    picture_free(&picture);
    reference_free(reference);
}

/* ---- a model without a reference ---------------------------------------------------------------
 */

static void without_a_reference_it_is_said(void **state)
{
    struct daemon plain;
    (void)state;
    daemon_start(&plain, NULL);
    static const char *const paths[] = {"/classify?relative=1", "/explain?mode=mean",
                                        "/explain?block=1&channels=3"};
    for (size_t i = 0; i < 3; i++) {
        struct picture picture = crops_picture(1, COLOUR);
        struct answer answer = client_post(&plain, paths[i], picture.bytes, picture.size);
        client_check_problem(&answer, 404, "senetd profile");
        client_free(&answer);
        picture_free(&picture);
    }
    struct answer answer = client_get(&plain, "/reference");
    client_check_problem(&answer, 404, "senetd profile");
    client_free(&answer);
    answer = client_get(&plain, "/metrics");
    assert_null(strstr(answer.body, "senetd_se_drift"));
    client_free(&answer);
    daemon_stop(&plain);
}

/* ---- ablation ----------------------------------------------------------------------------------
 */

/* Logits of a picture with one block's gates replaced, by the library. */
static void ablate(const struct picture *picture, const struct senet_ablation *ablation,
                   float logits[22])
{
    struct image pixels;
    struct senet_context *context;
    const struct preprocess *p = &info->preprocess;
    float *input = calloc(3 * p->height * p->width, sizeof *input);
    assert_non_null(input);
    assert_int_equal(image_decode(picture->bytes, picture->size,
                                  &(struct image_options){.max_pixels = 1 << 20}, &pixels, NULL),
                     0);
    assert_int_equal(image_preprocess(&pixels, p, input, NULL), 0);
    assert_int_equal(senet_context_new(model, 1, p->height, p->width, &context, NULL), 0);
    senet_run_ablated(context, input, ablation, 1, logits, NULL);
    senet_context_free(context);
    image_free(&pixels);
    free(input);
}

static struct answer explain(const char *query, const struct picture *picture)
{
    char path[128];
    snprintf(path, sizeof path, "/explain%s", query);
    const struct part part = {"image", "x.ppm", picture->bytes, picture->size};
    return client_form(&shared, path, &part, 1);
}

static void explain_tells_what_each_block_is_worth(void **state)
{
    static const float zeros[512];
    (void)state;
    struct reference *reference = crops_reference(model);
    struct picture picture = crops_picture(7, COLOUR);
    static const char *const queries[] = {"", "?mode=zero", "?mode=mean", "?value=0"};
    for (size_t q = 0; q < 4; q++) {
        struct answer answer = explain(queries[q], &picture);
        assert_int_equal(answer.status, 200);
        const json_t *blocks = client_member(answer.json, "blocks");
        size_t top =
            (size_t)number(json_array_get(client_member(answer.json, "top_k"), 0), "index");
        assert_int_equal(json_array_size(blocks), info->blocks);
        for (size_t b = 0; b < info->blocks; b++) {
            float logits[22];
            struct senet_ablation ablation = {b, q == 0   ? NULL
                                                 : q == 2 ? reference->mean +
                                                                senet_block(model, b)->offset
                                                          : zeros};
            ablate(&picture, &ablation, logits);
            const json_t *row = json_array_get(blocks, b);
            crops_near(number(row, "logit_change"), (double)(logits[11 + top] - logits[top]), 1e-4);
            struct senet_top after;
            senet_top_k(logits + 11, 11, 1, &after);
            assert_true(json_is_boolean(client_member(row, "top1_changed")));
            assert_int_equal(json_is_true(client_member(row, "top1_changed")), after.index != top);
            double variation = number(row, "total_variation");
            assert_true(variation >= fabs(number(row, "probability_change")) - 1e-6 &&
                        variation <= 1);
        }
        client_free(&answer);
    }
    picture_free(&picture);
    reference_free(reference);
}

static void explain_finds_the_gates_that_matter(void **state)
{
    (void)state;
    struct reference *reference = crops_reference(model);
    struct picture picture = crops_picture(8, COLOUR);
    struct expected expected = picture_expected(model, &picture);
    struct answer answer = explain("?block=layer4.0&channels=5", &picture);
    assert_int_equal(answer.status, 200);
    const json_t *channels = client_member(answer.json, "channels");
    size_t layer = info->blocks - 1, count = senet_block(model, layer)->channels;
    size_t top = (size_t)number(json_array_get(client_member(answer.json, "top_k"), 0), "index");
    /* Nothing runs after the last block, so all its gates are measured. */
    assert_int_equal(number(channels, "measured"), count);
    assert_int_equal(json_array_size(client_member(channels, "groups")), 16);
    const json_t *gates = client_member(channels, "gates");
    assert_int_equal(json_array_size(gates), 5);
    float *replaced = calloc(count, sizeof *replaced);
    assert_non_null(replaced);
    double least = INFINITY, largest = 0;
    for (size_t i = 0; i < 5; i++) {
        double change = fabs(number(json_array_get(gates, i), "logit_change"));
        assert_true(change <= least);
        least = change;
    }
    for (size_t c = 0; c < count; c++) { /* none is larger than the first */
        size_t offset = senet_block(model, layer)->offset;
        float logits[22];
        memcpy(replaced, expected.excitations + offset, count * sizeof *replaced);
        replaced[c] = reference->mean[offset + c];
        const struct senet_ablation ablation = {layer, replaced};
        ablate(&picture, &ablation, logits);
        largest = fmax(largest, fabs((double)(logits[11 + top] - logits[top])));
    }
    crops_near(fabs(number(json_array_get(gates, 0), "logit_change")), largest, 1e-4);
    free(replaced);
    client_free(&answer);
    picture_expected_free(&expected);
    picture_free(&picture);
    reference_free(reference);
}

static void faults_of_an_explanation_are_told(void **state)
{
    (void)state;
    struct picture picture = crops_picture(1, COLOUR);
    static const struct {
        const char *query, *detail;
    } faults[] = {
        {"?mode=none", "expected identity, mean or zero"},
        {"?value=-1", "expected a number of 0 to 10"},
        {"?value=nan", "expected a number of 0 to 10"},
        {"?value=1&mode=zero", "both given"},
        {"?block=9", "no layer '9'"},
        {"?channels=3", "channels needs one block"},
        {"?block=1&channels=65", "expected 1 to 64"},
        {"?layer=1", "unknown query key"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct answer answer = explain(faults[i].query, &picture);
        client_check_problem(&answer, 400, faults[i].detail);
        client_free(&answer);
    }
    const struct part parts[] = {{"a", "a.ppm", picture.bytes, picture.size},
                                 {"b", "b.ppm", picture.bytes, picture.size}};
    struct answer answer = client_form(&shared, "/explain", parts, 2);
    client_check_problem(&answer, 400, "expected one");
    client_free(&answer);
    answer = client_post(&shared, "/explain", "no image", 8);
    client_check_problem(&answer, 415, "");
    client_free(&answer);
    picture_free(&picture);
}

/* Explanations among classifications: each gets its own. */
static void explanations_share_the_queue(void **state)
{
    enum { COUNT = 24 };
    struct request requests[COUNT];
    struct answer answers[COUNT];
    (void)state;
    struct picture picture = crops_picture(3, COLOUR);
    for (size_t i = 0; i < COUNT; i++)
        requests[i] =
            (struct request){.path = i % 3 ? "/classify?excitations=none" : "/explain?mode=zero",
                             .body = picture.bytes,
                             .size = picture.size};
    client_send_all(&shared, requests, COUNT, answers);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(answers[i].status, 200);
        assert_int_equal(json_object_get(answers[i].json, "blocks") != NULL, i % 3 == 0);
        if (i >= 3)
            assert_true(json_equal(
                json_object_get(answers[i].json, i % 3 ? "results" : "blocks"),
                json_object_get(answers[i % 3 ? 1 : 0].json, i % 3 ? "results" : "blocks")));
    }
    for (size_t i = 0; i < COUNT; i++)
        client_free(&answers[i]);
    picture_free(&picture);
}

/* More at once than may be in flight: every one is answered or refused, and then there is room. */
static void explanations_are_bounded(void **state)
{
    enum { COUNT = 48 };
    struct request requests[COUNT];
    struct answer answers[COUNT];
    size_t answered = 0;
    (void)state;
    struct picture picture = crops_picture(4, COLOUR);
    for (size_t i = 0; i < COUNT; i++)
        requests[i] = (struct request){
            .path = "/explain?block=0&channels=9", .body = picture.bytes, .size = picture.size};
    client_send_all(&shared, requests, COUNT, answers);
    for (size_t i = 0; i < COUNT; i++) {
        if (answers[i].status == 200)
            answered++;
        else
            client_check_problem(&answers[i], 503, "explanations are being made already");
        client_free(&answers[i]);
    }
    assert_true(answered >= 8);
    for (size_t i = 0; i < 20; i++) { /* what was refused or done holds no place */
        struct answer answer = explain("", &picture);
        assert_int_equal(answer.status, 200);
        client_free(&answer);
    }
    picture_free(&picture);
}

/* ---- comparison --------------------------------------------------------------------------------
 */

static void compare_tells_where_images_differ(void **state)
{
    (void)state;
    struct reference *reference = crops_reference(model);
    struct picture one = crops_picture(1, COLOUR), two = crops_picture(2, GRAY);
    struct expected a = picture_expected(model, &one), b = picture_expected(model, &two);
    const struct part parts[] = {{"a", "a.ppm", one.bytes, one.size},
                                 {"b", "b.txt", "no image", 8},
                                 {"c", "c.ppm", two.bytes, two.size}};
    struct answer answer = client_form(&shared, "/compare?channels=3", parts, 3);
    assert_int_equal(answer.status, 200);
    const json_t *images = client_member(answer.json, "images");
    assert_int_equal(json_array_size(images), 3);
    assert_non_null(json_object_get(json_array_get(images, 1), "error"));
    const json_t *timing = client_member(answer.json, "timing_ms");
    assert_true(number(timing, "inference") > 0);
    assert_true(number(timing, "inference") <= number(timing, "total"));
    const json_t *layers = client_member(answer.json, "layers");
    assert_int_equal(json_array_size(layers), info->blocks);
    for (size_t l = 0; l < info->blocks; l++) {
        const struct senet_block *block = senet_block(model, l);
        const json_t *row = json_array_get(layers, l), *distance = client_member(row, "distance");
        double squares = 0, most = 0;
        for (size_t i = 0; i < block->channels; i++) {
            size_t g = block->offset + i;
            double difference = (double)(a.excitations[g] - b.excitations[g]) /
                                fmax((double)reference->std[g], 0.01);
            squares += difference * difference / (double)block->channels;
            most = fmax(most, fabs(difference));
        }
        crops_near(json_number_value(json_array_get(json_array_get(distance, 0), 2)), sqrt(squares),
                   1e-3);
        crops_near(json_number_value(json_array_get(json_array_get(distance, 2), 2)), 0, 0);
        assert_true(json_is_null(json_array_get(json_array_get(distance, 0), 1)));
        const json_t *first = json_array_get(client_member(row, "differ_most"), 0);
        crops_near(number(first, "spread"), most, 1e-3);
        assert_int_equal(json_array_size(client_member(row, "differ_most")), 3);
    }
    client_free(&answer);
    answer = client_form(&shared, "/compare", parts, 1);
    client_check_problem(&answer, 400, "expected 2 to 16");
    client_free(&answer);
    answer = client_form(&shared, "/compare", parts, 2);
    client_check_problem(&answer, 415, "image 1: ");
    client_free(&answer);
    picture_expected_free(&a);
    picture_expected_free(&b);
    picture_free(&one);
    picture_free(&two);
    reference_free(reference);
}

/* ---- the stream --------------------------------------------------------------------------------
 */

static void send_stream(struct daemon *daemon, size_t first, enum crops_look look)
{
    for (size_t i = first; i < first + STREAM; i++) {
        struct picture picture = crops_picture(i, look);
        struct answer answer =
            client_post(daemon, "/classify?excitations=none", picture.bytes, picture.size);
        assert_int_equal(answer.status, 200);
        client_free(&answer);
        picture_free(&picture);
    }
}

/* Root mean square of the blocks' drifts in /metrics. */
static double drift(struct daemon *daemon)
{
    struct answer metrics = client_get(daemon, "/metrics");
    double squares = 0;
    size_t found = 0;
    for (const char *at = metrics.body; (at = strstr(at, "\nsenetd_se_drift{block=")) != NULL;) {
        at = strchr(at, '}') + 1;
        squares += pow(strtod(at, NULL), 2);
        found++;
    }
    client_free(&metrics);
    assert_int_equal(found, info->blocks);
    return sqrt(squares / (double)found);
}

static void drift_rises_with_what_is_no_photo(void **state)
{
    double values[3];
    (void)state;
    for (enum crops_look look = COLOUR; look <= NOISE; look++) {
        struct daemon daemon;
        const char *const options[] = {"--weights", crops_path("model"), NULL};
        daemon_start(&daemon, options);
        send_stream(&daemon, 1000, look);
        values[look] = drift(&daemon);
        daemon_stop(&daemon);
    }
    print_message("    drift: photos %.3g, gray %.3g, noise %.3g\n", values[COLOUR], values[GRAY],
                  values[NOISE]);
    assert_true(values[COLOUR] < 0.3);
    assert_true(values[GRAY] > 2 * values[COLOUR]);
    assert_true(values[NOISE] > 5 * values[COLOUR]);
}

static void classes_have_statistics_of_their_own(void **state)
{
    struct daemon daemon;
    double sums[11][48] = {{0}}, squares[11][48] = {{0}};
    size_t images[11] = {0};
    (void)state;
    daemon_start(&daemon, NULL);
    const struct senet_block *block = senet_block(model, 2);
    for (size_t i = 0; i < 30; i++) {
        struct picture picture = crops_picture(i, (enum crops_look)(i % 3));
        struct expected expected = picture_expected(model, &picture);
        struct senet_top top;
        senet_top_k(expected.logits, 11, 1, &top);
        images[top.index]++;
        for (size_t c = 0; c < 48; c++) {
            double gate = (double)expected.excitations[block->offset + c];
            sums[top.index][c] += gate;
            squares[top.index][c] += gate * gate;
        }
        struct answer answer = client_post(&daemon, "/classify", picture.bytes, picture.size);
        assert_int_equal(answer.status, 200);
        client_free(&answer);
        picture_expected_free(&expected);
        picture_free(&picture);
    }
    for (size_t class = 0; class < 11; class ++) {
        char path[64];
        snprintf(path, sizeof path, "/se-weights?layer=2&class=%s", senet_label(model, class));
        struct answer answer = client_get(&daemon, path);
        if (images[class] == 0) {
            client_check_problem(&answer, 404, "no statistics of the class");
        } else {
            assert_int_equal(number(answer.json, "images"), images[class]);
            for (size_t c = 0; c < 48; c++) {
                double mean = sums[class][c] / (double)images[class];
                double variance = squares[class][c] / (double)images[class] - mean * mean;
                crops_near(element(answer.json, "mean", c), mean, 1e-4);
                crops_near(element(answer.json, "std", c), sqrt(fmax(variance, 0)), 1e-3);
            }
        }
        client_free(&answer);
    }
    static const struct {
        const char *path, *detail;
    } faults[] = {{"/se-weights?class=apple", "class needs layer"},
                  {"/se-weights?layer=0&class=apple&id=x", "does not go with id"},
                  {"/se-weights?layer=0&class=pear", "no class 'pear'"},
                  {"/se-weights?layer=0&class=11", "no class '11'"},
                  {"/se-weights?layer=0&relative=2", "expected 0 or 1"}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct answer answer = client_get(&daemon, faults[i].path);
        client_check_problem(&answer, 400, faults[i].detail);
        client_free(&answer);
    }
    daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_is_told),
        cmocka_unit_test(gates_are_told_relative_to_it),
        cmocka_unit_test(running_means_are_told_relative_to_it),
        cmocka_unit_test(without_a_reference_it_is_said),
        cmocka_unit_test(explain_tells_what_each_block_is_worth),
        cmocka_unit_test(explain_finds_the_gates_that_matter),
        cmocka_unit_test(faults_of_an_explanation_are_told),
        cmocka_unit_test(explanations_share_the_queue),
        cmocka_unit_test(explanations_are_bounded),
        cmocka_unit_test(compare_tells_where_images_differ),
        cmocka_unit_test(drift_rises_with_what_is_no_photo),
        cmocka_unit_test(classes_have_statistics_of_their_own),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
