/* gates.c - see gates.h.
 *
 * Every answer looks at 15,104 gates: one pass, in lanes that do not wait for each other and that
 * the compiler turns into vectors. The sums are of distances from the first gate, so that gates
 * which hardly differ lose no digits.
 */
#include "gates.h"

#include <math.h>

#define LANES 4

struct lanes {
    double sum[LANES], squares[LANES];
    float least[LANES], most[LANES];
    int low[LANES], high[LANES];
};

static inline void take(struct lanes *lanes, size_t lane, float value, float first)
{
    double distance = (double)value - (double)first;
    lanes->sum[lane] += distance;
    lanes->squares[lane] += distance * distance;
    lanes->least[lane] = value < lanes->least[lane] ? value : lanes->least[lane];
    lanes->most[lane] = value > lanes->most[lane] ? value : lanes->most[lane];
    lanes->low[lane] += value < GATES_SATURATED_LOW;
    lanes->high[lane] += value > GATES_SATURATED_HIGH;
}

struct gates gates_of(const float *values, size_t count)
{
    struct lanes lanes = {0};
    struct gates all = {.least = values[0], .most = values[0]};
    double sum = 0, squares = 0;
    size_t i = 0;
    for (size_t lane = 0; lane < LANES; lane++)
        lanes.least[lane] = lanes.most[lane] = values[0];
    for (; i + LANES <= count; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++)
            take(&lanes, lane, values[i + lane], values[0]);
    for (; i < count; i++)
        take(&lanes, 0, values[i], values[0]);
    for (size_t lane = 0; lane < LANES; lane++) {
        sum += lanes.sum[lane];
        squares += lanes.squares[lane];
        all.least = fminf(all.least, lanes.least[lane]);
        all.most = fmaxf(all.most, lanes.most[lane]);
        all.low += (size_t)lanes.low[lane];
        all.high += (size_t)lanes.high[lane];
    }
    double n = (double)count, away = sum / n, variance = squares / n - away * away;
    all.mean = (double)values[0] + away;
    all.deviation = variance > 0 ? sqrt(variance) : 0;
    return all;
}
