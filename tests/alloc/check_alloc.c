/* check_alloc.c - what the daemon is asked while its memory fails; see trials.h. */
#include "http/pictures.h"
#include "trials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PICTURES "tests/golden/preprocess/"

static struct daemon daemon_;

static void start(const char *const *more)
{
    const char *options[24] = {"--log-level", "warn", "--workers",  "1",
                               "--threads",   "1",    "--decoders", "1"};
    for (size_t i = 8; more != NULL && *more != NULL; i++)
        options[i] = *more++;
    trials_start(&daemon_, options);
}

static int open_all(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    trials_open();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    trials_close();
    curl_global_cleanup();
    return 0;
}

static int start_plain(void **state)
{
    (void)state;
    start(NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_);
    return 0;
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
        trials_of(
            &daemon_, names[i],
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
        trials_of(&daemon_, paths[i], &(struct request){.path = paths[i]}, 200);
    trials_of(&daemon_, "/nothing", &(struct request){.path = "/nothing"}, 404);
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
    trials_of(&daemon_, "chunked", &request, 200);
    request = bare;
    request.expect = true;
    trials_of(&daemon_, "100-continue", &request, 200);
    request = bare;
    request.path = "/classify?format=npz";
    trials_of(&daemon_, "npz", &request, 200);
    request.path = "/se-weights?layer=1";
    trials_of(&daemon_, "POST /se-weights", &request, 200);
    request.path = "/explain?block=all";
    trials_of(&daemon_, "/explain", &request, 200);
    trials_of(&daemon_, "multipart", &parts, 200);
    request = parts;
    request.path = "/compare";
    trials_of(&daemon_, "/compare", &request, 200);
    trials_of(
        &daemon_, "json",
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
    trials_of(&daemon_, "/v2 infer", &request, 200);
    free(body);
    free(json);
    picture_free(&picture);
}

/* ---- other daemons --------------------------------------------------------------------------- */

/* A shell command in which $F is the folder. */
static void run(const char *folder, const char *command)
{
    setenv("F", folder, 1);
    if (system(command) != 0)
        fail_msg("%s", command);
}

/* Files whose reading takes all ways: a reference is optional, labels too. */
static void loading_a_model(void **state)
{
    char folder[] = "/tmp/senetd-alloc-XXXXXX";
    const char *build = getenv("BUILD_DIR");
    char program[256];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(program, sizeof program, "%s/senetd", build != NULL ? build : "build");
    setenv("PROGRAM", program, 1);
    run(folder,
        "cp " TINY_MODEL "/[clm]* $F && mkdir $F/images && cp " PICTURES "*.jpg $F/images && "
        "$PROGRAM profile --weights $F --images $F/images --log-level error >/dev/null && "
        "test -f $F/excitation_reference.safetensors");
    start((const char *const[]){"--weights", folder, "--admin-listen", "127.0.0.1:0", "--log-level",
                                "info", NULL});
    struct daemon admin = daemon_admin(&daemon_);
    char path[128];
    snprintf(path, sizeof path, "/v2/repository/models/%s/load", strrchr(folder, '/') + 1);
    trials_of(&admin, "load",
              &(struct request){.path = path, .method = "POST", .body = "{}", .size = 2}, 200);
    struct answer answer = client_get(&daemon_, "/reference");
    assert_int_equal(answer.status, 200);
    client_free(&answer);
    daemon_stop(&daemon_);
    trials_of_start("senetd --check", (const char *const[]){program, "--check", "--threads", "1",
                                                            "--weights", folder, NULL});
    run(folder, "rm -r $F");
}

/* With an RSA key: for the signature of an ECDSA key GnuTLS calls libtasn1 4.19, which crashes
 * where it has no memory. */
static void connections_with_tls(void **state)
{
    char folder[] = "/tmp/senetd-alloc-XXXXXX", certificate[64], key[64];
    struct picture picture = picture_ppm(40, 40, 1);
    (void)state;
    assert_non_null(mkdtemp(folder));
    run(folder, "openssl req -x509 -newkey rsa:2048 -nodes -days 30 "
                "-subj /CN=alloc -addext subjectAltName=IP:127.0.0.1 -keyout $F/key -out $F/pem "
                "2>/dev/null && chmod 600 $F/key");
    snprintf(certificate, sizeof certificate, "%s/pem", folder);
    snprintf(key, sizeof key, "%s/key", folder);
    start((const char *const[]){"--tls-cert", certificate, "--tls-key", key, NULL});
    trials_of(&daemon_, "TLS /healthz", &(struct request){.path = "/healthz"}, 200);
    trials_of(&daemon_, "TLS /classify",
              &(struct request){.path = "/classify", .body = picture.bytes, .size = picture.size},
              200);
    daemon_stop(&daemon_);
    run(folder, "rm -r $F");
    picture_free(&picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pictures, start_plain, stop),
        cmocka_unit_test_setup_teardown(questions, start_plain, stop),
        cmocka_unit_test_setup_teardown(forms_of_an_upload, start_plain, stop),
        cmocka_unit_test_setup_teardown(inferences_of_the_open_protocol, start_plain, stop),
        cmocka_unit_test(loading_a_model),
        cmocka_unit_test(connections_with_tls),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, open_all, close_all);
}
