/* lingering.h - closing a connection whose client may still be sending.
 *
 * To close a socket with unread bytes is to reset it, and a reset destroys an answer that the
 * client has not read yet. So a socket whose request was refused early gets its end of stream, and
 * stays until the client has closed, too, or some seconds went by; what comes meanwhile is thrown
 * away. Bounded in number and time. Not thread-safe.
 */
#ifndef SENETD_LINGERING_H
#define SENETD_LINGERING_H

#include <stddef.h>
#include <stdint.h>

#define LINGERING_MOST 64

struct lingering {
    size_t count;
    struct {
        int fd;
        int64_t until_ns; /* CLOCK_MONOTONIC */
    } sockets[LINGERING_MOST];
};

/* Keeps a duplicate of the socket, which the caller goes on to close. Where there is no room, it
 * is as if this had not been called. */
void lingering_add(struct lingering *lingering, int fd, int64_t now_ns);

/* Throws away what came and closes those that are done. */
void lingering_sweep(struct lingering *lingering, int64_t now_ns);

/* Closes all. */
void lingering_end(struct lingering *lingering);

#endif
