/* test_log.c - lines to stderr: their form, level, and how many there may be. */
#include "log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int pipes[2], saved;

/* stderr goes to a pipe until end_capture. */
static void begin_capture(void)
{
    fflush(stderr);
    assert_int_equal(pipe(pipes), 0);
    saved = dup(STDERR_FILENO);
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[1]);
}

static void end_capture(char *out, size_t room)
{
    size_t used = 0;
    dup2(saved, STDERR_FILENO);
    close(saved);
    for (ssize_t got = 1; got > 0 && used + 1 < room; used += got > 0 ? (size_t)got : 0)
        got = read(pipes[0], out + used, room - 1 - used);
    out[used] = '\0';
    close(pipes[0]);
}

static size_t lines_of(const char *text)
{
    size_t lines = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        lines++;
    return lines;
}

static const struct log_access access_ = {
    .client = "::1",
    .method = "POST",
    .path = "/a\n\"b\"",
    .id = "x",
    .status = 200,
    .bytes_in = 5,
    .duration_ns = 2500000,
    .decode_ns = 1500000,
    .batch_size = 3,
    .trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
};

static void json_lines_are_objects(void **state)
{
    char text[4096];
    (void)state;
    log_set_up(LOG_JSON, LOG_INFO);
    begin_capture();
    log_access(&access_);
    end_capture(text, sizeof text);
    assert_int_equal(lines_of(text), 1);
    json_t *line = json_loads(text, 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "path")), access_.path);
    assert_float_equal(json_number_value(json_object_get(line, "ms")), 2.5, 0);
    assert_float_equal(json_number_value(json_object_get(line, "decode_ms")), 1.5, 0);
    assert_int_equal(json_integer_value(json_object_get(line, "batch_size")), 3);
    assert_string_equal(json_string_value(json_object_get(line, "trace_id")),
                        "0af7651916cd43dd8448eb211c80319c");
    assert_string_equal(json_string_value(json_object_get(line, "parent_id")), "b7ad6b7169203331");
    json_decref(line);
}

static void a_text_line_stays_one_line(void **state)
{
    char text[4096];
    (void)state;
    log_set_up(LOG_TEXT, LOG_INFO);
    begin_capture();
    log_access(&access_);
    log_info("event", "two\nlines");
    end_capture(text, sizeof text);
    assert_int_equal(lines_of(text), 2);
    assert_non_null(strstr(text, " ::1 POST /a?\"b\" 200 "));
    assert_non_null(strstr(text, "trace 0af7651916cd43dd8448eb211c80319c"));
    assert_non_null(strstr(text, " event: two?lines\n"));
}

static void lines_under_the_level_are_left_out(void **state)
{
    char text[4096];
    (void)state;
    log_set_up(LOG_TEXT, LOG_WARN);
    begin_capture();
    log_access(&access_);
    log_info("event", "not this");
    log_warn("level", "this");
    log_error("level", "and this");
    end_capture(text, sizeof text);
    assert_int_equal(lines_of(text), 2);
    assert_non_null(strstr(text, " warn level: this\n"));
    assert_non_null(strstr(text, " error level: and this\n"));
}

/* Fewer than a window's ten seconds pass here. */
static void errors_of_one_event_are_limited(void **state)
{
    char text[16384];
    (void)state;
    log_set_up(LOG_TEXT, LOG_INFO);
    begin_capture();
    for (int i = 0; i < 5 * LOG_BURST; i++)
        log_error("flood", "number %d", i);
    log_error("other", "is not held back");
    for (int i = 0; i < LOG_BURST; i++)
        log_info("flood", "told in full");
    end_capture(text, sizeof text);
    assert_int_equal(lines_of(text), LOG_BURST + 1 + LOG_BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines_are_objects),
        cmocka_unit_test(a_text_line_stays_one_line),
        cmocka_unit_test(lines_under_the_level_are_left_out),
        cmocka_unit_test(errors_of_one_event_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
