/* log.h - one line per event to stderr: readable on a terminal, JSON otherwise.
 *
 * A line is one write(2), so that lines of several threads do not mix. Thread-safe. Bytes that a
 * client sent (paths, names) are escaped in both forms: a line is always one line.
 */
#ifndef SENETD_LOG_H
#define SENETD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of the words of --log-format and --log-level. */
enum log_format { LOG_AUTO, LOG_TEXT, LOG_JSON }; /* auto: text on a terminal */
enum log_level { LOG_INFO, LOG_WARN, LOG_ERROR };

/* Call before threads start. Without it lines are text, from LOG_INFO on. */
void log_set_up(enum log_format format, enum log_level least);

/* Of warnings and errors each event has at most LOG_BURST lines in ten seconds; the next line
 * after that tells how many were left out. event is a short literal such as "listen"; the message
 * is one sentence. */
void log_info(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_warn(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_error(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define LOG_BURST 10

/* What the access line of a request tells. */
struct log_access {
    const char *client; /* address, or "-" */
    const char *method, *path, *id;
    unsigned status; /* 0: the connection ended before an answer */
    size_t bytes_in, bytes_out;
    size_t images;
    int64_t duration_ns;
    /* Of a request whose images were computed; batch_size is 0 otherwise. */
    int64_t decode_ns, preprocess_ns, queue_ns, inference_ns;
    size_t batch_size;
    const char *trace; /* a valid traceparent of W3C Trace Context, or "" */
};

void log_access(const struct log_access *access);

#endif
