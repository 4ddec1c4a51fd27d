/* trials.h - lets the n-th allocation of a request, or of a start, fail, for every n.
 *
 * failing.so is preloaded into the real daemon (failing.h); everything counts, in whichever thread,
 * process and library. The variable EVERY=k tries each k-th n only.
 */
#ifndef SENETD_TEST_TRIALS_H
#define SENETD_TEST_TRIALS_H

#include "http/client.h"
#include "http/daemon.h"

void trials_open(void);
void trials_close(void);

/* daemon_start with failing.so. One at a time. */
void trials_start(struct daemon *daemon, const char *const *options);

/* Sends a request on a connection of its own with its n-th allocation failing, n = 1, 2, ... until
 * none is left that could. Each answer must have the normal status (what failed was not needed, or
 * an image of several has the error in its place), 503 or 500, or be a closed connection, where
 * memory lacked for as much as an answer; the daemon must live, and hold as many blocks afterwards
 * as before. */
void trials_of(const struct daemon *daemon, const char *name, const struct request *request,
               long normal);

/* Runs a program that ends by itself, arguments[0], in the same way: it must end with status 0, or
 * with another and a message, not by a signal. */
void trials_of_start(const char *name, const char *const *arguments);

#endif
