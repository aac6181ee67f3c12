#include "events.h"

static KSPIN_LOCK pm_ring_lock;
static uint64_t pm_ring_next; // sequence number of the next event
static pm_event pm_ring[PM_EVENT_RING];

void pm_events_start(void) {
    KeInitializeSpinLock(&pm_ring_lock);
    pm_ring_next = 0;
    RtlZeroMemory(pm_ring, sizeof(pm_ring));
}

// Takes the lock and hands out the oldest place, numbered; what set_app_id does not set is zero.  Filled in place: 512 bytes
// are too much for the stack of a classify.
static pm_event* begin(pm_event_kind kind, uint32_t pid, uint64_t process_start, KIRQL* irql) {
    pm_event* event;
    uint16_t used;
    LARGE_INTEGER now;

    KeQuerySystemTime(&now);
    KeAcquireSpinLock(&pm_ring_lock, irql);
    event = &pm_ring[pm_ring_next % PM_EVENT_RING];
    used = event->app_id_size;
    RtlZeroMemory(event, offsetof(pm_event, app_id));
    event->app_id_size = used;
    event->sequence = pm_ring_next++;
    event->time = (uint64_t)now.QuadPart;
    event->kind = (uint32_t)kind;
    event->pid = pid;
    event->process_start = process_start;
    return event;
}

// Every event is finished with this: the place may hold a longer app id of an older event, and beyond that zeros.
static void set_app_id(pm_event* event, const void* app_id, uint32_t size) {
    if (size > PM_APP_ID_MAX) {
        size = PM_APP_ID_MAX;
        event->flags |= PM_FLAG_APP_ID_TRUNCATED;
    }
    if (size != 0) {
        RtlCopyMemory(event->app_id, app_id, size);
    }
    if (event->app_id_size > size) {
        RtlZeroMemory(event->app_id + size, event->app_id_size - size);
    }
    event->app_id_size = (uint16_t)size;
}

_Use_decl_annotations_ void pm_event_flow(
    const pm_flow* flow, const pm_decision* decision, uint64_t filter_context, uint64_t process_start,
    NTSTATUS status) {
    KIRQL irql;
    pm_event* event = begin(PM_EVENT_FLOW, flow->pid, process_start, &irql);

    event->verdict = (uint32_t)decision->verdict;
    event->reason = (uint32_t)decision->reason;
    event->registration = PM_FILTER_REGISTRATION(filter_context);
    event->rule_id = PM_FILTER_RULE(filter_context);
    event->family = flow->family;
    event->protocol = flow->protocol;
    event->remote_port = flow->remote_port;
    event->layer = flow->layer;
    event->flags = flow->mapped ? PM_FLAG_V4_MAPPED : 0;
    RtlCopyMemory(event->remote_address, flow->remote_address, sizeof(event->remote_address));
    event->status = (uint32_t)status;
    set_app_id(event, flow->app_id, flow->app_id_size);
    KeReleaseSpinLock(&pm_ring_lock, irql);
}

_Use_decl_annotations_ void
pm_event_registration(pm_event_kind kind, uint32_t registration, uint32_t pid, uint64_t process_start) {
    KIRQL irql;
    pm_event* event = begin(kind, pid, process_start, &irql);

    event->registration = registration;
    set_app_id(event, NULL, 0);
    KeReleaseSpinLock(&pm_ring_lock, irql);
}

_Use_decl_annotations_ void pm_event_process_started(
    uint32_t pid, uint32_t parent_pid, uint64_t process_start, const WCHAR* image, uint32_t image_size) {
    KIRQL irql;
    pm_event* event;
    uint8_t name[PM_APP_ID_MAX]; // the image's name may be in paged pool, which nobody may touch under a spin lock

    image_size = image == NULL ? 0 : image_size;
    if (image_size != 0) {
        RtlCopyMemory(name, image, image_size < sizeof(name) ? image_size : sizeof(name));
    }
    event = begin(PM_EVENT_PROCESS_STARTED, pid, process_start, &irql);
    event->parent_pid = parent_pid;
    set_app_id(event, name, image_size);
    KeReleaseSpinLock(&pm_ring_lock, irql);
}

_Use_decl_annotations_ void pm_events_read(
    uint64_t from_sequence, uint32_t capacity, pm_event* events, uint32_t* count, uint64_t* next_sequence,
    uint64_t* lost) {
    KIRQL irql;
    uint64_t oldest;
    uint64_t at = from_sequence;
    uint32_t copied = 0;

    KeAcquireSpinLock(&pm_ring_lock, &irql);
    oldest = pm_ring_next > PM_EVENT_RING ? pm_ring_next - PM_EVENT_RING : 0;
    if (at > pm_ring_next) {
        at = pm_ring_next; // a reader from before a driver restart
    }
    *lost = at < oldest ? oldest - at : 0;
    if (at < oldest) {
        at = oldest;
    }
    while (at < pm_ring_next && copied < capacity) {
        RtlCopyMemory(&events[copied++], &pm_ring[at++ % PM_EVENT_RING], sizeof(pm_event));
    }
    KeReleaseSpinLock(&pm_ring_lock, irql);
    *count = copied;
    *next_sequence = at;
}

uint64_t pm_events_written(void) {
    KIRQL irql;
    uint64_t written;

    KeAcquireSpinLock(&pm_ring_lock, &irql);
    written = pm_ring_next;
    KeReleaseSpinLock(&pm_ring_lock, irql);
    return written;
}
