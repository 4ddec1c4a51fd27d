/* fuzz_config.c - any bytes as one of the files that stand beside weights, or as the daemon's own
 * configuration: the first byte says which. What is accepted must lie within its limits. */
#include "config.h"
#include "labels.h"
#include "model_config.h"
#include "options.h"
#include "reference.h"
#include "senet.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MODEL "tests/golden/fixtures/tiny_timm"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static int fd; /* a file in memory, opened anew by its path */
static char path[32];
static FILE *nowhere;
static struct senet *model;
static float *statistics;

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err = {0};
    (void)argc;
    (void)argv;
    fd = memfd_create("fuzz", MFD_CLOEXEC);
    nowhere = fopen("/dev/null", "w");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    check(fd >= 0 && nowhere != NULL);
    check(senet_open(MODEL, NULL, &model, &err) == ERROR_NONE);
    const struct senet_info *info = senet_info(model);
    statistics = calloc(2 * info->classes * info->excitation_floats, sizeof *statistics);
    check(statistics != NULL);
    return 0;
}

/* config.json */
static void read_model_config(void)
{
    struct error err = {0};
    struct model_config config = {.preprocess = senet_info(model)->preprocess};
    const struct preprocess *is = &config.preprocess;
    if (model_config_read(path, &config, &err) != ERROR_NONE)
        return;
    check(is->width >= 32 && is->width <= 4096 && is->height >= 32 && is->height <= 4096);
    check(is->crop_pct >= 0.1 && is->crop_pct <= 1);
    for (size_t i = 0; i < 3; i++)
        check(is->std[i] > 0 && is->mean[i] > -1e7f && is->mean[i] < 1e7f);
    check(config.classes <= 1000000 && strlen(config.architecture) < sizeof config.architecture);
}

/* labels.txt, of that many classes */
static void read_labels(size_t classes)
{
    struct error err = {0};
    struct labels labels;
    if (labels_read(path, classes, &labels, &err) != ERROR_NONE)
        return;
    check(labels.count == classes);
    for (size_t i = 0; i < classes; i++)
        check(labels.names[i][0] != '\0');
    labels_free(&labels);
}

/* --config */
static void read_options(void)
{
    char *arguments[] = {(char[]){"senetd"}, (char[]){"--config"}, path, NULL};
    struct error err = {0};
    struct config config;
    if (config_parse(3, arguments, &config, &err) == ERROR_NONE) {
        for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
            const struct option *option = options_at(i);
            const void *field = (const char *)&config + option->offset;
            if (option->kind == OPTION_SIZE && config.sources[i] == CONFIG_FILE)
                check(*(const size_t *)field >= option->least &&
                      *(const size_t *)field <= option->most);
        }
        config_print(&config, false, nowhere);
        config_print(&config, true, nowhere);
    }
    config_free(&config);
}

/* excitation_reference.safetensors */
static void read_reference(void)
{
    struct error err = {0};
    struct reference *reference;
    if (reference_read(path, model, &reference, &err) != ERROR_NONE)
        return;
    check(reference->images > 0);
    for (size_t i = 0; i < senet_info(model)->blocks; i++) {
        size_t floats = senet_info(model)->classes * senet_block(model, i)->channels;
        struct error none = {0};
        check(reference_read_class(reference, model, i, statistics, statistics + floats, &none) ==
              none.code);
    }
    reference_free(reference);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    check(ftruncate(fd, 0) == 0 && pwrite(fd, bytes + 1, size - 1, 0) == (ssize_t)size - 1);
    switch (bytes[0] % 4) {
    case 0:
        read_model_config();
        break;
    case 1:
        read_labels(1 + bytes[0] / 4);
        break;
    case 2:
        read_options();
        break;
    case 3:
        read_reference();
        break;
    }
    return 0;
}
