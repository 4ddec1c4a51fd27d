/* fractions.c - see fractions.h.
 *
 * Gates come in any order, so a branch on their size, or on whether they round to 1, would be
 * guessed wrongly each tenth time, which costs as much as all the rest.
 */
#include "fractions.h"

#include <assert.h>

/* The least floats that are not below 0.1, 0.01, 0.001 and 0.0001. */
#define LEAST_1 0.100000001F
#define LEAST_2 0.0100000007F
#define LEAST_3 0.00100000005F
#define LEAST_4 0.000100000005F

static const double power_of_ten[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8};

/* Four digits of a number below 10000 as bytes: two and one at a time. */
static inline uint32_t four_digits(uint32_t value)
{
    uint32_t hundreds = value * 10486 >> 20;
    uint32_t pairs = hundreds << 16 | (value - 100 * hundreds);
    uint32_t tens = (pairs * 103 >> 10) & 0x000F000F;
    return tens << 8 | (pairs - 10 * tens);
}

static inline __attribute__((always_inline)) void make(const float *values, size_t count,
                                                       unsigned digits, struct fractions *out)
{
    float known[FRACTIONS_MOST];
    int32_t scaled[FRACTIONS_MOST], zeros[FRACTIONS_MOST]; /* between point and digits */
    double scale = power_of_ten[digits];
    int32_t limit = (int32_t)scale, fill = (int32_t)power_of_ten[8 - digits];
    for (size_t i = 0; i < count; i++)
        known[i] = fractions_has(values[i]) ? values[i] : 1;
    for (size_t i = 0; i < count; i++) {
        float value = known[i];
        int32_t a = value < LEAST_1, b = value < LEAST_2, c = value < LEAST_3, d = value < LEAST_4;
        int32_t shift = 1 + 9 * a + 90 * b + 900 * c + 9000 * d;
        scaled[i] = (int32_t)((double)value * (shift * scale) + 0.5);
        zeros[i] = a + b + c + d;
    }
    for (size_t i = 0; i < count; i++) {
        int32_t up = scaled[i] == limit; /* rounded to a power of ten: a zero less, or 1 */
        uint32_t eight = (uint32_t)((up ? limit / 10 : scaled[i]) * fill);
        out->place[i] = zeros[i] < up ? 0 : 2 + zeros[i] - up;
        out->high[i] = four_digits(eight / 10000);
        out->low[i] = four_digits(eight % 10000);
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
    assert(count <= FRACTIONS_MOST && digits >= 1 && digits <= 8);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        make_avx2(values, count, digits, out);
        return;
    }
#endif
    make(values, count, digits, out);
}
