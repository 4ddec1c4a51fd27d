/* keeper.c - see keeper.h.
 *
 * Which request a dead decoder had begun is read from the shared memory, where it writes the
 * number before it takes the request out of the socket: a process that is being killed may still
 * take a message, and lose it. What it had not begun waits there for its successor. The request of
 * which an end is told is taken out. So the daemon hears exactly once of a request that was lost,
 * and never of one that will be answered yet.
 */
#include "keeper.h"
#include "log.h"
#include "monotonic.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A page, of any size, before a link's bytes is for what else is shared. */
#define HEAD_BYTES 65536
/* As image.c holds a decoder to, and as much again for malloc's gaps and small things. */
#define BYTES_A_PIXEL 5
#define EXTRA_BYTES   ((size_t)128 << 20)
#define ATTEMPTS      8

/* What the keeper knows of a link's process. */
struct child {
    pid_t pid;          /* 0: none, to be started anew */
    uint64_t condemned; /* the request that the daemon gave up on, or 0 */
    uint64_t buried;    /* the last request of which an end was told */
};

/* ---- messages --------------------------------------------------------------------------------
 *
 * Tried again where a signal came, or the kernel lacks memory for the moment. */

static bool take(int fd, struct keeper_request *out, int flags)
{
    ssize_t got = -1;
    for (int i = 0; i < ATTEMPTS && got < 0; i++)
        got = recv(fd, out, sizeof *out, flags);
    return got == sizeof *out;
}

/* A sandbox has write, not send. */
static bool answer(const struct keeper_reply *reply)
{
    ssize_t sent = -1;
    for (int i = 0; i < ATTEMPTS && sent < 0; i++)
        sent = write(SANDBOX_FD, reply, sizeof *reply);
    return sent == sizeof *reply;
}

static bool tell(int fd, const struct keeper_reply *reply)
{
    ssize_t sent = -1;
    for (int i = 0; i < ATTEMPTS && sent < 0; i++)
        sent = send(fd, reply, sizeof *reply, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent == sizeof *reply;
}

/* ---- in a decoder ---------------------------------------------------------------------------- */

static enum error_code crop_file(const struct keeper_link *link,
                                 const struct keeper_request *request, struct keeper_reply *reply,
                                 struct error *err)
{
    const struct image_options options = {.max_pixels = request->max_pixels,
                                          .formats = request->formats,
                                          .fit = request->shrink ? &request->preprocess : NULL};
    struct image image = {0};
    int64_t begin = monotonic_ns();
    TRY(image_decode(link->bytes, request->size, &options, &image, err));
    reply->decode_ns = monotonic_ns() - begin;
    reply->format = image.format;
    reply->width = image.full_width;
    reply->height = image.full_height;
    enum error_code code = image_crop(&image, &request->preprocess, link->bytes, err);
    image_free(&image);
    return code;
}

static void serve_requests(const struct keeper *keeper, const struct keeper_link *link)
{
    struct keeper_request request;
    while (take(SANDBOX_FD, &request, MSG_PEEK)) {
        struct keeper_reply reply = {.number = request.number};
        atomic_store(link->taken, request.number);
        if (!take(SANDBOX_FD, &request, 0))
            break;
        sandbox_allow_seconds(keeper->timeout);
        reply.error.code = crop_file(link, &request, &reply, &reply.error);
        if (!answer(&reply))
            break;
    }
}

static void release_link(const struct keeper *keeper, struct keeper_link *link)
{
    if (link->taken != NULL)
        munmap(link->taken, HEAD_BYTES + keeper->room);
    link->taken = NULL;
}

static void become_decoder(const struct keeper *keeper, size_t index)
{
    sigset_t none;
    struct error err = {0};
    struct sandbox_report report;
    for (size_t i = 0; i < keeper->processes; i++)
        if (i != index)
            release_link(keeper, &keeper->links[i]);
    prctl(PR_SET_NAME, "senetd-decoder");
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (sandbox_enter(keeper->links[index].decoder_end,
                      BYTES_A_PIXEL * keeper->max_pixels + EXTRA_BYTES, &report,
                      &err) != ERROR_NONE) {
        log_error("decoder", "%s", err.message);
        return;
    }
    if (report.filtered || !keeper->filtered)
        serve_requests(keeper, &keeper->links[index]);
}

/* ---- in the keeper --------------------------------------------------------------------------- */

static void start_child(const struct keeper *keeper, struct child *child, size_t index)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            become_decoder(keeper, index);
        _exit(EXIT_FAILURE);
    }
    if (pid < 0)
        log_error("decoder", "fork: %s", strerror(errno));
    child->pid = pid > 0 ? pid : 0;
}

/* Tells the daemon that the link's process ended over a request; not twice over the same. */
static void tell_end(const struct keeper_link *link, struct child *child, int status)
{
    struct keeper_request next;
    struct keeper_reply reply = {.ended = true, .status = status};
    reply.number = child->condemned != 0 ? child->condemned : atomic_load(link->taken);
    child->condemned = 0;
    if (take(link->decoder_end, &next, MSG_PEEK | MSG_DONTWAIT) && next.number == reply.number)
        (void)!take(link->decoder_end, &next, MSG_DONTWAIT);
    if (reply.number != child->buried && tell(link->decoder_end, &reply))
        child->buried = reply.number;
}

static void bury(const struct keeper *keeper, struct child *children)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (size_t i = 0; i < keeper->processes; i++) {
            struct child *child = &children[i];
            if (child->pid != pid)
                continue;
            int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
            log_warn("decoder", "a decoding process ended by %s %d%s, another takes its place",
                     signal != 0 ? "signal" : "status", signal != 0 ? signal : WEXITSTATUS(status),
                     child->condemned != 0 ? " after its time was over" : "");
            child->pid = 0;
            tell_end(&keeper->links[i], child, status);
            if (signal != 0)
                start_child(keeper, child, i);
        }
}

/* Whether there was one; false where the daemon has ended. */
static bool obey(const struct keeper *keeper, struct child *children)
{
    struct keeper_order order;
    ssize_t got = recv(keeper->control, &order, sizeof order, MSG_DONTWAIT);
    if (got < 0)
        return true; /* poll will call again */
    if (got != sizeof order)
        return false;
    if (order.link >= keeper->processes)
        return true;
    struct child *child = &children[order.link];
    if (order.number == child->buried)
        return true; /* it ended meanwhile, and the daemon has been told */
    child->condemned = order.number;
    if (child->pid > 0)
        kill(child->pid, SIGKILL);
    else
        tell_end(&keeper->links[order.link], child, 0);
    return true;
}

/* Starts those that could not be started, or ended of themselves: once a second. Milliseconds
 * until then, -1 where all live. */
static int start_missing(const struct keeper *keeper, struct child *children, int64_t *next_ns)
{
    int64_t now = monotonic_ns();
    bool all = true;
    for (size_t i = 0; i < keeper->processes; i++) {
        if (children[i].pid == 0 && now >= *next_ns)
            start_child(keeper, &children[i], i);
        all = all && children[i].pid != 0;
    }
    if (now >= *next_ns)
        *next_ns = now + 1000000000;
    return all ? -1 : (int)((*next_ns - now) / 1000000) + 1;
}

static void keep(const struct keeper *keeper, struct child *children, int deaths)
{
    int64_t next_ns = 0;
    for (;;) {
        struct pollfd ready[] = {{keeper->control, POLLIN, 0}, {deaths, POLLIN, 0}};
        struct signalfd_siginfo signal;
        int wait = start_missing(keeper, children, &next_ns);
        if (poll(ready, 2, wait) < 0 && errno != EINTR)
            break;
        /* Orders first: those of before a death are then known when it is told. */
        if (ready[0].revents != 0 && !obey(keeper, children))
            break;
        if (ready[1].revents != 0 && read(deaths, &signal, sizeof signal) > 0)
            bury(keeper, children);
    }
    for (size_t i = 0; i < keeper->processes; i++)
        if (children[i].pid > 0)
            kill(children[i].pid, SIGKILL);
    while (wait(NULL) > 0 || errno == EINTR)
        continue;
}

/* A terminal's or a service manager's signal reaches the whole group: the daemon decides. */
static void ignore_signals(void)
{
    static const int to_daemon[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof to_daemon / sizeof *to_daemon; i++)
        signal(to_daemon[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
}

static void become_keeper(const struct keeper *keeper)
{
    sigset_t set;
    struct child *children = calloc(keeper->processes, sizeof *children);
    prctl(PR_SET_NAME, "senetd-keeper");
    ignore_signals();
    sandbox_leave_root();
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_SETMASK, &set, NULL);
    int deaths = signalfd(-1, &set, SFD_CLOEXEC);
    for (size_t i = 0; i < keeper->processes; i++)
        close(keeper->links[i].daemon_end);
    if (children != NULL && deaths >= 0)
        keep(keeper, children, deaths);
}

/* ---- in the daemon --------------------------------------------------------------------------- */

enum error_code keeper_probe(struct sandbox_report *report, struct error *err)
{
    struct {
        struct sandbox_report report;
        struct error error;
    } found = {.error = {0}};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return error_set(err, ERROR_IO, "decoder: socketpair: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        (void)!sandbox_enter(ends[1], EXTRA_BYTES, &found.report, &found.error);
        (void)!TEMP_FAILURE_RETRY(write(SANDBOX_FD, &found, sizeof found));
        _exit(EXIT_SUCCESS);
    }
    int cause = errno;
    close(ends[1]);
    bool told =
        pid > 0 && TEMP_FAILURE_RETRY(recv(ends[0], &found, sizeof found, 0)) == sizeof found;
    close(ends[0]);
    if (pid > 0)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    if (!told)
        return error_set(err, ERROR_IO, "decoder: %s",
                         pid < 0 ? strerror(cause) : "a process in the sandbox could not answer");
    if (found.error.code != ERROR_NONE)
        return error_set(err, found.error.code, "%s", found.error.message);
    *report = found.report;
    return ERROR_NONE;
}

static enum error_code open_link(const struct keeper *keeper, struct keeper_link *link,
                                 struct error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return error_set(err, ERROR_IO, "decoder: socketpair: %s", strerror(errno));
    link->daemon_end = ends[0];
    link->decoder_end = ends[1];
    const struct timeval timeout = {.tv_sec = keeper->timeout};
    if (setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0)
        return error_set(err, ERROR_IO, "decoder: SO_RCVTIMEO: %s", strerror(errno));
    uint8_t *memory = mmap(NULL, HEAD_BYTES + keeper->room, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(err, ERROR_MEMORY, "decoder: %zu bytes of shared memory: %s", keeper->room,
                         strerror(errno));
    link->taken = (_Atomic uint64_t *)(void *)memory;
    link->bytes = memory + HEAD_BYTES;
    return ERROR_NONE;
}

enum error_code keeper_start(struct keeper *keeper, struct error *err)
{
    int ends[2];
    keeper->pid = keeper->control = -1;
    keeper->links = calloc(keeper->processes, sizeof *keeper->links);
    if (keeper->links == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for %zu decoders", keeper->processes);
    for (size_t i = 0; i < keeper->processes; i++)
        keeper->links[i].daemon_end = keeper->links[i].decoder_end = -1;
    for (size_t i = 0; i < keeper->processes; i++)
        TRY(open_link(keeper, &keeper->links[i], err));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return error_set(err, ERROR_IO, "decoder: socketpair: %s", strerror(errno));
    keeper->pid = fork();
    if (keeper->pid == 0) {
        close(ends[0]);
        keeper->control = ends[1];
        become_keeper(keeper);
        _exit(EXIT_SUCCESS);
    }
    close(ends[1]);
    keeper->control = ends[0];
    if (keeper->pid < 0)
        return error_set(err, ERROR_IO, "decoder: fork: %s", strerror(errno));
    for (size_t i = 0; i < keeper->processes; i++) {
        close(keeper->links[i].decoder_end);
        keeper->links[i].decoder_end = -1;
    }
    return ERROR_NONE;
}

static void close_end(int fd)
{
    if (fd >= 0)
        close(fd);
}

void keeper_stop(struct keeper *keeper)
{
    close_end(keeper->control);
    if (keeper->pid > 0)
        while (waitpid(keeper->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    for (size_t i = 0; keeper->links != NULL && i < keeper->processes; i++) {
        release_link(keeper, &keeper->links[i]);
        close_end(keeper->links[i].daemon_end);
        close_end(keeper->links[i].decoder_end);
    }
    free(keeper->links);
}
