/* sandbox.h - gives up, for good, what a process does not need; the only door to libseccomp.
 *
 * Single-threaded callers only, unless noted. What the kernel does not offer is told, not hidden:
 * the caller decides whether to go on without it.
 */
#ifndef SENETD_SANDBOX_H
#define SENETD_SANDBOX_H

#include "error.h"
#include <stdbool.h>
#include <stddef.h>

/* The descriptor that sandbox_enter leaves open. */
#define SANDBOX_FD 3

/* What took hold. */
struct sandbox_report {
    bool rootless;   /* not root, or root no more */
    bool filtered;   /* system calls, by seccomp */
    bool landlocked; /* files, by Landlock */
    int why;         /* errno of seccomp where it is not filtered */
};

/* Root becomes nobody, of no group, without capabilities; others stay who they are. Whether the
 * process is not root now: a user namespace, or a lack of capabilities, may forbid the change. */
bool sandbox_leave_root(void);

/* Afterwards the process can compute, allocate memory, and read and write fd, which becomes
 * SANDBOX_FD; no file, socket, process or program can be opened, made or started, and what else was
 * open is closed. max_bytes: of address space beyond what there is now.
 * Errors: ERROR_INTERNAL where a limit could not be set; the process is then to end. */
enum error_code sandbox_enter(int fd, size_t max_bytes, struct sandbox_report *report,
                              struct error *err) MUST_CHECK;

/* For the daemon, once it has started: it can no more start programs or processes, trace or signal
 * others, listen, connect, open files for writing, change files, or make memory executable. Reading
 * files, threads, and connections that come in go on. For all threads, those to come too; any may
 * call it. Returns 0, or the errno of seccomp; ENOTSUP in a sanitizer's build, whose run time needs
 * what is refused. */
int sandbox_guard(void);

/* Allows this process so many more seconds of CPU time; beyond, the kernel ends it by SIGXCPU. */
void sandbox_allow_seconds(unsigned seconds);

#endif
