/* roofline.h - what the machine could do at best, measured: the two roofs over every operation.
 *
 * Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for
 * multicore architectures", CACM 52(4), 2009.
 */
#ifndef SENETD_ROOFLINE_H
#define SENETD_ROOFLINE_H

#include "kernels.h"
#include "pool.h"

/* Multiply-adds a second that the team's cores reach in the backend's precision with everything in
 * registers; 0 for a backend that cannot tell. The team must be leading. Takes some 100 ms. */
double roofline_multiply_adds(const struct kernels *kernels, struct team *team);

/* Whether one backend's multiply-adds on registers are faster than another's, of which both can
 * tell, on the calling core. Takes half a millisecond. */
bool roofline_is_higher(const struct kernels *kernels, const struct kernels *other);

/* Bytes a second that the team's cores read from memory, beyond the caches; 0 where there is no
 * memory for the measurement. The team must be leading. Takes some 200 ms. */
double roofline_bytes(struct team *team);

#endif
