/* lingering.c - see lingering.h. */
#include "lingering.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGERING_NS 5000000000
#define SWEEP_BYTES  ((size_t)4 << 20) /* at most from one socket in one sweep */

void lingering_add(struct lingering *lingering, int fd, int64_t now_ns)
{
    if (lingering->count == LINGERING_MOST)
        return;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return;
    shutdown(copy, SHUT_WR);
    lingering->sockets[lingering->count].fd = copy;
    lingering->sockets[lingering->count++].until_ns = now_ns + LINGERING_NS;
}

/* Whether the client has nothing more to say. MSG_TRUNC has the kernel drop the bytes of a TCP
 * socket without copying them. */
static bool is_done(int fd)
{
    ssize_t got = 1;
    for (size_t dropped = 0; got > 0 && dropped < SWEEP_BYTES; dropped += (size_t)got) {
        got = recv(fd, NULL, SWEEP_BYTES, MSG_TRUNC | MSG_DONTWAIT);
        if (got < 0)
            return errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
    }
    return got == 0;
}

void lingering_sweep(struct lingering *lingering, int64_t now_ns)
{
    for (size_t i = 0; i < lingering->count;) {
        int fd = lingering->sockets[i].fd;
        if (is_done(fd) || now_ns >= lingering->sockets[i].until_ns) {
            close(fd);
            lingering->sockets[i] = lingering->sockets[--lingering->count];
        } else {
            i++;
        }
    }
}

void lingering_end(struct lingering *lingering)
{
    for (size_t i = 0; i < lingering->count; i++)
        close(lingering->sockets[i].fd);
    lingering->count = 0;
}
