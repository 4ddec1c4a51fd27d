/* test_ablation.c - replaced gates, on every backend, against hooks in timm on PyTorch, and against
 * the network's own rules: bits do not depend on how the ablations are batched.
 */
#include "golden.h"
#include "network.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLASSES   11
#define MOST_RUNS 64

static const char *const fixtures[] = {"tiny_timm", "tiny_legacy", "tiny_seresnext"};
#define FIXTURE_COUNT (sizeof fixtures / sizeof *fixtures)

struct scene {
    struct senet *model;
    const struct senet_info *info;
    struct golden_case golden;   /* case 0: one image */
    struct safetensors *answers; /* ablation.safetensors */
};

static void open_scene(const char *fixture, const char *backend, struct scene *out)
{
    char path[128];
    snprintf(path, sizeof path, "tests/golden/fixtures/%s", fixture);
    out->model = golden_model(path, backend);
    out->info = senet_info(out->model);
    snprintf(path, sizeof path, "tests/golden/fixtures/%s/cases.safetensors", fixture);
    struct safetensors *cases = golden_open(path);
    assert_true(golden_read(cases, 0, &out->info->preprocess, &out->golden));
    safetensors_close(cases);
    snprintf(path, sizeof path, "tests/golden/fixtures/%s/ablation.safetensors", fixture);
    out->answers = golden_open(path);
    assert_int_equal(out->info->classes, CLASSES);
}

static void close_scene(struct scene *scene)
{
    golden_free(&scene->golden);
    safetensors_close(scene->answers);
    senet_close(scene->model);
}

static struct senet_context *new_context(const struct scene *scene, size_t max_batch)
{
    struct senet_context *context = NULL;
    struct error err = {0};
    if (senet_context_new(scene->model, max_batch, scene->golden.height, scene->golden.width,
                          &context, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return context;
}

static float *values(const struct scene *scene, const char *name)
{
    const struct tensor *tensor = safetensors_find(scene->answers, name);
    struct error err = {0};
    assert_non_null(tensor);
    float *out = calloc(tensor->count, sizeof *out);
    assert_non_null(out);
    if (tensor_to_float(tensor, out, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return out;
}

/* One ablation of each block with gates[excitation_floats], or their mean. */
static size_t one_a_block(const struct scene *scene, const float *gates, struct senet_ablation *out)
{
    for (size_t i = 0; i < scene->info->blocks; i++)
        out[i] = (struct senet_ablation){
            .block = i, .gates = gates ? gates + senet_block(scene->model, i)->offset : NULL};
    return scene->info->blocks;
}

static void check_mode(const struct scene *scene, struct senet_context *context, const char *mode,
                       const float *gates)
{
    struct senet_ablation ablations[MOST_RUNS];
    float logits[(1 + MOST_RUNS) * CLASSES];
    float *expected = values(scene, mode);
    size_t count = one_a_block(scene, gates, ablations);
    senet_run_ablated(context, scene->golden.input, ablations, count, logits, NULL);
    for (size_t i = 0; i < count * CLASSES; i++) {
        float tolerance = fmaxf(1e-3F, 1e-4F * fabsf(expected[i]));
        if (!(fabsf(logits[CLASSES + i] - expected[i]) <= tolerance))
            fail_msg("%s, %s, block %zu: logit %zu is %.7g, timm has %.7g", scene->info->kernels,
                     mode, i / CLASSES, i % CLASSES, (double)logits[CLASSES + i],
                     (double)expected[i]);
    }
    free(expected);
}

static void ablations_agree_with_timm(void **state)
{
    (void)state;
    for (size_t f = 0; f < FIXTURE_COUNT; f++) {
        for (size_t b = 0; golden_backend(b); b++) {
            struct scene scene;
            open_scene(fixtures[f], golden_backend(b), &scene);
            struct senet_context *context = new_context(&scene, 4);
            size_t floats = scene.info->excitation_floats;
            float *gates = calloc(floats, sizeof *gates), *given = values(&scene, "gates");
            assert_non_null(gates);
            check_mode(&scene, context, "zero", gates);
            for (size_t i = 0; i < floats; i++)
                gates[i] = 1;
            check_mode(&scene, context, "one", gates);
            check_mode(&scene, context, "mean", NULL);
            check_mode(&scene, context, "given", given);
            free(gates);
            free(given);
            senet_context_free(context);
            close_scene(&scene);
        }
    }
}

/* Several ablations of a block, and of blocks in any number, for every size of context: from one
 * row at a time to all together. */
static void bits_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    for (size_t b = 0; golden_backend(b); b++) {
        struct scene scene;
        open_scene("tiny_timm", golden_backend(b), &scene);
        float *given = values(&scene, "gates");
        struct senet_ablation ablations[MOST_RUNS];
        size_t count = 0, blocks = scene.info->blocks;
        for (size_t i = 0; i < blocks; i++)
            for (size_t twice = 0; twice < 1 + (i + 1) % 3; twice++)
                ablations[count++] = (struct senet_ablation){
                    .block = i,
                    .gates = twice == 1 ? NULL : given + senet_block(scene.model, i)->offset};
        float alone[(1 + MOST_RUNS) * CLASSES], together[(1 + MOST_RUNS) * CLASSES];
        struct senet_context *single = new_context(&scene, 1);
        for (size_t i = 0; i < count; i++) {
            float two[2 * CLASSES];
            senet_run_ablated(single, scene.golden.input, &ablations[i], 1, two, NULL);
            memcpy(alone + (1 + i) * CLASSES, two + CLASSES, CLASSES * sizeof(float));
            memcpy(alone, two, CLASSES * sizeof(float));
        }
        for (size_t size = 1; size <= 4; size++) {
            struct senet_context *context = new_context(&scene, size);
            senet_run_ablated(context, scene.golden.input, ablations, count, together, NULL);
            assert_memory_equal(together, alone, (1 + count) * CLASSES * sizeof(float));
            senet_context_free(context);
        }
        senet_context_free(single);
        free(given);
        close_scene(&scene);
    }
}

/* The untouched run is senet_run's, and gates replaced by themselves change nothing. */
static void the_computed_gates_change_nothing(void **state)
{
    (void)state;
    for (size_t b = 0; golden_backend(b); b++) {
        struct scene scene;
        open_scene("tiny_legacy", golden_backend(b), &scene);
        size_t floats = scene.info->excitation_floats;
        float plain[CLASSES], logits[(1 + MOST_RUNS) * CLASSES];
        float *gates = calloc(floats, sizeof *gates), *again = calloc(floats, sizeof *again);
        assert_true(gates != NULL && again != NULL);
        for (size_t size = 1; size <= 4; size += 3) {
            struct senet_context *context = new_context(&scene, size);
            senet_run(context, 1, scene.golden.input, plain, gates);
            struct senet_ablation ablations[MOST_RUNS];
            size_t count = one_a_block(&scene, gates, ablations);
            memset(again, 0, floats * sizeof *again);
            senet_run_ablated(context, scene.golden.input, ablations, count, logits, again);
            assert_memory_equal(again, gates, floats * sizeof *gates);
            for (size_t row = 0; row <= count; row++)
                assert_memory_equal(logits + row * CLASSES, plain, sizeof plain);
            senet_run_ablated(context, scene.golden.input, NULL, 0, logits, NULL);
            assert_memory_equal(logits, plain, sizeof plain);
            senet_context_free(context);
        }
        free(gates);
        free(again);
        close_scene(&scene);
    }
}

/* ---- what it costs, counted ---------------------------------------------------------------------
 */

enum { COUNTED_SIDE = 64, COUNTED_ROWS = 4 };

struct counted {
    struct architecture net;
    const struct kernels *kernels;
    struct arena weights, activations;
    struct network_buffers buffers;
    struct network_operation operations[2048];
    struct network_profile profile;
};

/* The demo model, SE-ResNet-50, and buffers for as many rows as a context has. */
static struct counted *open_counted(void)
{
    struct safetensors *file = golden_open("weights/demo/model.safetensors");
    struct counted *out = calloc(1, sizeof *out);
    struct error err = {0};
    assert_non_null(out);
    if (kernels_find(NULL, PRECISION_FP32, &out->kernels, &err) != ERROR_NONE ||
        checkpoint_load(file, out->kernels, NULL, &out->net, &out->weights, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    safetensors_close(file);
    out->profile = (struct network_profile){.operations = out->operations, .most = 2048};
    out->buffers = (struct network_buffers){.height = COUNTED_SIDE,
                                            .width = COUNTED_SIDE,
                                            .images = COUNTED_ROWS,
                                            .ablates = true,
                                            .profile = &out->profile};
    network_layout(&out->net, out->kernels, &out->buffers, &out->activations);
    assert_int_equal(arena_commit(&out->activations, "activations", NULL, &err), ERROR_NONE);
    network_layout(&out->net, out->kernels, &out->buffers, &out->activations);
    return out;
}

static void close_counted(struct counted *counted)
{
    arena_free(&counted->activations);
    arena_free(&counted->weights);
    free(counted);
}

/* Sixteen ablations beside the untouched run cost less than half of sixteen runs, in multiply-adds
 * as in calls of a block's kernels: they begin at their block, and four of them are one batch. */
static void sixteen_ablations_cost_half_of_their_runs(void **state)
{
    static float input[3 * COUNTED_SIDE * COUNTED_SIDE];
    struct senet_ablation ablations[16];
    float logits[17 * CLASSES];
    double sum = 0;
    size_t calls = 0;
    (void)state;
    struct counted *counted = open_counted();
    assert_int_equal(counted->net.block_count, 16);
    assert_int_equal(counted->net.fc.out, CLASSES);
    for (size_t i = 0; i < 16; i++)
        ablations[i] = (struct senet_ablation){.block = i, .gates = NULL};
    network_ablate(&counted->net, counted->kernels, &counted->buffers, input, ablations, 16, logits,
                   NULL);
    assert_true(counted->profile.count < counted->profile.most);
    for (size_t i = 0; i < counted->profile.count; i++) {
        sum += counted->operations[i].multiply_adds;
        calls += strstr(counted->operations[i].name, ".conv2") != NULL;
    }
    double runs = sum / network_multiply_adds(&counted->net, COUNTED_SIDE, COUNTED_SIDE) - 1;
    print_message("    16 ablations cost %.2f runs, and each block is called %.2f times\n", runs,
                  (double)calls / 16);
    assert_true(runs > 0 && runs <= 8);
    assert_true(calls <= 16 * 16 / 4);
    close_counted(counted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ablations_agree_with_timm),
        cmocka_unit_test(bits_do_not_depend_on_the_batch),
        cmocka_unit_test(the_computed_gates_change_nothing),
        cmocka_unit_test(sixteen_ablations_cost_half_of_their_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
