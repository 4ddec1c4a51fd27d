/* health.c - see health.h.
 *
 * For HEALTHCHECK, exec probes and scripts, in images that have no curl: it runs every few seconds,
 * so it loads no model, and one deadline bounds all of it, a peer that drips bytes included.
 */
#include "health.h"
#include "listener.h"
#include "monotonic.h"
#include "tls.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_NS  (5 * (int64_t)1000000000)
#define ANSWER_BYTES 4096

struct probe {
    const char *path;
    char host[LISTENER_HOST_BYTES], port[8];
    char answer[ANSWER_BYTES]; /* its beginning, terminated */
    int64_t deadline;
    int fd;
};

/* An address to listen on is not always one to connect to. */
static const char *reachable(const char *host)
{
    if (*host == '\0' || strcmp(host, "0.0.0.0") == 0)
        return "127.0.0.1";
    return strcmp(host, "::") == 0 ? "::1" : host;
}

static enum error_code read_port(const char *path, char port[8], struct error *err)
{
    if (path == NULL)
        return error_set(err, ERROR_USAGE, "port 0 is no port to ask; give --port-file as well");
    FILE *file = fopen(path, "re");
    bool read = file != NULL && fscanf(file, "%5[0-9]", port) == 1;
    if (file != NULL)
        fclose(file);
    return read ? ERROR_NONE
                : error_set(err, ERROR_IO, "no port in '%.200s': the daemon does not listen", path);
}

static enum error_code find_address(const struct config *config, struct probe *probe,
                                    struct error *err)
{
    const char *port = NULL;
    TRY(listener_split(config->listen, probe->host, &port, err));
    snprintf(probe->port, sizeof probe->port, "%s", port);
    if (strtoul(port, NULL, 10) == 0)
        return read_port(config->port_file, probe->port, err);
    return ERROR_NONE;
}

/* Waits until the socket is ready for events; false after the deadline. */
static bool wait_for(const struct probe *probe, int fd, short events)
{
    struct pollfd waited = {.fd = fd, .events = events};
    for (;;) {
        int64_t left = (probe->deadline - monotonic_ns()) / 1000000;
        int ready = left > 0 ? poll(&waited, 1, (int)left) : 0;
        if (ready >= 0 || errno != EINTR)
            return ready > 0;
    }
}

/* A connected socket, or -1 with errno. */
static int connect_to(const struct probe *probe, const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int cause = connect(fd, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (cause == EINPROGRESS) {
        socklen_t size = sizeof cause;
        cause = ETIMEDOUT;
        if (wait_for(probe, fd, POLLOUT))
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &size);
    }
    if (cause == 0)
        return fd;
    close(fd);
    errno = cause;
    return -1;
}

static enum error_code open_connection(const struct probe *probe, int *fd, struct error *err)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    const char *host = reachable(probe->host);
    int failure = getaddrinfo(host, probe->port, &hints, &found);
    if (failure != 0)
        return error_set(err, ERROR_USAGE, "cannot ask '%.200s': %s", host, gai_strerror(failure));
    int cause = 0;
    *fd = -1;
    for (struct addrinfo *at = found; at != NULL && *fd < 0; at = at->ai_next) {
        *fd = connect_to(probe, at);
        cause = errno;
    }
    freeaddrinfo(found);
    return *fd >= 0 ? ERROR_NONE
                    : error_set(err, ERROR_IO, "no daemon at %.200s port %s: %s", host, probe->port,
                                strerror(cause));
}

static bool wait_on(void *context, short events)
{
    const struct probe *probe = context;
    return wait_for(probe, probe->fd, events);
}

/* Sends the request and reads the answer's beginning, to its end or until the buffer is full. */
static enum error_code exchange_with(struct probe *probe, bool encrypted, struct error *err)
{
    char request[128];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: senetd-health\r\n"
                        "Connection: close\r\n\r\n",
                        probe->path);
    if (encrypted)
        return tls_ask(probe->fd, wait_on, probe, request, probe->answer, sizeof probe->answer,
                       err);
    size_t used = 0;
    /* A fresh socket's buffer takes so short a request as a whole. */
    ssize_t moved = TEMP_FAILURE_RETRY(send(probe->fd, request, (size_t)size, MSG_NOSIGNAL));
    while (moved > 0 && used + 1 < sizeof probe->answer) {
        if (!wait_for(probe, probe->fd, POLLIN))
            return error_set(err, ERROR_IO, "no answer to %s in time", probe->path);
        moved = TEMP_FAILURE_RETRY(
            recv(probe->fd, probe->answer + used, sizeof probe->answer - 1 - used, 0));
        used += moved > 0 ? (size_t)moved : 0;
    }
    probe->answer[used] = '\0';
    if (moved < 0)
        return error_set(err, ERROR_IO, "the connection broke: %s", strerror(errno));
    return ERROR_NONE;
}

static enum error_code judge(const struct probe *probe, struct error *err)
{
    unsigned status;
    if (sscanf(probe->answer, "HTTP/1.%*1u %u", &status) != 1)
        return error_set(err, ERROR_IO, "the answer to %s is not HTTP", probe->path);
    if (status == 200)
        return ERROR_NONE;
    const char *body = strstr(probe->answer, "\r\n\r\n");
    return error_set(err, ERROR_LOADING, "%s answered %u: %.200s", probe->path, status,
                     body != NULL ? body + 4 : "");
}

enum error_code health_probe(const struct config *config, struct error *err)
{
    struct probe probe = {.path = config->live ? "/healthz" : "/readyz",
                          .deadline = monotonic_ns() + DEADLINE_NS};
    TRY(find_address(config, &probe, err));
    TRY(open_connection(&probe, &probe.fd, err));
    enum error_code code = exchange_with(&probe, config->tls_cert != NULL, err);
    close(probe.fd);
    return code == ERROR_NONE ? judge(&probe, err) : code;
}
