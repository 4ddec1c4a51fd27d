/* test_health.c - senetd health against daemons that are ready, loading, gone, or none at all. */
#include "client.h"
#include "daemon.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Asks the daemon at 127.0.0.1:port; senetd's exit status. */
static int ask(unsigned port, const char *what, char out[128])
{
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    const char *const arguments[] = {"senetd", "health", what, "--listen", address, NULL};
    return daemon_run(arguments, out, 128);
}

static void a_ready_daemon_is_ready_and_lives(void **state)
{
    struct daemon daemon;
    char out[128];
    (void)state;
    daemon_start(&daemon, NULL);
    assert_int_equal(ask(daemon.port, "ready", out), 0);
    assert_string_equal(out, "ready\n");
    assert_int_equal(ask(daemon.port, "live", out), 0);
    assert_string_equal(out, "live\n");
    daemon_stop(&daemon);
    assert_int_equal(ask(daemon.port, "live", out), 1);
    assert_string_equal(out, "");
}

static void all_addresses_are_asked_by_loopback(void **state)
{
    const char *const extra[] = {"--listen", ":0", NULL};
    struct daemon daemon;
    char out[128], port_file[128], address[32];
    (void)state;
    daemon_start(&daemon, extra);
    snprintf(address, sizeof address, ":%u", daemon.port);
    const char *const by_port[] = {"senetd", "health", "--listen", address, NULL};
    assert_int_equal(daemon_run(by_port, out, sizeof out), 0);
    snprintf(port_file, sizeof port_file, "%s/port", daemon.folder);
    const char *const by_file[] = {"senetd",      "health",  "--listen", "127.0.0.1:0",
                                   "--port-file", port_file, NULL};
    assert_int_equal(daemon_run(by_file, out, sizeof out), 0);
    assert_string_equal(out, "ready\n");
    daemon_stop(&daemon);
}

static void words_that_are_wrong_are_refused(void **state)
{
    char out[128];
    (void)state;
    assert_int_equal(ask(1, "well", out), 2);
    const char *const twice[] = {"senetd", "health", "live", "ready", NULL};
    assert_int_equal(daemon_run(twice, out, sizeof out), 2);
    const char *const no_port[] = {"senetd", "health", "--listen", "127.0.0.1:0", NULL};
    assert_int_equal(daemon_run(no_port, out, sizeof out), 1);
    const char *const no_address[] = {"senetd", "health", "--listen", "nonsense", NULL};
    assert_int_equal(daemon_run(no_address, out, sizeof out), 1);
}

/* A server that answers one connection with a fixed text. */
struct actor {
    int fd;
    unsigned port;
    const char *text;
    pthread_t thread;
};

static void *act(void *argument)
{
    struct actor *actor = argument;
    char request[512];
    int fd = accept(actor->fd, NULL, NULL);
    if (recv(fd, request, sizeof request, 0) > 0)
        (void)!write(fd, actor->text, strlen(actor->text));
    close(fd);
    return NULL;
}

static int ask_actor(const char *text)
{
    struct actor actor = {.fd = socket(AF_INET, SOCK_STREAM, 0), .text = text};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char out[128];
    assert_int_equal(bind(actor.fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(actor.fd, 1), 0);
    getsockname(actor.fd, (struct sockaddr *)&address, &size);
    assert_int_equal(pthread_create(&actor.thread, NULL, act, &actor), 0);
    int status = ask(ntohs(address.sin_port), "ready", out);
    pthread_join(actor.thread, NULL);
    close(actor.fd);
    return status;
}

static void only_a_200_is_good(void **state)
{
    (void)state;
    assert_int_equal(ask_actor("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 0);
    assert_int_equal(ask_actor("HTTP/1.1 503 Service Unavailable\r\n\r\nloading"), 1);
    assert_int_equal(ask_actor("HTTP/1.1 2000 What\r\n\r\n"), 1);
    assert_int_equal(ask_actor("SSH-2.0-OpenSSH\r\n"), 1);
    assert_int_equal(ask_actor(""), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ready_daemon_is_ready_and_lives),
        cmocka_unit_test(all_addresses_are_asked_by_loopback),
        cmocka_unit_test(words_that_are_wrong_are_refused),
        cmocka_unit_test(only_a_200_is_good),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
