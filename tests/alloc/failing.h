/* failing.h - what a test and failing.so, preloaded into the daemon, share: a mapped file, which
 * the variable FAILING_CONTROL names. */
#ifndef SENETD_TEST_FAILING_H
#define SENETD_TEST_FAILING_H

#include <stdatomic.h>

struct failing {
    atomic_long countdown; /* the allocation that brings it to 0 fails; 0 or less: none does */
    atomic_long failed;    /* allocations that did */
    atomic_long live;      /* blocks and mappings that there are now */
};

#endif
