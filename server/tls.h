/* tls.h - what senetd adds to libmicrohttpd's TLS: its certificate, and a client for senetd health.
 *
 * libmicrohttpd speaks TLS by GnuTLS, and tells nothing but "failed" of a certificate that is not
 * right. So certificate and key are read, checked and kept here, and handed out at each handshake:
 * tls_load during operation replaces them for the connections to come.
 */
#ifndef SENETD_TLS_H
#define SENETD_TLS_H

#include "error.h"
#include <stdbool.h>
#include <stddef.h>

/* GnuTLS's priority string: TLS 1.2 and 1.3. */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

/* Reads the PEM files of the server's certificate, which intermediates may follow, and of its key,
 * which only the owner and the group may read. They replace those before; after an error those
 * stay. The library's callback takes no context, so a process has one certificate. Thread-safe.
 * Errors: ERROR_USAGE (only one of the paths is given; the key is open to others; not PEM; the
 * key is another's), ERROR_IO, ERROR_MEMORY. */
enum error_code tls_load(const char *certificate, const char *key, struct error *err) MUST_CHECK;

/* Wipes certificate and key. No handshake may be under way. */
void tls_unload(void);

/* The gnutls_certificate_retrieve_function3 that hands them out. */
void (*tls_retriever(void))(void);

/* One request over a connected, non-blocking socket: sends it, reads the answer's beginning into
 * answer[room], terminated. Nothing is verified: for asking one's own daemon what is no secret.
 * wait(context, events) returns once the socket has one of poll's events, or false when it is too
 * late. Errors: ERROR_IO, ERROR_MEMORY. */
enum error_code tls_ask(int fd, bool (*wait)(void *context, short events), void *context,
                        const char *request, char *answer, size_t room,
                        struct error *err) MUST_CHECK;

#endif
