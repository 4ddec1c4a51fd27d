/* check_alloc.c - lets the n-th allocation of a request fail, for every n, in the real daemon.
 *
 * failing.so is preloaded into it (failing.h). A request is sent on a connection of its own with
 * its n-th allocation failing, n = 1, 2, ... until none is left that could; everything counts, in
 * whichever thread and library. Each answer must be 503 or 500, a 200 (what failed was not needed,
 * or an image of several has the error in its place), or a closed connection, where memory lacked
 * for as much as an answer; the daemon must live, and hold as many blocks afterwards as before.
 * EVERY=k tries each k-th n only.
 */
#include "failing.h"
#include "http/client.h"
#include "http/daemon.h"
#include "http/pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PICTURES   "tests/golden/preprocess/"
#define MOST       100000 /* allocations of a request; more would be a loop */
#define SETTLE_MS  2000   /* for what is freed after the answer */
#define SUSPICIONS 4      /* repetitions that must each lose a block for it to be a leak */

static struct daemon daemon_;
static struct failing *control;
static long every = 1;
static char control_path[] = "/tmp/senetd-failing-XXXXXX";

static int start_all(void **state)
{
    const char *build = getenv("BUILD_DIR"), *step = getenv("EVERY");
    char library[512];
    int fd = mkstemp(control_path);
    (void)state;
    assert_true(fd >= 0 && ftruncate(fd, sizeof *control) == 0);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(control != MAP_FAILED);
    close(fd);
    if (step != NULL && strtol(step, NULL, 10) > 0)
        every = strtol(step, NULL, 10);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    snprintf(library, sizeof library, "%s/tests/alloc/failing.so", build != NULL ? build : "build");
    setenv("FAILING_CONTROL", control_path, 1);
    setenv("LD_PRELOAD", library, 1);
    daemon_start(&daemon_, (const char *const[]){"--log-level", "warn", "--workers", "1",
                                                 "--threads", "1", "--decoders", "1", NULL});
    unsetenv("LD_PRELOAD");
    assert_true(atomic_load(&control->live) > 0); /* or it was not preloaded */
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    daemon_stop(&daemon_);
    unlink(control_path);
    curl_global_cleanup();
    return 0;
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
static bool send_failing(const struct request *request, long n, struct answer *answer)
{
    atomic_store(&control->failed, 0);
    atomic_store(&control->countdown, n);
    *answer = client_send(&daemon_, request);
    atomic_store(&control->countdown, 0);
    return atomic_load(&control->failed) > 0;
}

static void check_alive(const char *name, long n)
{
    struct answer answer = client_get(&daemon_, "/healthz");
    if (answer.status != 200)
        fail_msg("%s: after allocation %ld /healthz gave %ld", name, n, answer.status);
    client_free(&answer);
}

/* Whether each repetition loses memory, and not something that is made once. */
static bool leaks(const struct request *request, long n)
{
    for (int i = 0; i < SUSPICIONS; i++) {
        struct answer answer;
        long before = atomic_load(&control->live);
        send_failing(request, n, &answer);
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
static long warm(const char *name, const struct request *request, long status, size_t *lines)
{
    for (int i = 0; i < 3; i++) {
        struct answer answer = client_send(&daemon_, request);
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

struct outcome {
    long tried, served, unavailable, internal, closed;
};

static void judge(const char *name, long n, const struct answer *answer, long normal,
                  struct outcome *outcome)
{
    if (answer->status == normal)
        outcome->served++;
    else if (answer->status == 503)
        outcome->unavailable++;
    else if (answer->status == 500)
        outcome->internal++;
    else if (answer->status == 0)
        outcome->closed++;
    else
        fail_msg("%s: without allocation %ld the answer was %ld: %.300s", name, n, answer->status,
                 answer->body != NULL ? answer->body : "");
}

static void try_all(const char *name, const struct request *request, long normal)
{
    struct outcome outcome = {0};
    size_t lines = 0;
    long live = warm(name, request, normal, &lines);
    bool failed = true;
    for (long n = 1; failed; n += every) {
        struct answer answer;
        assert_true(n < MOST);
        failed = send_failing(request, n, &answer);
        outcome.tried += failed;
        if (failed)
            judge(name, n, &answer, normal, &outcome);
        if (answer.status == normal && header_lines(&answer) != lines)
            fail_msg("%s: without allocation %ld the answer's header is\n%s", name, n,
                     answer.headers);
        long answer_status = answer.status;
        client_free(&answer);
        check_alive(name, n);
        /* A decoder that crashed takes its blocks with it, uncounted. */
        if (answer_status != 500 && !settles_at(live) && leaks(request, n))
            fail_msg("%s: without allocation %ld memory is lost", name, n);
        live = atomic_load(&control->live);
    }
    fprintf(stderr,
            "%-24s %4ld allocations failed: %3ld harmless, %3ld x 503, %3ld x 500, %3ld closed\n",
            name, outcome.tried, outcome.served, outcome.unavailable, outcome.internal,
            outcome.closed);
}

/* ---- the requests ---------------------------------------------------------------------------- */

/* lossless.webp makes libwebp 1.2.4 crash where a table of its decoder cannot be had: in a process
 * of its own, so that is a 500. */
static void pictures(void **state)
{
    static const char *const names[] = {
        "progressive.jpg", "cmyk.jpg",    "interlaced.png", "palette4.png", "lossy.webp",
        "lossless.webp",   "moving.webp", "moving.gif",     "rgb.psd",      "rle.tga",
        "rgb.bmp",         "gray.pgm",    "exif6.jpg"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, PICTURES "%s", names[i]);
        struct picture picture = picture_file(path);
        try_all(names[i],
                &(struct request){.path = "/classify", .body = picture.bytes, .size = picture.size},
                200);
        picture_free(&picture);
    }
}

static void questions(void **state)
{
    static const char *const paths[] = {"/",
                                        "/healthz",
                                        "/readyz",
                                        "/version",
                                        "/model",
                                        "/metrics",
                                        "/se-weights",
                                        "/se-weights?layer=1",
                                        "/ui/app.js",
                                        "/openapi.json",
                                        "/v2",
                                        "/v2/models/tiny_timm",
                                        "/v2/models/tiny_timm/config",
                                        "/v2/models/tiny_timm/stats"};
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        try_all(paths[i], &(struct request){.path = paths[i]}, 200);
    try_all("/nothing", &(struct request){.path = "/nothing"}, 404);
}

static void forms_of_an_upload(void **state)
{
    struct picture picture = picture_ppm(40, 40, 1);
    char *json = picture_json(&picture);
    size_t room = 2 * picture.size + 1024, used = 0;
    char *form = malloc(room);
    (void)state;
    assert_non_null(form);
    for (int i = 0; i < 2; i++) {
        used += (size_t)snprintf(form + used, room - used,
                                 "--X\r\nContent-Disposition: form-data; name=\"image\"; "
                                 "filename=\"%d.ppm\"\r\n\r\n",
                                 i);
        memcpy(form + used, picture.bytes, picture.size);
        used += picture.size;
        used += (size_t)snprintf(form + used, room - used, "\r\n");
    }
    used += (size_t)snprintf(form + used, room - used, "--X--\r\n");
    const struct request bare = {.path = "/classify", .body = picture.bytes, .size = picture.size};
    const struct request parts = {.path = "/classify?topk=2&excitations=full",
                                  .type = "multipart/form-data; boundary=X",
                                  .body = form,
                                  .size = used};
    struct request request = bare;
    request.chunked = true;
    try_all("chunked", &request, 200);
    request = bare;
    request.expect = true;
    try_all("100-continue", &request, 200);
    request = bare;
    request.path = "/classify?format=npz";
    try_all("npz", &request, 200);
    request.path = "/se-weights?layer=1";
    try_all("POST /se-weights", &request, 200);
    request.path = "/explain?block=all";
    try_all("/explain", &request, 200);
    try_all("multipart", &parts, 200);
    request = parts;
    request.path = "/compare";
    try_all("/compare", &request, 200);
    try_all(
        "json",
        &(struct request){
            .path = "/classify", .type = "application/json", .body = json, .size = strlen(json)},
        200);
    free(form);
    free(json);
    picture_free(&picture);
}

static void inferences_of_the_open_protocol(void **state)
{
    struct picture picture = picture_ppm(40, 40, 1);
    char *json = picture_json(&picture), *b64 = strstr(json, "b64\":") + 5, *body;
    (void)state;
    b64[strcspn(b64 + 1, "\"") + 2] = '\0';
    assert_true(asprintf(&body,
                         "{\"id\":\"a\",\"inputs\":[{\"name\":\"input\",\"datatype\":\"BYTES\","
                         "\"shape\":[1],\"data\":[%s]}],\"outputs\":[{\"name\":\"logits\","
                         "\"parameters\":{\"classification\":2}},{\"name\":\"probabilities\"}]}",
                         b64) > 0);
    struct request request = {.path = "/v2/models/tiny_timm/infer",
                              .type = "application/json",
                              .body = body,
                              .size = strlen(body)};
    try_all("/v2 infer", &request, 200);
    free(body);
    free(json);
    picture_free(&picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures),
        cmocka_unit_test(questions),
        cmocka_unit_test(forms_of_an_upload),
        cmocka_unit_test(inferences_of_the_open_protocol),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
