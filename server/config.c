/* config.c - see config.h.
 *
 * An option's value is written through a pointer that the table of this file computes from the
 * field, so that one loop serves the environment and the command line.
 */
#include "config.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct option {
    const char *flag, *argument, *help;
    bool is_text;
    size_t offset; /* of the field in struct config */
    const char *text;
    size_t value, least, most, unit;
};

static const struct option options[] = {
#define OPTION_TEXT(field, name, value_, argument_, help_)                                         \
    {.flag = (name),                                                                               \
     .argument = (argument_),                                                                      \
     .help = (help_),                                                                              \
     .is_text = true,                                                                              \
     .offset = offsetof(struct config, field),                                                     \
     .text = (value_)},
#define OPTION_SIZE(field, name, value_, least_, most_, unit_, argument_, help_)                   \
    {.flag = (name),                                                                               \
     .argument = (argument_),                                                                      \
     .help = (help_),                                                                              \
     .offset = offsetof(struct config, field),                                                     \
     .value = (value_),                                                                            \
     .least = (least_),                                                                            \
     .most = (most_),                                                                              \
     .unit = (unit_)},
    CONFIG_OPTIONS(OPTION_TEXT, OPTION_SIZE)
#undef OPTION_TEXT
#undef OPTION_SIZE
};
#define OPTION_COUNT (sizeof options / sizeof options[0])

/* Words that take no value. */
static const char *const switches[] = {"check", "help", "version", "json"};

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
    int powers = 0;
    switch (*text) {
    case 'g':
    case 'G':
        powers++; /* fall through */
    case 'm':
    case 'M':
        powers++; /* fall through */
    case 'k':
    case 'K':
        powers++;
        text++;
    }
    for (; powers > 0; powers--) {
        if (value > SIZE_MAX / unit)
            return false;
        value *= unit;
    }
    *out = value;
    return *text == '\0';
}

/* source is how the user gave it, "--workers" or "SENETD_WORKERS". */
static enum error_code set_option(const struct option *option, const char *source,
                                  const char *value, struct config *out, struct error *err)
{
    void *field = (char *)out + option->offset;
    if (option->is_text) {
        if (*value == '\0')
            return error_set(err, ERROR_USAGE, "%s is empty, expected %s", source,
                             option->argument);
        *(const char **)field = value;
        return ERROR_NONE;
    }
    size_t size;
    if (!parse_size(value, option->unit, &size))
        return error_set(err, ERROR_USAGE,
                         "%s is '%s', expected a whole number with an optional suffix k, m or g",
                         source, value);
    if (size < option->least || size > option->most)
        return error_set(err, ERROR_USAGE, "%s is %zu, expected %zu to %zu", source, size,
                         option->least, option->most);
    *(size_t *)field = size;
    return ERROR_NONE;
}

static void set_defaults(struct config *out)
{
    *out = (struct config){0};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        void *field = (char *)out + options[i].offset;
        if (options[i].is_text)
            *(const char **)field = options[i].text;
        else
            *(size_t *)field = options[i].value;
    }
}

static void environment_name(const char *flag, char out[64])
{
    size_t size = strlen("SENETD_");
    memcpy(out, "SENETD_", size);
    for (; *flag != '\0' && size < 63; flag++)
        out[size++] = *flag == '-' ? '_' : (char)toupper((unsigned char)*flag);
    out[size] = '\0';
}

static enum error_code read_environment(struct config *out, struct error *err)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char name[64];
        environment_name(options[i].flag, name);
        const char *value = getenv(name);
        if (value != NULL && *value != '\0')
            TRY(set_option(&options[i], name, value, out, err));
    }
    return ERROR_NONE;
}

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

static enum error_code unknown_option(const char *name, size_t size, struct error *err)
{
    const char *nearest = NULL;
    size_t least = 3; /* a suggestion further away than two edits is noise */
    for (size_t i = 0; i < OPTION_COUNT + sizeof switches / sizeof switches[0]; i++) {
        const char *known = i < OPTION_COUNT ? options[i].flag : switches[i - OPTION_COUNT];
        size_t distance = edit_distance(name, size, known);
        if (distance < least && distance < size) {
            least = distance;
            nearest = known;
        }
    }
    if (nearest == NULL)
        return error_set(err, ERROR_USAGE, "unknown option --%.*s; see senetd --help", (int)size,
                         name);
    return error_set(err, ERROR_USAGE, "unknown option --%.*s; did you mean --%s?", (int)size, name,
                     nearest);
}

/* Handles --check and its kind; false if name is none of them. */
static bool set_switch(const char *name, struct config *out)
{
    if (strcmp(name, "json") == 0)
        out->json = true;
    else if (strcmp(name, "check") == 0)
        out->command = COMMAND_CHECK;
    else if (strcmp(name, "help") == 0)
        out->command = COMMAND_HELP;
    else if (strcmp(name, "version") == 0)
        out->command = COMMAND_VERSION;
    else
        return false;
    return true;
}

/* One --name, --name=value or --name value; *next is the following argument's index. */
static enum error_code read_option(int argc, char **argv, int *next, struct config *out,
                                   struct error *err)
{
    const char *name = argv[*next - 1] + 2;
    size_t size = strcspn(name, "=");
    if (name[size] == '\0' && set_switch(name, out))
        return ERROR_NONE;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (strlen(options[i].flag) != size || strncmp(options[i].flag, name, size) != 0)
            continue;
        char source[64] = "--";
        strncat(source, options[i].flag, sizeof source - 3);
        if (name[size] == '=')
            return set_option(&options[i], source, name + size + 1, out, err);
        if (*next >= argc)
            return error_set(err, ERROR_USAGE, "%s needs a value: %s", source, options[i].argument);
        return set_option(&options[i], source, argv[(*next)++], out, err);
    }
    return unknown_option(name, size, err);
}

/* The first word names the command; what follows classify are files. */
static enum error_code read_words(char **words, size_t count, struct config *out, struct error *err)
{
    static const struct {
        const char *word;
        enum command command;
    } commands[] = {
        {"serve", COMMAND_SERVE}, {"classify", COMMAND_CLASSIFY}, {"bench", COMMAND_BENCH}};
    const char *word = count > 0 ? words[0] : "serve";
    size_t i = 0, known = sizeof commands / sizeof commands[0];
    while (i < known && strcmp(word, commands[i].word) != 0)
        i++;
    if (i == known)
        return error_set(err, ERROR_USAGE,
                         "unknown command '%s', expected serve, classify or bench", word);
    if (count > 1 && commands[i].command != COMMAND_CLASSIFY)
        return error_set(err, ERROR_USAGE, "%s takes no argument, got '%s'", word, words[1]);
    if (out->command != COMMAND_SERVE)
        return ERROR_NONE; /* --help and its kind win */
    out->command = commands[i].command;
    if (out->json && out->command == COMMAND_SERVE)
        return error_set(err, ERROR_USAGE, "--json belongs to senetd classify and senetd bench");
    if (out->command != COMMAND_CLASSIFY)
        return ERROR_NONE;
    if (count == 1)
        return error_set(err, ERROR_USAGE, "classify needs at least one image file");
    out->files = words + 1;
    out->file_count = count - 1;
    return ERROR_NONE;
}

enum error_code config_parse(int argc, char **argv, struct config *out, struct error *err)
{
    set_defaults(out);
    TRY(read_environment(out, err));
    int words = 1; /* argv[1..words) are the words so far */
    bool only_words = false;
    for (int next = 1; next < argc;) {
        char *argument = argv[next++];
        if (only_words || argument[0] != '-' || argument[1] == '\0')
            argv[words++] = argument;
        else if (strcmp(argument, "--") == 0)
            only_words = true;
        else if (strcmp(argument, "-h") == 0)
            out->command = COMMAND_HELP;
        else if (strcmp(argument, "-V") == 0)
            out->command = COMMAND_VERSION;
        else if (argument[1] != '-')
            return error_set(err, ERROR_USAGE, "unknown option %s; see senetd --help", argument);
        else
            TRY(read_option(argc, argv, &next, out, err));
    }
    return read_words(argv + 1, (size_t)(words > 1 ? words - 1 : 0), out, err);
}

void config_help(FILE *to)
{
    fputs("senetd - image classification by an SE-ResNet, with every excitation vector\n\n"
          "  senetd [serve] [OPTION...]        serve HTTP until SIGTERM or SIGINT\n"
          "  senetd classify [--json] FILE...  classify files without a server\n"
          "  senetd bench [--json]             time the network, without HTTP or decoding\n"
          "  senetd --check                    load the model, run it once, print its facts\n"
          "  senetd --help, --version\n\n"
          "Options; each is also an environment variable, --max-body as SENETD_MAX_BODY. The\n"
          "command line wins over the environment.\n\n",
          to);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &options[i];
        fprintf(to, "  --%-11s %-10s %s", option->flag, option->argument, option->help);
        if (option->is_text && option->text != NULL)
            fprintf(to, " [%s]", option->text);
        else if (!option->is_text && option->value != 0)
            fprintf(to, " [%zu]", option->value);
        fputc('\n', to);
    }
}
