// One connect() and what comes of it: incoming values, writable layer data and records, the layers in their order, flows.
#ifndef SIM_CONNECTION_H
#define SIM_CONNECTION_H

#include "classify.h"

// ---- layer_data.c: redirect handles, records, writable layer data; pending.c: classify handles, pending ----

#define SIM_MAX_RECORDS 8u
#define SIM_MAX_VERSIONS 8u

// Who redirected a connection, newest last.  Contexts belong to the flow that made them.
typedef struct sim_records {
    uint32_t count;
    struct {
        HANDLE handle;
        void* context;
        SIZE_T size;
    } entries[SIM_MAX_RECORDS];
} sim_records;

// What classifyContext points at.
typedef struct sim_pending {
    uint32_t magic;
    uint16_t layer;
    int reauthorization;
    FWPS_CONNECT_REQUEST0* versions[SIM_MAX_VERSIONS]; // applied ones, oldest first; [0] is what the app asked
    uint32_t version_count;
    FWPS_CONNECT_REQUEST0* acquired;
    uint32_t handles;
    int pended; // FwpsPendClassify0 or FwpsPendOperation0
    int completed;
    int has_out;
    FWPS_CLASSIFY_OUT0 out; // of the completion
} sim_pending;

sim_pending* sim_pending_of(const void* context, const char* call); // NULL, and a misuse: it is none
void sim_pending_check_unloaded(void);
void sim_pending_start(sim_pending* pending, uint16_t layer);
void sim_pending_end(sim_pending* pending);
void sim_callout_returned(void* classify_context); // nothing acquired may be left
void sim_layer_data_check_unloaded(void);

// ---- values.c: incoming values and metadata ----

#define SIM_MAX_FIELDS 64u

typedef struct sim_endpoint {
    uint8_t family;
    uint8_t address[16];
    uint16_t port;
} sim_endpoint;

typedef struct sim_values {
    FWPS_INCOMING_VALUES0 values;
    FWPS_INCOMING_VALUE0 fields[SIM_MAX_FIELDS];
    FWPS_INCOMING_METADATA_VALUES0 metadata;
    FWP_BYTE_BLOB app_id;
    FWP_BYTE_BLOB token;
    sim_token identity; // what `token` points at
    FWP_BYTE_ARRAY16 local;
    FWP_BYTE_ARRAY16 remote;
    SOCKADDR_STORAGE original;
} sim_values;

int sim_is_mapped(const uint8_t* address);
int sim_is_loopback(uint8_t family, const uint8_t* address);
void sim_put_sockaddr(SOCKADDR_STORAGE* to, uint8_t family, const uint8_t* address, uint16_t port);
void sim_get_sockaddr(const SOCKADDR_STORAGE* from, sim_endpoint* to);
void sim_values_fill(
    sim_values* v, uint16_t layer, const sim_connect_request* from, const sim_endpoint* remote, uint32_t flags);
void sim_values_put(sim_values* v, uint16_t layer, const GUID* key, FWP_VALUE0 value);
void sim_values_original(sim_values* v, const sim_endpoint* original, uint32_t target_pid);

// ---- flows.c ----

uint64_t sim_flow_new(const sim_pending* pending, const sim_records* inherited);
void sim_flow_records(uint64_t flow, sim_records* records);
void sim_flows_reset(void);

// ---- connect.c: the ALE layers in their order, for one connect ----

typedef enum sim_stage {
    SIM_STAGE_REDIRECT,
    SIM_STAGE_HONOR, // the authorization of the original destination, if there is one
    SIM_STAGE_AUTHORIZE,
    SIM_STAGE_DONE,
} sim_stage;

typedef struct sim_connection {
    sim_connect_request request;
    uint8_t* app_id; // owned copy
    sim_stage stage;
    sim_endpoint original, remote;
    sim_records records;
    sim_pending pending; // of the redirect layer, then of each authorization
    sim_values* values;
    sim_classification run;
    int running; // a classification is under way (pended)
    int redirected;
    uint32_t target_pid;
    uint64_t redirect_flow; // records and contexts; 0: none
    uint64_t handle;        // flow handle
    sim_connect_result result;
} sim_connection;

void sim_connection_start(sim_connection* connection, const sim_connect_request* request, uint64_t handle);
int sim_connection_run(sim_connection* connection); // 1: done, `result` says how; 0: pended
void sim_connection_redirect_only(sim_connection* connection);
void sim_connection_end(sim_connection* connection);
// Runs one authorization; 0: blocked.
int sim_authorize_once(
    const sim_connect_request* request, uint16_t layer, const sim_endpoint* remote, uint32_t flags, uint32_t reason,
    uint64_t handle, sim_classify_result* result);
uint16_t sim_auth_layer(sim_endpoint* remote, uint16_t v4, uint16_t v6); // unmaps if the knob says so

// ---- sockets.c ----

void sim_sockets_reset(void);

#endif
