/* log.c - see log.h. */
#include "log.h"
#include "monotonic.h"
#include "writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_NS   10000000000
#define MOST_EVENTS 32

static bool use_json;
static enum log_level least = LOG_INFO;

static const char *const level_names[] = {"info", "warn", "error"};

/* Lines of one event in the present window. Events are literals: few, and never freed. */
struct rate {
    const char *event;
    int64_t begin_ns;
    unsigned lines, left_out;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the rates */
static struct rate rates[MOST_EVENTS];

void log_set_up(enum log_format format, enum log_level level)
{
    use_json = format == LOG_JSON || (format == LOG_AUTO && !isatty(STDERR_FILENO));
    least = level;
}

/* Whether a line of that event may be written now; *left_out is how many were not before it. */
static bool may_write(const char *event, unsigned *left_out)
{
    int64_t now = monotonic_ns();
    bool allowed = true;
    pthread_mutex_lock(&mutex);
    size_t i = 0;
    while (i < MOST_EVENTS && rates[i].event != NULL && strcmp(rates[i].event, event) != 0)
        i++;
    if (i < MOST_EVENTS) {
        struct rate *rate = &rates[i];
        if (rate->event == NULL || now - rate->begin_ns >= WINDOW_NS) {
            *left_out = rate->left_out;
            *rate = (struct rate){.event = event, .begin_ns = now};
        }
        allowed = rate->lines++ < LOG_BURST;
        rate->left_out += !allowed;
    }
    pthread_mutex_unlock(&mutex);
    return allowed;
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

/* The last act of every line: its one write, unless a signal or a full disk cuts it. */
static void emit(struct writer *line)
{
    writer_raw(line, "\n", 1);
    const char *rest = line->bytes;
    size_t left = line->failed ? 0 : line->size;
    while (left > 0) {
        ssize_t written = TEMP_FAILURE_RETRY(write(STDERR_FILENO, rest, left));
        if (written <= 0)
            break; /* there is nowhere to complain */
        rest += written;
        left -= (size_t)written;
    }
    writer_free(line);
}

__attribute__((format(printf, 3, 0))) static void
write_line(enum log_level level, const char *event, const char *format, va_list args)
{
    char time[32], message[1024];
    struct writer line = {0};
    unsigned left_out = 0;
    if (level < least || (level >= LOG_WARN && !may_write(event, &left_out)))
        return;
    now_text(time);
    vsnprintf(message, sizeof message, format, args);
    if (use_json) {
        writer_open(&line, '{');
        writer_key_string(&line, "time", time);
        writer_key_string(&line, "level", level_names[level]);
        writer_key_string(&line, "event", event);
        writer_key_string(&line, "message", message);
        if (left_out > 0)
            writer_key_integer(&line, "left_out", left_out);
        writer_close(&line, '}');
    } else {
        for (char *at = message; *at != '\0'; at++)
            if ((unsigned char)*at < 0x20 || *at == 0x7F)
                *at = '?';
        writer_format(&line, "%.8s %s%s%s: %s", time + 11,
                      level == LOG_INFO ? "" : level_names[level], level == LOG_INFO ? "" : " ",
                      event, message);
        if (left_out > 0)
            writer_format(&line, " (%u lines like this were left out)", left_out);
    }
    emit(&line);
}

void log_info(const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(LOG_INFO, event, format, args);
    va_end(args);
}

void log_warn(const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(LOG_WARN, event, format, args);
    va_end(args);
}

void log_error(const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(LOG_ERROR, event, format, args);
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

/* version-trace-parent-flags: the two that a line tells, for joining it with other services'. */
static void write_trace(struct writer *line, const char *trace)
{
    writer_key(line, "trace_id");
    writer_string_n(line, trace + 3, 32);
    writer_key(line, "parent_id");
    writer_string_n(line, trace + 36, 16);
}

static void write_stages(struct writer *line, const struct log_access *access)
{
    writer_key_number(line, "decode_ms", (double)access->decode_ns / 1e6, 5);
    writer_key_number(line, "preprocess_ms", (double)access->preprocess_ns / 1e6, 5);
    writer_key_number(line, "queue_ms", (double)access->queue_ns / 1e6, 5);
    writer_key_number(line, "infer_ms", (double)access->inference_ns / 1e6, 5);
    writer_key_integer(line, "batch_size", access->batch_size);
}

void log_access(const struct log_access *access)
{
    if (least > LOG_INFO)
        return;
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
        if (access->batch_size > 0)
            write_stages(&line, access);
        if (access->trace[0] != '\0')
            write_trace(&line, access->trace);
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
        if (access->trace[0] != '\0')
            writer_format(&line, ", trace %.32s", access->trace + 3);
    }
    emit(&line);
}
