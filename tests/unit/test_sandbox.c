/* test_sandbox.c - what a decoder and the started daemon cannot do any more. Each attempt is made
 * in a child, which reports errno, or 0 where it succeeded, through the one descriptor that it
 * keeps. Of the kernel it wants seccomp, and Landlock only where that is there. */
#include "sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int other_fd; /* open before the sandbox is entered */

static int result(long value)
{
    return value < 0 ? errno : 0;
}

static int try_exec(void)
{
    char *const argv[] = {(char[]){"true"}, NULL};
    return result(execv("/bin/true", argv));
}

static int try_open(void)
{
    return result(open("/etc/passwd", O_RDONLY));
}

static int try_create(void)
{
    return result(open("/tmp/senetd-sandbox-test", O_WRONLY | O_CREAT, 0600));
}

static int try_socket(void)
{
    return result(socket(AF_INET, SOCK_STREAM, 0));
}

static int try_connect(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return result(connect(STDERR_FILENO, (struct sockaddr *)&to, sizeof to));
}

static int try_fork(void)
{
    return result(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int try_kill(void)
{
    return result(kill(getpid(), 0));
}

static int try_ptrace(void)
{
    return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_executable_memory(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? errno : 0;
}

static int try_other_descriptor(void)
{
    char byte;
    return result(read(other_fd, &byte, 1));
}

static int try_root(void)
{
    return geteuid() == 0 ? 0 : EPERM;
}

static int try_memory(void)
{
    volatile char *bytes = malloc(1 << 20);
    if (bytes == NULL)
        return ENOMEM;
    bytes[1000] = 1;
    return bytes[1000] == 1 ? 0 : ENOMEM;
}

static int try_much_memory(void)
{
    void *bytes =
        mmap(NULL, (size_t)1 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return bytes == MAP_FAILED ? errno : 0;
}

static int try_listen(void)
{
    return result(listen(other_fd, 1));
}

static int try_bind(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return result(bind(other_fd, (struct sockaddr *)&to, sizeof to));
}

static int try_change_mode(void)
{
    return result(chmod("/tmp", 0777));
}

static int try_remove(void)
{
    return result(unlink("/tmp/senetd-sandbox-test"));
}

static int try_open_for_writing(void)
{
    return result(open("/dev/null", O_WRONLY));
}

static int try_open_for_both(void)
{
    return result(open("/dev/null", O_RDWR));
}

static int try_make_memory_executable(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return result(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int try_signal_to_parent(void)
{
    return result(kill(getppid(), 0));
}

static int try_open_for_reading(void)
{
    int fd = open("/dev/zero", O_RDONLY);
    char byte = 1;
    return fd < 0 ? errno : read(fd, &byte, 1) == 1 && byte == 0 ? close(fd) : EIO;
}

static void *thread_main(void *argument)
{
    *(int *)argument = try_exec();
    return NULL;
}

/* It starts, and the filter is its own as well. */
static int try_thread(void)
{
    pthread_t thread;
    int outcome = -1, failure = pthread_create(&thread, NULL, thread_main, &outcome);
    if (failure != 0)
        return failure;
    pthread_join(thread, NULL);
    return outcome == EPERM ? 0 : EIO;
}

/* A decoder's sandbox or the daemon's filter, in a child that has this end of a pair: the
 * descriptor that it then has to report on, or -1. */
static int enter_sandbox(int end)
{
    struct error err = {0};
    struct sandbox_report report;
    bool entered = sandbox_enter(end, 64 << 20, &report, &err) == ERROR_NONE && report.filtered;
    return entered ? SANDBOX_FD : -1;
}

static int enter_guard(int end)
{
    return sandbox_guard() == 0 ? end : -1;
}

/* errno of an attempt behind that, with other_fd open; -1 where the child says nothing. */
static int outcome_behind(int (*enter)(int end), int other, int (*attempt)(void))
{
    int ends[2], outcome = -1;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    /* Above the one that the sandbox keeps, which would else take its place. */
    other_fd = fcntl(other, F_DUPFD, SANDBOX_FD + 1);
    assert_true(other_fd > SANDBOX_FD);
    close(other);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = enter(ends[1]);
        if (fd >= 0)
            outcome = attempt();
        _exit(write(fd, &outcome, sizeof outcome) == sizeof outcome ? 0 : 2);
    }
    close(ends[1]);
    close(other_fd);
    if (read(ends[0], &outcome, sizeof outcome) != sizeof outcome)
        outcome = -1;
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return outcome;
}

static int in_sandbox(int (*attempt)(void))
{
    return outcome_behind(enter_sandbox, open("/dev/zero", O_RDONLY), attempt);
}

static int under_guard(int (*attempt)(void))
{
    return outcome_behind(enter_guard, socket(AF_INET, SOCK_STREAM, 0), attempt);
}

static void nothing_can_be_opened_started_or_reached(void **state)
{
    static const struct {
        const char *name;
        int (*attempt)(void);
    } attempts[] = {
        {"exec", try_exec},
        {"open", try_open},
        {"create", try_create},
        {"socket", try_socket},
        {"connect", try_connect},
        {"fork", try_fork},
        {"ptrace", try_ptrace},
        {"kill", try_kill},
        {"mmap PROT_EXEC", try_executable_memory},
        {"staying root", try_root},
    };
    (void)state;
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        int outcome = in_sandbox(attempts[i].attempt);
        if (outcome != EPERM)
            fail_msg("%s gave %d (%s), expected EPERM", attempts[i].name, outcome,
                     outcome > 0 ? strerror(outcome) : "allowed, or no answer");
    }
    int closed = in_sandbox(try_other_descriptor);
    assert_true(closed == EPERM || closed == EBADF);
}

static void memory_is_had_within_the_limit(void **state)
{
    (void)state;
    assert_int_equal(in_sandbox(try_memory), 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_int_equal(in_sandbox(try_much_memory), ENOMEM);
#else
    (void)try_much_memory;
#endif
}

static void the_daemon_can_serve_and_read_and_no_more(void **state)
{
    static const struct {
        const char *name;
        int (*attempt)(void);
        int expected;
    } attempts[] = {
        {"exec", try_exec, EPERM},
        {"fork", try_fork, EPERM},
        {"ptrace", try_ptrace, EPERM},
        {"kill", try_signal_to_parent, EPERM},
        {"open O_WRONLY", try_open_for_writing, EPERM},
        {"open O_RDWR", try_open_for_both, EPERM},
        {"create", try_create, EPERM},
        {"unlink", try_remove, EPERM},
        {"chmod", try_change_mode, EPERM},
        {"socket", try_socket, EPERM},
        {"connect", try_connect, EPERM},
        {"bind", try_bind, EPERM},
        {"listen", try_listen, EPERM},
        {"mmap PROT_EXEC", try_executable_memory, EPERM},
        {"mprotect PROT_EXEC", try_make_memory_executable, EPERM},
        {"open O_RDONLY", try_open_for_reading, 0},
        {"a thread", try_thread, 0},
        {"memory", try_memory, 0},
    };
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    assert_int_equal(sandbox_guard(), ENOTSUP);
    skip();
#endif
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        int outcome = under_guard(attempts[i].attempt);
        if (outcome != attempts[i].expected)
            fail_msg("%s gave %d (%s), expected %d", attempts[i].name, outcome,
                     outcome > 0 ? strerror(outcome) : "allowed, or no answer",
                     attempts[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_can_be_opened_started_or_reached),
        cmocka_unit_test(memory_is_had_within_the_limit),
        cmocka_unit_test(the_daemon_can_serve_and_read_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
