/* fractions.h - the text of many values between 0 and 1 at once, as gates are.
 *
 * Whose answer holds 15,104 of them waits for their digits, so these are made without branches, in
 * arrays of words of which the compiler makes vectors.
 */
#ifndef SENETD_FRACTIONS_H
#define SENETD_FRACTIONS_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FRACTIONS_MOST       64 /* at a time */
#define FRACTIONS_DIGITS     5  /* most of them, significant ones */
#define FRACTIONS_MOST_BYTES 11 /* written for one */

/* Of each value "0.0000", of which `place` bytes stay, and five digits behind them; of these
 * `length` bytes count, those that are not zeros at the end. */
struct fractions {
    int32_t place[FRACTIONS_MOST], length[FRACTIONS_MOST]; /* length 0: its text is not made here */
    uint32_t four[FRACTIONS_MOST]; /* digits, one a byte, the first in the lowest */
    uint32_t fifth[FRACTIONS_MOST];
};

/* With that many significant digits; count: up to FRACTIONS_MOST. */
void fractions_of(const float *values, size_t count, unsigned digits, struct fractions *out);

/* Writes one whose length is not 0; returns where it ends. */
static inline char *fractions_put(char *at, const struct fractions *fractions, size_t index)
{
    static const char zeros[8] = {'0', '.', '0', '0', '0', '0', '0', '0'};
    uint32_t four = htole32(fractions->four[index] | 0x30303030); /* '0' */
    int32_t place = fractions->place[index];
    memcpy(at, zeros, sizeof zeros);
    memcpy(at + place, &four, sizeof four);
    at[place + 4] = (char)('0' + fractions->fifth[index]);
    return at + fractions->length[index];
}

#endif
