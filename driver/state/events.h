// The event ring: the newest PM_EVENT_RING events, read by sequence number.  Lossy by design: a reader that is too slow
// is told how many it missed, and no writer ever waits.
#ifndef PM_EVENTS_H
#define PM_EVENTS_H

#include "decide/decide.h"
#include "platform.h"

#define PM_EVENT_RING 256u

void pm_events_start(void);

// What a verdict was.  `status`: of the WFP call that failed, or 0.
_IRQL_requires_max_(DISPATCH_LEVEL) void pm_event_flow(
    _In_ const pm_flow* flow, _In_ const pm_decision* decision, _In_ uint64_t filter_context,
    _In_ uint64_t process_start, _In_ NTSTATUS status);

// A registration came or went.
_IRQL_requires_max_(DISPATCH_LEVEL) void pm_event_registration(
    _In_ pm_event_kind kind, _In_ uint32_t registration, _In_ uint32_t pid, _In_ uint64_t process_start);

// `image` may be pageable.
_IRQL_requires_max_(APC_LEVEL) void pm_event_process_started(
    _In_ uint32_t pid, _In_ uint32_t parent_pid, _In_ uint64_t process_start, _In_opt_ const WCHAR* image,
    _In_ uint32_t image_size);

// Copies what there is from `from_sequence` on, at most `capacity` events.
_IRQL_requires_max_(DISPATCH_LEVEL) void pm_events_read(
    _In_ uint64_t from_sequence, _In_ uint32_t capacity, _Out_ pm_event* events, _Out_ uint32_t* count,
    _Out_ uint64_t* next_sequence, _Out_ uint64_t* lost);

uint64_t pm_events_written(void);

#endif
