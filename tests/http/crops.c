/* crops.c - see crops.h. */
#include "crops.h"
#include "daemon.h"
#include "image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char folder[] = "/tmp/senetd-crops-XXXXXX";

char *crops_path(const char *name)
{
    static char paths[8][256];
    static size_t next;
    char *path = paths[next++ % 8];
    snprintf(path, 256, "%s/%s", folder, name);
    return path;
}

/* The number-th crop of the photos, in that look, as a PPM. */
struct picture crops_picture(size_t number, enum crops_look look)
{
    static const char *const files[] = {"cat", "coffee", "rocket"};
    static struct image photos[3];
    struct picture out = {.bytes = malloc(64 + 3 * CROPS_SIDE * CROPS_SIDE)};
    size_t which = number % 3;
    if (photos[which].pixels == NULL) {
        char path[64];
        struct error err = {0};
        snprintf(path, sizeof path, "tests/data/%s.jpg", files[which]);
        struct picture file = picture_file(path);
        if (image_decode(file.bytes, file.size, &(struct image_options){.max_pixels = 1 << 24},
                         &photos[which], &err) != ERROR_NONE)
            fail_msg("%s", err.message);
        picture_free(&file);
    }
    const struct image *photo = &photos[which];
    size_t x0 = number * 7919 % (photo->width - CROPS_SIDE),
           y0 = number * 104729 % (photo->height - CROPS_SIDE);
    uint32_t seed = (uint32_t)number + 1;
    out.size = (size_t)snprintf((char *)out.bytes, 64, "P6 %d %d 255\n", CROPS_SIDE, CROPS_SIDE);
    for (size_t i = 0; i < CROPS_SIDE * CROPS_SIDE; i++) {
        const uint8_t *at =
            photo->pixels + 3 * ((y0 + i / CROPS_SIDE) * photo->width + x0 + i % CROPS_SIDE);
        for (size_t c = 0; c < 3; c++) {
            seed = seed * 1664525 + 1013904223;
            out.bytes[out.size++] = look == COLOUR ? at[c]
                                    : look == GRAY ? (uint8_t)((at[0] + at[1] + at[2]) / 3)
                                                   : (uint8_t)(seed >> 24);
        }
    }
    return out;
}

void crops_write(const char *path, const struct picture *picture)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(picture->bytes, 1, picture->size, file), picture->size);
    fclose(file);
}

static void copy(const char *from, const char *to)
{
    struct picture bytes = picture_file(from);
    crops_write(to, &bytes);
    picture_free(&bytes);
}

void crops_make(void)
{
    char out[256];
    assert_non_null(mkdtemp(folder));
    mkdir(crops_path("model"), 0755);
    copy(TINY_MODEL "/model.safetensors", crops_path("model/model.safetensors"));
    copy(TINY_MODEL "/config.json", crops_path("model/config.json"));
    copy(TINY_MODEL "/labels.txt", crops_path("model/labels.txt"));
    mkdir(crops_path("photos"), 0755);
    mkdir(crops_path("photos/Apple"), 0755);
    mkdir(crops_path("photos/kiwi"), 0755);
    for (size_t i = 0; i < CROPS_SAMPLE; i++) {
        char name[64];
        snprintf(name, sizeof name, "photos/%s/%02zu.ppm", i % 4 ? "Apple" : "kiwi", i);
        struct picture picture = crops_picture(i, COLOUR);
        crops_write(crops_path(name), &picture);
        picture_free(&picture);
    }
    const char *const arguments[] = {
        "senetd",   "profile", "--weights", crops_path("model"), "--images", crops_path("photos"),
        "--source", "crops",   NULL};
    assert_int_equal(daemon_run(arguments, out, sizeof out), 0);
}

int crops_remove(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

void crops_near(double value, double expected, double absolute)
{
    if (!(fabs(value - expected) <= 2e-4 * fabs(expected) + absolute))
        fail_msg("%.9g, expected %.9g", value, expected);
}

struct reference *crops_reference(const struct senet *model)
{
    struct reference *reference;
    struct error err = {0};
    char *path = crops_path("model/" REFERENCE_FILE);
    if (reference_read(path, model, &reference, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    return reference;
}
