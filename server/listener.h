/* listener.h - a listening TCP socket from "host:port". */
#ifndef SENETD_LISTENER_H
#define SENETD_LISTENER_H

#include "error.h"

#define LISTENER_NAME_BYTES 80
#define LISTENER_HOST_BYTES 256

struct listener {
    int fd;                         /* the owner closes it */
    unsigned port;                  /* the one really bound, where port 0 was asked for */
    char name[LISTENER_NAME_BYTES]; /* "127.0.0.1:8080", "[::1]:8080" */
};

/* address is "host:port", "[v6]:port" or ":port" (all addresses, IPv4 and IPv6). The socket is
 * non-blocking. Errors: ERROR_USAGE (not an address), ERROR_IO (cannot bind). */
enum error_code listener_open(const char *address, struct listener *out,
                              struct error *err) MUST_CHECK;

/* "[::1]:80" -> "::1" and "80", ":80" -> "" and "80"; port points into address.
 * Errors: ERROR_USAGE. */
enum error_code listener_split(const char *address, char host[LISTENER_HOST_BYTES],
                               const char **port, struct error *err) MUST_CHECK;

/* Whether that is an address, without binding it. Errors: ERROR_USAGE. */
enum error_code listener_check(const char *address, struct error *err) MUST_CHECK;

/* Writes the port, a decimal number and a newline, to a file that appears at once as a whole.
 * Errors: ERROR_IO. */
enum error_code listener_write_port(const struct listener *listener, const char *path,
                                    struct error *err) MUST_CHECK;

#endif
