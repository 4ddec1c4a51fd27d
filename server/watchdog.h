/* watchdog.h - feeds systemd's watchdog as long as every worker makes progress.
 *
 * Four times per interval each worker is asked to move: one that waits for images wakes, one that
 * computes must have ended a run. Only if all did is the watchdog fed. So WatchdogSec must be well
 * over the time of the longest run.
 */
#ifndef SENETD_WATCHDOG_H
#define SENETD_WATCHDOG_H

#include "error.h"
#include "models.h"

struct watchdog;

/* *out is NULL where the service manager asked for no watchdog. The models must outlive it.
 * Errors: ERROR_MEMORY. */
enum error_code watchdog_start(struct models *models, struct watchdog **out,
                               struct error *err) MUST_CHECK;

/* Accepts NULL. */
void watchdog_stop(struct watchdog *watchdog);

#endif
