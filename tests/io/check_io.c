/* check_io.c - the daemon while its system calls fail.
 *
 * faulty.so is preloaded into the real daemon (faulty.h); in whichever thread, process and library
 * a call is made, it counts. The n-th call of a request or a reload fails, for every n, and that of
 * a whole life from the start to the stop, for each EVERY-th; in turn in each of four ways. What is
 * interrupted, or done in part, must not show: the answer is the same to the last bit. What breaks
 * or is exhausted may cost the request its answer (500, 503, a closed connection), or the start,
 * which says why. Then the daemon lives, answers the same request rightly, and holds as many
 * descriptors as before.
 */
#include "faulty.h"
#include "http/client.h"
#include "http/pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST      10000 /* calls of a life; more would be a loop */
#define PATIENCE  3     /* trials in a row without a fault, as the number of calls varies */
#define SETTLE_MS 3000  /* for what is closed after the answer */

static const char *const kind_names[FAULTY_KINDS] = {"", "interrupted", "short", "broken",
                                                     "exhausted"};

static struct faulty *control;
static char control_path[] = "/tmp/senetd-faulty-XXXXXX";
static char library[512];
static long every = 1;
static struct picture picture;

/* ---- faults ---------------------------------------------------------------------------------- */

static void arm(enum faulty_kind kind, long n, long again)
{
    atomic_store(&control->struck, 0);
    atomic_store(&control->again, again);
    atomic_store(&control->countdown, n);
    atomic_store(&control->kind, (int)kind);
}

/* How many calls failed. */
static long disarm(void)
{
    atomic_store(&control->kind, FAULTY_NONE);
    atomic_store(&control->countdown, 0);
    return atomic_load(&control->struck);
}

/* Whether nobody may notice. */
static bool is_hidden(enum faulty_kind kind)
{
    return kind == FAULTY_INTERRUPTED || kind == FAULTY_SHORT;
}

/* The daemon's and its child's, the keeper of the decoders; these may have but two. */
static size_t descriptors(const struct daemon *daemon)
{
    char path[64];
    int keeper;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)daemon->pid, (int)daemon->pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &keeper), 1);
    fclose(file);
    return daemon_descriptors(daemon->pid) + daemon_descriptors(keeper);
}

static bool settles_at(const struct daemon *daemon, size_t count)
{
    for (int ms = 0; ms < SETTLE_MS; ms++) {
        if (descriptors(daemon) <= count)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

/* ---- a request ------------------------------------------------------------------------------- */

struct question {
    const char *name;
    struct request request;
    bool varies; /* its answer: times, counts */
};

struct trials {
    const struct daemon *daemon;
    const struct question *question;
    enum faulty_kind kind;
    struct answer normal;
    long tried, served, refused, closed;
};

static bool is_normal(const struct trials *trials, const struct answer *answer)
{
    const struct answer *normal = &trials->normal;
    return answer->status == 200 &&
           (trials->question->varies ||
            (answer->size == normal->size &&
             (answer->size == 0 || memcmp(answer->body, normal->body, answer->size) == 0)));
}

static void judge(struct trials *trials, long n, const struct answer *answer)
{
    bool hidden = is_hidden(trials->kind);
    trials->tried++;
    if (is_normal(trials, answer))
        trials->served++;
    else if (!hidden && answer->status == 0)
        trials->closed++;
    else if (!hidden && (answer->status == 500 || answer->status == 503))
        trials->refused++;
    else
        fail_msg("%s: with call %ld (%s) %s the answer was %ld: %.300s", trials->question->name, n,
                 control->call, kind_names[trials->kind], answer->status,
                 answer->body != NULL ? answer->body : "");
}

static void check_next(const struct trials *trials, long n)
{
    struct answer answer = client_send(trials->daemon, &trials->question->request);
    if (!is_normal(trials, &answer))
        fail_msg("%s: after call %ld (%s) %s the next answer was %ld: %.300s",
                 trials->question->name, n, control->call, kind_names[trials->kind], answer.status,
                 answer.body != NULL ? answer.body : "");
    client_free(&answer);
}

/* Whether a call failed. */
static bool try_once(struct trials *trials, long n, long again)
{
    arm(trials->kind, n, again);
    struct answer answer = client_send(trials->daemon, &trials->question->request);
    bool struck = disarm() > 0;
    if (struck) {
        judge(trials, n, &answer);
        if (answer.status != 200)
            check_next(trials, n);
    }
    client_free(&answer);
    return struck;
}

static void try_all(const struct daemon *daemon, const struct question *question,
                    enum faulty_kind kind)
{
    struct trials trials = {.daemon = daemon, .question = question, .kind = kind};
    for (int i = 0; i < 2; i++) { /* the second time nothing is new to the daemon */
        client_free(&trials.normal);
        trials.normal = client_send(daemon, &question->request);
        assert_int_equal(trials.normal.status, 200);
    }
    check_next(&trials, 0);
    size_t before = descriptors(daemon);
    for (long n = 1, missed = 0; missed < PATIENCE; n++) {
        assert_true(n < MOST);
        missed = try_once(&trials, n, 0) ? 0 : missed + 1;
    }
    /* And by the dozen; numbers that share no factor with what loops repeat. */
    for (long again = 5; is_hidden(kind) && again <= 11; again += 2)
        try_once(&trials, 1, again);
    check_next(&trials, 0);
    if (!settles_at(daemon, before))
        fail_msg("%s: %zu descriptors, %zu before", question->name, descriptors(daemon), before);
    fprintf(stderr, "%-22s %3ld calls %-11s: %3ld served, %3ld refused, %3ld closed\n",
            question->name, trials.tried, kind_names[kind], trials.served, trials.refused,
            trials.closed);
    client_free(&trials.normal);
}

static void ask_all(const struct daemon *daemon, const struct question *questions, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (enum faulty_kind kind = FAULTY_INTERRUPTED; kind < FAULTY_KINDS; kind++)
            try_all(daemon, &questions[i], kind);
}

static void start(struct daemon *daemon, const char *const *more)
{
    const char *options[24] = {"--log-level", "warn", "--workers",  "1",
                               "--threads",   "1",    "--decoders", "1"};
    for (size_t i = 8; more != NULL && *more != NULL; i++)
        options[i] = *more++;
    setenv("LD_PRELOAD", library, 1);
    daemon_start(daemon, options);
    unsetenv("LD_PRELOAD");
    arm(FAULTY_INTERRUPTED, 1, 0);
    struct answer answer = client_get(daemon, "/healthz");
    client_free(&answer);
    assert_true(disarm() > 0); /* or it was not preloaded */
}

static void requests(void **state)
{
    const struct request bare = {
        .path = "/classify?format=npz", .body = picture.bytes, .size = picture.size};
    struct request chunked = bare;
    chunked.chunked = true;
    const struct question questions[] = {
        {"/classify", bare, false},
        {"/classify, chunked", chunked, false},
        {"POST /se-weights",
         {.path = "/se-weights?layer=1", .body = picture.bytes, .size = picture.size},
         true},
        {"GET /se-weights", {.path = "/se-weights"}, true},
        {"GET /model", {.path = "/model"}, false},
        {"GET /metrics", {.path = "/metrics"}, true},
        {"GET /ui/d3.js", {.path = "/ui/d3.js"}, false},
    };
    struct daemon daemon;
    (void)state;
    start(&daemon, NULL);
    ask_all(&daemon, questions, sizeof questions / sizeof questions[0]);
    daemon_stop(&daemon);
}

static void reloads(void **state)
{
    const struct question question = {
        "load",
        {.path = "/v2/repository/models/tiny_timm/load", .method = "POST", .body = "{}", .size = 2},
        true};
    struct daemon daemon;
    (void)state;
    start(&daemon,
          (const char *const[]){"--admin-listen", "127.0.0.1:0", "--log-level", "info", NULL});
    struct daemon admin = daemon_admin(&daemon);
    ask_all(&admin, &question, 1);
    daemon_stop(&daemon);
}

/* By epoll libmicrohttpd 0.9.75 reads again and again: tens of thousands. */
static void count_calls_of_a_handshake_that_stops(const struct daemon *daemon)
{
    int fd = client_connect(daemon);
    arm(FAULTY_INTERRUPTED, 1000, 0);
    assert_int_equal(send(fd, "\x16\x03\x01", 3, 0), 3);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    assert_int_equal(disarm(), 0);
    close(fd);
}

static void requests_with_tls(void **state)
{
    char folder[] = "/tmp/senetd-io-XXXXXX", certificate[64], key[64];
    const struct question question = {
        "TLS /classify",
        {.path = "/classify?format=npz", .body = picture.bytes, .size = picture.size},
        false};
    struct daemon daemon;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(certificate, sizeof certificate, "%s/pem", folder);
    snprintf(key, sizeof key, "%s/key", folder);
    setenv("F", folder, 1);
    assert_int_equal(system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
                            "-days 30 -subj /CN=io -addext subjectAltName=IP:127.0.0.1 "
                            "-keyout $F/key -out $F/pem 2>/dev/null && chmod 600 $F/key"),
                     0);
    start(&daemon, (const char *const[]){"--tls-cert", certificate, "--tls-key", key, NULL});
    /* The library's poll loop does not survive interruptions; http.c keeps them away from it. */
    atomic_store(&control->strict, 1);
    ask_all(&daemon, &question, 1);
    atomic_store(&control->strict, 0);
    count_calls_of_a_handshake_that_stops(&daemon);
    daemon_stop(&daemon);
    assert_int_equal(system("rm -r $F"), 0);
}

/* ---- a life ---------------------------------------------------------------------------------- */

/* Every line of the log is whole. */
static void check_log(const struct daemon *daemon)
{
    char line[4096];
    FILE *log = fopen(daemon->log_path, "r");
    assert_non_null(log);
    while (fgets(line, sizeof line, log) != NULL) {
        json_t *json = json_loads(line, 0, NULL);
        if (json == NULL)
            fail_msg("a line of the log is %s", line);
        json_decref(json);
    }
    fclose(log);
}

/* One that did not become ready must say why. OpenBLAS starts threads before main, and where it
 * gets none sends SIGINT to its own process. */
static void check_end(struct daemon *daemon, enum faulty_kind kind, long n)
{
    struct stat log;
    assert_int_equal(stat(daemon->log_path, &log), 0);
    int status = daemon_wait(daemon);
    bool blas = status == 128 + SIGINT && strstr(control->call, "pthread_create") != NULL;
    if (is_hidden(kind) || (status != 1 && !blas) || log.st_size == 0)
        fail_msg("with call %ld (%s) %s the start ended with %d and %lld bytes of messages", n,
                 control->call, kind_names[kind], status, (long long)log.st_size);
}

static void use(struct daemon *daemon, const struct answer *normal, enum faulty_kind kind, long n)
{
    const struct request request = {
        .path = "/classify?format=npz", .body = picture.bytes, .size = picture.size};
    struct answer answer = client_send(daemon, &request);
    bool same = answer.status == 200 && answer.size == normal->size &&
                memcmp(answer.body, normal->body, answer.size) == 0;
    bool refused = answer.status == 500 || answer.status == 503 || answer.status == 0;
    if (!same && (is_hidden(kind) || !refused))
        fail_msg("with call %ld (%s) %s of a life the answer was %ld", n, control->call,
                 kind_names[kind], answer.status);
    client_free(&answer);
}

/* Start, a request, a reload, the stop. Whether a call failed. */
static bool live(const struct answer *normal, enum faulty_kind kind, long n, long *starts)
{
    static const char *const options[] = {"--log-format",
                                          "json",
                                          "--workers",
                                          "1",
                                          "--threads",
                                          "1",
                                          "--decoders",
                                          "1",
                                          "--log-level",
                                          "info",
                                          "--admin-listen",
                                          "127.0.0.1:0",
                                          NULL};
    struct daemon daemon;
    arm(kind, n, 0);
    setenv("LD_PRELOAD", library, 1);
    bool ready = daemon_try(&daemon, options);
    unsetenv("LD_PRELOAD");
    if (!ready) {
        check_end(&daemon, kind, n);
        return disarm() > 0;
    }
    *starts += 1;
    use(&daemon, normal, kind, n);
    kill(daemon.pid, SIGHUP);
    if (is_hidden(kind)) {
        daemon_wait_log(&daemon, "SIGHUP");
        check_log(&daemon);
    }
    kill(daemon.pid, SIGTERM);
    int status = daemon_wait(&daemon);
    if (status != 0)
        fail_msg("with call %ld (%s) %s a life ended with %d", n, control->call, kind_names[kind],
                 status);
    return disarm() > 0;
}

static void lives(void **state)
{
    struct daemon daemon;
    (void)state;
    start(&daemon, NULL);
    struct answer normal =
        client_post(&daemon, "/classify?format=npz", picture.bytes, picture.size);
    assert_int_equal(normal.status, 200);
    daemon_stop(&daemon);
    for (enum faulty_kind kind = FAULTY_INTERRUPTED; kind < FAULTY_KINDS; kind++) {
        long tried = 0, starts = 0;
        for (long n = 1; live(&normal, kind, n, &starts); n += every, tried++)
            assert_true(n < MOST);
        fprintf(stderr, "%-22s %3ld calls %-11s: %3ld started\n", "lives", tried, kind_names[kind],
                starts);
    }
    client_free(&normal);
}

/* ---------------------------------------------------------------------------------------------- */

static int open_all(void **state)
{
    const char *build = getenv("BUILD_DIR"), *step = getenv("EVERY");
    int fd = mkstemp(control_path);
    (void)state;
    assert_true(fd >= 0 && ftruncate(fd, sizeof *control) == 0);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(control != MAP_FAILED);
    close(fd);
    if (step != NULL && strtol(step, NULL, 10) > 0)
        every = strtol(step, NULL, 10);
    snprintf(library, sizeof library, "%s/tests/io/faulty.so", build != NULL ? build : "build");
    setenv("FAULTY_CONTROL", control_path, 1);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    picture = picture_ppm(40, 40, 1);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    picture_free(&picture);
    curl_global_cleanup();
    unlink(control_path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(reloads),
        cmocka_unit_test(requests_with_tls),
        cmocka_unit_test(lives),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, open_all, close_all);
}
