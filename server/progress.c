/* progress.c - see progress.h. */
#include "progress.h"
#include "monotonic.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

void progress_begin(struct progress_bar *bar, uint64_t resumed)
{
    *bar = (struct progress_bar){isatty(STDERR_FILENO) != 0, monotonic_ns(), resumed};
}

void progress_show(const struct progress_bar *bar, uint64_t done, uint64_t total)
{
    enum { WIDTH = 30 };
    if (!bar->terminal)
        return;
    double seconds = (double)(monotonic_ns() - bar->begin_ns) / 1e9;
    double rate = (double)(done - bar->resumed) / fmax(seconds, 1e-3);
    int left = (int)((double)(total - done) / fmax(rate, 1e-3));
    int filled = (int)(WIDTH * done / total);
    fprintf(stderr, "\r[%.*s%*s] %llu/%llu  %.1f images/s  %d:%02d left \033[K", filled,
            "##############################", WIDTH - filled, "", (unsigned long long)done,
            (unsigned long long)total, rate, left / 60, left % 60);
    fflush(stderr);
}

void progress_clear(const struct progress_bar *bar)
{
    if (bar->terminal)
        fputs("\r\033[K", stderr);
}

void progress_end(const struct progress_bar *bar)
{
    if (bar->terminal)
        fputc('\n', stderr);
}
