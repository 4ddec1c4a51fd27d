/* roofline.c - see roofline.h. Each figure is the best of some rounds: whatever disturbs a round
 * only makes it slower. */
#include "roofline.h"
#include "monotonic.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS       10
#define PEAK_LOOPS   100000              /* an item's: a millisecond or so */
#define BUFFER_BYTES ((size_t)256 << 20) /* more than any cache to speak of */
#define ITEMS_A_CORE 4                   /* helpers that come late still find some */

static double seconds_now(void)
{
    return (double)monotonic_ns() / 1e9;
}

/* The best rate of some rounds of `count` items, of which each is worth `value`. */
static double best_rate(struct team *team, size_t count, void (*item)(void *context, size_t i),
                        void *context, double value)
{
    double best = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        double begin = seconds_now();
        pool_for(team, count, item, context);
        double rate = value * (double)count / (seconds_now() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

static void peak_item(void *context, size_t i)
{
    const struct kernels *kernels = context;
    (void)i;
    kernels->peak(PEAK_LOOPS);
}

double roofline_multiply_adds(const struct kernels *kernels, struct team *team)
{
    struct kernels copy = *kernels;
    if (!kernels->peak)
        return 0;
    return best_rate(team, ITEMS_A_CORE * pool_cores(team), peak_item, &copy,
                     kernels->peak(PEAK_LOOPS));
}

/* Multiply-adds a second of so short a run that many fit in a slice of time. */
static double short_rate(const struct kernels *kernels)
{
    enum { LOOPS = PEAK_LOOPS / 10 };
    double begin = seconds_now(), multiply_adds = kernels->peak(LOOPS);
    return multiply_adds / (seconds_now() - begin);
}

/* In turns, as what disturbs the core may last. */
bool roofline_is_higher(const struct kernels *kernels, const struct kernels *other)
{
    double best = 0, best_other = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        best = fmax(best, short_rate(kernels));
        best_other = fmax(best_other, short_rate(other));
    }
    return best > best_other;
}

struct reading {
    const uint64_t *words;
    size_t count; /* of an item */
    uint64_t sink;
};

static void read_item(void *context, size_t i)
{
    struct reading *reading = context;
    const uint64_t *words = reading->words + i * reading->count;
    uint64_t sums[8] = {0};
    for (size_t k = 0; k + 8 <= reading->count; k += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sums[lane] ^= words[k + lane];
    uint64_t all = 0;
    for (size_t lane = 0; lane < 8; lane++)
        all ^= sums[lane];
    __atomic_fetch_xor(&reading->sink, all, __ATOMIC_RELAXED); /* so that nothing is left out */
}

double roofline_bytes(struct team *team)
{
    size_t items = 16 * pool_cores(team);
    uint64_t *words = malloc(BUFFER_BYTES);
    if (!words)
        return 0;
    memset(words, 1, BUFFER_BYTES);
    struct reading reading = {words, BUFFER_BYTES / sizeof *words / items, 0};
    double rate =
        best_rate(team, items, read_item, &reading, (double)reading.count * sizeof *words);
    free(words);
    return rate;
}
