/* test_cores.c - an image's bits depend neither on its batch nor on how many cores share the work,
 * on every backend: whether they share out each operation, or each takes images of its own. Tile
 * registers are emulated where the CPU has none. */
#include "amx/emulator.h"
#include "golden.h"
#include <stdlib.h>
#include <string.h>

/* So large that Winograd's patches and the pixels of a squeeze are shared out, too. */
#define HEIGHT  112
#define WIDTH   96
#define PIXELS  ((size_t)3 * HEIGHT * WIDTH)
#define IMAGES  9
#define CLASSES 11
#define GATES   512 /* at most, of an image */

static float *photos(void)
{
    float *values = malloc(IMAGES * PIXELS * sizeof *values);
    assert_non_null(values);
    unsigned state = 1;
    for (size_t i = 0; i < IMAGES * PIXELS; i++) {
        state = state * 1664525U + 1013904223U;
        values[i] = (float)(state >> 8) / (float)(1 << 23) - 1;
    }
    return values;
}

/* One image at a time where at_once is 1. Returns an image's gates. */
static size_t run(const char *path, const struct senet_options *options, size_t at_once,
                  size_t batch, const float *input, float *logits, float *gates)
{
    struct senet *model = NULL;
    struct senet_context *context = NULL;
    struct error err = {0};
    if (senet_open(path, options, &model, &err) != ERROR_NONE ||
        senet_context_new(model, at_once, HEIGHT, WIDTH, &context, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    size_t floats = senet_info(model)->excitation_floats;
    assert_true(floats <= GATES && senet_info(model)->classes == CLASSES);
    for (size_t i = 0, n; i < batch; i += n) {
        n = at_once == 1 ? 1 : batch;
        senet_run(context, n, input + i * PIXELS, logits + i * CLASSES, gates + i * floats);
    }
    senet_context_free(context);
    senet_close(model);
    return floats;
}

static void check(const char *path, const char *backend, enum senet_precision precision,
                  const float *input)
{
    static float alone[IMAGES * CLASSES], logits[IMAGES * CLASSES];
    static float alone_gates[IMAGES * GATES], gates[IMAGES * GATES];
    struct senet_options options = {.kernels = backend, .precision = precision, .threads = 1};
    size_t floats = run(path, &options, 1, IMAGES, input, alone, alone_gates);
    static const struct {
        size_t cores, batch;
    } cases[] = {{1, IMAGES}, {2, 1}, {2, 2}, {2, 3}, {2, IMAGES}, {3, 1}, {3, IMAGES - 1}, {5, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t batch = cases[i].batch;
        options.threads = cases[i].cores;
        run(path, &options, IMAGES, batch, input, logits, gates);
        assert_memory_equal(logits, alone, batch * CLASSES * sizeof *logits);
        assert_memory_equal(gates, alone_gates, batch * floats * sizeof *gates);
    }
}

static void bits_depend_on_the_image_alone(void **state)
{
    (void)state;
    float *input = photos();
    for (size_t b = 0; golden_backend(b); b++) {
        const char *backend = golden_backend(b);
        if (strcmp(backend, "ref") == 0)
            continue; /* slow, and cuts nothing up */
        check("tests/golden/fixtures/tiny_timm", backend, SENET_FP32, input);
        if (strcmp(backend, "blas") != 0)
            check("tests/golden/fixtures/tiny_legacy_seresnext", backend, SENET_BF16, input);
    }
    if (amx_emulate())
        check("tests/golden/fixtures/tiny_legacy_seresnext", "amx", SENET_BF16, input);
    free(input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bits_depend_on_the_image_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
