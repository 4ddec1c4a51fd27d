/* daemon.c - see daemon.h. */
#include "daemon.h"
#include "client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGUMENTS 40
#define PATIENCE_S    60 /* under sanitizers on a busy machine */

static void program_path(char out[256])
{
    const char *build = getenv("BUILD_DIR");
    snprintf(out, 256, "%s/senetd", build != NULL ? build : "build");
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* The log's last lines. */
static void print_log(const struct daemon *daemon)
{
    char line[1024];
    FILE *file = fopen(daemon->log_path, "r");
    if (file != NULL && fseek(file, -2000, SEEK_END) != 0)
        rewind(file);
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        fputs(line, stderr);
    if (file != NULL)
        fclose(file);
}

static void remove_files(struct daemon *daemon)
{
    char path[128];
    snprintf(path, sizeof path, "%s/port", daemon->folder);
    unlink(path);
    unlink(daemon->log_path);
    rmdir(daemon->folder);
}

static void give_up(struct daemon *daemon, const char *why)
{
    print_log(daemon);
    kill(daemon->pid, SIGKILL);
    waitpid(daemon->pid, NULL, 0);
    remove_files(daemon);
    fail_msg("senetd: %s", why);
}

/* In the child: becomes the daemon. */
static void become(const struct daemon *daemon, const char *const *extra, const char *log_path)
{
    char program[256], port_file[128];
    const char *argv[MAX_ARGUMENTS] = {"senetd",      "--weights",   TINY_MODEL, "--listen",
                                       "127.0.0.1:0", "--port-file", port_file};
    size_t count = 7;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing behind */
    snprintf(port_file, sizeof port_file, "%s/port", daemon->folder);
    for (; extra != NULL && *extra != NULL && count + 1 < MAX_ARGUMENTS; extra++)
        argv[count++] = *extra;
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log, STDERR_FILENO);
    program_path(program);
    execv(program, (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Whether the process has not ended; its status is left for daemon_wait. */
static bool runs(const struct daemon *daemon)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)daemon->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

/* False where it ends before, or does not come up. */
static bool find_port(struct daemon *daemon)
{
    char path[128];
    snprintf(path, sizeof path, "%s/port", daemon->folder);
    for (int i = 0; i < PATIENCE_S * 100 && runs(daemon); i++) {
        FILE *file = fopen(path, "r");
        bool read = file != NULL && fscanf(file, "%u", &daemon->port) == 1;
        if (file != NULL)
            fclose(file);
        if (read) {
            snprintf(daemon->base, sizeof daemon->base, "%s://127.0.0.1:%u",
                     daemon->certificate != NULL ? "https" : "http", daemon->port);
            return true;
        }
        pause_ms(10);
    }
    return false;
}

static bool becomes_ready(struct daemon *daemon)
{
    for (int i = 0; i < PATIENCE_S * 100 && runs(daemon); i++) {
        struct answer answer = client_get(daemon, "/readyz");
        long status = answer.status;
        client_free(&answer);
        if (status == 200)
            return true;
        pause_ms(10);
    }
    return false;
}

/* log_path NULL: a file of its own. */
static void launch(struct daemon *daemon, const char *const *extra, const char *log_path)
{
    *daemon = (struct daemon){.folder = "/tmp/senetd-test-XXXXXX"};
    assert_non_null(mkdtemp(daemon->folder));
    snprintf(daemon->log_path, sizeof daemon->log_path, "%s/log", daemon->folder);
    daemon->pid = fork();
    assert_true(daemon->pid >= 0);
    if (daemon->pid == 0)
        become(daemon, extra, log_path != NULL ? log_path : daemon->log_path);
    for (; extra != NULL && *extra != NULL; extra++)
        if (strcmp(*extra, "--tls-cert") == 0)
            daemon->certificate = extra[1];
}

void daemon_launch(struct daemon *daemon, const char *const *extra)
{
    launch(daemon, extra, NULL);
    if (!find_port(daemon))
        give_up(daemon, "it did not write its port");
}

bool daemon_try(struct daemon *daemon, const char *const *extra)
{
    launch(daemon, extra, NULL);
    return find_port(daemon) && becomes_ready(daemon);
}

void daemon_wait_ready(struct daemon *daemon)
{
    if (!becomes_ready(daemon))
        give_up(daemon, "it did not become ready");
}

void daemon_start(struct daemon *daemon, const char *const *extra)
{
    daemon_launch(daemon, extra);
    daemon_wait_ready(daemon);
}

void daemon_start_logging(struct daemon *daemon, const char *const *extra, const char *log_path)
{
    launch(daemon, extra, log_path);
    if (!find_port(daemon))
        give_up(daemon, "it did not write its port");
    daemon_wait_ready(daemon);
}

static int exit_status(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int daemon_wait(struct daemon *daemon)
{
    int status = exit_status(daemon->pid);
    if (status != 0)
        print_log(daemon);
    remove_files(daemon);
    return status;
}

void daemon_stop(struct daemon *daemon)
{
    kill(daemon->pid, SIGTERM);
    assert_int_equal(daemon_wait(daemon), 0);
}

static bool has_logged(const struct daemon *daemon, const char *text)
{
    char line[2048];
    bool found = false;
    FILE *file = fopen(daemon->log_path, "r");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = strstr(line, text) != NULL;
    if (file != NULL)
        fclose(file);
    return found;
}

void daemon_wait_log(struct daemon *daemon, const char *text)
{
    for (int i = 0; i < PATIENCE_S * 100; i++) {
        if (has_logged(daemon, text))
            return;
        pause_ms(10);
    }
    give_up(daemon, text);
}

struct daemon daemon_admin(const struct daemon *daemon)
{
    static const char mark[] = "admin http://127.0.0.1:";
    struct daemon admin = *daemon;
    char line[512] = "";
    FILE *log = fopen(daemon->log_path, "r");
    assert_non_null(log);
    admin.port = 0;
    while (admin.port == 0 && fgets(line, sizeof line, log) != NULL) {
        const char *told = strstr(line, mark);
        if (told != NULL)
            admin.port = (unsigned)strtoul(told + sizeof mark - 1, NULL, 10);
    }
    fclose(log);
    assert_true(admin.port > 0);
    snprintf(admin.base, sizeof admin.base, "http://127.0.0.1:%u", admin.port);
    return admin;
}

void daemon_point_to(const char *link, const char *path)
{
    char whole[PATH_MAX], next[PATH_MAX];
    assert_non_null(realpath(path, whole));
    snprintf(next, sizeof next, "%s.next", link);
    unlink(next);
    assert_int_equal(symlink(whole, next), 0);
    assert_int_equal(rename(next, link), 0);
}

int daemon_run(const char *const *arguments, char *out, size_t room)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char program[256];
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        setenv("SENETD_WEIGHTS", TINY_MODEL, 1);
        program_path(program);
        execv(program, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    close(pipes[1]);
    size_t used = 0;
    char rest[4096];
    for (ssize_t got = 1; got > 0;) {
        bool fits = used + 1 < room;
        got = read(pipes[0], fits ? out + used : rest, fits ? room - 1 - used : sizeof rest);
        if (fits && got > 0)
            used += (size_t)got;
    }
    out[used] = '\0';
    close(pipes[0]);
    return exit_status(pid);
}

size_t daemon_descriptors(pid_t pid)
{
    char path[64];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}
