/* trials.c - see trials.h. */
#include "trials.h"
#include "failing.h"
#include "http/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST       100000 /* allocations of a request; more would be a loop */
#define SETTLE_MS  2000   /* for what is freed after the answer */
#define SUSPICIONS 4      /* repetitions that must each lose a block for it to be a leak */

static struct failing *control;
static long every = 1;
static char library[512];
static char control_path[] = "/tmp/senetd-failing-XXXXXX";

void trials_open(void)
{
    const char *build = getenv("BUILD_DIR"), *step = getenv("EVERY");
    int fd = mkstemp(control_path);
    assert_true(fd >= 0 && ftruncate(fd, sizeof *control) == 0);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(control != MAP_FAILED);
    close(fd);
    if (step != NULL && strtol(step, NULL, 10) > 0)
        every = strtol(step, NULL, 10);
    snprintf(library, sizeof library, "%s/tests/alloc/failing.so", build != NULL ? build : "build");
    setenv("FAILING_CONTROL", control_path, 1);
}

void trials_close(void)
{
    unlink(control_path);
}

void trials_start(struct daemon *daemon, const char *const *options)
{
    atomic_store(&control->live, 0);
    setenv("LD_PRELOAD", library, 1);
    daemon_start(daemon, options);
    unsetenv("LD_PRELOAD");
    assert_true(atomic_load(&control->live) > 0); /* or it was not preloaded */
}

/* ---- one request ----------------------------------------------------------------------------- */

static bool settles_at(long live)
{
    for (int ms = 0; ms < SETTLE_MS; ms++) {
        if (atomic_load(&control->live) <= live)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

/* With its n-th allocation failing; whether one did. */
static bool send_failing(const struct daemon *daemon, const struct request *request, long n,
                         struct answer *answer)
{
    atomic_store(&control->failed, 0);
    atomic_store(&control->countdown, n);
    *answer = client_send(daemon, request);
    atomic_store(&control->countdown, 0);
    return atomic_load(&control->failed) > 0;
}

static void check_alive(const struct daemon *daemon, const char *name, long n)
{
    struct answer answer = client_get(daemon, "/healthz");
    if (answer.status != 200)
        fail_msg("%s: after allocation %ld /healthz gave %ld", name, n, answer.status);
    client_free(&answer);
}

/* Whether each repetition loses memory, and not something that is made once. */
static bool leaks(const struct daemon *daemon, const struct request *request, long n)
{
    for (int i = 0; i < SUSPICIONS; i++) {
        struct answer answer;
        long before = atomic_load(&control->live);
        send_failing(daemon, request, n, &answer);
        client_free(&answer);
        if (settles_at(before))
            return false;
    }
    return true;
}

/* Lines of the answer's last header: none may be missing. */
static size_t header_lines(const struct answer *answer)
{
    size_t lines = 0;
    for (const char *at = answer->headers; at != NULL && *at != '\0'; at = strstr(at, "\r\n") + 2)
        lines = strncmp(at, "HTTP/", 5) == 0 ? 1 : lines + 1;
    return lines;
}

/* A healthy request, whose answer's status must be this; returns the blocks held afterwards. */
static long warm(const struct daemon *daemon, const char *name, const struct request *request,
                 long status, size_t *lines)
{
    for (int i = 0; i < 3; i++) {
        struct answer answer = client_send(daemon, request);
        if (answer.status != status)
            fail_msg("%s gave %ld, expected %ld: %.300s", name, answer.status, status, answer.body);
        *lines = header_lines(&answer);
        client_free(&answer);
    }
    long live = atomic_load(&control->live);
    while (!settles_at(live - 1) && atomic_load(&control->live) != live)
        live = atomic_load(&control->live);
    return atomic_load(&control->live);
}

struct trials {
    const struct daemon *daemon;
    const char *name;
    const struct request *request;
    long normal;  /* status without a failure */
    size_t lines; /* of its header */
    long live, excused;
    long tried, served, unavailable, internal, closed, leaks;
};

static void judge(struct trials *trials, long n, const struct answer *answer)
{
    trials->tried++;
    if (answer->status == trials->normal)
        trials->served++;
    else if (answer->status == 503)
        trials->unavailable++;
    else if (answer->status == 500)
        trials->internal++;
    else if (answer->status == 0)
        trials->closed++;
    else
        fail_msg("%s: without allocation %ld the answer was %ld: %.300s", trials->name, n,
                 answer->status, answer->body != NULL ? answer->body : "");
}

/* Whether there was an n-th allocation. */
static bool try_once(struct trials *trials, long n)
{
    struct answer answer;
    bool failed = send_failing(trials->daemon, trials->request, n, &answer);
    long status = answer.status;
    if (failed)
        judge(trials, n, &answer);
    if (status == trials->normal && header_lines(&answer) != trials->lines)
        fail_msg("%s: without allocation %ld the answer's header is\n%s", trials->name, n,
                 answer.headers);
    client_free(&answer);
    check_alive(trials->daemon, trials->name, n);
    /* A decoder that crashed takes its blocks with it, uncounted. */
    if (status != 500 && !settles_at(trials->live) && leaks(trials->daemon, trials->request, n) &&
        ++trials->leaks > trials->excused)
        fail_msg("%s: without allocation %ld memory is lost", trials->name, n);
    trials->live = atomic_load(&control->live);
    return failed;
}

void trials_of(const struct daemon *daemon, const char *name, const struct request *request,
               long normal)
{
    struct trials trials = {.daemon = daemon, .name = name, .request = request, .normal = normal};
    long step = every, patience = 1;
    if (daemon->certificate != NULL) {
        step = 5 * every; /* a handshake has some hundred allocations or thousands, by chance */
        patience = 20;
        trials.excused = 1; /* GnuTLS 3.7.9 loses a message that it cannot keep a copy of */
    }
    trials.live = warm(daemon, name, request, normal, &trials.lines);
    for (long n = 1, missed = 0; missed < patience; n += step) {
        assert_true(n < MOST);
        missed = try_once(&trials, n) ? 0 : missed + 1;
    }
    fprintf(stderr,
            "%-24s %4ld allocations failed: %3ld harmless, %3ld x 503, %3ld x 500, %3ld closed\n",
            name, trials.tried, trials.served, trials.unavailable, trials.internal, trials.closed);
}

/* ---- a start ----------------------------------------------------------------------------------
 */

/* The program with its n-th allocation failing and its messages in a file, to its end; its status,
 * or 128 + the signal that killed it. */
static int run_failing(const char *const *arguments, long n, const char *log_path)
{
    atomic_store(&control->failed, 0);
    atomic_store(&control->countdown, n);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(log, STDERR_FILENO);
        dup2(log, STDOUT_FILENO);
        setenv("LD_PRELOAD", library, 1);
        execv(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    atomic_store(&control->countdown, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void trials_of_start(const char *name, const char *const *arguments)
{
    char log_path[] = "/tmp/senetd-failing-log-XXXXXX";
    long tried = 0, harmless = 0;
    int fd = mkstemp(log_path);
    assert_true(fd >= 0);
    for (long n = 1;; n += every) {
        struct stat log;
        int status = run_failing(arguments, n, log_path);
        if (atomic_load(&control->failed) == 0)
            break;
        assert_int_equal(stat(log_path, &log), 0);
        if (status != 0 && (status >= 128 || log.st_size == 0))
            fail_msg("%s: without allocation %ld it ended with %d and %lld bytes of messages", name,
                     n, status, (long long)log.st_size);
        tried++;
        harmless += status == 0;
    }
    close(fd);
    unlink(log_path);
    fprintf(stderr, "%-24s %4ld allocations failed: %3ld harmless, %3ld told\n", name, tried,
            harmless, tried - harmless);
}
