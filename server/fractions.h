/* fractions.h - the text of many values between 0 and 1 at once, as gates are.
 *
 * Whose answer holds 15,104 of them waits for their digits, so these are made without branches, in
 * arrays of words of which the compiler makes vectors.
 */
#ifndef SENETD_FRACTIONS_H
#define SENETD_FRACTIONS_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FRACTIONS_MOST       64 /* at a time */
#define FRACTIONS_MOST_BYTES 16 /* written for one, of which up to 15 count */

/* Of each value "0.0000", of which `place` bytes stay, and eight digits behind them, of which those
 * stay that are not zeros at the end. */
struct fractions {
    int32_t place[FRACTIONS_MOST];
    uint32_t high[FRACTIONS_MOST],
        low[FRACTIONS_MOST]; /* a digit a byte, the first in the highest */
};

/* Whether its text is the one made here: others are taken for one that is. */
static inline bool fractions_has(float value)
{
    return (double)value >= 1e-5 && value <= 1;
}

/* With that many significant digits, at most 8; count: up to FRACTIONS_MOST. */
void fractions_of(const float *values, size_t count, unsigned digits, struct fractions *out);

/* Writes one; returns where it ends. */
static inline char *fractions_put(char *at, const struct fractions *fractions, size_t index)
{
    static const char zeros[8] = {'0', '.', '0', '0', '0', '0', '0', '0'};
    uint64_t digits = (uint64_t)fractions->high[index] << 32 | fractions->low[index];
    size_t place = (size_t)fractions->place[index];
    size_t kept = 8 - (size_t)(__builtin_ctzll(digits) >> 3);
    digits = htobe64(digits | 0x3030303030303030); /* '0' */
    memcpy(at, zeros, sizeof zeros);
    memcpy(at + place, &digits, sizeof digits);
    return at + place + kept;
}

#endif
