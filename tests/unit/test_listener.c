/* test_listener.c - addresses to listen on, and the port file. */
#include "listener.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check_fault(const char *address, enum error_code code)
{
    struct listener listener;
    struct error err = {0};
    if (listener_open(address, &listener, &err) != code)
        fail_msg("'%s' gave %s: %s", address, error_name(err.code), err.message);
    assert_non_null(strstr(err.message, address));
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = {"",         "localhost",  "127.0.0.1:",  "::1:80",
                                      "[::1:80",  "[::1]",      "[::1]x:80",   "127.0.0.1:http",
                                      "[]80:80:", "1.2.3.4:-1", "[::1]:65536", "127.0.0.1:1 "};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check_fault(bad[i], ERROR_USAGE);
}

static void a_free_port_is_found_and_named(void **state)
{
    struct listener listener, second;
    struct error err = {0};
    char expected[32];
    (void)state;
    assert_int_equal(listener_open("127.0.0.1:0", &listener, &err), ERROR_NONE);
    assert_in_range(listener.port, 1, 65535);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", listener.port);
    assert_string_equal(listener.name, expected);
    assert_int_equal(listener_open(expected, &second, &err), ERROR_IO); /* it is taken */
    assert_non_null(strstr(err.message, expected));
    close(listener.fd);
}

static void an_empty_host_is_every_address(void **state)
{
    struct listener listener;
    struct error err = {0};
    (void)state;
    assert_int_equal(listener_open(":0", &listener, &err), ERROR_NONE);
    assert_true(strncmp(listener.name, "[::]:", 5) == 0 ||
                strncmp(listener.name, "0.0.0.0:", 8) == 0);
    close(listener.fd);
}

static void the_port_file_holds_the_port(void **state)
{
    char folder[] = "/tmp/senetd-port-XXXXXX", path[64];
    const struct listener listener = {.port = 4711};
    struct error err = {0};
    unsigned port = 0;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/port", folder);
    assert_int_equal(listener_write_port(&listener, path, &err), ERROR_NONE);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%u", &port), 1);
    fclose(file);
    assert_int_equal(port, 4711);
    unlink(path);
    rmdir(folder);
    assert_int_equal(listener_write_port(&listener, path, &err), ERROR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_free_port_is_found_and_named),
        cmocka_unit_test(an_empty_host_is_every_address),
        cmocka_unit_test(the_port_file_holds_the_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
