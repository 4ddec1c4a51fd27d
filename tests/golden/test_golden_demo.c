/* test_golden_demo.c - the demo model, at full size on real photos, against timm on PyTorch.
 *
 *     test_golden_demo [WEIGHTS_DIRECTORY CASES_FILE]
 *
 * Skips itself with a note where the demo weights are not there. The cases are written by
 * `make_golden.py --demo`; the plain reference backend would take minutes here and is left to
 * the tiny models.
 */
#include "golden.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *weights = "weights/demo";
static const char *cases = "tests/golden/fixtures_demo/cases.safetensors";

static void test_agrees(void **state)
{
    const char *backend = *state;
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", weights);
    if (access(path, R_OK) != 0 || access(cases, R_OK) != 0) {
        print_message("skipped: %s or %s is not there\n", path, cases);
        skip();
    }
    struct senet *model = golden_model(weights, backend);
    struct safetensors *file = golden_open(cases);
    assert_int_equal(senet_info(model)->blocks, 16);
    assert_int_equal(senet_info(model)->excitation_floats, 15104);
    struct golden_case golden;
    size_t count = 0;
    while (golden_read(file, count, &senet_info(model)->preprocess, &golden)) {
        golden_check(model, &golden);
        golden_free(&golden);
        count++;
    }
    assert_int_equal(count, 3);
    safetensors_close(file);
    senet_close(model);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        weights = argv[1];
        cases = argv[2];
    }
    static struct CMUnitTest tests[8];
    size_t count = 0;
    for (size_t b = 0; golden_backend(b) && count < 8; b++)
        if (strcmp(golden_backend(b), "ref") != 0)
            tests[count++] = (struct CMUnitTest){.name = golden_backend(b),
                                                 .test_func = test_agrees,
                                                 .initial_state = (void *)golden_backend(b)};
    return cmocka_run_group_tests_name("golden demo", tests, NULL, NULL);
}
