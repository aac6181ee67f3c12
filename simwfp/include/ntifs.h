// Includes what ntddk.h declares; the file-system half is not needed.
#include "ntddk.h"
