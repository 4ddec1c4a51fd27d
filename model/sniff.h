/* sniff.h - what a file is, by its first bytes. */
#ifndef SENETD_SNIFF_H
#define SENETD_SNIFF_H

#include "image.h"

/* What the content is if it is a well-known kind of file that is not decoded here, for example
 * "AVIF" or "an ELF program"; else NULL. */
const char *sniff_foreign(const uint8_t *bytes, size_t size);

#endif
