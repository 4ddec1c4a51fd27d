/* scheduler.c - see scheduler.h. glibc has no function for these calls. */
#include "scheduler.h"

#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

void scheduler_ask_slice(uint64_t ns)
{
    struct sched_attr attributes = {.size = sizeof attributes};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0)
        return;
    attributes.sched_runtime = ns;
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}
