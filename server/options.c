/* options.c - see options.h. */
#include "options.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
#define ROW_TEXT(field, name, value_, argument_, help_)                                            \
    {.flag = (name),                                                                               \
     .argument = (argument_),                                                                      \
     .help = (help_),                                                                              \
     .kind = OPTION_TEXT,                                                                          \
     .offset = offsetof(struct config, field),                                                     \
     .text = (value_)},
#define ROW_SIZE(field, name, value_, least_, most_, unit_, argument_, help_)                      \
    {.flag = (name),                                                                               \
     .argument = (argument_),                                                                      \
     .help = (help_),                                                                              \
     .kind = OPTION_SIZE,                                                                          \
     .offset = offsetof(struct config, field),                                                     \
     .value = (value_),                                                                            \
     .least = (least_),                                                                            \
     .most = (most_),                                                                              \
     .unit = (unit_)},
#define ROW_CHOICE(field, name, value_, words_, help_)                                             \
    {.flag = (name),                                                                               \
     .argument = (words_),                                                                         \
     .help = (help_),                                                                              \
     .kind = OPTION_CHOICE,                                                                        \
     .offset = offsetof(struct config, field),                                                     \
     .value = (value_)},
    CONFIG_OPTIONS(ROW_TEXT, ROW_SIZE, ROW_CHOICE)
#undef ROW_TEXT
#undef ROW_SIZE
#undef ROW_CHOICE
};

const struct option *options_at(size_t index)
{
    return &options[index];
}

size_t options_find(const char *name, size_t size)
{
    size_t i = 0;
    while (i < CONFIG_OPTION_COUNT &&
           (strlen(options[i].flag) != size || strncmp(options[i].flag, name, size) != 0))
        i++;
    return i;
}

void options_set_defaults(struct config *out)
{
    *out = (struct config){0};
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        void *field = (char *)out + options[i].offset;
        if (options[i].kind == OPTION_TEXT)
            *(const char **)field = options[i].text;
        else
            *(size_t *)field = options[i].value;
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A decimal number with an optional suffix k, m or g, powers of unit. */
static bool parse_size(const char *text, size_t unit, size_t *out)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    size_t value = 0;
    for (; isdigit((unsigned char)*text); text++) {
        size_t digit = (size_t)(*text - '0');
        if (value > (SIZE_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    static const char suffixes[] = "kmg";
    const char *suffix = *text != '\0' ? strchr(suffixes, tolower((unsigned char)*text)) : NULL;
    text += suffix != NULL;
    for (; suffix != NULL && suffix >= suffixes; suffix--) {
        if (value > SIZE_MAX / unit)
            return false;
        value *= unit;
    }
    *out = value;
    return *text == '\0';
}

static enum error_code set_size(const struct option *option, const char *how, const char *value,
                                size_t *field, struct error *err)
{
    size_t size;
    if (!parse_size(value, option->unit, &size))
        return error_set(err, ERROR_USAGE,
                         "%s is '%s', expected a whole number with an optional suffix k, m or g",
                         how, value);
    if (size < option->least || size > option->most)
        return error_set(err, ERROR_USAGE, "%s is %zu, expected %zu to %zu", how, size,
                         option->least, option->most);
    *field = size;
    return ERROR_NONE;
}

/* The word at a place of "text|json": its beginning, and its size. NULL past the last. */
static const char *word_at(const char *words, size_t place, size_t *size)
{
    for (; place > 0 && words != NULL; place--) {
        const char *bar = strchr(words, '|');
        words = bar != NULL ? bar + 1 : NULL;
    }
    if (words != NULL)
        *size = strcspn(words, "|");
    return words;
}

static enum error_code set_choice(const struct option *option, const char *how, const char *value,
                                  size_t *field, struct error *err)
{
    size_t size;
    const char *word;
    for (size_t i = 0; (word = word_at(option->argument, i, &size)) != NULL; i++) {
        if (strlen(value) == size && memcmp(value, word, size) == 0) {
            *field = i;
            return ERROR_NONE;
        }
    }
    return error_set(err, ERROR_USAGE, "%s is '%s', expected %s", how, value, option->argument);
}

enum error_code options_set(size_t index, enum config_source source, const char *how,
                            const char *value, struct config *out, struct error *err)
{
    const struct option *option = &options[index];
    void *field = (char *)out + option->offset;
    switch (option->kind) {
    case OPTION_TEXT:
        if (*value == '\0')
            return error_set(err, ERROR_USAGE, "%s is empty, expected %s", how, option->argument);
        *(const char **)field = value;
        break;
    case OPTION_SIZE:
        TRY(set_size(option, how, value, field, err));
        break;
    case OPTION_CHOICE:
        TRY(set_choice(option, how, value, field, err));
        break;
    }
    out->sources[index] = source;
    return ERROR_NONE;
}

void options_write_text(const struct config *config, size_t index, struct writer *w)
{
    const struct option *option = &options[index];
    const void *field = (const char *)config + option->offset;
    size_t size = 0;
    const char *text;
    switch (option->kind) {
    case OPTION_TEXT:
        text = *(const char *const *)field;
        writer_text(w, text != NULL ? text : "-");
        break;
    case OPTION_SIZE:
        writer_format(w, "%zu", *(const size_t *)field);
        break;
    case OPTION_CHOICE:
        text = word_at(option->argument, *(const size_t *)field, &size);
        writer_raw(w, text, size);
        break;
    }
}

void options_write_json(const struct config *config, size_t index, struct writer *w)
{
    const struct option *option = &options[index];
    const void *field = (const char *)config + option->offset;
    size_t size = 0;
    const char *text;
    switch (option->kind) {
    case OPTION_TEXT:
        writer_string(w, *(const char *const *)field);
        break;
    case OPTION_SIZE:
        writer_integer(w, *(const size_t *)field);
        break;
    case OPTION_CHOICE:
        text = word_at(option->argument, *(const size_t *)field, &size);
        writer_string_n(w, text, size);
        break;
    }
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Levenshtein distance of a (up to 31 bytes) and b. */
static size_t edit_distance(const char *a, size_t a_size, const char *b)
{
    size_t row[32];
    if (a_size >= 32)
        return SIZE_MAX;
    for (size_t i = 0; i <= a_size; i++)
        row[i] = i;
    for (size_t j = 1; b[j - 1] != '\0'; j++) {
        size_t diagonal = row[0];
        row[0] = j;
        for (size_t i = 1; i <= a_size; i++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[i];
            size_t shorter = row[i] < row[i - 1] ? row[i] : row[i - 1];
            row[i] = change < shorter + 1 ? change : shorter + 1;
        }
    }
    return row[a_size];
}

const char *options_nearest(const char *name, size_t size, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    size_t least = 3; /* a suggestion further away than two edits is noise */
    for (size_t i = 0; i < CONFIG_OPTION_COUNT + count; i++) {
        const char *known =
            i < CONFIG_OPTION_COUNT ? options[i].flag : words[i - CONFIG_OPTION_COUNT];
        size_t distance = edit_distance(name, size, known);
        if (distance < least && distance < size) {
            least = distance;
            nearest = known;
        }
    }
    return nearest;
}

void options_variable(const char *flag, char out[OPTIONS_VARIABLE_BYTES])
{
    static const char prefix[] = "SENETD_";
    size_t size = sizeof prefix - 1;
    memcpy(out, prefix, size);
    for (; *flag != '\0' && size < OPTIONS_VARIABLE_BYTES - 1; flag++)
        out[size++] = *flag == '-' ? '_' : (char)toupper((unsigned char)*flag);
    out[size] = '\0';
}
