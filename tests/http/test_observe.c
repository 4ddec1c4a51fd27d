/* test_observe.c - what is told of excitations beyond their values: reference, drift, classes,
 * comparison, ablation; and the commands that make the reference and the figures.
 *
 * The photos are crops of those under tests/data; senetd profile makes the tiny model's reference
 * from some of them, and others are then sent.
 */
#include "client.h"
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
#include <sys/stat.h>
#include <unistd.h>

enum { SIDE = 120, SAMPLE = 60, STREAM = 40 };

static char folder[] = "/tmp/senetd-observe-XXXXXX";
static struct senet *model;
static const struct senet_info *info;
static struct daemon shared;

static char *path_of(const char *name)
{
    static char paths[8][256];
    static size_t next;
    char *path = paths[next++ % 8];
    snprintf(path, 256, "%s/%s", folder, name);
    return path;
}

enum look { COLOUR, GRAY, NOISE };

/* The number-th crop of the photos, in that look, as a PPM. */
static struct picture crop(size_t number, enum look look)
{
    static const char *const files[] = {"cat", "coffee", "rocket"};
    static struct image photos[3];
    struct picture out = {.bytes = malloc(64 + 3 * SIDE * SIDE)};
    size_t which = number % 3;
    if (photos[which].pixels == NULL) {
        char path[64];
        struct error err = {0};
        snprintf(path, sizeof path, "tests/data/%s.jpg", files[which]);
        struct picture file = picture_file(path);
        if (image_decode(file.bytes, file.size, &(struct image_options){.max_pixels = 1 << 24},
                         &photos[which], &err) != ERROR_NONE)
            fail_msg("%s", err.message);
        picture_free(&file);
    }
    const struct image *photo = &photos[which];
    size_t x0 = number * 7919 % (photo->width - SIDE),
           y0 = number * 104729 % (photo->height - SIDE);
    uint32_t seed = (uint32_t)number + 1;
    out.size = (size_t)snprintf((char *)out.bytes, 64, "P6 %d %d 255\n", SIDE, SIDE);
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        const uint8_t *at = photo->pixels + 3 * ((y0 + i / SIDE) * photo->width + x0 + i % SIDE);
        for (size_t c = 0; c < 3; c++) {
            seed = seed * 1664525 + 1013904223;
            out.bytes[out.size++] = look == COLOUR ? at[c]
                                    : look == GRAY ? (uint8_t)((at[0] + at[1] + at[2]) / 3)
                                                   : (uint8_t)(seed >> 24);
        }
    }
    return out;
}

static void write_picture(const char *path, const struct picture *picture)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(picture->bytes, 1, picture->size, file), picture->size);
    fclose(file);
}

static void copy(const char *from, const char *to)
{
    struct picture bytes = picture_file(from);
    write_picture(to, &bytes);
    picture_free(&bytes);
}

static int start(void **state)
{
    (void)state;
    char out[256];
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (mkdtemp(folder) == NULL)
        return -1;
    mkdir(path_of("model"), 0755);
    copy(TINY_MODEL "/model.safetensors", path_of("model/model.safetensors"));
    copy(TINY_MODEL "/config.json", path_of("model/config.json"));
    copy(TINY_MODEL "/labels.txt", path_of("model/labels.txt"));
    mkdir(path_of("photos"), 0755);
    mkdir(path_of("photos/Apple"), 0755);
    mkdir(path_of("photos/kiwi"), 0755);
    for (size_t i = 0; i < SAMPLE; i++) {
        char name[64];
        snprintf(name, sizeof name, "photos/%s/%02zu.ppm", i % 4 ? "Apple" : "kiwi", i);
        struct picture picture = crop(i, COLOUR);
        write_picture(path_of(name), &picture);
        picture_free(&picture);
    }
    const char *const arguments[] = {"senetd",         "profile",  "--weights",
                                     path_of("model"), "--images", path_of("photos"),
                                     "--source",       "crops",    NULL};
    assert_int_equal(daemon_run(arguments, out, sizeof out), 0);
    if (senet_open(path_of("model"), NULL, &model, NULL) != ERROR_NONE)
        return -1;
    info = senet_info(model);
    const char *const options[] = {"--weights", path_of("model"), NULL};
    daemon_start(&shared, options);
    return 0;
}

static int stop(void **state)
{
    char command[300];
    (void)state;
    daemon_stop(&shared);
    senet_close(model);
    curl_global_cleanup();
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
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

static void check_near(double value, double expected, double absolute)
{
    if (!(fabs(value - expected) <= 2e-4 * fabs(expected) + absolute))
        fail_msg("%.9g, expected %.9g", value, expected);
}

static struct answer get(const char *path)
{
    struct answer answer = client_get(&shared, path);
    if (answer.status != 200)
        fail_msg("%s: status %ld: %s", path, answer.status, answer.body);
    return answer;
}

static struct reference *read_reference(void)
{
    struct reference *reference;
    struct error err = {0};
    char *path = path_of("model/" REFERENCE_FILE);
    if (reference_read(path, model, &reference, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return reference;
}

/* ---- the reference -----------------------------------------------------------------------------
 */

static void profile_agrees_with_plain_sums(void **state)
{
    enum { GATES = 384 };
    static double values[SAMPLE][GATES];
    (void)state;
    assert_int_equal(info->excitation_floats, GATES);
    for (size_t i = 0; i < SAMPLE; i++) {
        struct picture picture = crop(i, COLOUR);
        struct expected expected = picture_expected(model, &picture);
        for (size_t g = 0; g < GATES; g++)
            values[i][g] = (double)expected.excitations[g];
        picture_expected_free(&expected);
        picture_free(&picture);
    }
    struct reference *reference = read_reference();
    assert_int_equal(reference->images, SAMPLE);
    assert_string_equal(reference->source, "crops");
    assert_string_equal(reference->grouping, "folder");
    assert_true(reference->class_images[0] == SAMPLE / 4 * 3);
    assert_true(reference->class_images[10] == SAMPLE / 4);
    for (size_t g = 0; g < GATES; g++) {
        double mean = 0, squares = 0, kiwi = 0;
        size_t under = 0;
        for (size_t i = 0; i < SAMPLE; i++) {
            mean += values[i][g] / SAMPLE;
            kiwi += i % 4 ? 0 : values[i][g] / (SAMPLE / 4);
        }
        for (size_t i = 0; i < SAMPLE; i++) {
            squares += pow(values[i][g] - mean, 2) / SAMPLE;
            under += values[i][g] <= (double)reference->quantiles[2 * GATES + g] + 1.0 / 256;
        }
        check_near((double)reference->mean[g], mean, 1e-5);
        check_near((double)reference->std[g], sqrt(squares), 1e-5);
        assert_true(under >= SAMPLE / 2);
        const struct senet_block *first = senet_block(model, 0);
        if (g < first->channels) {
            float *rows = calloc(2 * info->classes * first->channels, sizeof *rows);
            assert_non_null(rows);
            assert_int_equal(reference_read_class(reference, model, 0, rows,
                                                  rows + info->classes * first->channels, NULL),
                             ERROR_NONE);
            check_near((double)rows[10 * first->channels + g], kiwi, 1e-3);
            free(rows);
        }
    }
    reference_free(reference);
}

/* The statistics; the metadata before them differs by the source's name. */
static void check_same_statistics(const char *path)
{
    struct picture a = picture_file(path), b = picture_file(path_of("model/" REFERENCE_FILE));
    assert_true(a.size > 20000 && b.size > 20000);
    assert_memory_equal(a.bytes + a.size - 20000, b.bytes + b.size - 20000, 20000);
    picture_free(&a);
    picture_free(&b);
}

static void a_partial_file_of_another_profile_is_not_used(void **state)
{
    char out[64];
    (void)state;
    struct picture junk = {(uint8_t *)strdup("no profile"), 10};
    write_picture(path_of("again.safetensors.partial"), &junk);
    picture_free(&junk);
    const char *const arguments[] = {
        "senetd",   "profile",         "--weights", path_of("model"),
        "--images", path_of("photos"), "-o",        path_of("again.safetensors"),
        NULL};
    assert_int_equal(daemon_run(arguments, out, sizeof out), 0);
    assert_int_equal(access(path_of("again.safetensors.partial"), F_OK), -1);
    check_same_statistics(path_of("again.safetensors"));
    const char *const none[] = {"senetd", "profile", "--images", "/nonexistent", NULL};
    assert_int_equal(daemon_run(none, out, sizeof out), 1);
}

static size_t occurrences(const char *path, const char *text)
{
    struct picture file = picture_file(path);
    size_t found = 0;
    char *log = calloc(1, file.size + 1);
    assert_non_null(log);
    memcpy(log, file.bytes, file.size);
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        found++;
    free(log);
    picture_free(&file);
    return found;
}

/* Interrupted again and again, after ever longer times, it ends with what it gives in one go. */
static void profile_goes_on_where_it_was(void **state)
{
    const char *build = getenv("BUILD_DIR");
    bool ended = false;
    (void)state;
    for (size_t i = 1; i <= 200 && !ended; i++) {
        char command[1024];
        snprintf(command, sizeof command,
                 "timeout -s INT %.2f %s/senetd profile --weights %s --images %s -o %s "
                 "--max-images 1 --workers 1 2>>%s",
                 0.03 * (double)i, build != NULL ? build : "build", path_of("model"),
                 path_of("photos"), path_of("resumed.safetensors"), path_of("log"));
        ended = system(command) == 0;
    }
    assert_true(ended);
    assert_true(occurrences(path_of("log"), "the same command goes on from there") > 0);
    assert_true(occurrences(path_of("log"), "going on after") > 0);
    check_same_statistics(path_of("resumed.safetensors"));
}

static void the_reference_is_told(void **state)
{
    (void)state;
    struct reference *reference = read_reference();
    struct answer all = get("/reference"), one = get("/reference?layer=2");
    assert_int_equal(number(all.json, "images"), SAMPLE);
    assert_int_equal(json_array_size(client_member(all.json, "layers")), info->blocks);
    const json_t *layer = json_array_get(client_member(one.json, "layers"), 0);
    size_t offset = senet_block(model, 2)->offset;
    check_near(element(layer, "mean", 5), (double)reference->mean[offset + 5], 1e-6);
    check_near(element(layer, "std", 5), (double)reference->std[offset + 5], 1e-6);
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
        check_near(element(layer, "z", i), z, 1e-3);
        squares += z * z / (double)block->channels;
    }
    check_near(number(layer, "distance"), sqrt(squares), 1e-3);
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
    struct reference *reference = read_reference();
    struct picture picture = crop(500, COLOUR);
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
    struct reference *reference = read_reference();
    struct picture picture = crop(500, COLOUR);
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
        struct picture picture = crop(1, COLOUR);
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
    struct reference *reference = read_reference();
    struct picture picture = crop(7, COLOUR);
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
            check_near(number(row, "logit_change"), (double)(logits[11 + top] - logits[top]), 1e-4);
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
    struct reference *reference = read_reference();
    struct picture picture = crop(8, COLOUR);
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
    check_near(fabs(number(json_array_get(gates, 0), "logit_change")), largest, 1e-4);
    free(replaced);
    client_free(&answer);
    picture_expected_free(&expected);
    picture_free(&picture);
    reference_free(reference);
}

static void faults_of_an_explanation_are_told(void **state)
{
    (void)state;
    struct picture picture = crop(1, COLOUR);
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
    struct picture picture = crop(3, COLOUR);
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
    struct picture picture = crop(4, COLOUR);
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
    struct reference *reference = read_reference();
    struct picture one = crop(1, COLOUR), two = crop(2, GRAY);
    struct expected a = picture_expected(model, &one), b = picture_expected(model, &two);
    const struct part parts[] = {{"a", "a.ppm", one.bytes, one.size},
                                 {"b", "b.txt", "no image", 8},
                                 {"c", "c.ppm", two.bytes, two.size}};
    struct answer answer = client_form(&shared, "/compare?channels=3", parts, 3);
    assert_int_equal(answer.status, 200);
    const json_t *images = client_member(answer.json, "images");
    assert_int_equal(json_array_size(images), 3);
    assert_non_null(json_object_get(json_array_get(images, 1), "error"));
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
        check_near(json_number_value(json_array_get(json_array_get(distance, 0), 2)), sqrt(squares),
                   1e-3);
        check_near(json_number_value(json_array_get(json_array_get(distance, 2), 2)), 0, 0);
        assert_true(json_is_null(json_array_get(json_array_get(distance, 0), 1)));
        const json_t *first = json_array_get(client_member(row, "differ_most"), 0);
        check_near(number(first, "spread"), most, 1e-3);
        assert_int_equal(json_array_size(client_member(row, "differ_most")), 3);
    }
    client_free(&answer);
    answer = client_form(&shared, "/compare", parts, 1);
    client_check_problem(&answer, 400, "expected 2 to 16");
    client_free(&answer);
    answer = client_form(&shared, "/compare", parts, 2);
    client_check_problem(&answer, 415, "");
    client_free(&answer);
    picture_expected_free(&a);
    picture_expected_free(&b);
    picture_free(&one);
    picture_free(&two);
    reference_free(reference);
}

/* ---- the stream --------------------------------------------------------------------------------
 */

static void send_stream(struct daemon *daemon, size_t first, enum look look)
{
    for (size_t i = first; i < first + STREAM; i++) {
        struct picture picture = crop(i, look);
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
    for (enum look look = COLOUR; look <= NOISE; look++) {
        struct daemon daemon;
        const char *const options[] = {"--weights", path_of("model"), NULL};
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
        struct picture picture = crop(i, (enum look)(i % 3));
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
                check_near(element(answer.json, "mean", c), mean, 1e-4);
                check_near(element(answer.json, "std", c), sqrt(fmax(variance, 0)), 1e-3);
            }
        }
        client_free(&answer);
    }
    static const struct {
        const char *path, *detail;
    } faults[] = {{"/se-weights?class=apple", "class needs layer"},
                  {"/se-weights?layer=0&class=pear", "no class 'pear'"},
                  {"/se-weights?layer=0&class=11", "no class '11'"},
                  {"/se-weights?layer=0&relative=2", "expected 0 or 1"}};
    for (size_t i = 0; i < 4; i++) {
        struct answer answer = client_get(&daemon, faults[i].path);
        client_check_problem(&answer, 400, faults[i].detail);
        client_free(&answer);
    }
    daemon_stop(&daemon);
}

/* ---- figures -----------------------------------------------------------------------------------
 */

static void figures_are_drawn(void **state)
{
    char out[64];
    (void)state;
    const char *const portrait[] = {
        "senetd",           "plot", "--weights", path_of("model"), "tests/data/cat.jpg", "-o",
        path_of("cat.svg"), NULL};
    assert_int_equal(daemon_run(portrait, out, sizeof out), 0);
    struct picture svg = picture_file(path_of("cat.svg"));
    assert_memory_equal(svg.bytes, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39);
    assert_memory_equal(svg.bytes + svg.size - 7, "</svg>\n", 7);
    picture_free(&svg);
    char *photos = path_of("photos"), *roles_path = path_of("roles.svg");
    const char *const roles[] = {"senetd",   "plot",    "--classes", photos, "-o",
                                 roles_path, "--limit", "3",         NULL};
    assert_int_equal(daemon_run(roles, out, sizeof out), 0);
    svg = picture_file(path_of("roles.svg"));
    char *text = calloc(1, svg.size + 1);
    assert_non_null(text);
    memcpy(text, svg.bytes, svg.size);
    assert_non_null(strstr(text, ">kiwi</text>"));
    assert_non_null(strstr(text, "over 6 photos"));
    assert_non_null(strstr(text, "<g id=\"layer4.0\">"));
    assert_non_null(strstr(text, info->sha256));
    free(text);
    picture_free(&svg);
    const char *const bad[] = {"senetd", "plot", "/dev/null", "-o", path_of("x.svg"), NULL};
    assert_int_equal(daemon_run(bad, out, sizeof out), 1);
    const char *const unwritable[] = {"senetd", "plot",           "tests/data/cat.jpg",
                                      "-o",     "/nonexistent/x", NULL};
    assert_int_equal(daemon_run(unwritable, out, sizeof out), 1);
    const char *const two[] = {"senetd", "plot", "a", "b", "-o", "x", NULL};
    assert_int_equal(daemon_run(two, out, sizeof out), 2);
}

/* A command's exit status; its stderr is added to the log. */
static int run_logged(const char *environment, const char *arguments)
{
    const char *build = getenv("BUILD_DIR");
    char command[1024];
    snprintf(command, sizeof command, "%s %s/senetd %s 2>>%s", environment,
             build != NULL ? build : "build", arguments, path_of("log"));
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static size_t width_of(const struct picture *svg)
{
    char head[512] = "";
    memcpy(head, svg->bytes, svg->size < 511 ? svg->size : 511);
    const char *width = strstr(head, " width=\"");
    assert_non_null(width);
    return strtoul(width + 8, NULL, 10);
}

/* Where the renderer is installed; and where it is not, that is said before any work. */
static void figures_become_pictures(void **state)
{
    char arguments[512];
    struct image image;
    struct error err = {0};
    (void)state;
    snprintf(arguments, sizeof arguments, "plot --weights %s tests/data/cat.jpg -o %s",
             path_of("model"), path_of("cat.png"));
    assert_int_equal(run_logged("PATH=/nonexistent", arguments), 1);
    assert_int_equal(occurrences(path_of("log"), "apt-get install librsvg2-bin"), 1);
    assert_int_equal(access(path_of("cat.png"), F_OK), -1);
    if (system("command -v rsvg-convert >/dev/null") == 0) {
        assert_int_equal(run_logged("", arguments), 0);
        struct picture png = picture_file(path_of("cat.png")),
                       svg = picture_file(path_of("cat.svg"));
        if (image_decode(png.bytes, png.size, &(struct image_options){.max_pixels = 1 << 24},
                         &image, &err) != ERROR_NONE)
            fail_msg("%s", err.message);
        assert_int_equal(image.width, 2 * width_of(&svg));
        size_t orange = 0; /* #fd8d3c, of a high z-score and in the legend */
        for (size_t i = 0; i < image.width * image.height; i++)
            orange += memcmp(image.pixels + 3 * i, "\xfd\x8d\x3c", 3) == 0;
        assert_true(orange > 1000);
        image_free(&image);
        picture_free(&png);
        picture_free(&svg);
    }
    snprintf(arguments, sizeof arguments, "plot tests/data/cat.jpg -o %s", path_of("cat.jpg"));
    assert_int_equal(run_logged("", arguments), 1);
    assert_int_equal(occurrences(path_of("log"), "expected a name in .svg or .png"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profile_agrees_with_plain_sums),
        cmocka_unit_test(a_partial_file_of_another_profile_is_not_used),
        cmocka_unit_test(profile_goes_on_where_it_was),
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
        cmocka_unit_test(figures_are_drawn),
        cmocka_unit_test(figures_become_pictures),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
