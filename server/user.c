/* user.c - see user.h. The C library makes the change in every thread. */
#include "user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

/* "1000" or "1000:1000". */
static bool parse_numbers(const char *user, uid_t *uid, gid_t *gid)
{
    unsigned numbers[2];
    int end = 0;
    if (strspn(user, "0123456789:") != strlen(user) || strlen(user) > 20)
        return false;
    if (sscanf(user, "%u%n:%u%n", &numbers[0], &end, &numbers[1], &end) < 1 || user[end] != '\0')
        return false;
    *uid = numbers[0];
    *gid = strchr(user, ':') != NULL ? numbers[1] : numbers[0];
    return true;
}

enum error_code user_become(const char *user, struct error *err)
{
    uid_t uid;
    gid_t gid;
    bool by_number = parse_numbers(user, &uid, &gid);
    if (!by_number) {
        const struct passwd *entry = getpwnam(user);
        if (entry == NULL)
            return error_set(err, ERROR_USAGE,
                             "--user: there is no user '%s', expected a name, UID or UID:GID",
                             user);
        uid = entry->pw_uid;
        gid = entry->pw_gid;
    }
    if (geteuid() != 0 && geteuid() == uid && getegid() == gid)
        return ERROR_NONE;
    int failure = by_number ? setgroups(0, NULL) : initgroups(user, gid);
    if (failure != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return error_set(err, ERROR_IO, "--user: cannot become '%s': %s", user, strerror(errno));
    prctl(PR_SET_DUMPABLE, 1); /* or /proc/self, which the metrics read, would stay root's */
    return ERROR_NONE;
}
