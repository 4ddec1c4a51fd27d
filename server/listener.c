/* listener.c - see listener.h. */
#include "listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 511

/* "[::1]:80" -> "::1" and "80". */
static bool split(const char *address, char host[LISTENER_HOST_BYTES], const char **port)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon[1] == '\0')
        return false;
    const char *begin = address, *end = colon;
    if (*begin == '[') {
        begin++;
        if (end - begin < 1 || *--end != ']')
            return false;
    } else if (memchr(begin, ':', (size_t)(end - begin)) != NULL) {
        return false; /* IPv6 without brackets: its port would be a guess */
    }
    if (end - begin >= LISTENER_HOST_BYTES)
        return false;
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';
    *port = colon + 1;
    size_t digits = strspn(*port, "0123456789");
    return (*port)[digits] == '\0' && digits <= 5 && strtoul(*port, NULL, 10) <= 65535;
}

/* A bound, listening socket, or -1 with errno. */
static int bind_to(const struct addrinfo *address, bool all)
{
    int type = address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(address->ai_family, type, address->ai_protocol);
    if (fd < 0)
        return -1;
    int yes = 1, only_v6 = !all;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof only_v6);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int cause = errno;
    close(fd);
    errno = cause;
    return -1;
}

static enum error_code name_socket(struct listener *out, struct error *err)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    char host[64], port[8];
    if (getsockname(out->fd, (struct sockaddr *)&bound, &size) != 0 ||
        getnameinfo((struct sockaddr *)&bound, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return error_set(err, ERROR_IO, "cannot tell the bound address: %s", strerror(errno));
    bool v6 = bound.ss_family == AF_INET6;
    snprintf(out->name, sizeof out->name, v6 ? "[%s]:%s" : "%s:%s", host, port);
    sscanf(port, "%u", &out->port);
    return ERROR_NONE;
}

enum error_code listener_split(const char *address, char host[LISTENER_HOST_BYTES],
                               const char **port, struct error *err)
{
    if (split(address, host, port))
        return ERROR_NONE;
    return error_set(err, ERROR_USAGE,
                     "not an address: '%.200s', expected host:port, [v6]:port or :port", address);
}

enum error_code listener_check(const char *address, struct error *err)
{
    char host[LISTENER_HOST_BYTES];
    const char *port = NULL;
    return listener_split(address, host, &port, err);
}

enum error_code listener_open(const char *address, struct listener *out, struct error *err)
{
    char host[LISTENER_HOST_BYTES];
    const char *port = NULL;
    TRY(listener_split(address, host, &port, err));
    bool all = host[0] == '\0';
    struct addrinfo *found, hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                     .ai_family = all ? AF_INET6 : AF_UNSPEC,
                                     .ai_socktype = SOCK_STREAM};
    int failure = getaddrinfo(all ? "::" : host, port, &hints, &found);
    if (failure != 0)
        return error_set(err, ERROR_USAGE, "cannot listen on '%.200s': %s", address,
                         gai_strerror(failure));
    int fd = -1, cause = 0;
    for (struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = bind_to(at, all);
        if (fd < 0 && cause == 0)
            cause = errno;
    }
    freeaddrinfo(found);
    if (fd < 0 && all && cause == EAFNOSUPPORT) { /* a machine without IPv6 */
        char v4[32];
        snprintf(v4, sizeof v4, "0.0.0.0:%.8s", port);
        return listener_open(v4, out, err);
    }
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot listen on '%.200s': %s", address, strerror(cause));
    out->fd = fd;
    enum error_code code = name_socket(out, err);
    if (code != ERROR_NONE)
        close(fd);
    return code;
}

enum error_code listener_write_port(const struct listener *listener, const char *path,
                                    struct error *err)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.part", path) >= (int)sizeof temporary)
        return error_set(err, ERROR_IO, "the port file's path is too long");
    FILE *file = fopen(temporary, "we");
    bool written = file != NULL && fprintf(file, "%u\n", listener->port) > 0;
    if (file != NULL && fclose(file) != 0)
        written = false;
    if (!written || rename(temporary, path) != 0)
        return error_set(err, ERROR_IO, "cannot write the port to '%.200s': %s", path,
                         strerror(errno));
    return ERROR_NONE;
}
