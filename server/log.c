/* log.c - see log.h. */
#include "log.h"
#include "writer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool use_json;

void log_use_json(bool json)
{
    use_json = json;
}

static void now_text(char out[32])
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t size = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + size, 32 - size, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

/* The last act of every line: its one write. */
static void emit(struct writer *line)
{
    writer_raw(line, "\n", 1);
    if (!line->failed) {
        ssize_t written = write(STDERR_FILENO, line->bytes, line->size);
        (void)written; /* there is nowhere to complain */
    }
    writer_free(line);
}

__attribute__((format(printf, 3, 0))) static void write_line(const char *level, const char *event,
                                                             const char *format, va_list args)
{
    char time[32], message[1024];
    struct writer line = {0};
    now_text(time);
    vsnprintf(message, sizeof message, format, args);
    if (use_json) {
        writer_open(&line, '{');
        writer_key_string(&line, "time", time);
        writer_key_string(&line, "level", level);
        writer_key_string(&line, "event", event);
        writer_key_string(&line, "message", message);
        writer_close(&line, '}');
    } else {
        for (char *at = message; *at != '\0'; at++)
            if ((unsigned char)*at < 0x20 || *at == 0x7F)
                *at = '?';
        writer_format(&line, "%.8s %s%s: %s", time + 11,
                      strcmp(level, "error") == 0 ? "error " : "", event, message);
    }
    emit(&line);
}

void log_info(const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line("info", event, format, args);
    va_end(args);
}

void log_error(const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line("error", event, format, args);
    va_end(args);
}

/* A client's text on a terminal: control bytes as '?'. */
static void write_visible(struct writer *line, const char *text)
{
    for (; *text != '\0'; text++) {
        char byte = (unsigned char)*text < 0x20 || *text == 0x7F ? '?' : *text;
        writer_raw(line, &byte, 1);
    }
}

void log_access(const struct log_access *access)
{
    char time[32];
    struct writer line = {0};
    double ms = (double)access->duration_ns / 1e6;
    now_text(time);
    if (use_json) {
        writer_open(&line, '{');
        writer_key_string(&line, "time", time);
        writer_key_string(&line, "level", "info");
        writer_key_string(&line, "event", "request");
        writer_key_string(&line, "id", access->id);
        writer_key_string(&line, "client", access->client);
        writer_key_string(&line, "method", access->method);
        writer_key_string(&line, "path", access->path);
        writer_key_integer(&line, "status", access->status);
        writer_key_integer(&line, "images", access->images);
        writer_key_integer(&line, "bytes_in", access->bytes_in);
        writer_key_integer(&line, "bytes_out", access->bytes_out);
        writer_key_number(&line, "ms", ms, 5);
        writer_close(&line, '}');
    } else {
        writer_format(&line, "%.8s %s %s ", time + 11, access->client, access->method);
        write_visible(&line, access->path);
        if (access->status == 0)
            writer_text(&line, " aborted");
        else
            writer_format(&line, " %u", access->status);
        writer_format(&line, " %zu images, %zu B in, %zu B out, %.1f ms, id %s", access->images,
                      access->bytes_in, access->bytes_out, ms, access->id);
    }
    emit(&line);
}
