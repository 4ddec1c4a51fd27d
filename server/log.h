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

/* Picks the form; call before threads start. Without it lines are text. */
void log_use_json(bool json);

/* event is a short literal such as "listen"; the message is one sentence. */
void log_info(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_error(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What the access line of a request tells. */
struct log_access {
    const char *client; /* address, or "-" */
    const char *method, *path, *id;
    unsigned status; /* 0: the connection ended before an answer */
    size_t bytes_in, bytes_out;
    size_t images;
    int64_t duration_ns;
};

void log_access(const struct log_access *access);

#endif
