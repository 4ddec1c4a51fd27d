/* codec.h - the decoders behind image.c, one a library, and what they share.
 *
 * Each decodes content of its format, upright or not, to RGB; image.c turns it. Each first holds
 * what the header claims against the limits with codec_check, before it spends memory or lets its
 * library do so. All are thread-safe and leave *out alone on error. Errors: as image_decode.
 */
#ifndef SENETD_CODEC_H
#define SENETD_CODEC_H

#include "image.h"

struct codec_input {
    enum image_format format;
    const char *name;             /* of the format, for messages */
    const uint8_t *bytes;         /* [size] */
    size_t size;                  /* at most INT_MAX */
    size_t max_pixels;            /* width times height times frames */
    size_t max_bytes;             /* of memory that grows with the pixels */
    int orientation;              /* EXIF's, 1..8 */
    const struct preprocess *fit; /* as in struct image_options */
};

/* Refuses what is empty or beyond the limits. memory: bytes a pixel that decoding takes at its
 * peak, the RGB pixels included. */
enum error_code codec_check(const struct codec_input *in, size_t width, size_t height,
                            size_t frames, size_t memory, struct error *err) MUST_CHECK;

/* An image with room for the pixels; its full size is the same. Errors: ERROR_MEMORY. */
enum error_code codec_allocate(const struct codec_input *in, size_t width, size_t height,
                               struct image *out, struct error *err) MUST_CHECK;

/* ERROR_UNDECODABLE, "<format>: broken content: <why>"; or ERROR_MEMORY, as the libraries tell a
 * lack of memory in many ways, some of them as broken content. */
enum error_code codec_broken(const struct codec_input *in, const char *why, struct error *err);

enum error_code jpeg_decode(const struct codec_input *in, struct image *out,
                            struct error *err) MUST_CHECK;
enum error_code png_decode(const struct codec_input *in, struct image *out,
                           struct error *err) MUST_CHECK;
enum error_code webp_decode(const struct codec_input *in, struct image *out,
                            struct error *err) MUST_CHECK;
enum error_code stb_decode(const struct codec_input *in, struct image *out,
                           struct error *err) MUST_CHECK;
enum error_code pnm_decode(const struct codec_input *in, struct image *out,
                           struct error *err) MUST_CHECK;

#endif
