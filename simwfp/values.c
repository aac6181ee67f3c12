// Incoming values and metadata of a classification: every field by its name, everything unknown empty or poisoned.
#include "connection.h"

#include <string.h>

static const uint8_t sim_mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

int
sim_is_mapped(const uint8_t* address)
{
    return memcmp(address, sim_mapped_prefix, sizeof(sim_mapped_prefix)) == 0;
}

int
sim_is_loopback(uint8_t family, const uint8_t* address)
{
    static const uint8_t one[16] = {[15] = 1};

    if (family == 4) {
        return address[0] == 127;
    }
    return memcmp(address, one, 16) == 0 || (sim_is_mapped(address) && address[12] == 127);
}

static uint8_t
destination_type(uint8_t family, const uint8_t* address)
{
    static const uint8_t broadcast[4] = {255, 255, 255, 255};

    if (family == 4) {
        return memcmp(address, broadcast, 4) == 0 ? NlatBroadcast : address[0] >> 4 == 14 ? NlatMulticast : NlatUnicast;
    }
    return address[0] == 0xFF ? NlatMulticast : NlatUnicast;
}

static uint32_t
host_order(const uint8_t* v4)
{
    return (uint32_t)v4[0] << 24 | (uint32_t)v4[1] << 16 | (uint32_t)v4[2] << 8 | v4[3];
}

void
sim_values_put(sim_values* v, uint16_t layer, const GUID* key, FWP_VALUE0 value)
{
    uint32_t field = 0;
    sim_field_kind kind = SIM_FIELD_UINT8;

    if (sim_field_of_key(layer, key, &field, &kind)) {
        v->fields[field].value = value;
    }
}

static void
put_address(sim_values* v, uint16_t layer, const GUID* key, FWP_BYTE_ARRAY16* storage, const uint8_t* address)
{
    if (sim_layer_is_v6(layer)) {
        memcpy(storage->byteArray16, address, 16);
        sim_values_put(v, layer, key, (FWP_VALUE0){.type = FWP_BYTE_ARRAY16_TYPE, .byteArray16 = storage});
    } else {
        sim_values_put(v, layer, key, (FWP_VALUE0){.type = FWP_UINT32, .uint32 = host_order(address)});
    }
}

// Whose connection it is: the token of the process, and its package (S-1-0-0: none, and never "unknown").
static void
put_identity(sim_values* v, uint16_t layer, uint32_t pid)
{
    v->identity = sim_token_of(pid);
    v->token = (FWP_BYTE_BLOB){sizeof(v->identity), (uint8_t*)&v->identity};
    sim_values_put(v, layer, &FWPM_CONDITION_ALE_USER_ID,
        (FWP_VALUE0){.type = FWP_TOKEN_ACCESS_INFORMATION_TYPE, .tokenAccessInformation = &v->token});
    sim_values_put(v, layer, &FWPM_CONDITION_ALE_PACKAGE_ID,
        (FWP_VALUE0){.type = FWP_SID, .sid = v->identity.package_sid});
}

// Every field by its name; what is not known stays FWP_EMPTY, and absent metadata is poisoned.
void
sim_values_fill(
    sim_values* v, uint16_t layer, const sim_connect_request* from, const sim_endpoint* remote, uint32_t flags)
{
    static const uint8_t any[16];
    const uint8_t* local = sim_layer_is_v6(layer) == (from->family == 6) ? from->local_address : any;
    FWP_VALUE0 app = {.type = FWP_BYTE_BLOB_TYPE, .byteBlob = &v->app_id};

    memset(v, 0, sizeof(*v));
    v->values = (FWPS_INCOMING_VALUES0){layer, sim_layer_field_count(layer), v->fields};
    v->app_id.size = (uint32_t)from->app_id_size;
    v->app_id.data = (uint8_t*)from->app_id;
    sim_values_put(v, layer, &FWPM_CONDITION_ALE_APP_ID, app);
    sim_values_put(v, layer, &FWPM_CONDITION_ALE_ORIGINAL_APP_ID, app);
    put_address(v, layer, &FWPM_CONDITION_IP_LOCAL_ADDRESS, &v->local, local);
    put_address(v, layer, &FWPM_CONDITION_IP_REMOTE_ADDRESS, &v->remote, remote->address);
    sim_values_put(v, layer, &FWPM_CONDITION_IP_LOCAL_PORT, (FWP_VALUE0){.type = FWP_UINT16, .uint16 = from->local_port});
    sim_values_put(v, layer, &FWPM_CONDITION_IP_REMOTE_PORT, (FWP_VALUE0){.type = FWP_UINT16, .uint16 = remote->port});
    sim_values_put(v, layer, &FWPM_CONDITION_IP_PROTOCOL, (FWP_VALUE0){.type = FWP_UINT8, .uint8 = from->protocol});
    sim_values_put(v, layer, &FWPM_CONDITION_FLAGS, (FWP_VALUE0){.type = FWP_UINT32, .uint32 = flags});
    sim_values_put(v, layer, &FWPM_CONDITION_IP_DESTINATION_ADDRESS_TYPE,
        (FWP_VALUE0){.type = FWP_UINT8, .uint8 = from->reserved != 0 ? (uint8_t)from->reserved : destination_type(remote->family, remote->address)});
    sim_values_put(v, layer, &FWPM_CONDITION_COMPARTMENT_ID,
        (FWP_VALUE0){.type = FWP_UINT32, .uint32 = from->compartment == 0 ? 1 : from->compartment});
    sim_values_put(v, layer, &FWPM_CONDITION_INTERFACE_INDEX, (FWP_VALUE0){.type = FWP_UINT32, .uint32 = 1});
    sim_values_put(v, layer, &FWPM_CONDITION_ORIGINAL_PROFILE_ID, (FWP_VALUE0){.type = FWP_UINT32, .uint32 = 1});
    sim_values_put(v, layer, &FWPM_CONDITION_CURRENT_PROFILE_ID, (FWP_VALUE0){.type = FWP_UINT32, .uint32 = 1});
    put_identity(v, layer, from->pid);

    if (flags & FWP_CONDITION_FLAG_IS_REAUTHORIZE) { // learned on the way: which interface it arrived on is not known
        sim_values_put(v, layer, &FWPM_CONDITION_INTERFACE_INDEX, (FWP_VALUE0){.type = FWP_EMPTY});
    }
    memset(&v->metadata, 0xA5, sizeof(v->metadata));
    v->metadata.currentMetadataValues = FWPS_METADATA_FIELD_TRANSPORT_ENDPOINT_HANDLE;
    v->metadata.flags = 0;
    v->metadata.transportEndpointHandle = from->endpoint;
    if (!from->no_process) {
        v->metadata.currentMetadataValues |= FWPS_METADATA_FIELD_PROCESS_ID;
        v->metadata.processId = from->pid;
    }
}

void
sim_put_sockaddr(SOCKADDR_STORAGE* to, uint8_t family, const uint8_t* address, uint16_t port)
{
    uint16_t swapped = (uint16_t)(port << 8 | port >> 8);

    memset(to, 0, sizeof(*to));
    if (family == 4) {
        SOCKADDR_IN* v4 = (SOCKADDR_IN*)to;
        v4->sin_family = AF_INET;
        v4->sin_port = swapped;
        memcpy(&v4->sin_addr, address, 4);
    } else {
        SOCKADDR_IN6* v6 = (SOCKADDR_IN6*)to;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = swapped;
        v6->sin6_flowinfo = 0x12345678; // leftovers that a redirector must not carry over
        v6->sin6_scope_id = 7;
        memcpy(&v6->sin6_addr, address, 16);
    }
}

void
sim_get_sockaddr(const SOCKADDR_STORAGE* from, sim_endpoint* to)
{
    uint16_t port;

    memset(to, 0, sizeof(*to));
    if (from->ss_family == AF_INET) {
        const SOCKADDR_IN* v4 = (const SOCKADDR_IN*)from;
        to->family = 4;
        memcpy(to->address, &v4->sin_addr, 4);
        port = v4->sin_port;
    } else {
        const SOCKADDR_IN6* v6 = (const SOCKADDR_IN6*)from;
        to->family = 6;
        memcpy(to->address, &v6->sin6_addr, 16);
        port = v6->sin6_port;
    }
    to->port = (uint16_t)(port << 8 | port >> 8);
}

void
sim_values_original(sim_values* v, const sim_endpoint* original, uint32_t target_pid)
{
    sim_put_sockaddr(&v->original, original->family, original->address, original->port);
    v->metadata.currentMetadataValues |= FWPS_METADATA_FIELD_ORIGINAL_DESTINATION
                                         | FWPS_METADATA_FIELD_LOCAL_REDIRECT_TARGET_PID;
    v->metadata.originalDestination = (SOCKADDR*)&v->original;
    v->metadata.localRedirectTargetPID = target_pid;
}
