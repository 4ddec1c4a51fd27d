/* daemon.h - the real senetd as a child process, for the tests of its HTTP interface. */
#ifndef SENETD_TEST_DAEMON_H
#define SENETD_TEST_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define TINY_MODEL "tests/golden/fixtures/tiny_timm"

struct daemon {
    pid_t pid;
    unsigned port;
    char base[64];           /* "http://127.0.0.1:PORT", https where certificate is set */
    const char *certificate; /* the one that clients trust; --tls-cert's, or NULL */
    char folder[64];         /* for its files; removed by daemon_stop */
    char log_path[80];       /* its stderr */
};

/* Starts $BUILD_DIR/senetd (default build/) with the tiny model on a free port of 127.0.0.1 and
 * waits until it is ready. extra is a NULL-terminated list of further options, which win; NULL for
 * none. Fails the test with the daemon's log if it does not come up. */
void daemon_start(struct daemon *daemon, const char *const *extra);

/* The same with its stderr elsewhere. */
void daemon_start_logging(struct daemon *daemon, const char *const *extra, const char *log_path);

/* daemon_start without waiting for readiness, only for the port. */
void daemon_launch(struct daemon *daemon, const char *const *extra);

/* daemon_start of one that may end instead of becoming ready, which is false: daemon_wait tells
 * how. */
bool daemon_try(struct daemon *daemon, const char *const *extra);

/* Polls /readyz until it answers 200. */
void daemon_wait_ready(struct daemon *daemon);

/* Waits for the end of the process; its exit status, or 128 + the signal that killed it. */
int daemon_wait(struct daemon *daemon);

/* SIGTERM, then daemon_wait; fails the test unless the status is 0. */
void daemon_stop(struct daemon *daemon);

/* Entries of /proc/PID/fd of a daemon or a child of one: its open descriptors, ".", and "..". */
size_t daemon_descriptors(pid_t pid);

/* Waits until the log has this text. */
void daemon_wait_log(struct daemon *daemon, const char *text);

/* The same daemon by its admin address, which its log tells; it must run with an option
 * --admin-listen 127.0.0.1:0. For requests only: the other one is what is stopped. */
struct daemon daemon_admin(const struct daemon *daemon);

/* Makes the symbolic link point to that path, at once: what a reload of --weights LINK then finds.
 */
void daemon_point_to(const char *link, const char *path);

/* Runs senetd with these arguments and the tiny model to its end; stdout goes to out[room],
 * terminated, stderr to the test's. Returns its exit status. */
int daemon_run(const char *const *arguments, char *out, size_t room);

#endif
