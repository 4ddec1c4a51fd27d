/* exif.h - the orientation tag of a photo. */
#ifndef SENETD_EXIF_H
#define SENETD_EXIF_H

#include <stddef.h>
#include <stdint.h>

/* EXIF orientation 1..8 of a JPEG (APP1 segment), PNG (eXIf chunk) or WebP (EXIF chunk); 1 where
 * there is none or it is broken. Source: EXIF 2.32, tag 0x0112. */
int exif_orientation(const uint8_t *bytes, size_t size);

#endif
