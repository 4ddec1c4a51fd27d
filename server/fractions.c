/* fractions.c - see fractions.h.
 *
 * Gates come in any order, so a branch on their size, or on whether they round to 1, would be
 * guessed wrongly each tenth time, which costs as much as all the rest.
 */
#include "fractions.h"

#include <assert.h>

/* The least floats that are not below 0.1, 0.01, 0.001, 0.0001 and 0.00001. */
#define LEAST_1 0.100000001F
#define LEAST_2 0.0100000007F
#define LEAST_3 0.00100000005F
#define LEAST_4 0.000100000005F
#define LEAST_5 0.0000100000007F

static const double power_of_ten[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5};

/* Four digits of a number below 10000 as bytes: two and one at a time. */
static inline uint32_t four_digits(uint32_t value)
{
    uint32_t hundreds = value * 10486 >> 20;
    uint32_t pairs = hundreds | (value - 100 * hundreds) << 16;
    uint32_t tens = (pairs * 103 >> 10) & 0x000F000F;
    return tens | (pairs - 10 * tens) << 8;
}

static inline __attribute__((always_inline)) void make(const float *values, size_t count,
                                                       unsigned digits, struct fractions *out)
{
    float known[FRACTIONS_MOST];
    int32_t has[FRACTIONS_MOST];
    int32_t scaled[FRACTIONS_MOST], zeros[FRACTIONS_MOST]; /* between point and digits */
    double scale = power_of_ten[digits];
    int32_t limit = (int32_t)scale, fill = (int32_t)power_of_ten[FRACTIONS_DIGITS - digits];
    for (size_t i = 0; i < count; i++) {
        has[i] = values[i] >= LEAST_5 && values[i] <= 1;
        known[i] = has[i] ? values[i] : 1;
    }
    for (size_t i = 0; i < count; i++) {
        float value = known[i];
        int32_t a = value < LEAST_1, b = value < LEAST_2, c = value < LEAST_3, d = value < LEAST_4;
        int32_t shift = 1 + 9 * a + 90 * b + 900 * c + 9000 * d;
        scaled[i] = (int32_t)((double)value * (shift * scale) + 0.5);
        zeros[i] = a + b + c + d;
    }
    for (size_t i = 0; i < count; i++) {
        int32_t up = scaled[i] == limit; /* rounded to a power of ten: a zero less, or 1 */
        uint32_t five = (uint32_t)((up ? limit / 10 : scaled[i]) * fill);
        uint32_t tens = (five / 2) * 52429 >> 18; /* five / 10, in 32 bits */
        uint32_t fifth = five - 10 * tens, four = four_digits(tens);
        int32_t place = zeros[i] < up ? 0 : 2 + zeros[i] - up;
        int32_t kept = 1 + (four >= 1 << 8) + (four >= 1 << 16) + (four >= 1 << 24);
        out->place[i] = place;
        out->length[i] = has[i] ? place + (fifth != 0 ? 5 : kept) : 0;
        out->four[i] = four;
        out->fifth[i] = fifth;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void make_avx2(const float *values, size_t count,
                                                      unsigned digits, struct fractions *out)
{
    make(values, count, digits, out);
}
#endif

void fractions_of(const float *values, size_t count, unsigned digits, struct fractions *out)
{
    assert(count <= FRACTIONS_MOST && digits >= 1 && digits <= FRACTIONS_DIGITS);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        make_avx2(values, count, digits, out);
        return;
    }
#endif
    make(values, count, digits, out);
}
