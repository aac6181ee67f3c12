// The layers, and which incoming value of each is which field: by name, since the positions differ (fwpsk.h, FWPS_FIELDS_*).
#define INITGUID
#include "classify.h"

#include <string.h>

typedef enum sim_family { REDIRECT, AUTHORIZE, ACCEPT, ESTABLISHED, TRANSPORT, FAMILIES } sim_family;

typedef struct sim_layer_info {
    uint16_t id;
    const GUID* key;
    sim_family family;
    int v6;
} sim_layer_info;

static const sim_layer_info sim_layers[SIM_LAYERS] = {
    {FWPS_LAYER_ALE_CONNECT_REDIRECT_V4, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, REDIRECT, 0},
    {FWPS_LAYER_ALE_CONNECT_REDIRECT_V6, &FWPM_LAYER_ALE_CONNECT_REDIRECT_V6, REDIRECT, 1},
    {FWPS_LAYER_ALE_AUTH_CONNECT_V4, &FWPM_LAYER_ALE_AUTH_CONNECT_V4, AUTHORIZE, 0},
    {FWPS_LAYER_ALE_AUTH_CONNECT_V6, &FWPM_LAYER_ALE_AUTH_CONNECT_V6, AUTHORIZE, 1},
    {FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V4, &FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4, ACCEPT, 0},
    {FWPS_LAYER_ALE_AUTH_RECV_ACCEPT_V6, &FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V6, ACCEPT, 1},
    {FWPS_LAYER_ALE_FLOW_ESTABLISHED_V4, &FWPM_LAYER_ALE_FLOW_ESTABLISHED_V4, ESTABLISHED, 0},
    {FWPS_LAYER_ALE_FLOW_ESTABLISHED_V6, &FWPM_LAYER_ALE_FLOW_ESTABLISHED_V6, ESTABLISHED, 1},
    {FWPS_LAYER_OUTBOUND_TRANSPORT_V4, &FWPM_LAYER_OUTBOUND_TRANSPORT_V4, TRANSPORT, 0},
    {FWPS_LAYER_OUTBOUND_TRANSPORT_V6, &FWPM_LAYER_OUTBOUND_TRANSPORT_V6, TRANSPORT, 1},
};

static const uint32_t sim_field_counts[FAMILIES] = {
    FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_MAX, FWPS_FIELD_ALE_AUTH_CONNECT_V4_MAX,
    FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_MAX, FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_MAX,
    FWPS_FIELD_OUTBOUND_TRANSPORT_V4_MAX};

#define NONE (-1)
#define R(field) FWPS_FIELD_ALE_CONNECT_REDIRECT_V4_##field
#define A(field) FWPS_FIELD_ALE_AUTH_CONNECT_V4_##field
#define C(field) FWPS_FIELD_ALE_AUTH_RECV_ACCEPT_V4_##field
#define E(field) FWPS_FIELD_ALE_FLOW_ESTABLISHED_V4_##field
#define T(field) FWPS_FIELD_OUTBOUND_TRANSPORT_V4_##field

typedef struct sim_field_info {
    const GUID* key;
    sim_field_kind kind;
    int index[FAMILIES];
} sim_field_info;

static const sim_field_info sim_fields[] = {
    {&FWPM_CONDITION_ALE_APP_ID, SIM_FIELD_BLOB,
     {R(ALE_APP_ID), A(ALE_APP_ID), C(ALE_APP_ID), E(ALE_APP_ID), NONE}},
    {&FWPM_CONDITION_IP_REMOTE_PORT, SIM_FIELD_UINT16,
     {R(IP_REMOTE_PORT), A(IP_REMOTE_PORT), C(IP_REMOTE_PORT), E(IP_REMOTE_PORT), T(IP_REMOTE_PORT)}},
    {&FWPM_CONDITION_IP_REMOTE_ADDRESS, SIM_FIELD_ADDRESS,
     {R(IP_REMOTE_ADDRESS), A(IP_REMOTE_ADDRESS), C(IP_REMOTE_ADDRESS), E(IP_REMOTE_ADDRESS), T(IP_REMOTE_ADDRESS)}},
    {&FWPM_CONDITION_ALE_USER_ID, SIM_FIELD_TOKEN,
     {R(ALE_USER_ID), A(ALE_USER_ID), C(ALE_USER_ID), E(ALE_USER_ID), NONE}},
    {&FWPM_CONDITION_ALE_PACKAGE_ID, SIM_FIELD_SID,
     {R(ALE_PACKAGE_ID), A(ALE_PACKAGE_ID), C(ALE_PACKAGE_ID), E(ALE_PACKAGE_ID), NONE}},
    {&FWPM_CONDITION_ALE_ORIGINAL_APP_ID, SIM_FIELD_BLOB,
     {R(ALE_ORIGINAL_APP_ID), A(ALE_ORIGINAL_APP_ID), NONE, E(ALE_ORIGINAL_APP_ID), NONE}},
    {&FWPM_CONDITION_IP_LOCAL_ADDRESS, SIM_FIELD_ADDRESS,
     {R(IP_LOCAL_ADDRESS), A(IP_LOCAL_ADDRESS), C(IP_LOCAL_ADDRESS), E(IP_LOCAL_ADDRESS), T(IP_LOCAL_ADDRESS)}},
    {&FWPM_CONDITION_IP_LOCAL_PORT, SIM_FIELD_UINT16,
     {R(IP_LOCAL_PORT), A(IP_LOCAL_PORT), C(IP_LOCAL_PORT), E(IP_LOCAL_PORT), T(IP_LOCAL_PORT)}},
    {&FWPM_CONDITION_IP_PROTOCOL, SIM_FIELD_UINT8,
     {R(IP_PROTOCOL), A(IP_PROTOCOL), C(IP_PROTOCOL), E(IP_PROTOCOL), T(IP_PROTOCOL)}},
    {&FWPM_CONDITION_IP_DESTINATION_ADDRESS_TYPE, SIM_FIELD_UINT8,
     {R(IP_DESTINATION_ADDRESS_TYPE), A(IP_DESTINATION_ADDRESS_TYPE), NONE, E(IP_DESTINATION_ADDRESS_TYPE),
      T(IP_DESTINATION_ADDRESS_TYPE)}},
    {&FWPM_CONDITION_FLAGS, SIM_FIELD_UINT32, {R(FLAGS), A(FLAGS), C(FLAGS), E(FLAGS), T(FLAGS)}},
    {&FWPM_CONDITION_COMPARTMENT_ID, SIM_FIELD_UINT32,
     {R(COMPARTMENT_ID), A(COMPARTMENT_ID), C(COMPARTMENT_ID), E(COMPARTMENT_ID), T(COMPARTMENT_ID)}},
    // Routing has not happened at the redirect layer: it has no interfaces.
    {&FWPM_CONDITION_INTERFACE_INDEX, SIM_FIELD_UINT32,
     {NONE, A(INTERFACE_INDEX), C(INTERFACE_INDEX), NONE, T(INTERFACE_INDEX)}},
    {&FWPM_CONDITION_IP_ARRIVAL_INTERFACE, SIM_FIELD_UINT64,
     {NONE, A(IP_ARRIVAL_INTERFACE), C(IP_ARRIVAL_INTERFACE), NONE, NONE}},
    {&FWPM_CONDITION_ORIGINAL_PROFILE_ID, SIM_FIELD_UINT32,
     {NONE, A(ORIGINAL_PROFILE_ID), C(ORIGINAL_PROFILE_ID), NONE, NONE}},
    {&FWPM_CONDITION_CURRENT_PROFILE_ID, SIM_FIELD_UINT32,
     {NONE, A(CURRENT_PROFILE_ID), C(CURRENT_PROFILE_ID), NONE, NONE}},
    {&FWPM_CONDITION_REAUTHORIZE_REASON, SIM_FIELD_UINT32,
     {NONE, A(REAUTHORIZE_REASON), C(REAUTHORIZE_REASON), NONE, NONE}},
};

int
sim_is_equal_guid(const GUID* a, const GUID* b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

uint32_t
sim_layer_position(uint16_t layer)
{
    uint32_t at = 0;

    while (at + 1 < SIM_LAYERS && sim_layers[at].id != layer) {
        at++;
    }
    return at;
}

int
sim_layer_of_key(const GUID* key, uint16_t* layer)
{
    for (size_t i = 0; i < SIM_LAYERS; i++) {
        if (sim_is_equal_guid(sim_layers[i].key, key)) {
            *layer = sim_layers[i].id;
            return 1;
        }
    }
    return 0;
}

int
sim_layer_is_v6(uint16_t layer)
{
    return sim_layers[sim_layer_position(layer)].v6;
}

int
sim_layer_is_redirect(uint16_t layer)
{
    return sim_layers[sim_layer_position(layer)].family == REDIRECT;
}

uint32_t
sim_layer_field_count(uint16_t layer)
{
    return sim_field_counts[sim_layers[sim_layer_position(layer)].family];
}

int
sim_field_of_key(uint16_t layer, const GUID* key, uint32_t* field, sim_field_kind* kind)
{
    sim_family family = sim_layers[sim_layer_position(layer)].family;

    for (size_t i = 0; i < sizeof(sim_fields) / sizeof(sim_fields[0]); i++) {
        if (sim_is_equal_guid(sim_fields[i].key, key) && sim_fields[i].index[family] != NONE) {
            *field = (uint32_t)sim_fields[i].index[family];
            *kind = sim_fields[i].kind;
            return 1;
        }
    }
    return 0;
}
