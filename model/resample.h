/* resample.h - what decoders ask of the resize to come. */
#ifndef SENETD_RESAMPLE_H
#define SENETD_RESAMPLE_H

#include "image.h"

/* By how much an upright photo of this size may be shrunk before image_crop without falling below
 * twice the size that it is resized to: 1, 2, 4 or 8. */
size_t resample_shrink(size_t width, size_t height, const struct preprocess *preprocess);

#endif
