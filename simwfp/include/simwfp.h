// simwfp: a model of the NT kernel and of the Windows Filtering Platform, as a library for tests and for the lab.
//
// A driver's sources are compiled with this folder first on the include path and call ntddk.h, fwpsk.h and fwpmk.h as on
// Windows.  This header is the other side: how a test, or the lab, drives that kernel.  One kernel exists per process.
// Whatever a driver does wrong (wrong IRQL, a write without the right, an Acquire without Apply, a leak at unload) ends the
// program with a message: a simulator that forgives proves nothing.
#ifndef SIMWFP_H
#define SIMWFP_H

#include <stddef.h>
#include <stdint.h>

#include "fwpmk.h"
#include "fwpsk.h"
#include "ntddk.h"

// What Windows leaves open, or what its documentation and its observed behaviour disagree about (wfp-engine.md 7).
typedef struct sim_knobs {
    uint32_t native_block_vetoes;   // 0: a plain BLOCK filter cannot veto a hard permit; 1: it can
    uint32_t acquire_sets_block;    // 1: acquiring writable data sets BLOCK and takes the right; 0: leaves them
    uint32_t block_at_redirect;     // 0: BLOCK at CONNECT_REDIRECT is ignored (and noted); 1: enforced
    uint32_t local_address_writable; // 0: a changed local address is ignored; 1: it takes effect for TCP
    uint32_t v4mapped_v6_only;      // 0: a mapped connect is authorized at V4; 1: at V6
    uint32_t auth_twice;            // 0: non-loopback TCP redirects only; 1: always; 2: never
    uint32_t auto_weight;           // of FWP_EMPTY weights.  0: the measured table; 1: flat; 2: shuffled by tie_seed
    uint32_t tie_order;             // 0: shuffled by tie_seed; 1: order of adding; 2: the reverse
    uint32_t tie_seed;
    uint32_t entry_action_so_far;   // actionType enters as: 0: NONE while the right is there, else the action so far; 1: the
                                    // action so far; 2: NONE, which shows a write that repeats what stands
    uint32_t empty_matches_not_equal;
    uint32_t unregistered_block_soft;
    uint32_t reauth_block_drops;    // 0: a blocked reauthorization resets the flow; 1: its packets vanish
    uint32_t peer_is_redirected;    // getpeername after a redirect.  0: the original destination; 1: the new one
    uint32_t classify_irql;         // PASSIVE_LEVEL or DISPATCH_LEVEL
    uint32_t real_clock;            // 1: time passes by itself; 0: only by sim_advance
    uint32_t bfe_stopped;           // 1: Fwpm calls fail until sim_bfe_start
} sim_knobs;

// knobs NULL: all 0 but acquire_sets_block.  SIMWFP_KNOBS in the environment ("tie_seed=7,auth_twice=2") changes those
// that the caller left at their defaults, so that a whole test suite can be run under other knobs.
void sim_boot(const sim_knobs* knobs);
const sim_knobs* sim_knobs_now(void);
void sim_shutdown(void);               // aborts if the driver is loaded or anything leaked

// The driver.  Loading runs DriverEntry at PASSIVE_LEVEL; unloading aborts if anything of it is left.
NTSTATUS sim_load_driver(PDRIVER_INITIALIZE entry);
void sim_unload_driver(void);

// Booting and loading in one step, for a driver that is linked into the same library.
NTSTATUS sim_lab_start_with(const sim_knobs* knobs);
void sim_lab_stop(void);

// Processes.  `start` is 100 ns since 1601.  A pid may be used again once the process object is gone: after its exit and
// after the last reference of the driver.
void sim_process_start(uint32_t pid, uint32_t parent, uint64_t start, const uint16_t* image, uint32_t image_bytes);
void sim_process_exit(uint32_t pid);
uint32_t sim_process_references(uint32_t pid); // the driver's, 0 if there is no such object

// Who a process is: its user, and the package it belongs to (SIDs in binary form).  NULL: the default user S-1-5-21-1,
// no package (S-1-0-0).
void sim_process_identity(uint32_t pid, const void* user_sid, const void* package_sid);
// The groups it is in, at most four.  As it starts: Administrators S-1-5-32-544 and Everyone S-1-1-0.
void sim_process_groups(uint32_t pid, const void* const* sids, uint32_t count);

// The control device, as CreateFile, DeviceIoControl and CloseHandle reach it.
typedef struct sim_file sim_file;
NTSTATUS sim_open(uint32_t pid, uint32_t access, const uint16_t* name_below, sim_file** file); // access: FILE_READ_DATA 1, FILE_WRITE_DATA 2
NTSTATUS sim_ioctl(
    sim_file* file, uint32_t pid, uint32_t code, const void* in, uint32_t in_size, void* out, uint32_t out_size,
    uint32_t* information);
void sim_cleanup(sim_file* file, uint32_t pid); // last handle closed, in the context of `pid`
void sim_close(sim_file* file);                 // cleanup if not done, then close

// The filter engine for user-mode callers: results are FWP_E_* (0x8032....), objects belong to `pid`, and every call is checked
// against the access rights of its token.  What has no function here is called by its kernel name with a user's engine handle:
// sim_user_error(FwpmSubLayerAdd0(engine, ...)).
uint32_t sim_user_error(NTSTATUS status); // as fwpuclnt.dll says it
uint32_t sim_user_engine_open(uint32_t pid, const FWPM_SESSION0* session, HANDLE* engine);
uint32_t sim_user_engine_close(HANDLE engine);
uint32_t sim_user_transaction_begin(HANDLE engine, uint32_t flags);
uint32_t sim_user_transaction_commit(HANDLE engine);
uint32_t sim_user_transaction_abort(HANDLE engine);
uint32_t sim_user_filter_add(HANDLE engine, const FWPM_FILTER0* filter, uint64_t* id);
uint32_t sim_user_filter_delete(HANDLE engine, uint64_t id);
uint32_t sim_user_filter_delete_by_key(HANDLE engine, const GUID* key);
uint32_t sim_user_provider_add(HANDLE engine, const FWPM_PROVIDER0* provider);
uint32_t sim_user_provider_delete_by_key(HANDLE engine, const GUID* key);
uint32_t sim_user_sublayer_add(HANDLE engine, const FWPM_SUBLAYER0* sublayer);
uint32_t sim_user_sublayer_delete_by_key(HANDLE engine, const GUID* key);
uint32_t sim_user_filter_subscribe(HANDLE engine, FWPM_FILTER_CHANGE_CALLBACK0 callback, void* context, HANDLE* change);
uint32_t sim_user_filter_unsubscribe(HANDLE engine, HANDLE change);
int sim_filter_effective_weight(uint64_t id, uint64_t* weight); // 0: no such filter
int sim_filter_disabled(uint64_t id);                           // kept at BFE start, but not enforced

// The Base Filtering Engine.  Stopping it forgets all but persistent and boot-time objects; starting it enables of those
// what has no provider service, or one that starts by itself.  A restart of the machine stops it too, and enforces the
// boot-time filters until it runs again.
void sim_bfe_start(void);
void sim_bfe_stop(void);
void sim_machine_restart(void);              // no driver may be loaded
void sim_service_auto_start(PCWSTR service); // known to start by itself

// One connect(), or the first send of UDP to a destination.
typedef struct sim_connect_request {
    uint32_t pid;
    uint8_t family;   // 4 or 6: of the socket address
    uint8_t protocol; // IANA
    uint16_t local_port;
    uint16_t remote_port;
    uint16_t reserved; // NL_ADDRESS_TYPE of the destination, as WFP sees it; 0: what the address says
    uint32_t compartment; // 0 means 1, the default one
    uint8_t local_address[16]; // network order, IPv4 in the first four bytes
    uint8_t remote_address[16];
    const uint8_t* app_id; // with terminator, as WFP has it
    uint64_t app_id_size;
    uint64_t endpoint; // transport endpoint handle
    uint64_t records;  // flow whose redirect records the socket carries, or 0
    uint32_t flags;    // FWP_CONDITION_FLAG_* to add
    uint32_t no_process; // 1: WFP names no process
} sim_connect_request;

typedef struct sim_connect_result {
    uint32_t blocked;    // 1: connect() fails with WSAEACCES
    uint32_t redirected; // 1: remote is not what was asked
    uint8_t remote_address[16];
    uint16_t remote_port;
    uint16_t reserved;
    uint32_t action;           // FWP_ACTION_* of the redirect layer
    uint32_t redirect_classifies;
    uint32_t auth_classifies;
    uint64_t flow;             // for sim_flow_*; 0 if nobody redirected it
} sim_connect_result;

void sim_connect(const sim_connect_request* request, sim_connect_result* result);
const SOCKADDR_STORAGE* sim_last_remote(void); // where the redirect layer left the last connect of this thread, in full

// What the proxy asks of an accepted connection.  Returns the bytes of the context, copied if they fit; 0: none.
uint32_t sim_flow_context(uint64_t flow, void* out, uint32_t out_size);
void sim_flow_close(uint64_t flow); // the flow is gone: WFP frees its contexts

// ---- sockets: the same layers, with everything that happens before, between and after ----

// What Winsock says.  SIM_PENDED is the simulator's own: the call waits for a callout to complete it.
enum {
    SIM_OK = 0,
    SIM_EACCES = 10013,
    SIM_ECONNRESET = 10054,
    SIM_ENOTCONN = 10057,
    SIM_ETIMEDOUT = 10060,
    SIM_ECONNREFUSED = 10061,
    SIM_PENDED = 997,
};

typedef struct sim_socket sim_socket;

sim_socket* sim_socket_open(const sim_connect_request* like); // its destination is not used
int sim_socket_listen(sim_socket* socket, uint16_t port);     // on every local address of its family, and on loopback
// TCP: connects; whether a listener is there matters for loopback only, every other host answers.  UDP: remembers the peer.
int sim_socket_connect(sim_socket* socket, const uint8_t address[16], uint16_t port);
int sim_socket_finish(sim_socket* socket); // after SIM_PENDED: the outcome, or SIM_PENDED still
int sim_socket_send(sim_socket* socket);   // one packet out on the connection, or to the UDP peer
int sim_socket_send_to(sim_socket* socket, const uint8_t address[16], uint16_t port); // UDP
int sim_socket_receive(sim_socket* socket); // one packet in
sim_socket* sim_socket_accept(sim_socket* listener); // NULL: nobody has connected
void sim_socket_peer(const sim_socket* socket, uint8_t address[16], uint16_t* port); // getpeername
const sim_connect_result* sim_socket_result(const sim_socket* socket);
uint64_t sim_socket_flow(const sim_socket* socket); // flow handle, as in FWPS_METADATA_FIELD_FLOW_HANDLE
// SIO_QUERY_WFP_CONNECTION_REDIRECT_CONTEXT: BUFFER_TOO_SMALL with the size in `needed`, SUCCESS, or NOT_FOUND.
NTSTATUS sim_socket_query_context(const sim_socket* socket, void* out, uint32_t out_size, uint32_t* needed);
// SIO_QUERY and SIO_SET_WFP_CONNECTION_REDIRECT_RECORDS in one: `to` gets the records of `from`, an accepted socket.
NTSTATUS sim_socket_copy_records(const sim_socket* from, sim_socket* to);
void sim_socket_close(sim_socket* socket);

// ---- what happened ----

#define SIM_MAX_TERMINATING 8u

// One classification.
typedef struct sim_classify_result {
    uint32_t action; // FWP_ACTION_PERMIT, BLOCK, or NONE if nothing matched
    uint32_t hard;
    uint64_t winner; // filter id, 0: none
    uint32_t calls;  // callouts called
    uint32_t violations;
    uint32_t vetoes;
    uint32_t absorbed;
    uint32_t examined; // filters that were tried
    uint32_t reserved;
    uint32_t tie_dependent; // another order of equal weights could have given another action
    uint32_t terminating_count;
    uint64_t terminating[SIM_MAX_TERMINATING]; // the filter that decided in each sublayer, in order
} sim_classify_result;

typedef struct sim_trace_entry {
    uint16_t layer; // FWPS_LAYER_*
    uint16_t remote_port;
    uint32_t flags; // FWP_CONDITION_FLAG_*
    uint32_t reauthorize_reason;
    uint64_t endpoint;
    uint8_t remote_address[16];
    sim_classify_result result;
} sim_trace_entry;

void sim_trace_start(void); // forgets what was traced; every classification from now on is
// The nth since sim_trace_start; NULL: there were not so many (or more than 256).
const sim_trace_entry* sim_trace(uint32_t nth);

// Classifies by trying every filter instead of by the index: the oracle of the differential test.
void sim_classify_by_brute_force(int on);

// Time: 100 ns.  With real_clock 0 it stands still between calls.
void sim_advance(uint64_t hundred_ns);
uint64_t sim_now(void);

// Faults and books.
void sim_fail_call(uint32_t nth);    // the nth call from now that can fail, fails; 0: none
// As sim_fail_call, but of the calls inside a transaction, and the abort that follows fails too.
void sim_fail_call_and_abort(uint32_t nth);
// What the next calls of FwpsCalloutUnregister* return, in order, without unregistering anything.
void sim_unregister_answers(const NTSTATUS* answers, uint32_t count);
// What FwpsAcquireWritableLayerDataPointer0 gives when it succeeds: what it should, nothing, or a request of another family.
typedef enum sim_acquire_result { SIM_ACQUIRE_DATA, SIM_ACQUIRE_NULL, SIM_ACQUIRE_OTHER_FAMILY } sim_acquire_result;
void sim_acquire_gives(sim_acquire_result what);
const char* sim_failed_call(uint32_t nth); // the nth different call that was made to fail in this program; NULL: no more
uint32_t sim_calls(void);            // calls that could have failed since sim_fail_call
uint32_t sim_live_allocations(void); // pool blocks of the driver
uint32_t sim_open_handles(void);     // classify handles and un-applied writable data
uint32_t sim_object_count(void);     // objects of the filter engine that are not built in
uint32_t sim_open_enumerations(void); // handles of Fwpm*CreateEnumHandle0
uint32_t sim_live_results(void);      // what FwpmFreeMemory0 has still to free, of everybody
uint32_t sim_violations(void);       // contract violations counted, not fatal ones
const char* sim_last_violation(void);
// NULL: abort with the message on standard error (default).  A test of simwfp itself may take it instead.
void sim_on_misuse(void (*handler)(const char* message));

#endif
