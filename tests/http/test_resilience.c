/* test_resilience.c - faults of the machine and of those who tend it: a full disk behind the log, a
 * stopped process, weight files spoilt while they serve; and clients that leave by the thousand,
 * after which nothing may be left. ABORTS=100000 lets more of them leave. */
#include "client.h"
#include "daemon.h"
#include "pictures.h"
#include "raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ABORTS      2000
#define PATIENCE_MS 60000

static struct picture picture;

static int start_all(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    picture = picture_ppm(40, 40, 1);
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    picture_free(&picture);
    curl_global_cleanup();
    return 0;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* The results' part of an answer, without the times; the caller frees it. */
static char *results(const struct daemon *daemon)
{
    struct answer answer = client_post(daemon, "/classify", picture.bytes, picture.size);
    assert_int_equal(answer.status, 200);
    char *text = json_dumps(client_member(answer.json, "results"), JSON_COMPACT);
    assert_non_null(text);
    client_free(&answer);
    return text;
}

static void check_same(const struct daemon *daemon, const char *expected)
{
    char *now = results(daemon);
    assert_string_equal(now, expected);
    free(now);
}

/* ---- the machine ----------------------------------------------------------------------------- */

/* Every line fails with ENOSPC. */
static void a_full_disk_behind_the_log_does_no_harm(void **state)
{
    struct daemon daemon;
    (void)state;
    daemon_start_logging(&daemon, NULL, "/dev/full");
    for (size_t i = 0; i < 5; i++)
        free(results(&daemon));
    kill(daemon.pid, SIGHUP);
    free(results(&daemon));
    daemon_stop(&daemon);
}

/* A reader of the log that went away: EPIPE, and SIGPIPE if it were not ignored. */
static void a_log_without_a_reader_does_no_harm(void **state)
{
    char pipe[64] = "/tmp/senetd-pipe-XXXXXX";
    struct daemon daemon;
    (void)state;
    int fd = mkstemp(pipe);
    assert_true(fd >= 0 && close(fd) == 0 && unlink(pipe) == 0 && mkfifo(pipe, 0600) == 0);
    FILE *reader = fopen(pipe, "r+");
    assert_non_null(reader);
    daemon_start_logging(&daemon, NULL, pipe);
    fclose(reader);
    for (size_t i = 0; i < 3; i++)
        free(results(&daemon));
    daemon_stop(&daemon);
    unlink(pipe);
}

static void a_stopped_process_goes_on(void **state)
{
    static const char text[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct daemon daemon;
    char answer[4096];
    int fds[20], status;
    (void)state;
    daemon_start(&daemon, (const char *const[]){"--header-timeout", "1", "--idle-timeout", "1",
                                                "--stall-timeout", "1", NULL});
    int idle = client_connect(&daemon);
    kill(daemon.pid, SIGSTOP);
    assert_int_equal(waitpid(daemon.pid, &status, WUNTRACED), daemon.pid);
    for (size_t i = 0; i < 20; i++) { /* into the backlog */
        fds[i] = client_connect(&daemon);
        raw_send(fds[i], text, sizeof text - 1);
    }
    pause_ms(1500); /* more than any deadline */
    kill(daemon.pid, SIGCONT);
    for (size_t i = 0; i < 20; i++) {
        assert_true(raw_read(fds[i], answer, sizeof answer));
        assert_int_equal(raw_status(answer), 200);
        close(fds[i]);
    }
    assert_true(raw_read(idle, answer, sizeof answer)); /* its time was up */
    close(idle);
    free(results(&daemon));
    daemon_stop(&daemon);
}

/* ---- weight files ---------------------------------------------------------------------------- */

/* By a shell that knows $folder and $model. */
static void run(const char *command)
{
    assert_int_equal(system(command), 0);
}

/* Who reads them by mmap dies of SIGBUS here. */
static void weights_may_be_spoilt_while_they_serve(void **state)
{
    static const char *const spoilings[] = {
        "truncate -s 0 $folder/model.safetensors",
        "head -c 3000 $model/model.safetensors >$folder/model.safetensors",
        "head -c 100000 /dev/zero >$folder/model.safetensors",
        "rm $folder/model.safetensors",
        "mkdir $folder/model.safetensors",
    };
    char folder[] = "/tmp/senetd-weights-XXXXXX";
    struct daemon daemon;
    (void)state;
    assert_non_null(mkdtemp(folder));
    setenv("folder", folder, 1);
    setenv("model", TINY_MODEL, 1);
    run("cp $model/* $folder");
    daemon_start(&daemon, (const char *const[]){"--weights", folder, NULL});
    char *expected = results(&daemon);
    for (size_t i = 0; i < sizeof spoilings / sizeof spoilings[0]; i++) {
        run(spoilings[i]);
        check_same(&daemon, expected);
        kill(daemon.pid, SIGHUP);
        check_same(&daemon, expected);
    }
    daemon_wait_log(&daemon, "reload");
    run("rm -r $folder && cp -r $model $folder");
    kill(daemon.pid, SIGHUP);
    check_same(&daemon, expected);
    daemon_stop(&daemon);
    free(expected);
    run("rm -r $folder");
}

/* ---- clients that leave ---------------------------------------------------------------------- */

static size_t resident_kb(const struct daemon *daemon)
{
    char path[64], line[128];
    size_t kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)daemon->pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %zu kB", &kb) == 1)
            break;
    fclose(file);
    return kb;
}

/* Connects, sends some of a request or all of it, and is gone, by a reset half of the time. */
static void leave_early(const struct daemon *daemon, long number)
{
    static const char *const texts[] = {
        "",
        "POST /classify HTTP/1.1\r\nHo",
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
        "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na",
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nabc",
        "GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /ver",
    };
    enum { TEXTS = sizeof texts / sizeof texts[0] };
    int fd = client_connect(daemon);
    if (number % (TEXTS + 1) < TEXTS) {
        raw_send(fd, texts[number % (TEXTS + 1)], strlen(texts[number % (TEXTS + 1)]));
    } else {
        char head[128];
        int size = snprintf(head, sizeof head,
                            "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
                            picture.size);
        raw_send(fd, head, (size_t)size);
        raw_send(fd, picture.bytes, picture.size);
    }
    if (number % 2 == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
    close(fd);
}

/* The classification is answered once the queue has let go of those that left. */
static void wait_served(const struct daemon *daemon)
{
    long status = 0;
    for (int ms = 0; status != 200 && ms < PATIENCE_MS; ms += 50) {
        struct answer answer = client_post(daemon, "/classify", picture.bytes, picture.size);
        status = answer.status;
        client_free(&answer);
        if (status != 200)
            pause_ms(50);
    }
    assert_int_equal(status, 200);
}

static void of_clients_that_left_nothing_is_left(void **state)
{
    const char *asked = getenv("ABORTS");
    long count = asked != NULL ? strtol(asked, NULL, 10) : ABORTS;
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, (const char *const[]){"--log-level", "warn", NULL});
    size_t first = daemon_descriptors(daemon.pid);
    for (long i = 0; i < count / 4; i++)
        leave_early(&daemon, i);
    wait_served(&daemon);
    size_t resident = resident_kb(&daemon);
    size_t most = first + 8; /* sockets that linger for some seconds */
    for (long i = 0; i < count; i++)
        leave_early(&daemon, i);
    wait_served(&daemon);
    size_t open = daemon_descriptors(daemon.pid);
    for (int ms = 0; open > most && ms < PATIENCE_MS; ms += 50) {
        pause_ms(50);
        open = daemon_descriptors(daemon.pid);
    }
    printf("%ld clients left: %zu descriptors, before %zu, %zu kB resident, before %zu kB\n", count,
           open, first, resident_kb(&daemon), resident);
    assert_true(open <= most);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* these keep what is freed */
    assert_true(resident_kb(&daemon) < resident + 4096);
#endif
    daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_behind_the_log_does_no_harm),
        cmocka_unit_test(a_log_without_a_reader_does_no_harm),
        cmocka_unit_test(a_stopped_process_goes_on),
        cmocka_unit_test(weights_may_be_spoilt_while_they_serve),
        cmocka_unit_test(of_clients_that_left_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
