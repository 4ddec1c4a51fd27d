/* codec.c - what the decoders share: limits, memory, wording; see codec.h. */
#include "codec.h"
#include <errno.h>
#include <stdlib.h>

enum error_code codec_check(const struct codec_input *in, size_t width, size_t height,
                            size_t frames, size_t memory, struct error *err)
{
    if (width == 0 || height == 0 || frames == 0)
        return error_set(err, ERROR_UNDECODABLE, "%s: the image is %zu x %zu pixels", in->name,
                         width, height);
    if (width > in->max_pixels / height || frames > in->max_pixels / (width * height)) {
        if (frames > 1)
            return error_set(err, ERROR_TOO_LARGE,
                             "%s: %zu x %zu pixels in %zu frames, expected at most %zu in all",
                             in->name, width, height, frames, in->max_pixels);
        return error_set(err, ERROR_TOO_LARGE, "%s: %zu x %zu pixels, expected at most %zu in all",
                         in->name, width, height, in->max_pixels);
    }
    if (memory > in->max_bytes / (width * height))
        return error_set(err, ERROR_TOO_LARGE,
                         "%s: %zu x %zu pixels of this kind take %zu bytes each to decode, "
                         "expected at most %zu bytes in all",
                         in->name, width, height, memory, in->max_bytes);
    return ERROR_NONE;
}

enum error_code codec_allocate(const struct codec_input *in, size_t width, size_t height,
                               struct image *out, struct error *err)
{
    uint8_t *pixels = malloc(width * height * 3);
    if (!pixels)
        return error_set(err, ERROR_MEMORY, "%s: out of memory for %zu x %zu pixels", in->name,
                         width, height);
    *out = (struct image){.format = in->format,
                          .width = width,
                          .height = height,
                          .full_width = width,
                          .full_height = height,
                          .pixels = pixels};
    return ERROR_NONE;
}

enum error_code codec_broken(const struct codec_input *in, const char *why, struct error *err)
{
    if (errno == ENOMEM) /* image_decode began with 0 */
        return error_set(err, ERROR_MEMORY, "%s: out of memory", in->name);
    return error_set(err, ERROR_UNDECODABLE, "%s: broken content: %s", in->name, why);
}
