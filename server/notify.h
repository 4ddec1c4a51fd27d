/* notify.h - tells systemd how the daemon fares: the datagrams of sd_notify(3), without libsystemd.
 *
 * Each call sends one datagram to the socket that $NOTIFY_SOCKET names, a path or "@name" in the
 * abstract namespace; without that variable it does nothing. A datagram that cannot be sent is
 * lost: the service manager has its own timeouts. No state: thread-safe.
 */
#ifndef SENETD_NOTIFY_H
#define SENETD_NOTIFY_H

#include <stdint.h>

/* Serving; status is a sentence for `systemctl status`. Also ends a reload. */
void notify_ready(const char *status);

/* A reload begins (with the time, as Type=notify-reload wants it). */
void notify_reloading(void);

void notify_stopping(void);

/* Only the status. */
void notify_status(const char *status);

/* Keeps the watchdog quiet. */
void notify_watchdog(void);

/* Nanoseconds after which the watchdog kills unless notify_watchdog is called (WatchdogSec=); 0
 * where there is none for this process. */
int64_t notify_watchdog_ns(void);

#endif
