/* scheduler.h - how soon the kernel lets a thread run that was woken while all cores are busy.
 *
 * Linux's scheduler (EEVDF) prefers the thread whose slice ends first, so one that asks for short
 * slices waits for less, and gets no more of the core than others. Since Linux 6.12 every thread
 * may ask: Documentation/scheduler/sched-eevdf.rst, sched_setattr(2).
 */
#ifndef SENETD_SCHEDULER_H
#define SENETD_SCHEDULER_H

#include <stdint.h>

/* Of the calling thread, and of those that it makes from now on; 0: the kernel's usual slice. Where
 * the kernel knows no such slices, or forbids the call, nothing changes. */
void scheduler_ask_slice(uint64_t ns);

#endif
