/* pnm.h - binary PGM and PPM (P5, P6), 8 and 16 bits a sample.
 *
 * Source: the pgm(5) and ppm(5) format specifications of Netpbm. A value v of at most `maxval`
 * becomes round(255 v / maxval), as in Pillow.
 */
#ifndef SENETD_PNM_H
#define SENETD_PNM_H

#include "image.h"

/* As image_decode, for content that begins with P5 or P6; without orientation. */
enum error_code pnm_decode(const uint8_t *bytes, size_t size, size_t max_pixels, struct image *out,
                           struct error *err) MUST_CHECK;

#endif
