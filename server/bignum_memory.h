/* bignum_memory.h - GMP's allocator, by which TLS computes: it must not end the daemon. */
#ifndef SENETD_BIGNUM_MEMORY_H
#define SENETD_BIGNUM_MEMORY_H

/* GMP calls abort() where memory lacks, and nothing can be returned to it in place of memory. From
 * now on it gets what malloc refuses from a reserve, which is enough for some handshakes at a time
 * and is there again when they are through. Only what exceeds that still aborts. For the process,
 * once; blocks that were allocated before may be freed afterwards. */
void bignum_memory_reserve(void);

#endif
