/* raw.c - see raw.h. */
#include "raw.h"
#include "client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 60000

void raw_send(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        at += sent;
        size -= (size_t)sent;
    }
}

/* Whether all answers that the text is to hold are complete. */
static bool holds(const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strstr(text, "Content-Length: ");
        if (end == NULL)
            return false;
        size_t body = length != NULL && length < end ? strtoul(length + 16, NULL, 10) : 0;
        if (strlen(end + 4) < body)
            return false;
        text = end + 4 + body;
    }
    return true;
}

bool raw_read_answers(int fd, size_t count, char *out, size_t room)
{
    size_t used = 0;
    out[0] = '\0';
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if ((count > 0 && holds(out, count)) || poll(&ready, 1, PATIENCE_MS) <= 0)
            return false;
        char rest[4096];
        bool fits = used + 1 < room;
        ssize_t got = recv(fd, fits ? out + used : rest, fits ? room - 1 - used : sizeof rest, 0);
        if (got <= 0)
            return true;
        if (fits)
            out[used += (size_t)got] = '\0';
    }
}

bool raw_read(int fd, char *out, size_t room)
{
    return raw_read_answers(fd, 0, out, room);
}

bool raw_talk(const struct daemon *daemon, const void *bytes, size_t size, char *out, size_t room)
{
    int fd = client_connect(daemon);
    raw_send(fd, bytes, size);
    bool closed = raw_read(fd, out, room);
    close(fd);
    return closed;
}

int raw_status(const char *text)
{
    int status;
    return sscanf(text, "HTTP/1.%*1[01] %3d", &status) == 1 ? status : 0;
}

size_t raw_count(const char *text, int status)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, "HTTP/1.")) != NULL; at += 7) {
        int found = raw_status(at);
        count += found != 0 && found != 100 && (status == 0 || found == status);
    }
    return count;
}
