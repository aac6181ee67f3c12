// The two callout functions, each registered for IPv4 and IPv6.
#ifndef PM_CALLOUTS_H
#define PM_CALLOUTS_H

#include "platform.h"

#define PM_POOL_TAG 'tnoP' // "Pont" in a pool listing

FWPS_CALLOUT_CLASSIFY_FN2_TYPE pm_connect_redirect_classify;
FWPS_CALLOUT_CLASSIFY_FN2_TYPE pm_auth_connect_classify;

// Creates and destroys the one redirect handle of the driver.  Without it everything passes.
_IRQL_requires_(PASSIVE_LEVEL) _Must_inspect_result_ NTSTATUS pm_redirect_handle_create(_In_ const GUID* provider);
_IRQL_requires_(PASSIVE_LEVEL) void pm_redirect_handle_destroy(void);

#endif
