/* faulty.c - faulty.so, system calls that fail when they are told to; see faulty.h.
 *
 * Preloaded, its functions take the place of the C library's for the program and for all its
 * libraries. Processes forked off share the file, and so the count. What the C library calls inside
 * itself is not seen, but for reads of a file that fopen opened, which goes through a stream of
 * ours. Nothing fails that the kernel would not let fail: a counter of eventfd neither breaks nor
 * is interrupted, a pipe does not break, the opening and buffered reading of a file are not
 * interrupted. Of a socket no less than there is is read, since on that the edges of epoll rely
 * (epoll(7)); its buffers are made small instead.
 */
#include "faulty.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST   256 /* descriptors whose kind is kept */

#define CALLS(X)                                                                                   \
    X(read)                                                                                        \
    X(write)                                                                                       \
    X(recv)                                                                                        \
    X(send)                                                                                        \
    X(sendmsg)                                                                                     \
    X(poll)                                                                                        \
    X(epoll_wait)                                                                                  \
    X(epoll_ctl)                                                                                   \
    X(epoll_create1)                                                                               \
    X(eventfd)                                                                                     \
    X(accept4)                                                                                     \
    X(open)                                                                                        \
    X(fopen)                                                                                       \
    X(close)                                                                                       \
    X(socket)                                                                                      \
    X(socketpair)                                                                                  \
    X(pipe2)                                                                                       \
    X(bind)                                                                                        \
    X(listen)                                                                                      \
    X(fork)                                                                                        \
    X(pthread_create)                                                                              \
    X(waitpid)                                                                                     \
    X(wait)                                                                                        \
    X(nanosleep)                                                                                   \
    X(sem_wait)                                                                                    \
    X(sem_clockwait)

/* The C library's functions. */
static struct {
#define FIELD(name) __typeof__(&(name)) name;
    CALLS(FIELD)
#undef FIELD
} real;

static struct faulty unused;
static struct faulty *control = &unused;
static enum { PLAIN, PIPE, COUNTER } kinds[MOST]; /* of descriptors */

static void find(const char *name, void *out)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(out, &found, sizeof found);
}

/* Also from what other libraries do before this one's turn comes. */
__attribute__((constructor)) static void begin(void)
{
    if (real.read != NULL)
        return;
#define FIND(name) find(#name, &real.name);
    CALLS(FIND)
#undef FIND
    const char *path = getenv("FAULTY_CONTROL");
    int fd = path != NULL ? real.open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    real.close(fd);
    if (mapped != MAP_FAILED)
        control = mapped;
}

/* ---- what fails ------------------------------------------------------------------------------ */

/* Whether it is this call's turn to have that fault; if so errno is set. */
static bool has(enum faulty_kind kind, const char *call, int cause)
{
    begin();
    if (atomic_load(&control->kind) != (int)kind || atomic_load(&control->countdown) <= 0 ||
        atomic_fetch_sub(&control->countdown, 1) != 1)
        return false;
    atomic_store(&control->countdown, atomic_load(&control->again));
    atomic_fetch_add(&control->struck, 1);
    snprintf(control->call, sizeof control->call, "%d %s", (int)getpid(), call);
    errno = cause;
    return true;
}

static bool is_interrupted(const char *call)
{
    sigset_t blocked;
    if (atomic_load(&control->strict) && pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0 &&
        sigismember(&blocked, SIGTERM))
        return false;
    return has(FAULTY_INTERRUPTED, call, EINTR);
}

static bool is_exhausted(const char *call, int cause)
{
    return has(FAULTY_EXHAUSTED, call, cause);
}

/* In a decoder's sandbox the question is refused; it has nothing but sockets. */
static bool is_socket(int fd)
{
    int type, cause = errno;
    socklen_t size = sizeof type;
    bool no = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 && errno != EPERM;
    errno = cause;
    return !no;
}

static bool is_kind(int fd, int kind)
{
    return fd >= 0 && fd < MOST && (int)kinds[fd] == kind;
}

/* A read or write of a descriptor. */
static bool fails(int fd, const char *call)
{
    if (is_kind(fd, COUNTER))
        return false;
    if (is_interrupted(call))
        return true;
    if (is_kind(fd, PIPE))
        return false;
    bool socket = is_socket(fd);
    return has(FAULTY_BROKEN, call, socket ? ECONNRESET : EIO) ||
           (socket && is_exhausted(call, ENOBUFS));
}

static size_t shorten(int fd, const char *call, size_t size)
{
    bool whole = size < 2 || is_kind(fd, COUNTER) || is_socket(fd);
    return !whole && has(FAULTY_SHORT, call, errno) ? size / 2 : size;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

EXPORT ssize_t read(int fd, void *bytes, size_t size)
{
    return fails(fd, "read") ? -1 : real.read(fd, bytes, shorten(fd, "read", size));
}

EXPORT ssize_t write(int fd, const void *bytes, size_t size)
{
    return fails(fd, "write") ? -1 : real.write(fd, bytes, shorten(fd, "write", size));
}

EXPORT ssize_t recv(int fd, void *bytes, size_t size, int flags)
{
    return fails(fd, "recv") ? -1 : real.recv(fd, bytes, size, flags);
}

EXPORT ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    return fails(fd, "send") ? -1 : real.send(fd, bytes, size, flags);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return fails(fd, "sendmsg") ? -1 : real.sendmsg(fd, message, flags);
}

EXPORT int poll(struct pollfd *of, nfds_t count, int ms)
{
    return is_interrupted("poll") ? -1 : real.poll(of, count, ms);
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int most, int ms)
{
    return is_interrupted("epoll_wait") ? -1 : real.epoll_wait(fd, events, most, ms);
}

EXPORT int epoll_ctl(int fd, int what, int of, struct epoll_event *event)
{
    if (what == EPOLL_CTL_ADD && is_exhausted("epoll_ctl", ENOMEM))
        return -1;
    return real.epoll_ctl(fd, what, of, event);
}

EXPORT int epoll_create1(int flags)
{
    return is_exhausted("epoll_create1", EMFILE) ? -1 : real.epoll_create1(flags);
}

static int keep(int fd, int kind)
{
    if (fd >= 0 && fd < MOST)
        kinds[fd] = kind;
    return fd;
}

EXPORT int close(int fd)
{
    begin();
    keep(fd, PLAIN);
    return real.close(fd);
}

EXPORT int eventfd(unsigned initial, int flags)
{
    return is_exhausted("eventfd", EMFILE) ? -1 : keep(real.eventfd(initial, flags), COUNTER);
}

EXPORT int pipe2(int ends[2], int flags)
{
    if (is_exhausted("pipe2", EMFILE) || real.pipe2(ends, flags) != 0)
        return -1;
    keep(ends[0], PIPE);
    keep(ends[1], PIPE);
    return 0;
}

EXPORT int socket(int domain, int type, int protocol)
{
    return is_exhausted("socket", EMFILE) ? -1 : real.socket(domain, type, protocol);
}

EXPORT int socketpair(int domain, int type, int protocol, int ends[2])
{
    if (is_exhausted("socketpair", EMFILE))
        return -1;
    return real.socketpair(domain, type, protocol, ends);
}

EXPORT int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t size)
{
    return has(FAULTY_BROKEN, "bind", EADDRINUSE) ? -1 : real.bind(fd, address, size);
}

EXPORT int listen(int fd, int backlog)
{
    return has(FAULTY_BROKEN, "listen", EADDRINUSE) ? -1 : real.listen(fd, backlog);
}

EXPORT int accept4(int fd, __SOCKADDR_ARG address, socklen_t *size, int flags)
{
    const int least = 1; /* the kernel makes some KiB of it */
    if (is_interrupted("accept4") || has(FAULTY_BROKEN, "accept4", ECONNABORTED) ||
        is_exhausted("accept4", EMFILE))
        return -1;
    int taken = real.accept4(fd, address, size, flags);
    if (taken >= 0 && has(FAULTY_SHORT, "accept4", errno)) {
        setsockopt(taken, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
        setsockopt(taken, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    }
    return taken;
}

/* ---- files ----------------------------------------------------------------------------------- */

EXPORT int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (has(FAULTY_BROKEN, "open", EIO) || is_exhausted("open", EMFILE))
        return -1;
    return real.open(path, flags, mode);
}

static ssize_t read_stream(void *stream, char *bytes, size_t size)
{
    if (has(FAULTY_BROKEN, "fread", EIO))
        return -1;
    size_t part = size > 1 && has(FAULTY_SHORT, "fread", errno) ? size / 2 : size;
    size_t got = fread(bytes, 1, part, stream);
    return got == 0 && ferror(stream) ? -1 : (ssize_t)got;
}

static int close_stream(void *stream)
{
    return fclose(stream);
}

EXPORT FILE *fopen(const char *path, const char *mode)
{
    if (has(FAULTY_BROKEN, "fopen", EIO) || is_exhausted("fopen", EMFILE))
        return NULL;
    FILE *file = real.fopen(path, mode), *outer = NULL;
    if (file == NULL || mode[0] != 'r' || strchr(mode, '+') != NULL)
        return file;
    outer = fopencookie(file, "r", (cookie_io_functions_t){read_stream, NULL, NULL, close_stream});
    return outer != NULL ? outer : file;
}

/* ---- processes, threads, time ---------------------------------------------------------------- */

EXPORT pid_t fork(void)
{
    return is_exhausted("fork", EAGAIN) ? -1 : real.fork();
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *),
                          void *argument)
{
    return is_exhausted("pthread_create", EAGAIN) ? EAGAIN
                                                  : real.pthread_create(thread, how, run, argument);
}

EXPORT pid_t waitpid(pid_t pid, int *status, int options)
{
    if (!(options & WNOHANG) && is_interrupted("waitpid"))
        return -1;
    return real.waitpid(pid, status, options);
}

EXPORT pid_t wait(int *status)
{
    return is_interrupted("wait") ? -1 : real.wait(status);
}

EXPORT int nanosleep(const struct timespec *time, struct timespec *left)
{
    if (!is_interrupted("nanosleep"))
        return real.nanosleep(time, left);
    if (left != NULL)
        *left = *time;
    return -1;
}

EXPORT int sem_wait(sem_t *semaphore)
{
    return is_interrupted("sem_wait") ? -1 : real.sem_wait(semaphore);
}

EXPORT int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until)
{
    return is_interrupted("sem_clockwait") ? -1 : real.sem_clockwait(semaphore, clock, until);
}
