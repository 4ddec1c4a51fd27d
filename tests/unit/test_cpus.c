/* test_cpus.c - cgroup quotas of both versions, read from a made-up root. */
#include "cpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[64];

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/senetd-cpus-XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static int remove_root(void **state)
{
    (void)state;
    return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Writes <root>/path, making its folders. */
static void put(const char *path, const char *content)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

static void check_quota(double expected)
{
    double quota = cpus_quota(root);
    if (fabs(quota - expected) > 1e-9)
        fail_msg("quota %g, expected %g", quota, expected);
}

static void no_cgroup_is_no_quota(void **state)
{
    (void)state;
    check_quota(0);
    put("proc/self/cgroup", "garbage\n0::\n:::\n");
    check_quota(0);
}

static void version_2_reads_cpu_max(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/app\n");
    put("sys/fs/cgroup/app/cpu.max", "max 100000\n");
    check_quota(0);
    put("sys/fs/cgroup/app/cpu.max", "150000 100000\n");
    check_quota(1.5);
}

static void the_tightest_ancestor_counts(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/pod/app\n");
    put("sys/fs/cgroup/pod/app/cpu.max", "400000 100000\n");
    put("sys/fs/cgroup/pod/cpu.max", "300000 100000\n");
    put("sys/fs/cgroup/cpu.max", "max 100000\n");
    check_quota(3);
}

/* In a container the path is the host's and the mount's root is the container's group. */
static void a_path_of_the_host_falls_back_to_the_root(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/system.slice/docker-1.scope\n");
    put("sys/fs/cgroup/cpu.max", "50000 100000\n");
    check_quota(0.5);
}

static void version_1_reads_quota_and_period(void **state)
{
    (void)state;
    put("proc/self/cgroup", "5:cpuset:/\n4:cpu,cpuacct:/docker/1\n3:memory:/\n");
    put("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n");
    check_quota(0);
    put("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "250000\n");
    check_quota(2.5);
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n");
    check_quota(2);
}

static void cpuset_is_not_cpu(void **state)
{
    (void)state;
    put("proc/self/cgroup", "5:cpuset:/\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    check_quota(0);
}

static void the_quota_limits_the_affinity_and_one_is_the_least(void **state)
{
    cpu_set_t set;
    (void)state;
    sched_getaffinity(0, sizeof set, &set);
    size_t all = (size_t)CPU_COUNT(&set);
    put("proc/self/cgroup", "0::/\n");
    assert_int_equal(cpus_available(root), all);
    put("sys/fs/cgroup/cpu.max", "100000000 100000\n");
    assert_int_equal(cpus_available(root), all);
    put("sys/fs/cgroup/cpu.max", "190000 100000\n");
    assert_int_equal(cpus_available(root), 1);
    put("sys/fs/cgroup/cpu.max", "10000 100000\n");
    assert_int_equal(cpus_available(root), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        TEST(no_cgroup_is_no_quota),
        TEST(version_2_reads_cpu_max),
        TEST(the_tightest_ancestor_counts),
        TEST(a_path_of_the_host_falls_back_to_the_root),
        TEST(version_1_reads_quota_and_period),
        TEST(cpuset_is_not_cpu),
        TEST(the_quota_limits_the_affinity_and_one_is_the_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
