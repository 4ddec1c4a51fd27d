/* faulty.h - what a test and faulty.so, preloaded into the daemon, share: a mapped file, which the
 * variable FAULTY_CONTROL names. */
#ifndef SENETD_TEST_FAULTY_H
#define SENETD_TEST_FAULTY_H

#include <stdatomic.h>

enum faulty_kind {
    FAULTY_NONE,
    FAULTY_INTERRUPTED, /* EINTR, of calls that a signal can end */
    FAULTY_SHORT,       /* half of what was asked for is read or written; small socket buffers */
    FAULTY_BROKEN,      /* EIO of files, ECONNRESET of sockets, ECONNABORTED of accept */
    FAULTY_EXHAUSTED, /* EMFILE, EAGAIN, ENOMEM, ENOBUFS: no descriptor, thread, process, memory */
    FAULTY_KINDS
};

struct faulty {
    atomic_int kind;
    atomic_long countdown; /* the call that brings it to 0 fails; 0 or less: none does */
    atomic_long again;     /* then it is set to this */
    atomic_long struck;    /* calls that failed */
    atomic_int strict;     /* threads that block SIGTERM are not interrupted */
    char call[32];         /* the last of them, "PID NAME" */
};

#endif
