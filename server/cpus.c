/* cpus.c - see cpus.h.
 *
 * /proc/self/cgroup names the group in each hierarchy. A quota may sit on any ancestor, so the
 * walk goes from the group to the mount's root. Inside a container the named path is often that
 * of the host and does not exist below the mount; the walk then ends at the root, which is the
 * container's own group.
 */
#include "cpus.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4096

/* The tighter of two quotas, where 0 means none. */
static double tighter(double a, double b)
{
    if (a == 0 || b == 0)
        return a + b;
    return a < b ? a : b;
}

/* Reads "<group>/<name>" up to its first newline. */
static bool read_line(const char *group, const char *name, char line[128])
{
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", group, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool read = fgets(line, 128, file) != NULL;
    fclose(file);
    return read;
}

/* Version 2: "max 100000" or "150000 100000", microseconds. */
static double quota_v2(const char *group)
{
    char line[128];
    double quota, period;
    if (!read_line(group, "cpu.max", line) || sscanf(line, "%lf %lf", &quota, &period) != 2)
        return 0;
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* Version 1: two files of microseconds; a quota of -1 is none. */
static double quota_v1(const char *group)
{
    char line[128];
    double quota, period;
    if (!read_line(group, "cpu.cfs_quota_us", line) || sscanf(line, "%lf", &quota) != 1)
        return 0;
    if (!read_line(group, "cpu.cfs_period_us", line) || sscanf(line, "%lf", &period) != 1)
        return 0;
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The tightest quota from <mount><group> up to <mount>. */
static double walk_up(const char *root, const char *mount, const char *group,
                      double (*quota)(const char *))
{
    char path[PATH_BYTES];
    int size = snprintf(path, sizeof path, "%s/sys/fs/cgroup%s%s", root, mount, group);
    size_t stop = strlen(root) + strlen("/sys/fs/cgroup") + strlen(mount);
    if (size < 0 || (size_t)size >= sizeof path)
        return 0;
    double tightest = 0;
    for (;;) {
        tightest = tighter(tightest, quota(path));
        char *slash = strrchr(path, '/');
        if (slash == NULL || (size_t)(slash - path) < stop)
            return tightest;
        *slash = '\0';
    }
}

static bool has_word(const char *list, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, size) == 0 && (at[size] == ',' || at[size] == '\0'))
            return true;
    }
    return false;
}

/* One line of /proc/self/cgroup: "0::/group" or "4:cpu,cpuacct:/group". */
static double line_quota(const char *root, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL)
        return 0;
    *group++ = '\0';
    controllers++;
    if (*controllers == '\0')
        return tighter(walk_up(root, "", group, quota_v2),
                       walk_up(root, "/unified", group, quota_v2));
    if (!has_word(controllers, "cpu"))
        return 0;
    char mount[128];
    snprintf(mount, sizeof mount, "/%s", controllers);
    return tighter(walk_up(root, "/cpu", group, quota_v1), walk_up(root, mount, group, quota_v1));
}

double cpus_quota(const char *root)
{
    char line[PATH_BYTES];
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *file = fopen(line, "re");
    if (file == NULL)
        return 0;
    double tightest = 0;
    while (fgets(line, sizeof line, file) != NULL)
        tightest = tighter(tightest, line_quota(root, line));
    fclose(file);
    return tightest;
}

size_t cpus_available(const char *root)
{
    cpu_set_t set;
    size_t count = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        count = (size_t)CPU_COUNT(&set);
    double quota = cpus_quota(root);
    if (quota > 0 && quota < (double)count)
        count = (size_t)quota;
    return count > 0 ? count : 1;
}
