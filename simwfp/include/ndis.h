// fwpsk.h wants ndis.h before it for packet types; a driver of ALE layers uses none of them.
#include "ntddk.h"
