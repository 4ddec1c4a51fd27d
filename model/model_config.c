/* model_config.c - see model_config.h. */
#include "model_config.h"
#include "json_pool.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIDE_MIN 32
#define SIDE_MAX 4096

/* A fault in a value: key, what was found, what was expected. */
static enum error_code bad(const char *path, const char *key, const json_t *found,
                           const char *expected, struct error *err)
{
    char text[80] = "nothing";
    if (found)
        text[json_dumpb(found, text, sizeof text - 1, JSON_ENCODE_ANY | JSON_COMPACT) %
             sizeof text] = 0;
    return error_set(err, ERROR_WEIGHTS, "%s: %s is %s, expected %s", path, key, text, expected);
}

/* Three finite numbers; left alone where the key is absent or null. */
static enum error_code read_triple(const char *path, const json_t *object, const char *key,
                                   bool positive, float out[3], struct error *err)
{
    const json_t *array = json_object_get(object, key);
    if (!array || json_is_null(array))
        return ERROR_NONE;
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(array, i);
        double value = json_number_value(item);
        if (json_array_size(array) != 3 || !json_is_number(item) || !(fabs(value) < 1e6) ||
            (positive && value < 1e-6))
            return bad(path, key, array,
                       positive ? "three numbers above 0" : "a list of three numbers", err);
        out[i] = (float)value;
    }
    return ERROR_NONE;
}

static enum error_code read_input_size(const char *path, const json_t *object,
                                       struct preprocess *out, struct error *err)
{
    const json_t *array = json_object_get(object, "input_size");
    if (!array || json_is_null(array))
        return ERROR_NONE;
    json_int_t size[3] = {0};
    for (size_t i = 0; i < 3; i++)
        size[i] = json_integer_value(json_array_get(array, i));
    if (json_array_size(array) != 3 || size[0] != 3 || size[1] < SIDE_MIN || size[1] > SIDE_MAX ||
        size[2] < SIDE_MIN || size[2] > SIDE_MAX)
        return bad(path, "input_size", array, "[3, height, width] with sides of 32 to 4096", err);
    out->height = (size_t)size[1];
    out->width = (size_t)size[2];
    return ERROR_NONE;
}

/* *out = the index of the key's value among `names`; left alone where it is absent or null. */
static enum error_code read_choice(const char *path, const json_t *object, const char *key,
                                   const char *const *names, size_t count, const char *expected,
                                   size_t *out, struct error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value))
        return ERROR_NONE;
    const char *name = json_string_value(value);
    for (size_t i = 0; name && i < count; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = i;
            return ERROR_NONE;
        }
    return bad(path, key, value, expected, err);
}

static enum error_code read_names(const char *path, const json_t *object, struct preprocess *out,
                                  struct error *err)
{
    static const char *const interpolations[] = {"bilinear", "bicubic", "lanczos"};
    static const char *const crops[] = {"center", "squash"};
    size_t interpolation = out->interpolation, crop = out->crop_mode;
    TRY(read_choice(path, object, "interpolation", interpolations, 3,
                    "bilinear, bicubic or lanczos", &interpolation, err));
    TRY(read_choice(path, object, "crop_mode", crops, 2, "center or squash", &crop, err));
    out->interpolation = (enum interpolation)interpolation;
    out->crop_mode = (enum crop_mode)crop;
    return ERROR_NONE;
}

static enum error_code read_preprocess(const char *path, const json_t *object,
                                       struct preprocess *out, struct error *err)
{
    TRY(read_input_size(path, object, out, err));
    const json_t *crop = json_object_get(object, "crop_pct");
    if (crop && !json_is_null(crop)) {
        double value = json_number_value(crop);
        if (!json_is_number(crop) || !(value >= 0.1 && value <= 1))
            return bad(path, "crop_pct", crop, "a number from 0.1 to 1", err);
        out->crop_pct = value;
    }
    TRY(read_names(path, object, out, err));
    TRY(read_triple(path, object, "mean", false, out->mean, err));
    return read_triple(path, object, "std", true, out->std, err);
}

static enum error_code read_classes(const char *path, const json_t *object, size_t *out,
                                    struct error *err)
{
    const json_t *value = json_object_get(object, "num_classes");
    if (!value || json_is_null(value))
        return ERROR_NONE;
    if (!json_is_integer(value) || json_integer_value(value) < 1 ||
        json_integer_value(value) > 1000000)
        return bad(path, "num_classes", value, "a whole number above 0", err);
    *out = (size_t)json_integer_value(value);
    return ERROR_NONE;
}

static enum error_code read_root(const char *path, const json_t *root, struct model_config *config,
                                 struct error *err)
{
    if (!json_is_object(root))
        return error_set(err, ERROR_WEIGHTS, "%s: not a JSON object", path);
    const char *architecture = json_string_value(json_object_get(root, "architecture"));
    if (architecture)
        snprintf(config->architecture, sizeof config->architecture, "%.60s", architecture);
    const json_t *pretrained = json_object_get(root, "pretrained_cfg");
    if (pretrained && !json_is_object(pretrained))
        return bad(path, "pretrained_cfg", pretrained, "an object", err);
    TRY(read_classes(path, pretrained, &config->classes, err));
    TRY(read_classes(path, root, &config->classes, err)); /* the model's own count wins */
    return pretrained ? read_preprocess(path, pretrained, &config->preprocess, err) : ERROR_NONE;
}

enum error_code model_config_read(const char *path, struct model_config *config, struct error *err)
{
    const json_t *root;
    void *memory;
    TRY(json_pool_read(path, ERROR_WEIGHTS, &root, &memory, err));
    enum error_code code = read_root(path, root, config, err);
    free(memory);
    return code;
}
