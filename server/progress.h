/* progress.h - a line on a terminal that says how far a long command is, and how long it will
 * take. No thread may share one. */
#ifndef SENETD_PROGRESS_H
#define SENETD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress_bar {
    bool terminal;    /* elsewhere nothing is shown */
    int64_t begin_ns; /* monotonic */
    uint64_t resumed; /* images that an earlier run had done */
};

/* Begins now; standard error decides whether there is a terminal. */
void progress_begin(struct progress_bar *bar, uint64_t resumed);

/* Draws the bar anew. total > 0. */
void progress_show(const struct progress_bar *bar, uint64_t done, uint64_t total);

/* Clears the line for a message on standard error; the next progress_show draws it again. */
void progress_clear(const struct progress_bar *bar);

/* Ends the line. */
void progress_end(const struct progress_bar *bar);

#endif
