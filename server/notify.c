/* notify.c - see notify.h. */
#include "notify.h"
#include "monotonic.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void send_state(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = path != NULL ? strlen(path) : 0;
    if (size < 2 || size >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, size);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
    (void)sent;
    close(fd);
}

void notify_ready(const char *status)
{
    char state[512];
    snprintf(state, sizeof state, "READY=1\nSTATUS=%.400s", status);
    send_state(state);
}

void notify_reloading(void)
{
    char state[128];
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=Loading the model",
             (long long)(monotonic_ns() / 1000));
    send_state(state);
}

void notify_stopping(void)
{
    send_state("STOPPING=1\nSTATUS=Answering what was accepted");
}

void notify_status(const char *status)
{
    char state[512];
    snprintf(state, sizeof state, "STATUS=%.400s", status);
    send_state(state);
}

void notify_watchdog(void)
{
    send_state("WATCHDOG=1");
}

int64_t notify_watchdog_ns(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && strtoll(pid, NULL, 10) != (long long)getpid()))
        return 0;
    long long value = strtoll(usec, NULL, 10);
    return value > 0 && value < INT64_MAX / 1000 ? value * 1000 : 0;
}
