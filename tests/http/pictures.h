/* pictures.h - small images made in code, and the answers that the library gives for them. */
#ifndef SENETD_TEST_PICTURES_H
#define SENETD_TEST_PICTURES_H

#include "senet.h"
#include <stddef.h>
#include <stdint.h>

struct picture {
    uint8_t *bytes; /* [size], an encoded image */
    size_t size;
};

/* A PPM and an uncompressed BMP of the same pixels, which depend on seed. */
struct picture picture_ppm(size_t width, size_t height, unsigned seed);
struct picture picture_bmp(size_t width, size_t height, unsigned seed);

/* A file's bytes. */
struct picture picture_file(const char *path);

void picture_free(struct picture *picture);

/* {"image":{"b64":"..."}}, terminated; the caller frees it. */
char *picture_json(const struct picture *picture);

/* What the library, without any daemon, computes of a picture. */
struct expected {
    float *logits;      /* [classes] */
    float *excitations; /* [excitation_floats] */
};

struct expected picture_expected(const struct senet *model, const struct picture *picture);
void picture_expected_free(struct expected *expected);

#endif
