// The contract between pointsman.sys and the proxy, version 1.
//
// Everything here crosses the border between kernel and user space, so it has fixed-width types only, no
// pointers, explicit padding and little-endian byte order (x64, ARM64). ABI.md says who writes each field and in
// which unit; vectors/ holds golden bytes that the C and the Python tests both read. A change of any size, offset or
// meaning is a new PM_ABI_VERSION.
#ifndef POINTSMAN_ABI_H
#define POINTSMAN_ABI_H

#include <stddef.h>
#include <stdint.h>

#define PM_ABI_VERSION 1u

// 0.1.0 as major << 24 | minor << 16 | patch
#define PM_DRIVER_VERSION 0x00010000u

#define PM_MAX_REGISTRATIONS 4u
#define PM_APP_ID_MAX 416u  // bytes of UTF-16LE kept in a context or an event
#define PM_LEASE_MIN_MS 500u
#define PM_LEASE_MAX_MS 60000u
#define PM_LEASE_DEFAULT_MS 3000u
#define PM_EVENT_BATCH 32u  // events in one reply at most

// ---- IOCTLs: CTL_CODE(FILE_DEVICE_NETWORK 0x12, function, METHOD_BUFFERED, access) ----

#define PM_ACCESS_READ 1u
#define PM_ACCESS_READ_WRITE 3u
#define PM_CTL_CODE(function, access) ((0x12u << 16) | ((access) << 14) | ((function) << 2))

#define PM_IOCTL_QUERY_VERSION PM_CTL_CODE(0x800u, PM_ACCESS_READ)
#define PM_IOCTL_REGISTER PM_CTL_CODE(0x801u, PM_ACCESS_READ_WRITE)
#define PM_IOCTL_RENEW PM_CTL_CODE(0x802u, PM_ACCESS_READ_WRITE)
#define PM_IOCTL_WITHDRAW PM_CTL_CODE(0x803u, PM_ACCESS_READ_WRITE)
#define PM_IOCTL_STATUS PM_CTL_CODE(0x804u, PM_ACCESS_READ)
#define PM_IOCTL_READ_EVENTS PM_CTL_CODE(0x805u, PM_ACCESS_READ)

// ---- words used in several structures ----

typedef enum pm_verdict {
    PM_PASS = 0,     // the connection goes where the app asked
    PM_REDIRECT = 1, // to the proxy
    PM_BLOCK = 2,    // connect() fails with WSAEACCES
} pm_verdict;

// Why a verdict fell. Each is a counter in pm_status_reply; every PASS but BY_RULE is a fail-open reason.
typedef enum pm_reason {
    PM_REASON_NONE = 0,
    PM_REASON_REDIRECTED = 1,
    PM_REASON_BLOCKED_BY_RULE = 2,
    PM_REASON_PASSED_BY_RULE = 3,
    PM_REASON_NO_PROXY = 4,              // nobody is registered
    PM_REASON_LEASE_OVER = 5,            // somebody is, and does not renew: hung or suspended
    PM_REASON_INACTIVE_REGISTRATION = 6, // the filter belongs to another registration than the active one
    PM_REASON_OWN_PROCESS = 7,           // a live registrant itself
    PM_REASON_ALREADY_REDIRECTED = 8,    // the socket carries our redirect records
    PM_REASON_OTHER_REDIRECTOR = 9,      // another product redirected this very connect to a local proxy
    PM_REASON_NO_ENDPOINT = 10,          // the proxy has none for this address family
    PM_REASON_LOOPBACK_DESTINATION = 11,
    PM_REASON_PRIVATE_DESTINATION = 12,  // private, link-local, unique-local, shared (CGNAT)
    PM_REASON_NOT_UNICAST = 13,          // multicast, broadcast, unspecified, reserved
    PM_REASON_NOT_TCP = 14,
    PM_REASON_SYSTEM_PROCESS = 15,       // PID 0 or 4
    PM_REASON_UNKNOWN_PROCESS = 16,      // WFP named none
    PM_REASON_LOCAL_BINDING = 17,        // socket bound to an address that cannot reach a loopback proxy
    PM_REASON_OTHER_COMPARTMENT = 18,
    PM_REASON_RAW_ENDPOINT = 19,
    PM_REASON_REAUTHORIZATION = 20,
    PM_REASON_UNEXPECTED_FIELD = 21,     // a fixed value of another type than documented
    PM_REASON_NO_WRITE_RIGHT = 22,       // another callout has decided
    PM_REASON_NO_REDIRECT_HANDLE = 23,
    PM_REASON_OUT_OF_MEMORY = 24,
    PM_REASON_WFP_CALL_FAILED = 25,
    PM_REASON_REDIRECT_AUTHORIZED = 26,  // AUTH_CONNECT saw a connection that we had redirected
    PM_REASON_UNKNOWN_FILTER = 27,       // a filter context that names no verdict we know
    PM_REASON_COUNT = 28,
} pm_reason;

// Counters of things that are not verdicts, after the reasons in pm_status_reply.counters.
typedef enum pm_counter {
    PM_COUNTER_REGISTERED = 28,
    PM_COUNTER_RENEWED = 29,
    PM_COUNTER_WITHDRAWN = 30,
    PM_COUNTER_OWNER_EXITED = 31,
    PM_COUNTER_OWNER_CLOSED = 32,  // last handle of the registering file object closed
    PM_COUNTER_REFUSED = 33,       // IOCTLs refused
    PM_COUNTER_COUNT = 40,         // the rest is reserved and zero
} pm_counter;

// The 64-bit raw context of our WFP filters: whose it is, what it says, which rule it stands for.
//   63..32 registration   31..28 verdict (pm_verdict)   27..0 rule id
#define PM_FILTER_REGISTRATION(context) ((uint32_t)((context) >> 32))
#define PM_FILTER_VERDICT(context) ((uint32_t)(((context) >> 28) & 0xFu))
#define PM_FILTER_RULE(context) ((uint32_t)((context)&0x0FFFFFFFu))
#define PM_RULE_DEFAULT 0x0FFFFFFFu  // no rule matched: the policy's default

typedef struct pm_header {
    uint32_t size;    // bytes of the whole structure
    uint32_t version; // PM_ABI_VERSION
} pm_header;

// ---- QUERY_VERSION: no input ----

typedef struct pm_version_reply {
    pm_header header;
    uint32_t driver_version;
    uint32_t reserved;
} pm_version_reply;

// ---- REGISTER ----

typedef struct pm_endpoints {
    uint8_t v4_address[4]; // in 127.0.0.0/8, or zero for none
    uint16_t v4_port;      // host order, zero for none
    uint16_t v6_port;      // host order, zero for none
    uint8_t v6_address[16]; // ::1, or zero for none
} pm_endpoints;

typedef struct pm_register_request {
    pm_header header;
    uint32_t lease_ms; // 0: PM_LEASE_DEFAULT_MS
    uint32_t pid;      // 0, or the caller's own: anything else is refused
    pm_endpoints endpoints;
    uint32_t reserved[2];
} pm_register_request;

typedef struct pm_register_reply {
    pm_header header;
    uint32_t registration; // never 0, never used twice while the driver is loaded
    uint32_t lease_ms;
    uint64_t generation;
} pm_register_reply;

// ---- RENEW and WITHDRAW: no output ----

typedef struct pm_registration_request {
    pm_header header;
    uint32_t registration;
    uint32_t reserved;
} pm_registration_request;

// ---- STATUS: no input ----

#define PM_STATE_PROCESS_NOTIFY 1u  // process notification is registered
#define PM_STATE_REDIRECT_HANDLE 2u
#define PM_STATE_CALLOUTS 4u // all four callout functions are registered
#define PM_STATE_OBJECTS 8u  // provider, sublayer and callouts are in the filter engine

typedef struct pm_registration_status {
    uint32_t registration; // 0: slot is free
    uint32_t pid;
    uint64_t process_start; // 100 ns since 1601-01-01 UTC
    uint32_t lease_ms;
    uint32_t lease_left_ms; // 0: over
    pm_endpoints endpoints;
    uint32_t reserved[4];
} pm_registration_status;

typedef struct pm_status_reply {
    pm_header header;
    uint32_t active_registration; // 0: none, everything passes
    uint32_t state;               // PM_STATE_*
    uint64_t generation;          // of the table of registrations: grows with every change
    uint64_t events_written;      // sequence number of the next event
    uint32_t notify_status;       // last NTSTATUS of the process notification,
    uint32_t redirect_status;     // the redirect handle,
    uint32_t callout_status;      // callout registration,
    uint32_t object_status;       // and the filter engine's objects
    pm_registration_status registrations[PM_MAX_REGISTRATIONS]; // newest first
    uint64_t counters[PM_COUNTER_COUNT];
} pm_status_reply;

// ---- READ_EVENTS ----

typedef enum pm_event_kind {
    PM_EVENT_FLOW = 1,          // a verdict
    PM_EVENT_REGISTERED = 2,
    PM_EVENT_WITHDRAWN = 3,
    PM_EVENT_OWNER_EXITED = 4,
    PM_EVENT_OWNER_CLOSED = 5,
    PM_EVENT_PROCESS_STARTED = 6, // app_id holds the image path as NT reports it
} pm_event_kind;

#define PM_FLAG_V4_MAPPED 1u        // an IPv6 socket with an IPv4 destination
#define PM_FLAG_APP_ID_TRUNCATED 2u // the app id had more than PM_APP_ID_MAX bytes

typedef struct pm_event {
    uint64_t sequence; // 0, 1, 2, ... since the driver was loaded
    uint64_t time;     // 100 ns since 1601-01-01 UTC
    uint32_t kind;     // pm_event_kind
    uint32_t verdict;  // pm_verdict
    uint32_t reason;   // pm_reason
    uint32_t pid;
    uint64_t process_start; // 100 ns since 1601-01-01 UTC, 0: unknown
    uint32_t registration;
    uint32_t rule_id;
    uint8_t family;   // 4 or 6, 0: no flow
    uint8_t protocol; // IANA number
    uint16_t remote_port;
    uint16_t layer; // FWPS_LAYER_ID, 0: no flow
    uint16_t flags; // PM_FLAG_*
    uint8_t remote_address[16]; // network order; IPv4 in the first four bytes
    uint32_t parent_pid;        // of a started process
    uint32_t status;            // NTSTATUS of the call that failed, or 0
    uint16_t app_id_size;       // bytes used in app_id
    uint16_t reserved[3];
    uint8_t app_id[PM_APP_ID_MAX]; // lower-case NT path, UTF-16LE, without terminator
    uint8_t padding[8];
} pm_event;

typedef struct pm_events_request {
    pm_header header;
    uint64_t from_sequence; // the first one wanted
} pm_events_request;

typedef struct pm_events_reply {
    pm_header header;       // size: with `count` events
    uint64_t next_sequence; // what to ask for next
    uint64_t lost;          // events between from_sequence and the first one here: overwritten
    uint32_t count;
    uint32_t reserved;
    pm_event events[PM_EVENT_BATCH];
} pm_events_reply;

// ---- redirect context: what the driver attaches to a redirected connection ----

#define PM_CONTEXT_MAGIC 0x43524D50u // "PMRC"

typedef struct pm_redirect_context {
    uint32_t magic;
    uint16_t version;
    uint16_t size;
    uint32_t registration;
    uint32_t rule_id; // PM_RULE_DEFAULT: the policy's default
    uint64_t generation;
    uint64_t time;          // 100 ns since 1601-01-01 UTC
    uint64_t process_start; // 100 ns since 1601-01-01 UTC, 0: unknown
    uint32_t pid;
    uint16_t remote_port; // original destination, host order
    uint8_t family;       // 4 or 6; a mapped address is 4 with PM_FLAG_V4_MAPPED
    uint8_t protocol;     // IANA number
    uint8_t remote_address[16];
    uint16_t flags; // PM_FLAG_*
    uint16_t app_id_size;
    uint32_t reserved[5];
    uint8_t app_id[PM_APP_ID_MAX];
    uint8_t padding[8];
} pm_redirect_context;

#define PM_ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " is " #bytes " bytes")
PM_ASSERT_SIZE(pm_header, 8);
PM_ASSERT_SIZE(pm_version_reply, 16);
PM_ASSERT_SIZE(pm_endpoints, 24);
PM_ASSERT_SIZE(pm_register_request, 48);
PM_ASSERT_SIZE(pm_register_reply, 24);
PM_ASSERT_SIZE(pm_registration_request, 16);
PM_ASSERT_SIZE(pm_registration_status, 64);
PM_ASSERT_SIZE(pm_status_reply, 624);
PM_ASSERT_SIZE(pm_event, 512);
PM_ASSERT_SIZE(pm_events_request, 16);
PM_ASSERT_SIZE(pm_events_reply, 32 + 32 * 512);
PM_ASSERT_SIZE(pm_redirect_context, 512);
_Static_assert(offsetof(pm_event, app_id) == 88, "pm_event.app_id");
_Static_assert(offsetof(pm_redirect_context, app_id) == 88, "pm_redirect_context.app_id");
_Static_assert(offsetof(pm_status_reply, counters) == 304, "pm_status_reply.counters");

#endif
