// Misuse and faults: what a real kernel answers with a bug check, this answers with a message and the end.
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void (*sim_misuse_handler)(const char* message);
#define SIM_FAILED UINT32_MAX
#define SIM_FAILED_NAMES 128u

static uint32_t sim_fail_in_transaction; // counts down; SIM_FAILED: has failed, and the abort does too
static uint32_t sim_fail_nth;
static uint32_t sim_call_count;
static const NTSTATUS* sim_answers; // of unregistering, to come
static uint32_t sim_answers_left;
static uint32_t sim_violation_count;
static char sim_violation_text[256];
static _Thread_local const char* sim_call_name;
static const char* sim_failed[SIM_FAILED_NAMES]; // of the whole program
static uint32_t sim_failed_count;

void
sim_on_misuse(void (*handler)(const char* message))
{
    sim_misuse_handler = handler;
}

void
sim_misuse(const char* format, ...)
{
    char message[256];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (sim_misuse_handler != NULL) {
        sim_misuse_handler(message);
        return;
    }
    (void)fprintf(stderr, "simwfp: the driver broke a rule of the kernel: %s\n", message);
    abort();
}

void
sim_violation(const char* format, ...)
{
    va_list arguments;

    sim_violation_count++;
    va_start(arguments, format);
    (void)vsnprintf(sim_violation_text, sizeof(sim_violation_text), format, arguments);
    va_end(arguments);
}

uint32_t
sim_violations(void)
{
    return sim_violation_count;
}

const char*
sim_last_violation(void)
{
    return sim_violation_text;
}

void
sim_fail_call(uint32_t nth)
{
    sim_fail_nth = nth;
    sim_call_count = 0;
    sim_fail_in_transaction = 0;
}

void
sim_fail_call_and_abort(uint32_t nth)
{
    sim_fail_call(0);
    sim_fail_in_transaction = nth;
}

void
sim_now_in(const char* call)
{
    sim_call_name = call;
}

static int
is_same(const char* a, const char* b)
{
    while (*a != 0 && *a == *b) {
        a++, b++;
    }
    return *a == *b;
}

static void
note_failed(void)
{
    for (uint32_t i = 0; i < sim_failed_count; i++) {
        if (sim_call_name == NULL || is_same(sim_failed[i], sim_call_name)) {
            return;
        }
    }
    if (sim_failed_count < SIM_FAILED_NAMES && sim_call_name != NULL) {
        sim_failed[sim_failed_count++] = sim_call_name;
    }
}

const char*
sim_failed_call(uint32_t nth)
{
    return nth < sim_failed_count ? sim_failed[nth] : NULL;
}

// Asked by the calls inside a transaction before sim_fails_now, and by the abort.
int
sim_transaction_fails(int abort)
{
    if (abort) {
        if (sim_fail_in_transaction == SIM_FAILED) {
            note_failed();
        }
        return sim_fail_in_transaction == SIM_FAILED;
    }
    if (sim_fail_in_transaction == 0 || sim_fail_in_transaction == SIM_FAILED || --sim_fail_in_transaction != 0) {
        return 0;
    }
    sim_fail_in_transaction = SIM_FAILED;
    return 1;
}

void
sim_unregister_answers(const NTSTATUS* answers, uint32_t count)
{
    sim_answers = answers;
    sim_answers_left = count;
}

int
sim_unregister_answer(NTSTATUS* status)
{
    if (sim_answers_left == 0) {
        return 0;
    }
    *status = *sim_answers++;
    sim_answers_left--;
    return 1;
}

uint32_t
sim_calls(void)
{
    return sim_call_count;
}

int
sim_fails_now(void)
{
    uint32_t number = __atomic_add_fetch(&sim_call_count, 1, __ATOMIC_RELAXED);

    if (number == sim_fail_nth) {
        note_failed();
    }
    return number == sim_fail_nth;
}

void
sim_faults_reset(void)
{
    sim_fail_call(0);
    sim_answers_left = 0;
    sim_violation_count = 0;
    sim_violation_text[0] = 0;
}

void*
sim_allocate(size_t size)
{
    void* block = calloc(1, size);

    if (block == NULL) {
        (void)fprintf(stderr, "simwfp: out of memory\n");
        abort();
    }
    return block;
}
