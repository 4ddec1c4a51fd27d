/* test_commands.c - the commands that make the reference and the figures: senetd profile, senetd
 * plot.
 *
 * The photos are crops of those under tests/data, the model is the tiny one.
 */
#include "crops.h"
#include "daemon.h"
#include "image.h"
#include "pictures.h"
#include "reference.h"
#include "senet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct senet *model;
static const struct senet_info *info;

static int start(void **state)
{
    (void)state;
    crops_make();
    if (senet_open(crops_path("model"), NULL, &model, NULL) != ERROR_NONE)
        return -1;
    info = senet_info(model);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    senet_close(model);
    return crops_remove();
}

/* ---- profile -----------------------------------------------------------------------------------
 */

static void profile_agrees_with_plain_sums(void **state)
{
    enum { GATES = 384 };
    static double values[CROPS_SAMPLE][GATES];
    (void)state;
    assert_int_equal(info->excitation_floats, GATES);
    for (size_t i = 0; i < CROPS_SAMPLE; i++) {
        struct picture picture = crops_picture(i, COLOUR);
        struct expected expected = picture_expected(model, &picture);
        for (size_t g = 0; g < GATES; g++)
            values[i][g] = (double)expected.excitations[g];
        picture_expected_free(&expected);
        picture_free(&picture);
    }
    struct reference *reference = crops_reference(model);
    assert_int_equal(reference->images, CROPS_SAMPLE);
    assert_string_equal(reference->source, "crops");
    assert_string_equal(reference->grouping, "folder");
    assert_true(reference->class_images[0] == CROPS_SAMPLE / 4 * 3);
    assert_true(reference->class_images[10] == CROPS_SAMPLE / 4);
    for (size_t g = 0; g < GATES; g++) {
        double mean = 0, squares = 0, kiwi = 0;
        size_t under = 0;
        for (size_t i = 0; i < CROPS_SAMPLE; i++) {
            mean += values[i][g] / CROPS_SAMPLE;
            kiwi += i % 4 ? 0 : values[i][g] / (CROPS_SAMPLE / 4);
        }
        for (size_t i = 0; i < CROPS_SAMPLE; i++) {
            squares += pow(values[i][g] - mean, 2) / CROPS_SAMPLE;
            under += values[i][g] <= (double)reference->quantiles[2 * GATES + g] + 1.0 / 256;
        }
        crops_near((double)reference->mean[g], mean, 1e-5);
        crops_near((double)reference->std[g], sqrt(squares), 1e-5);
        assert_true(under >= CROPS_SAMPLE / 2);
        const struct senet_block *first = senet_block(model, 0);
        if (g < first->channels) {
            float *rows = calloc(2 * info->classes * first->channels, sizeof *rows);
            assert_non_null(rows);
            assert_int_equal(reference_read_class(reference, model, 0, rows,
                                                  rows + info->classes * first->channels, NULL),
                             ERROR_NONE);
            crops_near((double)rows[10 * first->channels + g], kiwi, 1e-3);
            free(rows);
        }
    }
    reference_free(reference);
}

/* The statistics; the metadata before them differs by the source's name. */
static void check_same_statistics(const char *path)
{
    struct picture a = picture_file(path), b = picture_file(crops_path("model/" REFERENCE_FILE));
    assert_true(a.size > 20000 && b.size > 20000);
    assert_memory_equal(a.bytes + a.size - 20000, b.bytes + b.size - 20000, 20000);
    picture_free(&a);
    picture_free(&b);
}

static void a_partial_file_of_another_profile_is_not_used(void **state)
{
    char out[64];
    (void)state;
    struct picture junk = {(uint8_t *)strdup("no profile"), 10};
    crops_write(crops_path("again.safetensors.partial"), &junk);
    picture_free(&junk);
    const char *const arguments[] = {"senetd",    "profile",
                                     "--weights", crops_path("model"),
                                     "--images",  crops_path("photos"),
                                     "-o",        crops_path("again.safetensors"),
                                     NULL};
    assert_int_equal(daemon_run(arguments, out, sizeof out), 0);
    assert_int_equal(access(crops_path("again.safetensors.partial"), F_OK), -1);
    check_same_statistics(crops_path("again.safetensors"));
    const char *const none[] = {"senetd", "profile", "--images", "/nonexistent", NULL};
    assert_int_equal(daemon_run(none, out, sizeof out), 1);
}

static size_t occurrences(const char *path, const char *text)
{
    struct picture file = picture_file(path);
    size_t found = 0;
    char *log = calloc(1, file.size + 1);
    assert_non_null(log);
    memcpy(log, file.bytes, file.size);
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        found++;
    free(log);
    picture_free(&file);
    return found;
}

/* Interrupted again and again, after ever longer times, it ends with what it gives in one go. Each
 * is a little longer than the last, so that on a fast machine, too, some fall between start and
 * end. */
static void profile_goes_on_where_it_was(void **state)
{
    const char *build = getenv("BUILD_DIR");
    bool ended = false;
    (void)state;
    for (double seconds = 0.02; seconds < 60 && !ended; seconds *= 1.06) {
        char command[1024];
        snprintf(command, sizeof command,
                 "timeout -s INT %.4f %s/senetd profile --weights %s --images %s -o %s "
                 "--max-images 1 --workers 1 2>>%s",
                 seconds, build != NULL ? build : "build", crops_path("model"),
                 crops_path("photos"), crops_path("resumed.safetensors"), crops_path("log"));
        ended = system(command) == 0;
    }
    assert_true(ended);
    assert_true(occurrences(crops_path("log"), "the same command goes on from there") > 0);
    assert_true(occurrences(crops_path("log"), "going on after") > 0);
    check_same_statistics(crops_path("resumed.safetensors"));
}

/* ---- plot --------------------------------------------------------------------------------------
 */

static void figures_are_drawn(void **state)
{
    char out[64];
    (void)state;
    const char *const portrait[] = {"senetd",
                                    "plot",
                                    "--weights",
                                    crops_path("model"),
                                    "tests/data/cat.jpg",
                                    "-o",
                                    crops_path("cat.svg"),
                                    NULL};
    assert_int_equal(daemon_run(portrait, out, sizeof out), 0);
    struct picture svg = picture_file(crops_path("cat.svg"));
    assert_memory_equal(svg.bytes, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39);
    assert_memory_equal(svg.bytes + svg.size - 7, "</svg>\n", 7);
    picture_free(&svg);
    char *photos = crops_path("photos"), *roles_path = crops_path("roles.svg");
    const char *const roles[] = {"senetd",   "plot",    "--classes", photos, "-o",
                                 roles_path, "--limit", "3",         NULL};
    assert_int_equal(daemon_run(roles, out, sizeof out), 0);
    svg = picture_file(crops_path("roles.svg"));
    char *text = calloc(1, svg.size + 1);
    assert_non_null(text);
    memcpy(text, svg.bytes, svg.size);
    assert_non_null(strstr(text, ">kiwi</text>"));
    assert_non_null(strstr(text, "over 6 photos"));
    assert_non_null(strstr(text, "<g id=\"layer4.0\">"));
    assert_non_null(strstr(text, info->sha256));
    free(text);
    picture_free(&svg);
    const char *const bad[] = {"senetd", "plot", "/dev/null", "-o", crops_path("x.svg"), NULL};
    assert_int_equal(daemon_run(bad, out, sizeof out), 1);
    const char *const unwritable[] = {"senetd", "plot",           "tests/data/cat.jpg",
                                      "-o",     "/nonexistent/x", NULL};
    assert_int_equal(daemon_run(unwritable, out, sizeof out), 1);
    const char *const two[] = {"senetd", "plot", "a", "b", "-o", "x", NULL};
    assert_int_equal(daemon_run(two, out, sizeof out), 2);
}

/* A command's exit status; its stderr is added to the log. */
static int run_logged(const char *environment, const char *arguments)
{
    const char *build = getenv("BUILD_DIR");
    char command[1024];
    snprintf(command, sizeof command, "%s %s/senetd %s 2>>%s", environment,
             build != NULL ? build : "build", arguments, crops_path("log"));
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static size_t width_of(const struct picture *svg)
{
    char head[512] = "";
    memcpy(head, svg->bytes, svg->size < 511 ? svg->size : 511);
    const char *width = strstr(head, " width=\"");
    assert_non_null(width);
    return strtoul(width + 8, NULL, 10);
}

/* Where the renderer is installed; and where it is not, that is said before any work. */
static void figures_become_pictures(void **state)
{
    char arguments[512];
    struct image image;
    struct error err = {0};
    (void)state;
    snprintf(arguments, sizeof arguments, "plot --weights %s tests/data/cat.jpg -o %s",
             crops_path("model"), crops_path("cat.png"));
    assert_int_equal(run_logged("PATH=/nonexistent", arguments), 1);
    assert_int_equal(occurrences(crops_path("log"), "apt-get install librsvg2-bin"), 1);
    assert_int_equal(access(crops_path("cat.png"), F_OK), -1);
    if (system("command -v rsvg-convert >/dev/null") == 0) {
        assert_int_equal(run_logged("", arguments), 0);
        struct picture png = picture_file(crops_path("cat.png")),
                       svg = picture_file(crops_path("cat.svg"));
        if (image_decode(png.bytes, png.size, &(struct image_options){.max_pixels = 1 << 24},
                         &image, &err) != ERROR_NONE)
            fail_msg("%s", err.message);
        assert_int_equal(image.width, 2 * width_of(&svg));
        size_t orange = 0; /* #fd8d3c, of a high z-score and in the legend */
        for (size_t i = 0; i < image.width * image.height; i++)
            orange += memcmp(image.pixels + 3 * i, "\xfd\x8d\x3c", 3) == 0;
        assert_true(orange > 1000);
        image_free(&image);
        picture_free(&png);
        picture_free(&svg);
    }
    snprintf(arguments, sizeof arguments, "plot tests/data/cat.jpg -o %s", crops_path("cat.jpg"));
    assert_int_equal(run_logged("", arguments), 1);
    assert_int_equal(occurrences(crops_path("log"), "expected a name in .svg or .png"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profile_agrees_with_plain_sums),
        cmocka_unit_test(a_partial_file_of_another_profile_is_not_used),
        cmocka_unit_test(profile_goes_on_where_it_was),
        cmocka_unit_test(figures_are_drawn),
        cmocka_unit_test(figures_become_pictures),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
