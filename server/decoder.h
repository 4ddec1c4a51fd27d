/* decoder.h - encoded photo -> network input, in processes that can do nothing else.
 *
 * Uploads are input from strangers, and their decoders large programs in C. So they run in
 * children without files, network or other processes (keeper.h, sandbox.h); bytes go in and pixels
 * come out by shared memory. A child that crashes or takes too long costs the request that it
 * worked on, and is replaced.
 */
#ifndef SENETD_DECODER_H
#define SENETD_DECODER_H

#include "error.h"
#include "image.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct decoder;

struct decoder_options {
    size_t processes;  /* at least 1 */
    size_t max_input;  /* of one image, bytes */
    size_t max_pixels; /* as in struct image_options; sizes the limit of memory */
    unsigned timeout;  /* of one image, seconds */
    bool strict;       /* an error, not a warning, where the kernel grants no filter */
};

/* What is told of an image that was decoded. */
struct decoded {
    enum image_format format;
    size_t width, height; /* of the photo */
    int64_t decode_ns, preprocess_ns;
};

/* Starts the processes. To be called before any thread is started, and before what they are not to
 * inherit is read. Logs what protects them. Errors: ERROR_IO, ERROR_MEMORY, ERROR_INTERNAL. */
enum error_code decoder_start(const struct decoder_options *options, struct decoder **out,
                              struct error *err) MUST_CHECK;

/* Decodes and preprocesses; out is [3][height][width] of preprocess. Thread-safe: waits while all
 * processes are busy. decoder NULL: in this thread. Errors: those of image_decode and image_crop;
 * ERROR_UNDECODABLE where it took too long; ERROR_INTERNAL where the process ended over this image
 * or all are gone. */
enum error_code decoder_run(struct decoder *decoder, const uint8_t *bytes, size_t size,
                            const struct image_options *options,
                            const struct preprocess *preprocess, float *out, struct decoded *told,
                            struct error *err) MUST_CHECK;

/* How many processes ended over an image. Thread-safe. NULL: 0. */
uint64_t decoder_ends(struct decoder *decoder);

/* Whether the processes are gone and nothing will replace them; for the thread that reaps the
 * daemon's children. Told once. NULL: false. */
bool decoder_is_lost(struct decoder *decoder);

/* Ends the processes. No decoder_run may be under way. Accepts NULL. */
void decoder_stop(struct decoder *decoder);

#endif
