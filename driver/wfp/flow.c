#include "flow.h"

#include "decide/address.h"

// Which incoming value is what, per layer (fwpsk.h: FWPS_FIELDS_ALE_*; V4 and V6 have the same order).
typedef struct pm_layer_fields {
    uint16_t app_id;
    uint16_t local_address;
    uint16_t protocol;
    uint16_t remote_address;
    uint16_t destination_type;
    uint16_t remote_port;
    uint16_t flags;
    uint16_t compartment;
} pm_layer_fields;

#define PM_FIELDS(layer)                                                                                              \
    {layer##_ALE_APP_ID, layer##_IP_LOCAL_ADDRESS, layer##_IP_PROTOCOL, layer##_IP_REMOTE_ADDRESS,                    \
     layer##_IP_DESTINATION_ADDRESS_TYPE, layer##_IP_REMOTE_PORT, layer##_FLAGS, layer##_COMPARTMENT_ID}

static const pm_layer_fields pm_redirect_fields = PM_FIELDS(FWPS_FIELD_ALE_CONNECT_REDIRECT_V4);
static const pm_layer_fields pm_auth_fields = PM_FIELDS(FWPS_FIELD_ALE_AUTH_CONNECT_V4);

// Host order (V4) to the order of the wire.
static void put_v4(uint32_t value, uint8_t address[4]) {
    address[0] = (uint8_t)(value >> 24);
    address[1] = (uint8_t)(value >> 16);
    address[2] = (uint8_t)(value >> 8);
    address[3] = (uint8_t)value;
}

static void read_app_id(const FWP_VALUE0* value, pm_flow* flow) {
    const FWP_BYTE_BLOB* blob = value->type == FWP_BYTE_BLOB_TYPE ? value->byteBlob : NULL;
    uint32_t size;

    if (blob == NULL || blob->data == NULL) {
        return;
    }
    size = blob->size & ~1u; // UTF-16: an odd byte is nobody's
    if (size != 0 && blob->data[size - 2] == 0 && blob->data[size - 1] == 0) {
        size -= 2;
    }
    flow->app_id = blob->data;
    flow->app_id_size = (uint16_t)(size > 0xFFFE ? 0xFFFE : size);
}

// 0: of another type than documented.
static int read_remote(const FWP_VALUE0* value, pm_flow* flow) {
    uint8_t v4[4];

    if (value->type == FWP_UINT32) {
        put_v4(value->uint32, flow->remote_address);
        flow->family = 4;
        return 1;
    }
    if (value->type != FWP_BYTE_ARRAY16_TYPE || value->byteArray16 == NULL) {
        return 0;
    }
    flow->family = 6;
    RtlCopyMemory(flow->remote_address, value->byteArray16->byteArray16, sizeof(flow->remote_address));
    if (pm_address_unmap(flow->remote_address, v4)) {
        RtlZeroMemory(flow->remote_address, sizeof(flow->remote_address));
        RtlCopyMemory(flow->remote_address, v4, sizeof(v4));
        flow->family = 4;
        flow->mapped = 1;
    }
    return 1;
}

// Bound to an address of one network?  Not known yet is what "unspecified" means here too.
static int is_specific(const FWP_VALUE0* value) {
    uint8_t v4[4];
    const uint8_t* v6;

    if (value->type == FWP_UINT32) {
        return value->uint32 != 0 && value->uint32 >> 24 != 127;
    }
    if (value->type != FWP_BYTE_ARRAY16_TYPE || value->byteArray16 == NULL) {
        return 0;
    }
    v6 = value->byteArray16->byteArray16;
    if (pm_address_unmap(v6, v4)) {
        return !pm_address_is_zero(v4, sizeof(v4)) && v4[0] != 127;
    }
    return !pm_address_is_zero(v6, 16) && pm_address_kind_v6(v6) != PM_ADDRESS_LOOPBACK;
}

static void read_flags(uint32_t flags, pm_flow* flow) {
    flow->raw_endpoint = (flags & FWP_CONDITION_FLAG_IS_RAW_ENDPOINT) != 0;
    flow->reauthorization = (flags & FWP_CONDITION_FLAG_IS_REAUTHORIZE) != 0;
    // The second mark is the extra authorization, as if never redirected, of a connection that was.
    flow->redirected = (flags
                        & (FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED
                           | FWP_CONDITION_FLAG_IS_HONORING_POLICY_AUTHORIZE))
                       != 0;
}

// Inlined twice, so that the positions are constants.
static FORCEINLINE void read_flow(
    const pm_layer_fields* fields, const FWPS_INCOMING_VALUES0* values,
    const FWPS_INCOMING_METADATA_VALUES0* metadata, pm_flow* flow) {
    const FWPS_INCOMING_VALUE0* in = values->incomingValue;

    RtlZeroMemory(flow, sizeof(*flow));
    flow->layer = values->layerId;
    if (FWPS_IS_METADATA_FIELD_PRESENT(metadata, FWPS_METADATA_FIELD_PROCESS_ID)) {
        flow->has_pid = 1;
        flow->pid = (uint32_t)metadata->processId;
    }
    if (values->valueCount <= fields->compartment) { // the last one that we read; newer systems append
        flow->malformed = 1;
        return;
    }
    read_app_id(&in[fields->app_id].value, flow);
    if (in[fields->protocol].value.type != FWP_UINT8 || in[fields->remote_port].value.type != FWP_UINT16
        || in[fields->flags].value.type != FWP_UINT32 || !read_remote(&in[fields->remote_address].value, flow)) {
        flow->malformed = 1;
        return;
    }
    flow->protocol = in[fields->protocol].value.uint8;
    flow->remote_port = in[fields->remote_port].value.uint16;
    flow->local_is_specific = (uint8_t)is_specific(&in[fields->local_address].value);
    read_flags(in[fields->flags].value.uint32, flow);
    if (in[fields->destination_type].value.type == FWP_UINT8) {
        uint8_t type = in[fields->destination_type].value.uint8;
        flow->multicast = type == NlatMulticast || type == NlatBroadcast;
    }
    if (in[fields->compartment].value.type == FWP_UINT32) {
        flow->compartment = in[fields->compartment].value.uint32;
    }
}

_Use_decl_annotations_ void pm_flow_at_redirect(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, pm_flow* flow) {
    read_flow(&pm_redirect_fields, values, metadata, flow);
}

_Use_decl_annotations_ void pm_flow_at_authorize(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, pm_flow* flow) {
    read_flow(&pm_auth_fields, values, metadata, flow);
}

_Use_decl_annotations_ uint64_t pm_flow_process_start(const pm_flow* flow) {
    // Looking a PID up is not allowed at DISPATCH_LEVEL; the current process may be asked at any level.
    if (!flow->has_pid || (uint32_t)(uintptr_t)PsGetCurrentProcessId() != flow->pid) {
        return 0;
    }
    return (uint64_t)PsGetProcessCreateTimeQuadPart(PsGetCurrentProcess());
}

_Use_decl_annotations_ int pm_flow_is_reported(const pm_decision* decision) {
    switch (decision->reason) {
    case PM_REASON_NO_PROXY:
    case PM_REASON_OWN_PROCESS:
    case PM_REASON_ALREADY_REDIRECTED:
    case PM_REASON_INACTIVE_REGISTRATION:
    case PM_REASON_REDIRECT_AUTHORIZED:
    case PM_REASON_REAUTHORIZATION:
        return 0;
    default:
        return 1;
    }
}
