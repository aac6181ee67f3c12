// What simwfp needs of the C library; host.c has it on the kernel's pool.
#ifndef SIM_WINE_STDLIB_H
#define SIM_WINE_STDLIB_H

#include <stddef.h>

void* malloc(size_t size);
void* calloc(size_t count, size_t size);
void free(void* block);
void abort(void) __attribute__((noreturn));
void qsort(void* base, size_t count, size_t size, int (*compare)(const void* a, const void* b)); // ntoskrnl's

#endif
