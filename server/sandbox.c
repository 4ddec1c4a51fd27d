/* sandbox.c - see sandbox.h.
 *
 * Two lists of system calls, a decoder's and the daemon's. What is not on the list of system calls
 * fails with EPERM rather than killing, so that a library that tries something harmless goes on.
 * Under the sanitizers, whose run time has needs of its own, the limit of address space is left out
 * (their shadow memory is terabytes of it) and reports may be written.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

static enum error_code failed(const char *what, int number, struct error *err)
{
    return error_set(err, ERROR_INTERNAL, "sandbox: %s: %s", what, strerror(number));
}

/* ---- who the process is ---------------------------------------------------------------------- */

bool sandbox_leave_root(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {{0}, {0}};
    if (geteuid() == 0) {
        /* Where one of these is refused the next may still be granted. */
        (void)!setgroups(0, NULL);
        (void)!setresgid(NOBODY, NOBODY, NOBODY);
        (void)!setresuid(NOBODY, NOBODY, NOBODY);
    }
    syscall(SYS_capset, &header, none);
    return geteuid() != 0;
}

/* Short of memory, the kernel is to end this process before the daemon. */
static void offer_to_the_oom_killer(void)
{
    prctl(PR_SET_DUMPABLE, 1); /* who was root may not write there otherwise */
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!write(fd, "500", 3);
    close(fd);
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* In bytes; 0 where /proc is not there to tell. */
static size_t address_space(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL && fscanf(file, "%zu", &pages) != 1)
        pages = 0;
    if (file != NULL)
        fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static enum error_code set_limits(size_t max_bytes, struct error *err)
{
    const struct rlimit none = {0, 0};
    size_t now = address_space(), most = now + max_bytes;
    const struct rlimit space = {most, most};
    if (!SANITIZED && now > 0 && setrlimit(RLIMIT_AS, &space) != 0)
        return failed("RLIMIT_AS", errno, err);
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return failed("RLIMIT_CORE", errno, err);
    return ERROR_NONE;
}

void sandbox_allow_seconds(unsigned seconds)
{
    struct rlimit limit = {0, RLIM_INFINITY};
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0 || getrlimit(RLIMIT_CPU, &limit) != 0)
        return;
    limit.rlim_cur = (rlim_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + 2 + seconds;
    if (limit.rlim_cur < limit.rlim_max)
        setrlimit(RLIMIT_CPU, &limit);
}

/* All descriptors but fd and standard error. */
static enum error_code keep_only(int fd, struct error *err)
{
    if (fd != SANDBOX_FD && dup2(fd, SANDBOX_FD) < 0)
        return failed("dup2", errno, err);
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    closefrom(SANDBOX_FD + 1);
    return ERROR_NONE;
}

/* ---- Landlock -------------------------------------------------------------------------------- */

/* struct landlock_ruleset_attr as of version 6, later than Debian's headers. */
struct rules {
    uint64_t files, ports, signals;
};

/* No file below any path, no port, no signal or abstract socket outside: as much of that as the
 * kernel's version knows. */
static bool use_landlock(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return false;
    unsigned files = version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13;
    const struct rules rules = {.files = (1U << files) - 1, .ports = 3, .signals = 3};
    size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    long fd = syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    if (fd < 0)
        return false;
    bool good = syscall(SYS_landlock_restrict_self, (int)fd, 0) == 0;
    close((int)fd);
    return good;
}

/* ---- seccomp --------------------------------------------------------------------------------- */

static int allow_all(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int failure = 0;
    for (size_t i = 0; i < count && failure == 0; i++)
        failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    return failure;
}

static int allow_plain(scmp_filter_ctx filter)
{
    static const int calls[] = {
        SCMP_SYS(brk),         SCMP_SYS(munmap),          SCMP_SYS(mremap),
        SCMP_SYS(madvise),     SCMP_SYS(futex),           SCMP_SYS(clock_gettime),
        SCMP_SYS(exit),        SCMP_SYS(exit_group),      SCMP_SYS(rt_sigreturn),
        SCMP_SYS(getrandom),   SCMP_SYS(rt_sigprocmask),  SCMP_SYS(getrusage),
        SCMP_SYS(sched_yield), SCMP_SYS(getpid),          SCMP_SYS(gettid),
        SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
    };
    return allow_all(filter, calls, sizeof calls / sizeof *calls);
}

/* Calls that are allowed with some arguments only: memory is anonymous and never executable,
 * reading and writing stays on the descriptor, the limit is that of CPU time. */
static int allow_narrowed(scmp_filter_ctx filter)
{
    int failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
                                   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
                                   SCMP_A4(SCMP_CMP_MASKED_EQ, 0xffffffff, 0xffffffff));
    if (failure == 0)
        failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (failure == 0)
        failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(read), 1,
                                   SCMP_A0(SCMP_CMP_EQ, SANDBOX_FD));
    if (failure == 0)
        failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(recvfrom), 1,
                                   SCMP_A0(SCMP_CMP_EQ, SANDBOX_FD));
    if (failure == 0)
        failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 1,
                                   SCMP_A0(SCMP_CMP_EQ, SANDBOX_FD));
    if (failure == 0 && SANITIZED)
        failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 1,
                                   SCMP_A0(SCMP_CMP_EQ, STDERR_FILENO));
    if (failure == 0)
        failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
                                   SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A1(SCMP_CMP_EQ, RLIMIT_CPU));
    return failure;
}

/* 0, or an errno. */
static int load_filter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL)
        return ENOMEM;
    int failure = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1); /* the kernel's errno */
    if (failure == 0)
        failure = allow_plain(filter);
    if (failure == 0)
        failure = allow_narrowed(filter);
    if (failure == 0)
        failure = seccomp_load(filter);
    seccomp_release(filter);
    return -failure;
}

enum error_code sandbox_enter(int fd, size_t max_bytes, struct sandbox_report *report,
                              struct error *err)
{
    report->rootless = sandbox_leave_root();
    TRY(keep_only(fd, err));
    offer_to_the_oom_killer();
    TRY(set_limits(max_bytes, err));
    prctl(PR_SET_DUMPABLE, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return failed("PR_SET_NO_NEW_PRIVS", errno, err);
    report->landlocked = use_landlock();
    report->why = load_filter();
    report->filtered = report->why == 0;
    return ERROR_NONE;
}

/* ---- the daemon's filter --------------------------------------------------------------------- */

static int allow_daemon(scmp_filter_ctx filter)
{
    static const int calls[] = {
        /* memory, threads, time, signals */
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),
        SCMP_SYS(mincore),
        SCMP_SYS(membarrier),
        SCMP_SYS(futex),
        SCMP_SYS(set_robust_list),
        SCMP_SYS(rseq),
        SCMP_SYS(get_robust_list),
        SCMP_SYS(set_tid_address),
        SCMP_SYS(sched_yield),
        SCMP_SYS(sched_getaffinity),
        SCMP_SYS(sched_setaffinity),
        SCMP_SYS(getcpu),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(clock_getres),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(nanosleep),
        SCMP_SYS(gettimeofday),
        SCMP_SYS(time),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(rt_sigpending),
        SCMP_SYS(sigaltstack),
        /* who and where we are */
        SCMP_SYS(getpid),
        SCMP_SYS(gettid),
        SCMP_SYS(getppid),
        SCMP_SYS(getuid),
        SCMP_SYS(geteuid),
        SCMP_SYS(getgid),
        SCMP_SYS(getegid),
        SCMP_SYS(uname),
        SCMP_SYS(sysinfo),
        SCMP_SYS(getrusage),
        SCMP_SYS(getrlimit),
        SCMP_SYS(getrandom),
        SCMP_SYS(wait4),
        SCMP_SYS(waitid),
        /* open descriptors, and files to be read */
        SCMP_SYS(read),
        SCMP_SYS(readv),
        SCMP_SYS(pread64),
        SCMP_SYS(preadv),
        SCMP_SYS(write),
        SCMP_SYS(writev),
        SCMP_SYS(lseek),
        SCMP_SYS(close),
        SCMP_SYS(fstat),
        SCMP_SYS(newfstatat),
        SCMP_SYS(stat),
        SCMP_SYS(lstat),
        SCMP_SYS(statx),
        SCMP_SYS(statfs),
        SCMP_SYS(fstatfs),
        SCMP_SYS(access),
        SCMP_SYS(faccessat),
        SCMP_SYS(faccessat2),
        SCMP_SYS(readlink),
        SCMP_SYS(readlinkat),
        SCMP_SYS(getcwd),
        SCMP_SYS(getdents64),
        SCMP_SYS(fadvise64),
        SCMP_SYS(fcntl),
        SCMP_SYS(dup),
        SCMP_SYS(dup3),
        SCMP_SYS(pipe2),
        SCMP_SYS(eventfd2),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(select),
        SCMP_SYS(pselect6),
        SCMP_SYS(epoll_create1),
        SCMP_SYS(epoll_ctl),
        SCMP_SYS(epoll_wait),
        SCMP_SYS(epoll_pwait),
        /* connections that came in, the decoders, the service manager */
        SCMP_SYS(accept),
        SCMP_SYS(accept4),
        SCMP_SYS(shutdown),
        SCMP_SYS(recvfrom),
        SCMP_SYS(recvmsg),
        SCMP_SYS(recvmmsg),
        SCMP_SYS(sendto),
        SCMP_SYS(sendmsg),
        SCMP_SYS(sendmmsg),
        SCMP_SYS(sendfile),
        SCMP_SYS(getsockopt),
        SCMP_SYS(setsockopt),
        SCMP_SYS(getsockname),
        SCMP_SYS(getpeername),
    };
    return allow_all(filter, calls, sizeof calls / sizeof *calls);
}

/* Calls that are allowed with some arguments only. */
static int allow_daemon_narrowed(scmp_filter_ctx filter)
{
    const scmp_datum_t writing = O_ACCMODE | O_CREAT | O_TRUNC, own = (scmp_datum_t)getpid();
    const struct {
        int call;
        struct scmp_arg_cmp argument;
    } rules[] = {
        {SCMP_SYS(open), SCMP_A1(SCMP_CMP_MASKED_EQ, writing, O_RDONLY)},
        {SCMP_SYS(openat), SCMP_A2(SCMP_CMP_MASKED_EQ, writing, O_RDONLY)},
        {SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)},
        {SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)},
        {SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)},
        {SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, own)},     /* abort */
        {SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_UNIX)}, /* notify.c; no connect */
        {SCMP_SYS(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0)},    /* asks only */
        {SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME)},
        {SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, TIOCOUTQ)}, /* connections.c */
        {SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, FIONREAD)},
        {SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, FIONBIO)},
        {SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, TCGETS)}, /* isatty */
    };
    int failure = 0;
    for (size_t i = 0; i < sizeof rules / sizeof *rules && failure == 0; i++)
        failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, rules[i].call, 1, rules[i].argument);
    /* Its flags cannot be seen; the C library falls back to clone. */
    return failure != 0 ? failure
                        : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

int sandbox_guard(void)
{
    if (SANITIZED)
        return ENOTSUP;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL)
        return ENOMEM;
    int failure = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
    if (failure == 0)
        failure = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (failure == 0)
        failure = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
    /* Before Linux 5.16 a filter slows its process down against Spectre 4, which is for code of
     * strangers; there is none here. */
    if (failure == 0)
        failure = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    if (failure == 0)
        failure = allow_daemon(filter);
    if (failure == 0)
        failure = allow_daemon_narrowed(filter);
    if (failure == 0)
        failure = seccomp_load(filter);
    seccomp_release(filter);
    return -failure;
}
