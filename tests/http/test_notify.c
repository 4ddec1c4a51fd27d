/* test_notify.c - what the daemon tells a service manager; the test's own socket plays systemd. */
#include "client.h"
#include "daemon.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[] = "/tmp/senetd-notify-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    rmdir(folder);
    curl_global_cleanup();
    return 0;
}

/* A bound socket; name is a path, or begins with '@' for the abstract namespace. */
static int open_manager(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = 60};
    size_t size = strlen(name);
    memcpy(address.sun_path, name, size);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)),
                     0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

/* Waits for a datagram with that line; others may come before. */
static void expect(int fd, const char *line, char out[512])
{
    for (;;) {
        ssize_t size = recv(fd, out, 511, 0);
        if (size <= 0)
            fail_msg("no datagram with '%s'", line);
        out[size] = '\0';
        if (strstr(out, line) != NULL)
            return;
    }
}

static void start_reload_and_stop_are_told(const char *name)
{
    char told[512];
    struct daemon daemon;
    int fd = open_manager(name);
    daemon_start(&daemon, NULL);
    expect(fd, "READY=1\n", told);
    assert_non_null(strstr(told, "STATUS=Serving tiny_timm, sha256 "));
    kill(daemon.pid, SIGHUP);
    expect(fd, "RELOADING=1\n", told);
    const char *when = strstr(told, "MONOTONIC_USEC=");
    assert_non_null(when);
    assert_true(strtoll(when + 15, NULL, 10) > 0);
    expect(fd, "READY=1\n", told);
    daemon_stop(&daemon);
    expect(fd, "STOPPING=1\n", told);
    close(fd);
    unsetenv("NOTIFY_SOCKET");
}

static void a_socket_of_a_path_is_told(void **state)
{
    char path[64];
    (void)state;
    snprintf(path, sizeof path, "%s/notify", folder);
    start_reload_and_stop_are_told(path);
    unlink(path);
}

static void an_abstract_socket_is_told(void **state)
{
    char name[64];
    (void)state;
    snprintf(name, sizeof name, "@%s/notify", folder);
    start_reload_and_stop_are_told(name);
}

static void the_watchdog_is_fed(void **state)
{
    char name[64], told[512];
    struct daemon daemon;
    (void)state;
    snprintf(name, sizeof name, "@%s/watchdog", folder);
    setenv("WATCHDOG_USEC", "200000", 1);
    int fd = open_manager(name);
    daemon_start(&daemon, NULL);
    for (int i = 0; i < 3; i++)
        expect(fd, "WATCHDOG=1", told);
    daemon_stop(&daemon);
    close(fd);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_socket_of_a_path_is_told),
        cmocka_unit_test(an_abstract_socket_is_told),
        cmocka_unit_test(the_watchdog_is_fed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
