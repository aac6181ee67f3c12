// The only file of the driver that includes Windows headers: the WDK's on Windows, simwfp/include elsewhere.
#ifndef PM_PLATFORM_H
#define PM_PLATFORM_H

#include <ntifs.h>

#include <ndis.h>

#include <ws2ipdef.h>

#include <fwpsk.h>

#include <fwpmk.h>

#endif
