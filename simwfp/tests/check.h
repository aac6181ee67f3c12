// A test program in three words: TEST defines a case, CHECK asserts, MAIN runs all and prints a line for each.
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct check_case {
    const char* name;
    void (*run)(void);
    struct check_case* next;
} check_case;

static check_case* check_first;
static check_case** check_last = &check_first;
static int check_failures;
static const char* check_running;

#define TEST(case_name)                                                                                               \
    static void case_name(void);                                                                                      \
    __attribute__((constructor)) static void case_name##_add(void)                                                    \
    {                                                                                                                 \
        static check_case entry = {#case_name, case_name, NULL};                                                      \
        *check_last = &entry;                                                                                         \
        check_last = &entry.next;                                                                                     \
    }                                                                                                                 \
    static void case_name(void)

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            printf("not ok %s: %s:%d: %s\n", check_running, __FILE__, __LINE__, #condition);                          \
            check_failures++;                                                                                         \
        }                                                                                                             \
    } while (0)

#define CHECK_EQUAL(a, b)                                                                                             \
    do {                                                                                                              \
        long long left = (long long)(a), right = (long long)(b);                                                      \
        if (left != right) {                                                                                          \
            printf("not ok %s: %s:%d: %s is 0x%llX, not 0x%llX\n", check_running, __FILE__, __LINE__, #a,             \
                   (unsigned long long)left, (unsigned long long)right);                                              \
            check_failures++;                                                                                         \
        }                                                                                                             \
    } while (0)

int
main(void)
{
    int count = 0;

    for (check_case* at = check_first; at != NULL; at = at->next) {
        int before = check_failures;

        check_running = at->name;
        at->run();
        if (check_failures == before) {
            printf("ok %s\n", at->name);
        }
        count++;
    }
    printf("%d cases, %d failed checks\n", count, check_failures);
    return check_failures != 0 || count == 0;
}

#endif
