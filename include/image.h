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
    IMAGE_WEBP,
    IMAGE_BMP,
    IMAGE_GIF,
    IMAGE_PSD,
    IMAGE_TGA,
    IMAGE_PNM, /* binary PGM (P5) and PPM (P6) */
};

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

/* An image as a person sees it: EXIF orientation already applied. */
struct image {
    enum image_format format;
    size_t width, height;           /* of pixels */
    size_t full_width, full_height; /* of the photo; more where the decoder shrank it */
    uint8_t *pixels;                /* [height][width][3], RGB, owned; image_free releases it */
};

/* What image_decode accepts, and how it may save work. */
struct image_options {
    size_t max_pixels; /* width times height times frames; memory is held to 5 bytes for each */
    unsigned formats;  /* accepted ones, a sum of 1 << enum image_format; 0 for all */
    /* What the pixels are for, or NULL. If set, a JPEG much larger than needed is decoded at 1/2,
     * 1/4 or 1/8, never below twice the size to which image_preprocess will bring it; and those
     * pixels of a JPEG that image_preprocess will not read may be black. */
    const struct preprocess *fit;
};

/* Lower-case name, for example "jpeg"; "unknown" for IMAGE_UNKNOWN. */
SENET_API const char *image_format_name(enum image_format format);

/* The formats of a list like "jpeg,png,webp", for struct image_options.
 * Errors: ERROR_USAGE, the message names the word and those that are known. */
SENET_API enum error_code image_parse_formats(const char *list, unsigned *out,
                                              struct error *err) MUST_CHECK;

/* Tells the format by the content's first bytes (TGA, which has no magic number, by a strict
 * look at its header). Never looks at names or declared types. */
SENET_API enum image_format image_sniff(const uint8_t *bytes, size_t size);

/* Decodes the first frame to 8-bit RGB as Pillow's convert("RGB") does: gray is replicated, a
 * palette looked up, alpha dropped, CMYK converted; of 16-bit samples the high byte is kept.
 *
 * The header's claims are held against the limits before memory is spent. Content that is cut
 * short or broken is refused where pixels are lost by it.
 * Errors: ERROR_UNKNOWN_FORMAT (names the kind of file where it is a well-known one),
 * ERROR_TOO_LARGE, ERROR_UNDECODABLE, ERROR_MEMORY. On error *out is not touched. */
SENET_API enum error_code image_decode(const uint8_t *bytes, size_t size,
                                       const struct image_options *options, struct image *out,
                                       struct error *err) MUST_CHECK;

/* Releases the pixels; the struct itself is the caller's. Accepts a zeroed struct. */
SENET_API void image_free(struct image *image);

/* Sets 224 x 224, crop_pct 0.875, centre, bilinear, the ImageNet mean and deviation. */
SENET_API void preprocess_default(struct preprocess *preprocess);

/* Antialiased resize as Pillow does it (separable, support scaled with the reduction, weights
 * renormalised at the edges, 8 bit between and after the passes) and crop.
 * out is [height][width][3], the caller's.
 * Errors: ERROR_MEMORY; ERROR_UNDECODABLE where CROP_SQUASH would shrink a side so far that the
 * filter's table would pass 2^24 weights. */
SENET_API enum error_code image_crop(const struct image *image, const struct preprocess *preprocess,
                                     uint8_t *out, struct error *err) MUST_CHECK;

/* Scales a crop to 0..1 and normalises it. crop is [height][width][3]; out is [3][height][width]
 * (NCHW of one image), the caller's. */
SENET_API void image_normalise(const uint8_t *crop, const struct preprocess *preprocess,
                               float *out);

/* image_crop, then image_normalise; same errors. */
SENET_API enum error_code image_preprocess(const struct image *image,
                                           const struct preprocess *preprocess, float *out,
                                           struct error *err) MUST_CHECK;

#endif
