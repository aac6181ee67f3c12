// WFP management objects: sessions, transactions, providers, sublayers, callouts, filters.
#ifndef SIM_FWPMK_H
#define SIM_FWPMK_H

#include "fwptypes.h"

typedef struct FWPM_DISPLAY_DATA0_ {
    PWSTR name;
    PWSTR description;
} FWPM_DISPLAY_DATA0;

typedef struct FWPM_SESSION0_ {
    GUID sessionKey;
    FWPM_DISPLAY_DATA0 displayData;
    UINT32 flags;
    UINT32 txnWaitTimeoutInMSec;
    DWORD processId;
    PVOID sid;
    PWSTR username;
    BOOL kernelMode;
} FWPM_SESSION0;

#define FWPM_SESSION_FLAG_DYNAMIC 0x00000001

typedef struct FWPM_PROVIDER0_ {
    GUID providerKey;
    FWPM_DISPLAY_DATA0 displayData;
    UINT32 flags;
    FWP_BYTE_BLOB providerData;
    PWSTR serviceName;
} FWPM_PROVIDER0;

typedef struct FWPM_SUBLAYER0_ {
    GUID subLayerKey;
    FWPM_DISPLAY_DATA0 displayData;
    UINT32 flags;
    GUID* providerKey;
    FWP_BYTE_BLOB providerData;
    UINT16 weight;
} FWPM_SUBLAYER0;

typedef struct FWPM_CALLOUT0_ {
    GUID calloutKey;
    FWPM_DISPLAY_DATA0 displayData;
    UINT32 flags;
    GUID* providerKey;
    FWP_BYTE_BLOB providerData;
    GUID applicableLayer;
    UINT32 calloutId;
} FWPM_CALLOUT0;

typedef struct FWPM_FILTER_CONDITION0_ {
    GUID fieldKey;
    FWP_MATCH_TYPE matchType;
    FWP_CONDITION_VALUE0 conditionValue;
} FWPM_FILTER_CONDITION0;

typedef struct FWPM_ACTION0_ {
    FWP_ACTION_TYPE type;
    union {
        GUID filterType;
        GUID calloutKey;
    };
} FWPM_ACTION0;

#define FWPM_FILTER_FLAG_PERSISTENT 0x00000001
#define FWPM_FILTER_FLAG_BOOTTIME 0x00000002
#define FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT 0x00000004
#define FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT 0x00000008
#define FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED 0x00000010
#define FWPM_FILTER_FLAG_DISABLED 0x00000020
#define FWPM_FILTER_FLAG_INDEXED 0x00000040

typedef struct FWPM_FILTER0_ {
    GUID filterKey;
    FWPM_DISPLAY_DATA0 displayData;
    UINT32 flags;
    GUID* providerKey;
    FWP_BYTE_BLOB providerData;
    GUID layerKey;
    GUID subLayerKey;
    FWP_VALUE0 weight;
    UINT32 numFilterConditions;
    FWPM_FILTER_CONDITION0* filterCondition;
    FWPM_ACTION0 action;
    union {
        UINT64 rawContext;
        GUID providerContextKey;
    };
    GUID* reserved;
    UINT64 filterId;
    FWP_VALUE0 effectiveWeight;
} FWPM_FILTER0;

typedef enum FWPM_SERVICE_STATE_ {
    FWPM_SERVICE_STOPPED = 0,
    FWPM_SERVICE_START_PENDING = 1,
    FWPM_SERVICE_STOP_PENDING = 2,
    FWPM_SERVICE_RUNNING = 3,
} FWPM_SERVICE_STATE;

typedef VOID FWPM_SERVICE_STATE_CHANGE_CALLBACK0_FN(PVOID context, FWPM_SERVICE_STATE state);
typedef FWPM_SERVICE_STATE_CHANGE_CALLBACK0_FN* FWPM_SERVICE_STATE_CHANGE_CALLBACK0;

#define FWPM_PROVIDER_FLAG_PERSISTENT 0x00000001
#define FWPM_PROVIDER_FLAG_DISABLED 0x00000010
#define FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT 0x00000001
#define FWPM_PROVIDER_CONTEXT_FLAG_DOWNLEVEL 0x00000002
#define FWPM_SUBLAYER_FLAG_PERSISTENT 0x00000001
#define FWPM_CALLOUT_FLAG_PERSISTENT 0x00010000
#define FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT 0x00020000
#define FWPM_CALLOUT_FLAG_REGISTERED 0x00040000

typedef enum FWPM_PROVIDER_CONTEXT_TYPE_ {
    FWPM_CLASSIFY_OPTIONS_CONTEXT = 7,
    FWPM_GENERAL_CONTEXT = 8,
    FWPM_PROVIDER_CONTEXT_TYPE_MAX = 13,
} FWPM_PROVIDER_CONTEXT_TYPE;

typedef struct FWPM_PROVIDER_CONTEXT0_ {
    GUID providerContextKey;
    FWPM_DISPLAY_DATA0 displayData;
    UINT32 flags;
    GUID* providerKey;
    FWP_BYTE_BLOB providerData;
    FWPM_PROVIDER_CONTEXT_TYPE type;
    union {
        FWP_BYTE_BLOB* dataBuffer;
        PVOID classifyOptions;
    };
    UINT64 providerContextId;
} FWPM_PROVIDER_CONTEXT0;

typedef struct FWPM_PROVIDER_CONTEXT2_ {
    GUID providerContextKey;
    FWPM_DISPLAY_DATA0 displayData;
    UINT32 flags;
    GUID* providerKey;
    FWP_BYTE_BLOB providerData;
    FWPM_PROVIDER_CONTEXT_TYPE type;
    union {
        FWP_BYTE_BLOB* dataBuffer;
        PVOID classifyOptions;
    };
    UINT64 providerContextId;
} FWPM_PROVIDER_CONTEXT2;

typedef struct FWPM_PROVIDER_ENUM_TEMPLATE0_ {
    UINT64 reserved;
} FWPM_PROVIDER_ENUM_TEMPLATE0;

typedef struct FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0_ {
    GUID* providerKey;
    FWPM_PROVIDER_CONTEXT_TYPE providerContextType;
} FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0;

typedef struct FWPM_SUBLAYER_ENUM_TEMPLATE0_ {
    GUID* providerKey;
} FWPM_SUBLAYER_ENUM_TEMPLATE0;

typedef struct FWPM_CALLOUT_ENUM_TEMPLATE0_ {
    GUID* providerKey;
    GUID layerKey;
} FWPM_CALLOUT_ENUM_TEMPLATE0;

typedef struct FWPM_FILTER_ENUM_TEMPLATE0_ {
    GUID* providerKey;
    GUID layerKey;
    FWP_FILTER_ENUM_TYPE enumType;
    UINT32 flags;
    FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0* providerContextTemplate;
    UINT32 numFilterConditions;
    FWPM_FILTER_CONDITION0* filterCondition;
    UINT32 actionMask;
    GUID* calloutKey;
} FWPM_FILTER_ENUM_TEMPLATE0;

#define FWPM_ACTRL_ADD 0x00000001
#define FWPM_ACTRL_ADD_LINK 0x00000002
#define FWPM_ACTRL_BEGIN_READ_TXN 0x00000004
#define FWPM_ACTRL_BEGIN_WRITE_TXN 0x00000008
#define FWPM_ACTRL_CLASSIFY 0x00000010
#define FWPM_ACTRL_ENUM 0x00000020
#define FWPM_ACTRL_OPEN 0x00000040
#define FWPM_ACTRL_READ 0x00000080
#define FWPM_ACTRL_READ_STATS 0x00000100
#define FWPM_ACTRL_SUBSCRIBE 0x00000200
#define FWPM_ACTRL_WRITE 0x00000400
#define FWPM_GENERIC_READ 0x000201D4
#define FWPM_GENERIC_EXECUTE 0x00020220
#define FWPM_GENERIC_WRITE 0x0003040B
#define FWPM_GENERIC_ALL 0x000F07FF

typedef enum FWPM_CHANGE_TYPE_ {
    FWPM_CHANGE_ADD = 1,
    FWPM_CHANGE_DELETE = 2,
    FWPM_CHANGE_TYPE_MAX = 3,
} FWPM_CHANGE_TYPE;

typedef struct FWPM_FILTER_CHANGE0_ {
    FWPM_CHANGE_TYPE changeType;
    GUID filterKey;
    UINT64 filterId;
} FWPM_FILTER_CHANGE0;

typedef VOID FWPM_FILTER_CHANGE_CALLBACK0_FN(PVOID context, const FWPM_FILTER_CHANGE0* change);
typedef FWPM_FILTER_CHANGE_CALLBACK0_FN* FWPM_FILTER_CHANGE_CALLBACK0;

#define RPC_C_AUTHN_WINNT 10
#define FWPM_TXN_READ_ONLY 0x00000001

FWPM_SERVICE_STATE FwpmBfeStateGet0(void);
NTSTATUS FwpmBfeStateSubscribeChanges0(
    void* device, FWPM_SERVICE_STATE_CHANGE_CALLBACK0 callback, void* context, HANDLE* change);
NTSTATUS FwpmBfeStateUnsubscribeChanges0(HANDLE change);
NTSTATUS FwpmEngineOpen0(PCWSTR server, UINT32 authn, PVOID identity, const FWPM_SESSION0* session, HANDLE* engine);
NTSTATUS FwpmEngineClose0(HANDLE engine);
NTSTATUS FwpmTransactionBegin0(HANDLE engine, UINT32 flags);
NTSTATUS FwpmTransactionCommit0(HANDLE engine);
NTSTATUS FwpmTransactionAbort0(HANDLE engine);
NTSTATUS FwpmProviderAdd0(HANDLE engine, const FWPM_PROVIDER0* provider, PSECURITY_DESCRIPTOR sd);
NTSTATUS FwpmProviderDeleteByKey0(HANDLE engine, const GUID* key);
NTSTATUS FwpmSubLayerAdd0(HANDLE engine, const FWPM_SUBLAYER0* sublayer, PSECURITY_DESCRIPTOR sd);
NTSTATUS FwpmSubLayerDeleteByKey0(HANDLE engine, const GUID* key);
NTSTATUS FwpmCalloutAdd0(HANDLE engine, const FWPM_CALLOUT0* callout, PSECURITY_DESCRIPTOR sd, UINT32* id);
NTSTATUS FwpmCalloutDeleteByKey0(HANDLE engine, const GUID* key);
NTSTATUS FwpmFilterAdd0(HANDLE engine, const FWPM_FILTER0* filter, PSECURITY_DESCRIPTOR sd, UINT64* id);
NTSTATUS FwpmFilterDeleteById0(HANDLE engine, UINT64 id);
NTSTATUS FwpmFilterDeleteByKey0(HANDLE engine, const GUID* key);
NTSTATUS FwpmProviderContextAdd0(
    HANDLE engine, const FWPM_PROVIDER_CONTEXT0* context, PSECURITY_DESCRIPTOR sd, UINT64* id);
NTSTATUS FwpmProviderContextDeleteById0(HANDLE engine, UINT64 id);
NTSTATUS FwpmProviderContextDeleteByKey0(HANDLE engine, const GUID* key);
NTSTATUS FwpmCalloutDeleteById0(HANDLE engine, UINT32 id);
NTSTATUS FwpmProviderContextGetById0(HANDLE engine, UINT64 id, FWPM_PROVIDER_CONTEXT0** context);
NTSTATUS FwpmCalloutGetById0(HANDLE engine, UINT32 id, FWPM_CALLOUT0** callout);
NTSTATUS FwpmFilterGetById0(HANDLE engine, UINT64 id, FWPM_FILTER0** filter);
VOID FwpmFreeMemory0(PVOID* p);

NTSTATUS FwpmProviderCreateEnumHandle0(HANDLE engine, const FWPM_PROVIDER_ENUM_TEMPLATE0* enum_template, HANDLE* handle);
NTSTATUS FwpmProviderEnum0(HANDLE engine, HANDLE handle, UINT32 requested, FWPM_PROVIDER0*** entries, UINT32* returned);
NTSTATUS FwpmProviderDestroyEnumHandle0(HANDLE engine, HANDLE handle);
NTSTATUS FwpmProviderGetByKey0(HANDLE engine, const GUID* key, FWPM_PROVIDER0** object);
NTSTATUS FwpmProviderSetSecurityInfoByKey0(
    HANDLE engine, const GUID* key, SECURITY_INFORMATION information, const SID* owner, const SID* group,
    const ACL* dacl, const ACL* sacl);

NTSTATUS FwpmProviderContextCreateEnumHandle0(HANDLE engine, const FWPM_PROVIDER_CONTEXT_ENUM_TEMPLATE0* enum_template, HANDLE* handle);
NTSTATUS FwpmProviderContextEnum0(HANDLE engine, HANDLE handle, UINT32 requested, FWPM_PROVIDER_CONTEXT0*** entries, UINT32* returned);
NTSTATUS FwpmProviderContextDestroyEnumHandle0(HANDLE engine, HANDLE handle);
NTSTATUS FwpmProviderContextGetByKey0(HANDLE engine, const GUID* key, FWPM_PROVIDER_CONTEXT0** object);
NTSTATUS FwpmProviderContextSetSecurityInfoByKey0(
    HANDLE engine, const GUID* key, SECURITY_INFORMATION information, const SID* owner, const SID* group,
    const ACL* dacl, const ACL* sacl);

NTSTATUS FwpmSubLayerCreateEnumHandle0(HANDLE engine, const FWPM_SUBLAYER_ENUM_TEMPLATE0* enum_template, HANDLE* handle);
NTSTATUS FwpmSubLayerEnum0(HANDLE engine, HANDLE handle, UINT32 requested, FWPM_SUBLAYER0*** entries, UINT32* returned);
NTSTATUS FwpmSubLayerDestroyEnumHandle0(HANDLE engine, HANDLE handle);
NTSTATUS FwpmSubLayerGetByKey0(HANDLE engine, const GUID* key, FWPM_SUBLAYER0** object);
NTSTATUS FwpmSubLayerSetSecurityInfoByKey0(
    HANDLE engine, const GUID* key, SECURITY_INFORMATION information, const SID* owner, const SID* group,
    const ACL* dacl, const ACL* sacl);

NTSTATUS FwpmCalloutCreateEnumHandle0(HANDLE engine, const FWPM_CALLOUT_ENUM_TEMPLATE0* enum_template, HANDLE* handle);
NTSTATUS FwpmCalloutEnum0(HANDLE engine, HANDLE handle, UINT32 requested, FWPM_CALLOUT0*** entries, UINT32* returned);
NTSTATUS FwpmCalloutDestroyEnumHandle0(HANDLE engine, HANDLE handle);
NTSTATUS FwpmCalloutGetByKey0(HANDLE engine, const GUID* key, FWPM_CALLOUT0** object);
NTSTATUS FwpmCalloutSetSecurityInfoByKey0(
    HANDLE engine, const GUID* key, SECURITY_INFORMATION information, const SID* owner, const SID* group,
    const ACL* dacl, const ACL* sacl);

NTSTATUS FwpmFilterCreateEnumHandle0(HANDLE engine, const FWPM_FILTER_ENUM_TEMPLATE0* enum_template, HANDLE* handle);
NTSTATUS FwpmFilterEnum0(HANDLE engine, HANDLE handle, UINT32 requested, FWPM_FILTER0*** entries, UINT32* returned);
NTSTATUS FwpmFilterDestroyEnumHandle0(HANDLE engine, HANDLE handle);
NTSTATUS FwpmFilterGetByKey0(HANDLE engine, const GUID* key, FWPM_FILTER0** object);
NTSTATUS FwpmFilterSetSecurityInfoByKey0(
    HANDLE engine, const GUID* key, SECURITY_INFORMATION information, const SID* owner, const SID* group,
    const ACL* dacl, const ACL* sacl);

#endif

DEFINE_GUID(
    FWPM_LAYER_ALE_CONNECT_REDIRECT_V4, 0xc6e63c8c, 0xb784, 0x4562, 0xaa, 0x7d, 0x0a, 0x67, 0xcf, 0xca, 0xf9, 0xa3);
DEFINE_GUID(
    FWPM_LAYER_ALE_CONNECT_REDIRECT_V6, 0x587e54a7, 0x8046, 0x42ba, 0xa0, 0xaa, 0xb7, 0x16, 0x25, 0x0f, 0xc7, 0xfd);
DEFINE_GUID(
    FWPM_LAYER_ALE_AUTH_CONNECT_V4, 0xc38d57d1, 0x05a7, 0x4c33, 0x90, 0x4f, 0x7f, 0xbc, 0xee, 0xe6, 0x0e, 0x82);
DEFINE_GUID(
    FWPM_LAYER_ALE_AUTH_CONNECT_V6, 0x4a72393b, 0x319f, 0x44bc, 0x84, 0xc3, 0xba, 0x54, 0xdc, 0xb3, 0xb6, 0xb4);
DEFINE_GUID(
    FWPM_SUBLAYER_UNIVERSAL, 0xeebecc03, 0xced4, 0x4380, 0x81, 0x9a, 0x27, 0x34, 0x39, 0x7b, 0x2b, 0x74);
DEFINE_GUID(
    FWPM_CONDITION_ALE_APP_ID, 0xd78e1e87, 0x8644, 0x4ea5, 0x94, 0x37, 0xd8, 0x09, 0xec, 0xef, 0xc9, 0x71);
DEFINE_GUID(
    FWPM_CONDITION_IP_PROTOCOL, 0x3971ef2b, 0x623e, 0x4f9a, 0x8c, 0xb1, 0x6e, 0x79, 0xb8, 0x06, 0xb9, 0xa7);
DEFINE_GUID(
    FWPM_CONDITION_IP_REMOTE_ADDRESS, 0xb235ae9a, 0x1d64, 0x49b8, 0xa4, 0x4c, 0x5f, 0xf3, 0xd9, 0x09, 0x50, 0x45);
DEFINE_GUID(
    FWPM_CONDITION_IP_REMOTE_PORT, 0xc35a604d, 0xd22b, 0x4e1a, 0x91, 0xb4, 0x68, 0xf6, 0x74, 0xee, 0x67, 0x4b);
DEFINE_GUID(
    FWPM_CONDITION_IP_LOCAL_ADDRESS, 0xd9ee00de, 0xc1ef, 0x4617, 0xbf, 0xe3, 0xff, 0xd8, 0xf5, 0xa0, 0x89, 0x57);
DEFINE_GUID(
    FWPM_CONDITION_IP_LOCAL_PORT, 0x0c1ba1af, 0x5765, 0x453f, 0xaf, 0x22, 0xa8, 0xf7, 0x91, 0xac, 0x77, 0x5b);
DEFINE_GUID(
    FWPM_CONDITION_FLAGS, 0x632ce23b, 0x5167, 0x435c, 0x86, 0xd7, 0xe9, 0x03, 0x68, 0x4a, 0xa8, 0x0c);
DEFINE_GUID(
    FWPM_CONDITION_IP_DESTINATION_ADDRESS_TYPE, 0x1ec1b7c9, 0x4eea, 0x4f5e, 0xb9, 0xef, 0x76, 0xbe, 0xaa, 0xaf, 0x17, 0xee);
DEFINE_GUID(
    FWPM_CONDITION_ALE_ORIGINAL_APP_ID, 0x0e6cd086, 0xe1fb, 0x4212, 0x84, 0x2f, 0x8a, 0x9f, 0x99, 0x3f, 0xb3, 0xf6);
DEFINE_GUID(
    FWPM_LAYER_OUTBOUND_TRANSPORT_V4, 0x09e61aea, 0xd214, 0x46e2, 0x9b, 0x21, 0xb2, 0x6b, 0x0b, 0x2f, 0x28, 0xc8);
DEFINE_GUID(
    FWPM_LAYER_OUTBOUND_TRANSPORT_V6, 0xe1735bde, 0x013f, 0x4655, 0xb3, 0x51, 0xa4, 0x9e, 0x15, 0x76, 0x2d, 0xf0);
DEFINE_GUID(
    FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4, 0xe1cd9fe7, 0xf4b5, 0x4273, 0x96, 0xc0, 0x59, 0x2e, 0x48, 0x7b, 0x86, 0x50);
DEFINE_GUID(
    FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V6, 0xa3b42c97, 0x9f04, 0x4672, 0xb8, 0x7e, 0xce, 0xe9, 0xc4, 0x83, 0x25, 0x7f);
DEFINE_GUID(
    FWPM_LAYER_ALE_FLOW_ESTABLISHED_V4, 0xaf80470a, 0x5596, 0x4c13, 0x99, 0x92, 0x53, 0x9e, 0x6f, 0xe5, 0x79, 0x67);
DEFINE_GUID(
    FWPM_LAYER_ALE_FLOW_ESTABLISHED_V6, 0x7021d2b3, 0xdfa4, 0x406e, 0xaf, 0xeb, 0x6a, 0xfa, 0xf7, 0xe7, 0x0e, 0xfd);
DEFINE_GUID(
    FWPM_CONDITION_ALE_USER_ID, 0xaf043a0a, 0xb34d, 0x4f86, 0x97, 0x9c, 0xc9, 0x03, 0x71, 0xaf, 0x6e, 0x66);
DEFINE_GUID(
    FWPM_CONDITION_ALE_PACKAGE_ID, 0x71bc78fa, 0xf17c, 0x4997, 0xa6, 0x02, 0x6a, 0xbb, 0x26, 0x1f, 0x35, 0x1c);
DEFINE_GUID(
    FWPM_CONDITION_INTERFACE_INDEX, 0x667fd755, 0xd695, 0x434a, 0x8a, 0xf5, 0xd3, 0x83, 0x5a, 0x12, 0x59, 0xbc);
DEFINE_GUID(
    FWPM_CONDITION_COMPARTMENT_ID, 0x35a791ab, 0x04ac, 0x4ff2, 0xa6, 0xbb, 0xda, 0x6c, 0xfa, 0xc7, 0x18, 0x06);
DEFINE_GUID(
    FWPM_CONDITION_ORIGINAL_PROFILE_ID, 0x46ea1551, 0x2255, 0x492b, 0x80, 0x19, 0xaa, 0xbe, 0xee, 0x34, 0x9f, 0x40);
DEFINE_GUID(
    FWPM_CONDITION_CURRENT_PROFILE_ID, 0xab3033c9, 0xc0e3, 0x4759, 0x93, 0x7d, 0x57, 0x58, 0xc6, 0x5d, 0x4a, 0xe3);
DEFINE_GUID(
    FWPM_CONDITION_REAUTHORIZE_REASON, 0x11205e8c, 0x11ae, 0x457a, 0x8a, 0x44, 0x47, 0x70, 0x26, 0xdd, 0x76, 0x4a);
DEFINE_GUID(
    FWPM_CONDITION_IP_ARRIVAL_INTERFACE, 0x618a9b6d, 0x386b, 0x4136, 0xad, 0x6e, 0xb5, 0x15, 0x87, 0xcf, 0xb1, 0xcd);
