/* gates.h - the statistics of one block's gates in one image. No state. */
#ifndef SENETD_GATES_H
#define SENETD_GATES_H

#include <stddef.h>

/* Gates beyond these count as saturated. */
#define GATES_SATURATED_LOW  0.01f
#define GATES_SATURATED_HIGH 0.99f

struct gates {
    double mean, deviation; /* of the population */
    float least, most;
    size_t low, high; /* saturated ones */
};

/* count from 1. */
struct gates gates_of(const float *values, size_t count);

#endif
