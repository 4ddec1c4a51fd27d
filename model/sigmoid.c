/* sigmoid.c - see sigmoid.h. Four at a time: by libm's expf, one by one, the gates of a block would
 * take as long as its fully connected layers.
 *
 * e^x is 2^n e^r with n a whole number and r within half of ln 2, where Taylor's polynomial of
 * degree 7 is less than 1e-8 off.
 */
#include "sigmoid.h"
#include <stdint.h>
#include <string.h>

typedef float quad __attribute__((vector_size(16)));
typedef int32_t bits __attribute__((vector_size(16)));

/* Where it is true, a, else b. */
static quad select(bits where, quad a, quad b)
{
    return (quad)(((bits)a & where) | ((bits)b & ~where));
}

static quad exponential(quad x)
{
    static const float inverse_factorials[] = {1.0F / 5040, 1.0F / 720, 1.0F / 120, 1.0F / 24,
                                               1.0F / 6,    0.5F,       1,          1};
    enum { COUNT = sizeof inverse_factorials / sizeof *inverse_factorials };
    const quad end = (quad){0} + 87; /* 2^n is finite and normal up to here */
    const float log2_e = 0x1.715476p0F;
    const float ln_2_high = 0x1.62e4p-1F,
                ln_2_low = 0x1.7f7d1cp-20F; /* n times the first is exact */
    const float whole = 0x1.8p23F;          /* a sum with it has no room for a fraction */
    x = select(x > end, end, select(x < -end, -end, x));
    quad n = x * log2_e + whole - whole;
    quad r = x - n * ln_2_high - n * ln_2_low;
    quad power = {0};
    for (size_t i = 0; i < COUNT; i++)
        power = power * r + inverse_factorials[i];
    return power * (quad)((__builtin_convertvector(n, bits) + 127) << 23);
}

/* Of up to four values. */
static inline void sigmoid_some(float *values, size_t count)
{
    quad x = {0};
    memcpy(&x, values, count * sizeof *values);
    x = 1 / (1 + exponential(-x));
    memcpy(values, &x, count * sizeof *values);
}

void sigmoid(float *values, size_t count)
{
    size_t whole = count / 4 * 4;
    for (size_t i = 0; i < whole; i += 4)
        sigmoid_some(values + i, 4);
    sigmoid_some(values + whole, count - whole);
}
