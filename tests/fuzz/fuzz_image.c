/* fuzz_image.c - any bytes as a photo: decoding under a limit, and what the network is given. What
 * is decoded for that alone must be what the whole photo gives, where it is not shrunk. */
#include "image.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PIXELS 300000
#define SIDE       64

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Returns image_decode's code; *shrunk as the decoder shrank it. */
static enum error_code crop(const uint8_t *bytes, size_t size, const struct preprocess *fit,
                            const struct preprocess *preprocess, uint8_t *out, int *shrunk)
{
    struct image image = {0};
    struct error err = {0};
    const struct image_options options = {.max_pixels = MAX_PIXELS, .fit = fit};
    enum error_code code = image_decode(bytes, size, &options, &image, &err);
    if (code != ERROR_NONE)
        return code;
    *shrunk = image.width != image.full_width || image.height != image.full_height;
    if (image_crop(&image, preprocess, out, &err) != err.code)
        abort();
    image_free(&image);
    return ERROR_NONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t whole[SIDE * SIDE * 3], part[SIDE * SIDE * 3];
    static float input[SIDE * SIDE * 3];
    int shrunk = 0;
    struct preprocess preprocess;
    preprocess_default(&preprocess);
    preprocess.width = preprocess.height = SIDE;
    memset(whole, 0, sizeof whole);
    memset(part, 0, sizeof part);
    enum error_code expected = crop(bytes, size, NULL, &preprocess, whole, &shrunk);
    enum error_code code = crop(bytes, size, &preprocess, &preprocess, part, &shrunk);
    if (!shrunk && (code != expected || memcmp(whole, part, sizeof whole) != 0))
        abort();
    image_normalise(part, &preprocess, input);
    return 0;
}
