/* resample.h - what decoders ask of the resize to come. */
#ifndef SENETD_RESAMPLE_H
#define SENETD_RESAMPLE_H

#include "image.h"

/* By how much an upright photo of this size may be shrunk before image_crop without falling below
 * twice the size that it is resized to: 1, 2, 4 or 8. */
size_t resample_shrink(size_t width, size_t height, const struct preprocess *preprocess);

/* What image_crop does not read of an image whose sizes are set: so many columns at either side, so
 * many rows above and below; turned or mirrored it is the same. */
void resample_margins(const struct image *image, const struct preprocess *preprocess,
                      size_t *columns, size_t *rows);

#endif
