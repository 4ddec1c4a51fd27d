/* cpus.h - how many CPUs this process really gets: affinity mask and cgroup quota. */
#ifndef SENETD_CPUS_H
#define SENETD_CPUS_H

#include <stddef.h>

/* CPUs that the cgroup of this process may use at once (quota / period), the tightest of all
 * enclosing groups, by cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us); 0 where none is set.
 * root is put before /proc/self/cgroup and /sys/fs/cgroup: "" for this machine. */
double cpus_quota(const char *root);

/* The affinity mask's CPUs limited by cpus_quota, rounded down, at least 1. A fraction that is
 * left over serves HTTP. */
size_t cpus_available(const char *root);

#endif
