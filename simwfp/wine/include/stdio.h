// Messages of simwfp: to the debugger's output, and the last one kept for the test (test_device.h).
#ifndef SIM_WINE_STDIO_H
#define SIM_WINE_STDIO_H

#include <stdarg.h>
#include <stddef.h>

int _vsnprintf(char* to, size_t size, const char* format, va_list arguments); // ntoskrnl's: no terminator if it is full
int vsnprintf(char* to, size_t size, const char* format, va_list arguments);

#define stderr 0
#define fprintf(stream, ...) ((int)DbgPrintEx(DPFLTR_IHVNETWORK_ID, DPFLTR_ERROR_LEVEL, __VA_ARGS__))

#endif
