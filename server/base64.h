/* base64.h - decodes base64 (RFC 4648, section 4). */
#ifndef SENETD_BASE64_H
#define SENETD_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that a text of that size can decode to at most. */
#define BASE64_ROOM(size) ((size) / 4 * 3 + 3)

/* Decodes text[size] to out, which has BASE64_ROOM(size) bytes; white space is skipped. Returns
 * false for another character, or where the padding is not as it must be. */
bool base64_decode(const char *text, size_t size, uint8_t *out, size_t *out_size);

#endif
