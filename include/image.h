/* image.h - encoded photo -> pixels -> network input.
 *
 * The one narrow door between uploaded bytes and the network. Thread-safe: no function here
 * keeps state; each call works on its own arguments.
 */
#ifndef SENETD_IMAGE_H
#define SENETD_IMAGE_H

#include "error.h"
#include <stddef.h>
#include <stdint.h>

enum image_format {
    IMAGE_UNKNOWN,
    IMAGE_JPEG,
    IMAGE_PNG,
    IMAGE_BMP,
    IMAGE_GIF,
    IMAGE_PSD,
    IMAGE_TGA,
    IMAGE_PNM, /* binary PGM (P5) and PPM (P6) */
};

/* An image as a person sees it: EXIF orientation already applied. */
struct image {
    enum image_format format;
    size_t width, height; /* pixels */
    uint8_t *pixels;      /* [height][width][3], RGB, owned; image_free releases it */
};

/* Lower-case name, for example "jpeg"; "unknown" for IMAGE_UNKNOWN. */
SENET_API const char *image_format_name(enum image_format format);

/* Tells the format by the content's first bytes (TGA, which has no magic number, by a strict
 * look at its header). Never looks at names or declared types. */
SENET_API enum image_format image_sniff(const uint8_t *bytes, size_t size);

/* Decodes the first frame to 8-bit RGB as Pillow's convert("RGB") does: gray is replicated, a
 * palette looked up, alpha dropped; of 16-bit samples the high byte is kept.
 *
 * Width times height is held against max_pixels from the header, before memory is spent.
 * Errors: ERROR_UNKNOWN_FORMAT (names the kind of file where it is a well-known one),
 * ERROR_TOO_LARGE, ERROR_UNDECODABLE, ERROR_MEMORY. On error *out is not touched. */
SENET_API enum error_code image_decode(const uint8_t *bytes, size_t size, size_t max_pixels,
                                       struct image *out, struct error *err) MUST_CHECK;

/* Releases the pixels; the struct itself is the caller's. Accepts a zeroed struct. */
SENET_API void image_free(struct image *image);

enum interpolation { INTERPOLATION_BILINEAR, INTERPOLATION_BICUBIC, INTERPOLATION_LANCZOS };

enum crop_mode {
    CROP_CENTER, /* keep the aspect: shorter side to resize, then crop the centre */
    CROP_SQUASH, /* both sides to resize, whatever the aspect, then crop the centre */
};

/* How a model wants its photos; timm's pretrained_cfg (input_size, crop_pct, crop_mode,
 * interpolation, mean, std). The defaults are the evaluation protocol of the SENet paper,
 * section 4: shorter side 256, centre crop 224, mean subtraction. */
struct preprocess {
    size_t width, height; /* of the network input, pixels */
    double crop_pct;      /* crop side / resized side, in (0, 1] */
    enum crop_mode crop_mode;
    enum interpolation interpolation;
    float mean[3], std[3]; /* RGB, on pixels scaled to 0..1 */
};

/* Sets 224 x 224, crop_pct 0.875, centre, bilinear, the ImageNet mean and deviation. */
SENET_API void preprocess_default(struct preprocess *preprocess);

/* Antialiased resize as Pillow does it (separable, support scaled with the reduction, weights
 * renormalised at the edges, 8 bit between and after the passes), crop, scale to 0..1, normalise.
 * out is [3][height][width] (NCHW of one image), 3 * height * width floats, the caller's.
 * Errors: ERROR_MEMORY; ERROR_UNDECODABLE where CROP_SQUASH would shrink a side so far that the
 * filter's table would pass 2^24 weights. */
SENET_API enum error_code image_preprocess(const struct image *image,
                                           const struct preprocess *preprocess, float *out,
                                           struct error *err) MUST_CHECK;

#endif
