// \\.\SimWfp: how a test, and the stand-in fwpuclnt.dll, reach the simulated filter engine in winedevice.exe.
//
// METHOD_BUFFERED, little-endian, fixed widths.  `error` is a Win32 or FWP_E_* code, as FwpmXxx0 would return it.
// A handle holds at most one engine session, and its close ends the session: so does the death of its process.
#ifndef SIM_WINE_TEST_DEVICE_H
#define SIM_WINE_TEST_DEVICE_H

#include <stdint.h>

#define SIM_CTL_CODE(function) ((0x22u << 16) | ((function) << 2))
#define SIM_IOCTL_ENGINE_OPEN SIM_CTL_CODE(0x900u)   // in: uint32_t session flags; out: sim_reply
#define SIM_IOCTL_BEGIN SIM_CTL_CODE(0x901u)         // in: uint32_t flags; out: sim_reply
#define SIM_IOCTL_COMMIT SIM_CTL_CODE(0x902u)        // out: sim_reply
#define SIM_IOCTL_ABORT SIM_CTL_CODE(0x903u)         // out: sim_reply
#define SIM_IOCTL_FILTER_ADD SIM_CTL_CODE(0x904u)    // in: a flat filter (filter_parts.h); out: sim_reply with the id
#define SIM_IOCTL_FILTER_DELETE SIM_CTL_CODE(0x905u) // in: uint64_t id; out: sim_reply
// in: GUID; out: sim_reply
#define SIM_IOCTL_FILTER_DELETE_KEY SIM_CTL_CODE(0x906u)
#define SIM_IOCTL_PROVIDER_DELETE_KEY SIM_CTL_CODE(0x907u)
#define SIM_IOCTL_SUBLAYER_DELETE_KEY SIM_CTL_CODE(0x908u)
#define SIM_IOCTL_FILTER_FIND_KEY SIM_CTL_CODE(0x909u)
#define SIM_IOCTL_CONNECT SIM_CTL_CODE(0x910u)       // in: sim_dial and the app id; out: sim_dialled
#define SIM_IOCTL_FLOW_CLOSE SIM_CTL_CODE(0x911u)    // in: uint64_t flow
#define SIM_IOCTL_BOOKS SIM_CTL_CODE(0x912u)         // out: sim_books
#define SIM_IOCTL_UNLOADED SIM_CTL_CODE(0x913u)      // the driver has been stopped: whatever is left is misuse

#define SIM_CONTEXT_MAX 1024u

typedef struct sim_reply {
    uint32_t error;
    uint32_t reserved;
    uint64_t id;
} sim_reply;

typedef struct sim_dial {
    uint32_t pid;
    uint8_t family;
    uint8_t protocol;
    uint16_t local_port;
    uint16_t remote_port;
    uint16_t app_id_size; // bytes after this structure
    uint8_t local_address[16];
    uint8_t remote_address[16];
    uint32_t reserved;
    uint64_t endpoint;
    uint64_t records; // flow
} sim_dial;

typedef struct sim_dialled {
    uint32_t blocked;
    uint32_t redirected;
    uint8_t remote_address[16];
    uint16_t remote_port;
    uint16_t context_size;
    uint32_t reserved;
    uint64_t flow;
    uint8_t context[SIM_CONTEXT_MAX];
} sim_dialled;

typedef struct sim_books {
    uint32_t objects;    // providers, sublayers, callouts, filters
    uint32_t handles;    // classify handles and un-applied data
    uint32_t violations; // rules a real kernel would survive
    uint32_t misuses;    // rules it would not
    uint32_t notified;   // 1: a process notification routine is registered
    uint32_t reserved;
    char last[256]; // the last message of either kind
} sim_books;

_Static_assert(sizeof(sim_reply) == 16, "sim_reply");
_Static_assert(sizeof(sim_dial) == 64, "sim_dial");
_Static_assert(sizeof(sim_dialled) == 40 + SIM_CONTEXT_MAX, "sim_dialled");
_Static_assert(sizeof(sim_books) == 280, "sim_books");

#endif
