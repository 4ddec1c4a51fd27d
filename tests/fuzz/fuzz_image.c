/* fuzz_image.c - any bytes as a photo: decoding under a limit, and what the network is given. */
#include "image.h"

#include <stdlib.h>

#define MAX_PIXELS 300000

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static float input[3 * 64 * 64];
    struct preprocess preprocess;
    struct image image = {0};
    struct error err = {0};
    const struct image_options options = {.max_pixels = MAX_PIXELS};
    if (image_decode(bytes, size, &options, &image, &err) != ERROR_NONE)
        return 0;
    preprocess_default(&preprocess);
    preprocess.width = preprocess.height = 64;
    if (image_preprocess(&image, &preprocess, input, &err) != err.code)
        abort();
    image_free(&image);
    return 0;
}
