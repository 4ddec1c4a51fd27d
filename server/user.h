/* user.h - who the daemon is once its sockets are bound. */
#ifndef SENETD_USER_H
#define SENETD_USER_H

#include "error.h"

/* Becomes that user for good, in all threads: a name, with its groups, or UID or UID:GID, without
 * further groups. Errors: ERROR_USAGE where there is none of that name, ERROR_IO where the process
 * may not, which takes root. */
enum error_code user_become(const char *user, struct error *err) MUST_CHECK;

#endif
