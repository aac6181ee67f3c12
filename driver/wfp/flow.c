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

static const pm_layer_fields pm_redirect_fields = {
    FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_ALE_APP_ID,
    FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_LOCAL_ADDRESS,
    FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_PROTOCOL,
    FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_REMOTE_ADDRESS,
    FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_DESTINATION_ADDRESS_TYPE,
    FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_IP_REMOTE_PORT,
    FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_FLAGS,
    FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_COMPARTMENT_ID,
};

static const pm_layer_fields pm_auth_fields = {
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_ALE_APP_ID,
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_LOCAL_ADDRESS,
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_PROTOCOL,
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_REMOTE_ADDRESS,
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_DESTINATION_ADDRESS_TYPE,
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_IP_REMOTE_PORT,
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_FLAGS,
    FWPS_FIELD_ALE_AUTH_CONNECT_V4_COMPARTMENT_ID,
};

// A value of the documented type, or NULL: newer systems append fields, and some are unknown at run time.
static const FWP_VALUE0*
value_of(const FWPS_INCOMING_VALUES0* values, uint16_t field, FWP_DATA_TYPE type)
{
    const FWP_VALUE0* value;

    if (field >= values->valueCount) {
        return NULL;
    }
    value = &values->incomingValue[field].value;
    return value->type == type ? value : NULL;
}

// Addresses come as host-order integers (V4) or as 16 bytes in network order (V6).
static int
read_address(const FWPS_INCOMING_VALUES0* values, uint16_t field, int v6, uint8_t address[16])
{
    const FWP_VALUE0* value = value_of(values, field, v6 ? FWP_BYTE_ARRAY16_TYPE : FWP_UINT32);

    if (value == NULL || (v6 && value->byteArray16 == NULL)) {
        return 0;
    }
    if (v6) {
        RtlCopyMemory(address, value->byteArray16->byteArray16, 16);
        return 1;
    }
    for (uint32_t i = 0; i < 4; i++) {
        address[i] = (uint8_t)(value->uint32 >> (24u - 8u * i));
    }
    return 1;
}

static void
read_app_id(const FWPS_INCOMING_VALUES0* values, uint16_t field, pm_flow* flow)
{
    const FWP_VALUE0* value = value_of(values, field, FWP_BYTE_BLOB_TYPE);
    const FWP_BYTE_BLOB* blob = value == NULL ? NULL : value->byteBlob;
    uint32_t size;

    if (blob == NULL || blob->data == NULL) {
        return;
    }
    size = blob->size & ~1u; // UTF-16: an odd byte is nobody's
    if (size >= 2 && blob->data[size - 2] == 0 && blob->data[size - 1] == 0) {
        size -= 2;
    }
    flow->app_id = blob->data;
    flow->app_id_size = (uint16_t)(size > 0xFFFE ? 0xFFFE : size);
}

static void
read_remote(const FWPS_INCOMING_VALUES0* values, const pm_layer_fields* fields, int v6, pm_flow* flow)
{
    uint8_t v4[4];

    if (!read_address(values, fields->remote_address, v6, flow->remote_address)) {
        flow->malformed = 1;
        return;
    }
    flow->family = v6 ? 6 : 4;
    if (v6 && pm_address_unmap(flow->remote_address, v4)) {
        RtlZeroMemory(flow->remote_address, sizeof(flow->remote_address));
        RtlCopyMemory(flow->remote_address, v4, sizeof(v4));
        flow->family = 4;
        flow->mapped = 1;
    }
}

static void
read_local(const FWPS_INCOMING_VALUES0* values, const pm_layer_fields* fields, int v6, pm_flow* flow)
{
    uint8_t address[16] = {0};
    pm_address_kind kind;

    if (!read_address(values, fields->local_address, v6, address)) {
        return; // not known yet, which is what "unspecified" means here too
    }
    kind = v6 ? pm_address_kind_v6(address) : pm_address_kind_v4(address);
    flow->local_is_specific = kind != PM_ADDRESS_LOOPBACK && !pm_address_is_zero(address, v6 ? 16 : 4);
    if (v6 && flow->mapped && pm_address_is_zero(address, 10) && pm_address_is_zero(address + 12, 4)) {
        flow->local_is_specific = 0; // ::ffff:0.0.0.0
    }
}

_Use_decl_annotations_ void
pm_flow_from_wfp(
    const FWPS_INCOMING_VALUES0* values, const FWPS_INCOMING_METADATA_VALUES0* metadata, pm_flow* flow)
{
    int v6 = values->layerId == FWPS_LAYER_ALE_CONNECT_REDIRECT_V6 || values->layerId == FWPS_LAYER_ALE_AUTH_CONNECT_V6;
    int redirect = values->layerId == FWPS_LAYER_ALE_CONNECT_REDIRECT_V4
                   || values->layerId == FWPS_LAYER_ALE_CONNECT_REDIRECT_V6;
    const pm_layer_fields* fields = redirect ? &pm_redirect_fields : &pm_auth_fields;
    const FWP_VALUE0* protocol = value_of(values, fields->protocol, FWP_UINT8);
    const FWP_VALUE0* port = value_of(values, fields->remote_port, FWP_UINT16);
    const FWP_VALUE0* flags = value_of(values, fields->flags, FWP_UINT32);
    const FWP_VALUE0* type = value_of(values, fields->destination_type, FWP_UINT8);
    const FWP_VALUE0* compartment = value_of(values, fields->compartment, FWP_UINT32);

    RtlZeroMemory(flow, sizeof(*flow));
    flow->layer = values->layerId;
    if (FWPS_IS_METADATA_FIELD_PRESENT(metadata, FWPS_METADATA_FIELD_PROCESS_ID)) {
        flow->has_pid = 1;
        flow->pid = (uint32_t)metadata->processId;
    }
    read_app_id(values, fields->app_id, flow);
    read_remote(values, fields, v6, flow);
    if (protocol == NULL || port == NULL || flags == NULL) {
        flow->malformed = 1;
    }
    if (flow->malformed) {
        return;
    }
    read_local(values, fields, v6, flow);
    flow->protocol = protocol->uint8;
    flow->remote_port = port->uint16;
    flow->raw_endpoint = (flags->uint32 & FWP_CONDITION_FLAG_IS_RAW_ENDPOINT) != 0;
    flow->reauthorization = (flags->uint32 & FWP_CONDITION_FLAG_IS_REAUTHORIZE) != 0;
    // The second mark is the extra authorization, as if never redirected, of a connection that was.
    flow->redirected = (flags->uint32
                        & (FWP_CONDITION_FLAG_IS_CONNECTION_REDIRECTED
                           | FWP_CONDITION_FLAG_IS_HONORING_POLICY_AUTHORIZE))
                       != 0;
    flow->multicast = type != NULL && (type->uint8 == NlatMulticast || type->uint8 == NlatBroadcast);
    flow->compartment = compartment == NULL ? 0 : compartment->uint32;
}

_Use_decl_annotations_ uint64_t
pm_flow_process_start(const pm_flow* flow)
{
    // Looking a PID up is not allowed at DISPATCH_LEVEL; the current process may be asked at any level.
    if (!flow->has_pid || (uint32_t)(uintptr_t)PsGetCurrentProcessId() != flow->pid) {
        return 0;
    }
    return (uint64_t)PsGetProcessCreateTimeQuadPart(PsGetCurrentProcess());
}

_Use_decl_annotations_ int
pm_flow_is_reported(const pm_decision* decision)
{
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
