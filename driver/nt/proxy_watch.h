// Process notification: a registrant that is gone is forgotten at once, however it died.
#ifndef PM_PROXY_WATCH_H
#define PM_PROXY_WATCH_H

#include "platform.h"

_IRQL_requires_(PASSIVE_LEVEL) void pm_proxy_watch_start(void);
_IRQL_requires_(PASSIVE_LEVEL) void pm_proxy_watch_stop(void); // waits for running callbacks

// What registering the notification gave.  Without success no registration is taken.
NTSTATUS pm_proxy_watch_status(void);

#endif
