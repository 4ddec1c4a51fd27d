/* config.c - see config.h.
 *
 * Sources are read in rising order, each over the one before. The file is named by one of the
 * later ones: so the command line is searched for --config first.
 */
#include "config.h"
#include "json_pool.h"
#include "options.h"

#include <stdlib.h>
#include <string.h>

/* Words that take no value. */
static const char *const switches[] = {"check",        "help", "version",
                                       "print-config", "json", "check-config"};
#define SWITCH_COUNT (sizeof switches / sizeof switches[0])

static enum error_code read_environment(struct config *out, struct error *err)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        char name[OPTIONS_VARIABLE_BYTES];
        options_variable(options_at(i)->flag, name);
        const char *value = getenv(name);
        if (value != NULL && *value != '\0')
            TRY(options_set(i, CONFIG_ENVIRONMENT, name, value, out, err));
    }
    return ERROR_NONE;
}

/* ---- the file -------------------------------------------------------------------------------- */

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "unknown";
}

/* One member; null leaves the default. */
static enum error_code read_member(const char *path, const char *key, const json_t *value,
                                   struct config *out, struct error *err)
{
    size_t index = options_find(key, strlen(key));
    if (index == CONFIG_OPTION_COUNT) {
        const char *nearest = options_nearest(key, strlen(key), NULL, 0);
        if (nearest == NULL)
            return error_set(err, ERROR_USAGE, "%s: unknown member \"%s\"; see senetd --help", path,
                             key);
        return error_set(err, ERROR_USAGE, "%s: unknown member \"%s\"; did you mean \"%s\"?", path,
                         key, nearest);
    }
    if (index == CONFIG_HAS_config)
        return error_set(err, ERROR_USAGE, "%s: \"config\" cannot name another file", path);
    char how[512], number[32];
    snprintf(how, sizeof how, "\"%s\" in %s", key, path);
    const struct option *option = options_at(index);
    const char *text = json_string_value(value);
    if (text == NULL && option->kind == OPTION_SIZE && json_is_integer(value)) {
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        text = number;
    } else if (text == NULL && strcmp(option->argument, "off|on") == 0 && json_is_boolean(value)) {
        text = json_is_true(value) ? "on" : "off";
    }
    if (text != NULL)
        return options_set(index, CONFIG_FILE, how, text, out, err);
    if (json_is_null(value))
        return ERROR_NONE;
    return error_set(err, ERROR_USAGE, "%s is %s, expected %s", how, type_name(value),
                     option->kind == OPTION_TEXT   ? "a string"
                     : option->kind == OPTION_SIZE ? "a whole number, or a string such as \"8m\""
                                                   : option->argument);
}

static enum error_code read_file(const char *path, struct config *out, struct error *err)
{
    const char *key;
    const json_t *root;
    json_t *value;
    TRY(json_pool_read(path, ERROR_USAGE, &root, &out->document, err));
    if (!json_is_object(root))
        return error_set(err, ERROR_USAGE, "%s holds %s, expected an object of options", path,
                         type_name(root));
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
        TRY(read_member(path, key, value, out, err));
    return ERROR_NONE;
}

/* The last --config of the command line, else that of the environment, else NULL. */
static const char *find_file(int argc, char **argv)
{
    const char *path = getenv("SENETD_CONFIG");
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0)
            path = argv[i] + 9;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            path = argv[i + 1];
    }
    return path != NULL && *path != '\0' ? path : NULL;
}

/* ---- the command line ------------------------------------------------------------------------ */

static enum error_code unknown_option(const char *name, size_t size, struct error *err)
{
    const char *nearest = options_nearest(name, size, switches, SWITCH_COUNT);
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
    else if (strcmp(name, "print-config") == 0)
        out->command = COMMAND_PRINT_CONFIG;
    else if (strcmp(name, "check-config") == 0)
        out->command = COMMAND_CHECK_CONFIG;
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
    size_t index = options_find(name, size);
    if (index == CONFIG_OPTION_COUNT)
        return unknown_option(name, size, err);
    const struct option *option = options_at(index);
    char how[64] = "--";
    strncat(how, option->flag, sizeof how - 3);
    if (name[size] == '=')
        return options_set(index, CONFIG_COMMAND_LINE, how, name + size + 1, out, err);
    if (*next >= argc)
        return error_set(err, ERROR_USAGE, "%s needs a value: %s", how, option->argument);
    return options_set(index, CONFIG_COMMAND_LINE, how, argv[(*next)++], out, err);
}

/* health, health ready or health live. */
static enum error_code read_health(char **words, size_t count, struct config *out,
                                   struct error *err)
{
    const char *what = count > 0 ? words[0] : "ready";
    out->live = strcmp(what, "live") == 0;
    if (count > 1 || (!out->live && strcmp(what, "ready") != 0))
        return error_set(err, ERROR_USAGE, "health takes ready or live, got '%s'",
                         count > 1 ? words[1] : what);
    return ERROR_NONE;
}

/* profile --images DIR [-o PATH]; plot FILE -o PATH, plot --classes DIR -o PATH. */
static enum error_code read_figure(char **words, size_t count, struct config *out,
                                   struct error *err)
{
    if (out->command == COMMAND_PROFILE)
        return out->images != NULL ? ERROR_NONE
                                   : error_set(err, ERROR_USAGE, "profile needs --images DIR");
    if (count + (out->classes != NULL) != 1)
        return error_set(err, ERROR_USAGE,
                         "plot needs one image file, or --classes DIR; got %zu files%s", count,
                         out->classes != NULL ? " and --classes" : "");
    if (out->output == NULL)
        return error_set(err, ERROR_USAGE, "plot needs -o PATH, the SVG or PNG file to write");
    out->files = words;
    out->file_count = count;
    return ERROR_NONE;
}

/* quantize --calibrate DIR -o DIR */
static enum error_code read_quantize(const struct config *config, struct error *err)
{
    if (config->calibrate == NULL)
        return error_set(err, ERROR_USAGE, "quantize needs --calibrate DIR, a folder of photos");
    if (config->output == NULL)
        return error_set(err, ERROR_USAGE, "quantize needs -o DIR, the directory to write");
    if (config->precision != 0)
        return error_set(err, ERROR_USAGE, "quantize reads fp32 weights: no --precision");
    return ERROR_NONE;
}

/* The first word names the command; what follows classify are files. */
static enum error_code read_words(char **words, size_t count, struct config *out, struct error *err)
{
    static const struct {
        const char *word;
        enum command command;
    } commands[] = {{"serve", COMMAND_SERVE},  {"classify", COMMAND_CLASSIFY},
                    {"bench", COMMAND_BENCH},  {"profile", COMMAND_PROFILE},
                    {"plot", COMMAND_PLOT},    {"quantize", COMMAND_QUANTIZE},
                    {"health", COMMAND_HEALTH}};
    const char *word = count > 0 ? words[0] : "serve";
    size_t i = 0, known = sizeof commands / sizeof commands[0];
    while (i < known && strcmp(word, commands[i].word) != 0)
        i++;
    if (i == known)
        return error_set(err, ERROR_USAGE,
                         "unknown command '%s', expected serve, classify, bench, profile, plot, "
                         "quantize or health",
                         word);
    bool takes_words = commands[i].command == COMMAND_CLASSIFY ||
                       commands[i].command == COMMAND_PLOT || commands[i].command == COMMAND_HEALTH;
    if (count > 1 && !takes_words)
        return error_set(err, ERROR_USAGE, "%s takes no argument, got '%s'", word, words[1]);
    if (out->command != COMMAND_SERVE)
        return ERROR_NONE; /* --help and its kind win */
    out->command = commands[i].command;
    if (out->json && out->command != COMMAND_CLASSIFY && out->command != COMMAND_BENCH)
        return error_set(err, ERROR_USAGE,
                         "--json belongs to senetd classify, bench and --print-config");
    if (out->command == COMMAND_HEALTH)
        return read_health(words + 1, count - 1, out, err);
    if (out->command == COMMAND_PROFILE || out->command == COMMAND_PLOT)
        return read_figure(words + 1, count - 1, out, err);
    if (out->command == COMMAND_QUANTIZE)
        return read_quantize(out, err);
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
    options_set_defaults(out);
    const char *path = find_file(argc, argv);
    if (path != NULL)
        TRY(read_file(path, out, err));
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
        else if (strcmp(argument, "-o") == 0 && next >= argc)
            return error_set(err, ERROR_USAGE, "-o needs a value: PATH");
        else if (strcmp(argument, "-o") == 0)
            TRY(options_set(CONFIG_HAS_output, CONFIG_COMMAND_LINE, "-o", argv[next++], out, err));
        else if (argument[1] != '-')
            return error_set(err, ERROR_USAGE, "unknown option %s; see senetd --help", argument);
        else
            TRY(read_option(argc, argv, &next, out, err));
    }
    return read_words(argv + 1, (size_t)(words > 1 ? words - 1 : 0), out, err);
}

void config_free(struct config *config)
{
    free(config->document);
    config->document = NULL;
}

/* ---- telling --------------------------------------------------------------------------------- */

static void print_json(const struct config *config, struct writer *out)
{
    static const char *const sources[] = {"default", "file", "environment", "command line"};
    writer_open(out, '{');
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        writer_key(out, options_at(i)->flag);
        writer_open(out, '{');
        writer_key(out, "value");
        options_write_json(config, i, out);
        writer_key_string(out, "source", sources[config->sources[i]]);
        writer_close(out, '}');
    }
    writer_close(out, '}');
    writer_raw(out, "\n", 1);
}

static void print_row(const struct config *config, size_t index, FILE *to)
{
    const char *flag = options_at(index)->flag;
    char variable[OPTIONS_VARIABLE_BYTES];
    struct writer value = {0};
    options_write_text(config, index, &value);
    options_variable(flag, variable);
    fprintf(to, "%-22s %-24.*s ", flag, (int)value.size, value.bytes);
    switch (config->sources[index]) {
    case CONFIG_DEFAULT:
        fprintf(to, "default\n");
        break;
    case CONFIG_FILE:
        fprintf(to, "file %s\n", config->config != NULL ? config->config : "");
        break;
    case CONFIG_ENVIRONMENT:
        fprintf(to, "environment %s\n", variable);
        break;
    case CONFIG_COMMAND_LINE:
        fprintf(to, "command line\n");
        break;
    }
    writer_free(&value);
}

void config_print(const struct config *config, bool json, FILE *to)
{
    struct writer out = {0};
    if (json) {
        print_json(config, &out);
        fwrite(out.bytes, 1, out.size, to);
        writer_free(&out);
        return;
    }
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        print_row(config, i, to);
}

void config_help(FILE *to)
{
    fputs("senetd - image classification by an SE-ResNet, with every excitation vector\n\n"
          "  senetd [serve] [OPTION...]        serve HTTP until SIGTERM or SIGINT\n"
          "  senetd classify [--json] FILE...  classify files without a server\n"
          "  senetd bench [--json]             time the network, without HTTP or decoding\n"
          "  senetd profile --images DIR       statistics of the photos' excitations, for "
          "relative=1\n"
          "  senetd plot FILE -o PATH          an image's excitations as SVG or PNG\n"
          "  senetd plot --classes DIR -o PATH mean excitations of each class as SVG or PNG\n"
          "  senetd quantize --calibrate DIR -o DIR\n"
          "                                    weights for --precision int8, from photos\n"
          "  senetd health [live|ready]        ask the daemon at --listen; status 0 if it is\n"
          "  senetd --check                    load the model, run it once, print its facts\n"
          "  senetd --check-config             say whether the daemon would accept its options\n"
          "  senetd --print-config [--json]    every option's value and where it comes from\n"
          "  senetd --help, --version\n\n"
          "Options; each is also an environment variable, --max-body as SENETD_MAX_BODY, and a\n"
          "member of the JSON file of --config, \"max-body\". The command line wins over the\n"
          "environment, which wins over the file.\n\n",
          to);
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option *option = options_at(i);
        struct config defaults;
        struct writer value = {0};
        options_set_defaults(&defaults);
        options_write_text(&defaults, i, &value);
        fprintf(to, "  --%-18s %-10s %s", option->flag, option->argument, option->help);
        if (option->kind == OPTION_CHOICE ||
            (option->kind == OPTION_TEXT && option->text != NULL) ||
            (option->kind == OPTION_SIZE && option->value != 0))
            fprintf(to, " [%.*s]", (int)value.size, value.bytes);
        fputc('\n', to);
        writer_free(&value);
    }
}
