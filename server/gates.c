/* gates.c - see gates.h.
 *
 * Every answer looks at 15,104 gates: one pass, in lanes that do not wait for each other, as the
 * compiler's vectors, of which it makes what the CPU has. The sums are of distances from the first
 * gate, so that gates which hardly differ lose no digits.
 */
#include "gates.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 4

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef double doubles __attribute__((vector_size(8 * LANES)));
typedef int32_t masks __attribute__((vector_size(4 * LANES))); /* all bits of a lane, or none */

struct lanes {
    doubles sum, squares;
    floats least, most;
    masks low, high; /* counts, negative */
};

static inline void choose(masks which, const floats *from, floats *to)
{
    masks chosen = ((masks)*from & which) | ((masks)*to & ~which);
    *to = (floats)chosen;
}

static inline void take(struct lanes *lanes, const float *values, double first)
{
    floats v;
    memcpy(&v, values, sizeof v);
    doubles distance = __builtin_convertvector(v, doubles) - first;
    lanes->sum += distance;
    lanes->squares += distance * distance;
    choose(v < lanes->least, &v, &lanes->least);
    choose(v > lanes->most, &v, &lanes->most);
    lanes->low += v < GATES_SATURATED_LOW;
    lanes->high += v > GATES_SATURATED_HIGH;
}

struct gates gates_of(const float *values, size_t count)
{
    const floats begin = {values[0], values[0], values[0], values[0]};
    struct lanes even = {.least = begin, .most = begin}, odd = even;
    struct gates all = {.least = values[0], .most = values[0]};
    double first = (double)values[0], sum = 0, squares = 0;
    size_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        take(&even, values + i, first);
        take(&odd, values + i + LANES, first);
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        sum += even.sum[lane] + odd.sum[lane];
        squares += even.squares[lane] + odd.squares[lane];
        all.least = fminf(all.least, fminf(even.least[lane], odd.least[lane]));
        all.most = fmaxf(all.most, fmaxf(even.most[lane], odd.most[lane]));
        all.low += (size_t) - (even.low[lane] + odd.low[lane]);
        all.high += (size_t) - (even.high[lane] + odd.high[lane]);
    }
    for (; i < count; i++) {
        double distance = (double)values[i] - first;
        sum += distance;
        squares += distance * distance;
        all.least = fminf(all.least, values[i]);
        all.most = fmaxf(all.most, values[i]);
        all.low += values[i] < GATES_SATURATED_LOW;
        all.high += values[i] > GATES_SATURATED_HIGH;
    }
    double n = (double)count, away = sum / n, variance = squares / n - away * away;
    all.mean = first + away;
    all.deviation = variance > 0 ? sqrt(variance) : 0;
    return all;
}
