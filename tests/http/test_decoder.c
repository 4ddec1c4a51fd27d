/* test_decoder.c - decoders that are stopped or killed under the running daemon: only the image at
 * hand suffers, and the next one is served. And what the daemon gave up itself. Their processes are
 * found by /proc. */
#include "client.h"
#include "daemon.h"
#include "pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <png.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 6000 /* times 10 ms */
#define MOST     8
#define SIDE     6000 /* of the picture that takes long */

static struct picture small, large;

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* A PNG of one colour: a few kilobytes, a hundred megabytes when decoded. */
static struct picture large_png(void)
{
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = SIDE, .height = SIDE, .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = 0;
    uint8_t *pixels = calloc((size_t)SIDE * SIDE, 3);
    assert_non_null(pixels);
    assert_true(png_image_write_get_memory_size(image, size, 0, pixels, 0, NULL));
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    assert_true(png_image_write_to_memory(&image, bytes, &size, 0, pixels, 0, NULL));
    free(pixels);
    return (struct picture){bytes, size};
}

static int set_up(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    small = picture_file("tests/data/cat.jpg");
    large = large_png();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    picture_free(&small);
    picture_free(&large);
    curl_global_cleanup();
    return 0;
}

/* ---- processes ------------------------------------------------------------------------------- */

/* The children of a process that live. */
static size_t children_of(pid_t parent, pid_t out[MOST])
{
    size_t count = 0;
    DIR *folder = opendir("/proc");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL && count < MOST;) {
        char path[300], state;
        int pid, above;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        if (fscanf(file, "%d %*[^)]) %c %d", &pid, &state, &above) == 3 && above == parent &&
            state != 'Z')
            out[count++] = pid;
        fclose(file);
    }
    closedir(folder);
    return count;
}

static pid_t keeper_of(const struct daemon *daemon)
{
    pid_t found[MOST];
    assert_int_equal(children_of(daemon->pid, found), 1);
    return found[0];
}

/* Waits until there are so many decoders, none of them `gone`. */
static void find_decoders(const struct daemon *daemon, size_t count, pid_t gone, pid_t out[MOST])
{
    pid_t keeper = keeper_of(daemon);
    for (int i = 0; i < PATIENCE; i++) {
        size_t found = children_of(keeper, out), good = 0;
        while (good < found && out[good] != gone)
            good++;
        if (found == count && good == count)
            return;
        pause_ms(10);
    }
    fail_msg("there are no %zu decoders", count);
}

static pid_t find_decoder(const struct daemon *daemon, pid_t gone)
{
    pid_t found[MOST];
    find_decoders(daemon, 1, gone, found);
    return found[0];
}

static size_t resident_bytes(pid_t pid)
{
    char path[64];
    size_t pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %zu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void wait_gone(pid_t pid)
{
    for (int i = 0; i < PATIENCE && kill(pid, 0) == 0 && resident_bytes(pid) > 0; i++)
        pause_ms(10);
    assert_true(kill(pid, 0) != 0 || resident_bytes(pid) == 0);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void check_served(const struct daemon *daemon)
{
    struct answer answer = client_post(daemon, "/classify", small.bytes, small.size);
    assert_int_equal(answer.status, 200);
    client_free(&answer);
}

/* Once, for a daemon that has not been asked before. */
static void reload(const struct daemon *daemon)
{
    kill(daemon->pid, SIGHUP);
    for (int i = 0; i < PATIENCE; i++) {
        struct answer metrics = client_get(daemon, "/metrics");
        bool loaded = strstr(metrics.body, "senetd_model_loads_total{outcome=\"loaded\"} 2\n");
        client_free(&metrics);
        if (loaded)
            return;
        pause_ms(10);
    }
    fail_msg("the model was not loaded anew");
}

struct upload {
    const struct daemon *daemon;
    const struct picture *picture;
    struct answer answer;
    pthread_t thread;
};

static void *upload_main(void *argument)
{
    struct upload *upload = argument;
    upload->answer =
        client_post(upload->daemon, "/classify", upload->picture->bytes, upload->picture->size);
    return NULL;
}

static void begin_upload(struct upload *upload, const struct daemon *daemon,
                         const struct picture *picture)
{
    *upload = (struct upload){.daemon = daemon, .picture = picture};
    assert_int_equal(pthread_create(&upload->thread, NULL, upload_main, upload), 0);
}

static void end_upload(struct upload *upload)
{
    pthread_join(upload->thread, NULL);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void an_idle_decoder_that_is_killed_is_replaced(void **state)
{
    static const char *const options[] = {"--decoders", "1", NULL};
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    check_served(&daemon);
    for (int i = 0; i < 5; i++) {
        pid_t first = find_decoder(&daemon, 0);
        kill(first, SIGKILL);
        check_served(&daemon); /* whether or not the next one is there already */
        find_decoder(&daemon, first);
        check_served(&daemon);
    }
    daemon_stop(&daemon);
}

/* It had not begun, so its successor takes the request over. */
static void a_request_outlives_a_decoder_that_has_not_begun_it(void **state)
{
    static const char *const options[] = {"--decoders", "1", NULL};
    struct daemon daemon;
    struct upload upload;
    (void)state;
    daemon_start(&daemon, options);
    pid_t first = find_decoder(&daemon, 0);
    kill(first, SIGSTOP);
    begin_upload(&upload, &daemon, &small);
    pause_ms(200);
    kill(first, SIGKILL);
    end_upload(&upload);
    assert_int_equal(upload.answer.status, 200);
    client_free(&upload.answer);
    daemon_stop(&daemon);
}

/* Whether the upload of the large picture was answered with 500 as its decoder was killed; false
 * where it was faster than we. */
static bool kill_in_the_middle(const struct daemon *daemon)
{
    pid_t decoders[MOST];
    size_t idle_bytes[2];
    struct upload upload;
    bool killed = false;
    find_decoders(daemon, 2, 0, decoders);
    for (int i = 0; i < 2; i++)
        idle_bytes[i] = resident_bytes(decoders[i]);
    begin_upload(&upload, daemon, &large);
    for (int i = 0; i < PATIENCE && !killed; i++) {
        for (int k = 0; k < 2 && !killed; k++)
            if (resident_bytes(decoders[k]) > idle_bytes[k] + (20 << 20))
                killed = kill(decoders[k], SIGKILL) == 0;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    check_served(daemon); /* the other decoder, or the next one */
    end_upload(&upload);
    bool lost = upload.answer.status == 500;
    if (lost)
        client_check_problem(&upload.answer, 500, "ended (signal 9)");
    else
        assert_int_equal(upload.answer.status, 200);
    client_free(&upload.answer);
    return lost;
}

static void a_decoder_killed_in_the_middle_costs_its_image_alone(void **state)
{
    static const char *const options[] = {"--decoders", "2", NULL};
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    check_served(&daemon);
    bool lost = false;
    for (int i = 0; i < 20 && !lost; i++)
        lost = kill_in_the_middle(&daemon);
    assert_true(lost);
    check_served(&daemon);
    check_served(&daemon);
    struct answer metrics = client_get(&daemon, "/metrics");
    assert_non_null(strstr(metrics.body, "\nsenetd_decoder_ends_total 1\n"));
    client_free(&metrics);
    daemon_stop(&daemon);
}

/* It holds still in the middle of its work: ended after the timeout, replaced. */
static void a_decoder_that_hangs_costs_its_image(void **state)
{
    static const char *const options[] = {"--decoders", "1", "--decode-timeout", "2", NULL};
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    pid_t first = find_decoder(&daemon, 0);
    kill(first, SIGSTOP);
    struct answer answer = client_post(&daemon, "/classify", small.bytes, small.size);
    client_check_problem(&answer, 422, "more than 2 seconds");
    client_free(&answer);
    find_decoder(&daemon, first);
    daemon_stop(&daemon);
}

/* Signals to the whole group, and new weights, are none of the decoders' business. */
static void only_the_daemon_heeds_signals(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    static const char *const options[] = {"--decoders", "1", NULL};
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    pid_t keeper = keeper_of(&daemon), decoder = find_decoder(&daemon, 0);
    for (size_t i = 0; i < 3; i++) {
        kill(keeper, signals[i]);
        kill(decoder, signals[i]);
    }
    check_served(&daemon);
    reload(&daemon);
    check_served(&daemon);
    assert_int_equal(find_decoder(&daemon, 0), decoder);
    daemon_stop(&daemon);
    wait_gone(decoder);
}

static void decoders_die_with_the_daemon(void **state)
{
    static const char *const options[] = {"--decoders", "2", NULL};
    struct daemon daemon;
    pid_t decoders[MOST];
    (void)state;
    daemon_start(&daemon, options);
    pid_t keeper = keeper_of(&daemon);
    find_decoders(&daemon, 2, 0, decoders);
    kill(daemon.pid, SIGKILL);
    assert_int_equal(daemon_wait(&daemon), 128 + SIGKILL);
    wait_gone(keeper);
    wait_gone(decoders[0]);
    wait_gone(decoders[1]);
}

/* Nothing would replace them: whoever started the daemon is to start it anew. */
static void without_its_keeper_the_daemon_ends_with_an_error(void **state)
{
    static const char *const options[] = {"--decoders", "1", NULL};
    struct daemon daemon;
    (void)state;
    daemon_start(&daemon, options);
    pid_t decoder = find_decoder(&daemon, 0);
    kill(keeper_of(&daemon), SIGKILL);
    daemon_wait_log(&daemon, "the decoding processes are gone");
    assert_int_equal(daemon_wait(&daemon), 1);
    wait_gone(decoder);
}

static void inline_needs_no_processes(void **state)
{
    static const char *const options[] = {"--decoder", "inline", NULL};
    struct daemon daemon;
    pid_t found[MOST];
    (void)state;
    daemon_start(&daemon, options);
    assert_int_equal(children_of(daemon.pid, found), 0);
    check_served(&daemon);
    daemon_stop(&daemon);
}

/* Checks that a line of every thread's status has that value. */
static void check_threads(pid_t pid, const char *name, const char *value)
{
    char path[300], line[256];
    size_t threads = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
        for (; file != NULL && fgets(line, sizeof line, file) != NULL;)
            if (strncmp(line, name, strlen(name)) == 0) {
                if (strncmp(line + strlen(name), value, strlen(value)) != 0)
                    fail_msg("thread %s: %s", entry->d_name, line);
                threads++;
            }
        if (file != NULL)
            fclose(file);
    }
    closedir(folder);
    assert_true(threads > 1);
}

static void the_daemon_is_filtered_in_every_thread(void **state)
{
    struct daemon daemon;
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* sandbox_guard refuses there */
#endif
    daemon_start(&daemon, NULL);
    check_threads(daemon.pid, "Seccomp:\t", "2");
    check_threads(daemon.pid, "NoNewPrivs:\t", "1");
    reload(&daemon);
    check_served(&daemon);
    check_threads(daemon.pid, "Seccomp:\t", "2"); /* the new model's too */
    daemon_stop(&daemon);
    static const char *const off[] = {"--seccomp", "off", NULL};
    daemon_start(&daemon, off);
    check_threads(daemon.pid, "Seccomp:\t", "0");
    daemon_stop(&daemon);
}

static void root_becomes_the_user_it_is_told(void **state)
{
    static const char *const options[] = {"--user", "65534:65534", NULL};
    static const char *const unknown[] = {
        "senetd", "--listen", "127.0.0.1:0", "--user", "nobody-of-that-name", NULL};
    struct daemon daemon;
    char out[16];
    (void)state;
    if (geteuid() != 0)
        skip();
    daemon_start(&daemon, options);
    check_threads(daemon.pid, "Uid:\t", "65534\t65534\t65534\t65534");
    check_threads(daemon.pid, "Gid:\t", "65534\t65534\t65534\t65534");
    check_threads(daemon.pid, "CapEff:\t", "0000000000000000");
    check_served(&daemon);
    reload(&daemon);
    check_served(&daemon);
    struct answer metrics = client_get(&daemon, "/metrics");
    assert_non_null(strstr(metrics.body, "\nprocess_open_fds "));
    client_free(&metrics);
    daemon_stop(&daemon);
    assert_int_equal(daemon_run(unknown, out, sizeof out), 1);
}

/* For the rest of this program and what it starts. */
static void forbid_sandboxes(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    assert_non_null(filter);
    int bad = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(seccomp), 0);
    bad |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1,
                            SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP));
    bad |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(landlock_create_ruleset), 0);
    assert_int_equal(bad, 0);
    assert_int_equal(seccomp_load(filter), 0);
    seccomp_release(filter);
}

static void without_seccomp_it_warns_or_refuses(void **state)
{
    static const char *const strict[] = {"senetd",    "--listen", "127.0.0.1:0",
                                         "--decoder", "sandbox",  NULL};
    static const char *const guarded[] = {"senetd",    "--listen", "127.0.0.1:0",
                                          "--seccomp", "on",       NULL};
    struct daemon daemon;
    char out[16];
    (void)state;
    forbid_sandboxes();
    daemon_start(&daemon, NULL);
    daemon_wait_log(&daemon, "without a seccomp filter");
    daemon_wait_log(&daemon, "no seccomp, no Landlock");
    daemon_wait_log(&daemon, "the daemon's system calls are not filtered");
    check_served(&daemon);
    daemon_stop(&daemon);
    assert_int_equal(daemon_run(strict, out, sizeof out), 1);
    assert_int_equal(daemon_run(guarded, out, sizeof out), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_decoder_that_is_killed_is_replaced),
        cmocka_unit_test(a_request_outlives_a_decoder_that_has_not_begun_it),
        cmocka_unit_test(a_decoder_killed_in_the_middle_costs_its_image_alone),
        cmocka_unit_test(a_decoder_that_hangs_costs_its_image),
        cmocka_unit_test(only_the_daemon_heeds_signals),
        cmocka_unit_test(decoders_die_with_the_daemon),
        cmocka_unit_test(without_its_keeper_the_daemon_ends_with_an_error),
        cmocka_unit_test(inline_needs_no_processes),
        cmocka_unit_test(the_daemon_is_filtered_in_every_thread),
        cmocka_unit_test(root_becomes_the_user_it_is_told),
        cmocka_unit_test(without_seccomp_it_warns_or_refuses), /* the last: it cannot be undone */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
