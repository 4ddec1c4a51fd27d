/* trimming.h - when a burst of requests is over, the memory that it took goes back to the system:
 * the allocator would keep it, tens of megabytes, for the next one. Not thread-safe. */
#ifndef SENETD_TRIMMING_H
#define SENETD_TRIMMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trimming {
    size_t most; /* requests under way at once since the last time */
    int64_t next_ns;
};

/* Now so many requests are under way. */
void trimming_note(struct trimming *trimming, size_t requests);

/* Whether there was a burst, and it is not yet dealt with. */
bool trimming_wanted(const struct trimming *trimming);

/* Whether it is over; if so, a new count begins and trimming_run is the caller's to call. */
bool trimming_due(struct trimming *trimming, size_t requests, int64_t now_ns);

/* Takes milliseconds, in which other threads may have to wait for memory. */
void trimming_run(void);

#endif
