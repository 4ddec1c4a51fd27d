/* test_config.c - where an option's value comes from, and what is said about wrong ones. */
#include "config.h"
#include "models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WORDS 16

/* Parses words that are separated by single spaces. What config points to lives until the next
 * call. */
static enum error_code parse(const char *line, struct config *config, struct error *err)
{
    static char text[512], name[] = "senetd", *argv[MAX_WORDS + 2];
    int argc = 1;
    argv[0] = name;
    assert_true(strlen(line) < sizeof text);
    memcpy(text, line, strlen(line) + 1);
    for (char *at = text; *at != '\0' && argc <= MAX_WORDS;) {
        argv[argc++] = at;
        at += strcspn(at, " ");
        if (*at == ' ')
            *at++ = '\0';
    }
    *err = (struct error){0};
    return config_parse(argc, argv, config, err);
}

static void check_fault(const char *line, const char *part)
{
    struct config config;
    struct error err;
    assert_int_equal(parse(line, &config, &err), ERROR_USAGE);
    if (strstr(err.message, part) == NULL)
        fail_msg("'%s' gave '%s', which lacks '%s'", line, err.message, part);
}

static void defaults_are_those_of_the_manual(void **state)
{
    struct config config;
    struct error err;
    (void)state;
    assert_int_equal(parse("", &config, &err), ERROR_NONE);
    assert_int_equal(config.command, COMMAND_SERVE);
    assert_string_equal(config.listen, "127.0.0.1:8080");
    assert_string_equal(config.weights, "weights/demo");
    assert_null(config.labels);
    assert_int_equal(config.workers, 0);
    assert_int_equal(config.topk, 5);
    assert_int_equal(config.max_body, 20 << 20);
    assert_int_equal(config.max_pixels, 50000000);
}

static void a_worker_takes_its_share_of_the_threads(void **state)
{
    static const struct {
        const char *line;
        size_t max_batch;
    } cases[] = {
        {"--workers 1 --threads 8", 8},
        {"--workers 4 --threads 6", 2},
        {"--workers 8 --threads 2", 1},
        {"--workers 1 --threads 1024", CONFIG_MAX_BATCH},
        {"--workers 4 --threads 4 --max-batch 5", 5},
    };
    struct config config;
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(parse(cases[i].line, &config, &err), ERROR_NONE);
        assert_int_equal(models_batch_options(&config).max_batch, cases[i].max_batch);
        config_free(&config);
    }
}

static void quantize_says_what_it_needs(void **state)
{
    static const char *const faults[][2] = {
        {"quantize -o out", "--calibrate DIR"},
        {"quantize --calibrate photos", "-o DIR"},
        {"quantize --calibrate p -o q --precision int8", "no --precision"}};
    struct config config;
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        err = (struct error){0};
        assert_int_equal(parse(faults[i][0], &config, &err), ERROR_USAGE);
        assert_non_null(strstr(err.message, faults[i][1]));
    }
    err = (struct error){0};
    assert_int_equal(parse("quantize --calibrate photos -o out", &config, &err), ERROR_NONE);
    assert_int_equal(config.command, COMMAND_QUANTIZE);
    assert_string_equal(config.calibrate, "photos");
    assert_string_equal(config.output, "out");
}

static void the_command_line_wins_over_the_environment(void **state)
{
    struct config config;
    struct error err;
    (void)state;
    setenv("SENETD_TOPK", "7", 1);
    setenv("SENETD_MAX_BODY", "3m", 1);
    assert_int_equal(parse("--topk 3", &config, &err), ERROR_NONE);
    unsetenv("SENETD_TOPK");
    unsetenv("SENETD_MAX_BODY");
    assert_int_equal(config.topk, 3);
    assert_int_equal(config.max_body, 3 << 20);
}

static void a_wrong_environment_names_its_variable(void **state)
{
    (void)state;
    setenv("SENETD_MAX_IMAGES", "many", 1);
    check_fault("", "SENETD_MAX_IMAGES is 'many'");
    unsetenv("SENETD_MAX_IMAGES");
}

static void an_empty_environment_variable_is_unset(void **state)
{
    struct config config;
    struct error err;
    (void)state;
    setenv("SENETD_WEIGHTS", "", 1);
    assert_int_equal(parse("", &config, &err), ERROR_NONE);
    unsetenv("SENETD_WEIGHTS");
    assert_string_equal(config.weights, "weights/demo");
}

static void suffixes_are_powers_of_1024_for_bytes_and_1000_for_counts(void **state)
{
    struct config config;
    struct error err;
    (void)state;
    assert_int_equal(parse("--max-body=2K --max-pixels 3m", &config, &err), ERROR_NONE);
    assert_int_equal(config.max_body, 2048);
    assert_int_equal(config.max_pixels, 3000000);
}

static void wrong_values_say_what_is_expected(void **state)
{
    (void)state;
    check_fault("--topk 0", "--topk is 0, expected 1 to");
    check_fault("--topk -1", "--topk is '-1'");
    check_fault("--topk 5x", "--topk is '5x'");
    check_fault("--topk 99999999999999999999999", "--topk is");
    check_fault("--max-body 99999999999999g", "--max-body is");
    check_fault("--max-body 9g", "expected 1024 to 1073741824");
    check_fault("--workers", "--workers needs a value: N");
    check_fault("--listen=", "--listen is empty, expected HOST:PORT");
}

static void unknown_options_get_a_suggestion_if_one_is_near(void **state)
{
    (void)state;
    check_fault("--lisen :80", "did you mean --listen?");
    check_fault("--max-boddy=1m", "did you mean --max-body?");
    check_fault("--chek", "did you mean --check?");
    check_fault("--colour red", "see senetd --help");
    check_fault("-x", "unknown option -x");
    check_fault("--help=yes", "unknown option");
}

static void commands_are_told_apart(void **state)
{
    struct config config;
    struct error err;
    (void)state;
    assert_int_equal(parse("serve --topk 2", &config, &err), ERROR_NONE);
    assert_int_equal(config.command, COMMAND_SERVE);
    assert_int_equal(parse("--check", &config, &err), ERROR_NONE);
    assert_int_equal(config.command, COMMAND_CHECK);
    assert_int_equal(parse("classify --help", &config, &err), ERROR_NONE);
    assert_int_equal(config.command, COMMAND_HELP);
    assert_int_equal(parse("-V", &config, &err), ERROR_NONE);
    assert_int_equal(config.command, COMMAND_VERSION);
    check_fault("clasify a.jpg", "unknown command 'clasify'");
    check_fault("serve a.jpg", "serve takes no argument");
    check_fault("classify", "at least one image file");
    check_fault("--json", "--json belongs to");
}

static void classify_collects_its_files_among_the_options(void **state)
{
    struct config config;
    struct error err;
    (void)state;
    assert_int_equal(parse("classify a.jpg --topk 2 b.png --json -- --c.bmp", &config, &err),
                     ERROR_NONE);
    assert_int_equal(config.command, COMMAND_CLASSIFY);
    assert_int_equal(config.topk, 2);
    assert_true(config.json);
    assert_int_equal(config.file_count, 3);
    assert_string_equal(config.files[0], "a.jpg");
    assert_string_equal(config.files[1], "b.png");
    assert_string_equal(config.files[2], "--c.bmp");
}

static void help_names_every_option(void **state)
{
    char *text = NULL;
    size_t size = 0;
    (void)state;
    FILE *memory = open_memstream(&text, &size);
    assert_non_null(memory);
    config_help(memory);
    fclose(memory);
#define EXPECT_TEXT(field, flag, value, argument, help) assert_non_null(strstr(text, "--" flag));
#define EXPECT_SIZE(field, flag, value, least, most, unit, argument, help)                         \
    assert_non_null(strstr(text, "--" flag));
#define EXPECT_CHOICE(field, flag, value, words, help) assert_non_null(strstr(text, "--" flag));
    CONFIG_OPTIONS(EXPECT_TEXT, EXPECT_SIZE, EXPECT_CHOICE)
    free(text);
}

/* ---- the file -------------------------------------------------------------------------------- */

#define FILE_PATH "/tmp/senetd-test-config.json"

/* Parses the line with a configuration file of that content; the caller frees the config. */
static enum error_code parse_file(const char *content, const char *line, struct config *config,
                                  struct error *err)
{
    char with_file[512];
    FILE *file = fopen(FILE_PATH, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    fclose(file);
    snprintf(with_file, sizeof with_file, "--config " FILE_PATH "%s%s", *line ? " " : "", line);
    enum error_code code = parse(with_file, config, err);
    unlink(FILE_PATH);
    return code;
}

static void check_file_fault(const char *content, const char *part)
{
    struct config config;
    struct error err;
    assert_int_equal(parse_file(content, "", &config, &err), ERROR_USAGE);
    if (strstr(err.message, part) == NULL)
        fail_msg("'%s' gave '%s', which lacks '%s'", content, err.message, part);
    config_free(&config);
}

static void sources_win_in_rising_order(void **state)
{
    struct config config;
    struct error err;
    (void)state;
    setenv("SENETD_MAX_BODY", "2m", 1);
    setenv("SENETD_QUEUE", "20", 1);
    assert_int_equal(parse_file("{\"topk\": 3, \"max-body\": \"1m\", \"queue\": 10,"
                                " \"weights\": \"a/b\", \"labels\": null}",
                                "--queue 30", &config, &err),
                     ERROR_NONE);
    unsetenv("SENETD_MAX_BODY");
    unsetenv("SENETD_QUEUE");
    assert_int_equal(config.max_batch, 0);
    assert_int_equal(config.topk, 3);
    assert_string_equal(config.weights, "a/b");
    assert_null(config.labels);
    assert_int_equal(config.max_body, 2 << 20);
    assert_int_equal(config.queue, 30);
    assert_int_equal(config.sources[CONFIG_HAS_max_batch], CONFIG_DEFAULT);
    assert_int_equal(config.sources[CONFIG_HAS_labels], CONFIG_DEFAULT);
    assert_int_equal(config.sources[CONFIG_HAS_topk], CONFIG_FILE);
    assert_int_equal(config.sources[CONFIG_HAS_max_body], CONFIG_ENVIRONMENT);
    assert_int_equal(config.sources[CONFIG_HAS_queue], CONFIG_COMMAND_LINE);
    config_free(&config);
}

static void a_wrong_file_says_what_and_where(void **state)
{
    struct config config;
    struct error err;
    (void)state;
    check_file_fault("{\"max-bdy\": 5}", "unknown member \"max-bdy\"; did you mean \"max-body\"?");
    check_file_fault("{\"max_body\": 5}", "did you mean \"max-body\"?");
    check_file_fault("{\"colour\": 5}", "unknown member \"colour\"; see");
    check_file_fault("{\"topk\": 0}", "\"topk\" in " FILE_PATH " is 0, expected 1 to");
    check_file_fault("{\"topk\": -3}", "is '-3'");
    check_file_fault("{\"topk\": 2.5}", "is a number, expected a whole number");
    check_file_fault("{\"topk\": [1]}", "is an array, expected a whole number");
    check_file_fault("{\"listen\": 80}", "is a number, expected a string");
    check_file_fault("{\"listen\": \"\"}", "is empty");
    check_file_fault("{\"config\": \"x\"}", "cannot name another file");
    check_file_fault("{\"topk\": 1, \"topk\": 2}", "line 1");
    check_file_fault("{\"topk\": 1", "line 1");
    check_file_fault("[]", "holds an array");
    assert_int_equal(parse("--config /nonexistent", &config, &err), ERROR_IO);
    assert_non_null(strstr(err.message, "/nonexistent"));
    config_free(&config);
}

static void printing_names_values_and_sources(void **state)
{
    struct config config;
    struct error err;
    char *text = NULL;
    size_t size = 0;
    (void)state;
    assert_int_equal(parse_file("{\"topk\": 3}", "--print-config --queue 2k", &config, &err),
                     ERROR_NONE);
    assert_int_equal(config.command, COMMAND_PRINT_CONFIG);
    FILE *memory = open_memstream(&text, &size);
    assert_non_null(memory);
    config_print(&config, true, memory);
    fclose(memory);
    json_t *printed = json_loads(text, 0, NULL);
    assert_int_equal(json_object_size(printed), CONFIG_OPTION_COUNT);
    const json_t *topk = json_object_get(printed, "topk"),
                 *queue = json_object_get(printed, "queue");
    assert_int_equal(json_integer_value(json_object_get(topk, "value")), 3);
    assert_string_equal(json_string_value(json_object_get(topk, "source")), "file");
    assert_int_equal(json_integer_value(json_object_get(queue, "value")), 2000);
    assert_string_equal(json_string_value(json_object_get(queue, "source")), "command line");
    json_decref(printed);
    free(text);
    memory = open_memstream(&text, &size);
    assert_non_null(memory);
    config_print(&config, false, memory);
    fclose(memory);
    assert_non_null(strstr(text, "file " FILE_PATH));
    free(text);
    config_free(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_manual),
        cmocka_unit_test(a_worker_takes_its_share_of_the_threads),
        cmocka_unit_test(quantize_says_what_it_needs),
        cmocka_unit_test(the_command_line_wins_over_the_environment),
        cmocka_unit_test(a_wrong_environment_names_its_variable),
        cmocka_unit_test(an_empty_environment_variable_is_unset),
        cmocka_unit_test(suffixes_are_powers_of_1024_for_bytes_and_1000_for_counts),
        cmocka_unit_test(wrong_values_say_what_is_expected),
        cmocka_unit_test(unknown_options_get_a_suggestion_if_one_is_near),
        cmocka_unit_test(commands_are_told_apart),
        cmocka_unit_test(classify_collects_its_files_among_the_options),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(sources_win_in_rising_order),
        cmocka_unit_test(a_wrong_file_says_what_and_where),
        cmocka_unit_test(printing_names_values_and_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
