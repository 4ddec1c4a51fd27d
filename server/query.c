/* query.c - see query.h. */
#include "query.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    enum query_key key;
    const char *name;
} keys[] = {
    {QUERY_TOPK, "topk"},
    {QUERY_EXCITATIONS, "excitations"},
    {QUERY_LAYERS, "layers"},
    {QUERY_LAYER, "layer"},
    {QUERY_ID, "id"},
    {QUERY_RELATIVE, "relative"},
    {QUERY_CLASS, "class"},
    {QUERY_BLOCK, "block"},
    {QUERY_MODE, "mode"},
    {QUERY_VALUE, "value"},
    {QUERY_CHANNELS, "channels"},
    {QUERY_FORMAT, "format"},
};
#define KEY_COUNT (sizeof keys / sizeof keys[0])

/* Decimal digits only, at most 9 of them. */
static bool parse_number(const char *text, size_t size, size_t *out)
{
    size_t value = 0;
    if (size == 0 || size > 9)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        value = value * 10 + (size_t)(text[i] - '0');
    }
    *out = value;
    return true;
}

static bool is_name(const char *name, const char *text, size_t size)
{
    return strlen(name) == size && strncasecmp(name, text, size) == 0;
}

/* A block by index, name or the paper's name. */
static enum error_code find_layer(const struct senet *model, const char *text, size_t size,
                                  size_t *out, struct error *err)
{
    size_t blocks = senet_info(model)->blocks;
    if (blocks == 0)
        return error_set(err, ERROR_NOT_FOUND,
                         "the model is a plain ResNet: no block has squeeze-and-excitation");
    if (parse_number(text, size, out) && *out < blocks)
        return ERROR_NONE;
    for (size_t i = 0; i < blocks; i++) {
        const struct senet_block *block = senet_block(model, i);
        if (is_name(block->name, text, size) || is_name(block->paper_name, text, size)) {
            *out = i;
            return ERROR_NONE;
        }
    }
    return error_set(err, ERROR_USAGE,
                     "no layer '%.*s'; expected 0 to %zu, or a name such as %s or %s",
                     size < 64 ? (int)size : 64, text, blocks - 1, senet_block(model, 0)->name,
                     senet_block(model, 0)->paper_name);
}

/* A class by its label, else by its index: labels may be numbers. */
static enum error_code find_class(const struct senet *model, const char *text, size_t *out,
                                  struct error *err)
{
    size_t classes = senet_info(model)->classes;
    for (size_t i = 0; i < classes; i++)
        if (strcasecmp(senet_label(model, i), text) == 0) {
            *out = i;
            return ERROR_NONE;
        }
    if (parse_number(text, strlen(text), out) && *out < classes)
        return ERROR_NONE;
    return error_set(err, ERROR_USAGE, "no class '%.64s'; expected 0 to %zu, or a label such as %s",
                     text, classes - 1, senet_label(model, 0));
}

static enum error_code read_mode(const char *value, struct query *out, struct error *err)
{
    static const char *const names[] = {"identity", "mean", "zero"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(value, names[i]) == 0) {
            out->mode = (enum query_mode)i;
            return ERROR_NONE;
        }
    return error_set(err, ERROR_USAGE, "mode is '%.64s', expected identity, mean or zero", value);
}

static enum error_code read_value(const char *value, struct query *out, struct error *err)
{
    char *end;
    double number = strtod(value, &end);
    bool plain = value[strspn(value, "0123456789.eE+-")] == '\0'; /* nothing hexadecimal */
    if (!plain || end == value || *end != '\0' || !(number >= 0 && number <= QUERY_MOST_VALUE))
        return error_set(err, ERROR_USAGE, "value is '%.64s', expected a number of 0 to %d", value,
                         QUERY_MOST_VALUE);
    out->mode = MODE_VALUE;
    out->value = (float)number;
    return ERROR_NONE;
}

/* More than one key may name blocks; the last one counts. */
static enum error_code select_none(const struct senet *model, struct query *out, struct error *err)
{
    free(out->selection.blocks);
    out->selection.blocks = calloc(senet_info(model)->blocks + 1, sizeof(bool));
    if (out->selection.blocks == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for a list of layers");
    return ERROR_NONE;
}

enum error_code query_select_layer(struct query *query, const struct senet *model,
                                   struct error *err)
{
    TRY(select_none(model, query, err));
    query->selection.blocks[query->layer] = true;
    return ERROR_NONE;
}

/* A comma list of blocks. */
static enum error_code read_layers(const char *value, const struct senet *model, struct query *out,
                                   struct error *err)
{
    TRY(select_none(model, out, err));
    for (const char *at = value;;) {
        size_t size = strcspn(at, ","), layer;
        TRY(find_layer(model, at, size, &layer, err));
        out->selection.blocks[layer] = true;
        if (at[size] == '\0')
            return ERROR_NONE;
        at += size + 1;
    }
}

static enum error_code read_pair(enum query_key key, const char *value, const struct senet *model,
                                 struct query *out, struct error *err)
{
    size_t classes;
    switch (key) {
    case QUERY_TOPK:
        classes = senet_info(model)->classes;
        if (!parse_number(value, strlen(value), &out->selection.topk) || out->selection.topk == 0 ||
            out->selection.topk > classes)
            return error_set(err, ERROR_USAGE, "topk is '%.64s', expected 1 to %zu", value,
                             classes);
        return ERROR_NONE;
    case QUERY_EXCITATIONS:
        if (strcmp(value, "full") == 0)
            out->selection.detail = DETAIL_FULL;
        else if (strcmp(value, "summary") == 0)
            out->selection.detail = DETAIL_SUMMARY;
        else if (strcmp(value, "none") == 0)
            out->selection.detail = DETAIL_NONE;
        else
            return error_set(err, ERROR_USAGE,
                             "excitations is '%.64s', expected full, summary or none", value);
        return ERROR_NONE;
    case QUERY_LAYERS:
        return read_layers(value, model, out, err);
    case QUERY_LAYER:
        out->has_layer = true;
        return find_layer(model, value, strlen(value), &out->layer, err);
    case QUERY_ID:
        out->id = value;
        return ERROR_NONE;
    case QUERY_RELATIVE:
        out->relative = strcmp(value, "1") == 0;
        if (!out->relative && strcmp(value, "0") != 0)
            return error_set(err, ERROR_USAGE, "relative is '%.64s', expected 0 or 1", value);
        return ERROR_NONE;
    case QUERY_CLASS:
        out->has_class = true;
        return find_class(model, value, &out->class, err);
    case QUERY_BLOCK:
        return strcmp(value, "all") == 0 ? ERROR_NONE : read_layers(value, model, out, err);
    case QUERY_MODE:
        return read_mode(value, out, err);
    case QUERY_VALUE:
        return read_value(value, out, err);
    case QUERY_FORMAT:
        out->has_format = true;
        return arrays_find(value, &out->format, err);
    case QUERY_CHANNELS:
        if (!parse_number(value, strlen(value), &out->channels) || out->channels == 0 ||
            out->channels > QUERY_MOST_CHANNELS)
            return error_set(err, ERROR_USAGE, "channels is '%.64s', expected 1 to %d", value,
                             QUERY_MOST_CHANNELS);
        return ERROR_NONE;
    }
    return error_set(err, ERROR_INTERNAL, "a query key without a reader");
}

static enum error_code unknown_key(const char *key, unsigned accepted, struct error *err)
{
    char expected[128] = "";
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (!(accepted & keys[i].key))
            continue;
        if (expected[0] != '\0')
            strncat(expected, ", ", sizeof expected - strlen(expected) - 1);
        strncat(expected, keys[i].name, sizeof expected - strlen(expected) - 1);
    }
    if (accepted == 0)
        return error_set(err, ERROR_USAGE, "unknown query key '%.64s'; expected none here", key);
    return error_set(err, ERROR_USAGE, "unknown query key '%.64s'; expected one of: %s", key,
                     expected);
}

enum error_code query_parse(const struct query_pair *pairs, size_t count, unsigned accepted,
                            const struct senet *model, size_t default_topk, struct query *out,
                            struct error *err)
{
    *out = (struct query){.selection = {.topk = default_topk, .detail = DETAIL_FULL}};
    unsigned seen = 0;
    for (size_t i = 0; i < count; i++) {
        size_t k = 0;
        while (k < KEY_COUNT && strcmp(keys[k].name, pairs[i].key) != 0)
            k++;
        if (k == KEY_COUNT || !(accepted & keys[k].key))
            return unknown_key(pairs[i].key, accepted, err);
        if (seen & keys[k].key)
            return error_set(err, ERROR_USAGE, "%s is given twice", keys[k].name);
        if (pairs[i].value == NULL || pairs[i].value[0] == '\0')
            return error_set(err, ERROR_USAGE, "%s has no value", keys[k].name);
        seen |= keys[k].key;
        if ((seen & QUERY_MODE) && (seen & QUERY_VALUE))
            return error_set(err, ERROR_USAGE, "mode and value are both given, expected one");
        TRY(read_pair(keys[k].key, pairs[i].value, model, out, err));
    }
    return ERROR_NONE;
}

void query_free(struct query *query)
{
    free(query->selection.blocks);
    *query = (struct query){0};
}
