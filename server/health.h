/* health.h - senetd health: asks a running daemon whether it lives, or is ready. */
#ifndef SENETD_HEALTH_H
#define SENETD_HEALTH_H

#include "config.h"

/* GET /readyz, or /healthz where config->live, of the daemon that config->listen names: a daemon
 * that listens on all addresses is asked by loopback; port 0 is looked up in config->port_file.
 * Where config->tls_cert is set it is asked by TLS.
 * Takes at most five seconds.
 * Errors: ERROR_USAGE (not an address), ERROR_IO (no answer), ERROR_LOADING (an answer other
 * than 200, with its text). */
enum error_code health_probe(const struct config *config, struct error *err) MUST_CHECK;

#endif
