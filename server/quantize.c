/* quantize.c - see quantize.h. The photos pass twice: all of them through fp32 for the scales, then
 * some through fp32 and int8 side by side, so that a model that int8 harms does not go unnoticed.
 */
#include "quantize.h"
#include "calibration.h"
#include "image.h"
#include "models.h"
#include "progress.h"
#include "samples.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COMPARED   500 /* photos that both precisions see */
#define PATH_BYTES 4200

struct quantize {
    const struct config *config;
    const struct senet *senet;
    struct samples samples;
    struct progress_bar bar;
    float *input; /* the photo at hand */
};

/* ---- photos ------------------------------------------------------------------------------ */

static enum error_code read_photo(const struct quantize *quantize, const char *path,
                                  struct error *err)
{
    const struct config *config = quantize->config;
    const struct preprocess *preprocess = &senet_info(quantize->senet)->preprocess;
    struct image_options options = {.max_pixels = config->max_pixels,
                                    .fit = config->exact_decode ? NULL : preprocess};
    struct image image = {0};
    uint8_t *bytes;
    size_t size;
    TRY(samples_read(path, config->max_body, &bytes, &size, err));
    enum error_code code = image_decode(bytes, size, &options, &image, err);
    free(bytes);
    if (code == ERROR_NONE)
        code = image_preprocess(&image, preprocess, quantize->input, err);
    image_free(&image);
    return code;
}

/* Whether the photo is in quantize->input; else says why on standard error. */
static bool next_photo(const struct quantize *quantize, const char *path)
{
    struct error fault = {0};
    if (read_photo(quantize, path, &fault) == ERROR_NONE)
        return true;
    progress_clear(&quantize->bar);
    fprintf(stderr, "%s: %s\n", path, fault.message);
    return false;
}

/* ---- calibration ------------------------------------------------------------------------- */

/* The path of a file beside the weights; empty where the weights are a file of their own. */
static void beside(const char *weights, const char *name, char *out, size_t size)
{
    struct stat status;
    out[0] = 0;
    if (stat(weights, &status) == 0 && S_ISDIR(status.st_mode))
        snprintf(out, size, "%s/%s", weights, name);
}

static enum error_code copy_file(const char *directory, const char *weights, const char *name,
                                 struct error *err)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    uint8_t *bytes;
    size_t size;
    struct stat status;
    beside(weights, name, from, sizeof from);
    if (!from[0] || stat(from, &status) != 0)
        return ERROR_NONE;
    snprintf(to, sizeof to, "%s/%s", directory, name);
    TRY(samples_read(from, 64 << 20, &bytes, &size, err));
    FILE *file = fopen(to, "wbe");
    bool whole = file && fwrite(bytes, 1, size, file) == size;
    whole = file && fclose(file) == 0 && whole;
    free(bytes);
    return whole ? ERROR_NONE
                 : error_set(err, ERROR_IO, "cannot write '%s': %s", to, strerror(errno));
}

static enum error_code write_model(const struct quantize *quantize,
                                   const struct calibration *calibration, size_t photos,
                                   struct error *err)
{
    const struct config *config = quantize->config;
    char from[PATH_BYTES], to[PATH_BYTES];
    size_t layers;
    if (mkdir(config->output, 0777) != 0 && errno != EEXIST)
        return error_set(err, ERROR_IO, "cannot make the directory '%s': %s", config->output,
                         strerror(errno));
    beside(config->weights, "model.safetensors", from, sizeof from);
    snprintf(to, sizeof to, "%s/model.safetensors", config->output);
    TRY(calibration_write(calibration, (enum calibration_method)config->calibration,
                          from[0] ? from : config->weights, to, &layers, err));
    TRY(copy_file(config->output, config->weights, "config.json", err));
    TRY(copy_file(config->output, config->weights, "labels.txt", err));
    printf("%s: scales of %zu convolutions from %zu photos\n", to, layers, photos);
    return ERROR_NONE;
}

static enum error_code calibrate(struct quantize *quantize, struct error *err)
{
    struct calibration *calibration;
    size_t photos = 0, count = quantize->samples.count;
    TRY(calibration_new(quantize->senet, &calibration, err));
    progress_begin(&quantize->bar, 0);
    for (size_t i = 0; i < count; i++) {
        if (next_photo(quantize, quantize->samples.files[i].path)) {
            calibration_see(calibration, quantize->input);
            photos++;
        }
        progress_show(&quantize->bar, i + 1, count);
    }
    progress_end(&quantize->bar);
    enum error_code code =
        photos > 0 ? write_model(quantize, calibration, photos, err)
                   : error_set(err, ERROR_USAGE, "none of the %zu files in '%s' is a photo", count,
                               quantize->config->calibrate);
    calibration_free(calibration);
    return code;
}

/* ---- comparison -------------------------------------------------------------------------- */

struct side {
    const struct senet *senet;
    struct senet_context *context;
    float *logits, *excitations;
};

static enum error_code open_side(struct side *side, const struct senet *senet, struct error *err)
{
    const struct senet_info *info = senet_info(senet);
    side->senet = senet;
    side->logits = malloc(info->classes * sizeof(float));
    side->excitations = malloc(info->excitation_floats * sizeof(float) + 1);
    if (!side->logits || !side->excitations)
        return error_set(err, ERROR_MEMORY, "no memory for a comparison");
    return senet_context_new(senet, 1, info->preprocess.height, info->preprocess.width,
                             &side->context, err);
}

static void close_side(struct side *side)
{
    senet_context_free(side->context);
    free(side->logits);
    free(side->excitations);
}

static size_t decide(struct side *side, const float *input)
{
    struct senet_top top;
    senet_run(side->context, 1, input, side->logits, side->excitations);
    senet_top_k(side->logits, senet_info(side->senet)->classes, 1, &top);
    return top.index;
}

static void compare(struct quantize *quantize, struct side *fp32, struct side *int8)
{
    size_t all = quantize->samples.count, count = all < COMPARED ? all : COMPARED;
    size_t photos = 0, same = 0, gates = senet_info(fp32->senet)->excitation_floats;
    double distance = 0;
    progress_begin(&quantize->bar, 0);
    for (size_t i = 0; i < count; i++) {
        if (next_photo(quantize, quantize->samples.files[i * all / count].path)) {
            photos++;
            same += decide(fp32, quantize->input) == decide(int8, quantize->input);
            for (size_t g = 0; g < gates; g++)
                distance += fabs((double)fp32->excitations[g] - (double)int8->excitations[g]);
        }
        progress_show(&quantize->bar, i + 1, count);
    }
    progress_end(&quantize->bar);
    if (photos == 0)
        return;
    printf("on %zu of them int8 has the same top-1 as fp32 for %zu (%.2f %%)\n", photos, same,
           100.0 * (double)same / (double)photos);
    if (gates > 0)
        printf("mean absolute difference of the excitations %.5f\n",
               distance / (double)photos / (double)gates);
}

static enum error_code compare_precisions(struct quantize *quantize, struct error *err)
{
    struct config config = *quantize->config;
    struct senet *quantized;
    struct side fp32 = {0}, int8 = {0};
    config.weights = config.output;
    config.precision = SENET_INT8;
    TRY(models_open(&config, &quantized, err));
    enum error_code code = open_side(&fp32, quantize->senet, err);
    if (code == ERROR_NONE)
        code = open_side(&int8, quantized, err);
    if (code == ERROR_NONE)
        compare(quantize, &fp32, &int8);
    close_side(&fp32);
    close_side(&int8);
    senet_close(quantized);
    return code;
}

/* ---- the command ------------------------------------------------------------------------- */

static enum error_code work(struct quantize *quantize, struct error *err)
{
    const struct config *config = quantize->config;
    const struct preprocess *preprocess = &senet_info(quantize->senet)->preprocess;
    quantize->input = malloc(3 * preprocess->height * preprocess->width * sizeof(float));
    if (!quantize->input)
        return error_set(err, ERROR_MEMORY, "no memory for a photo");
    TRY(samples_find(config->calibrate, quantize->senet, config->limit, &quantize->samples, err));
    TRY(calibrate(quantize, err));
    return compare_precisions(quantize, err);
}

enum error_code quantize_run(const struct config *config, const struct senet *senet,
                             struct error *err)
{
    struct quantize quantize = {.config = config, .senet = senet};
    enum error_code code = work(&quantize, err);
    samples_free(&quantize.samples);
    free(quantize.input);
    return code;
}
