/* monotonic.h - the clock that timings are taken from. */
#ifndef SENETD_MONOTONIC_H
#define SENETD_MONOTONIC_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since some fixed point; never set back. */
static inline int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif
