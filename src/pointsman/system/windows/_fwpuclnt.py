"""fwpuclnt.dll, 1:1 (fwpmu.h): the filter engine's client (`system.fwpm` has its structures)."""

from __future__ import annotations

import ctypes

from pointsman.system.windows._library import DWORD, HANDLE, POINTER, WIDE, Function, zero

RPC_C_AUTHN_WINNT = 10
UINT64 = ctypes.c_uint64

FwpmEngineOpen0 = Function("fwpuclnt", "FwpmEngineOpen0", DWORD, WIDE, DWORD, POINTER, POINTER, POINTER, check=zero)
"""server, authentication, identity, FWPM_SESSION0*, HANDLE* engine"""

FwpmEngineClose0 = Function("fwpuclnt", "FwpmEngineClose0", DWORD, HANDLE, check=zero)
FwpmTransactionBegin0 = Function("fwpuclnt", "FwpmTransactionBegin0", DWORD, HANDLE, DWORD, check=zero)
"""engine, flags"""

FwpmTransactionCommit0 = Function("fwpuclnt", "FwpmTransactionCommit0", DWORD, HANDLE, check=zero)
FwpmTransactionAbort0 = Function("fwpuclnt", "FwpmTransactionAbort0", DWORD, HANDLE, check=zero)

FwpmFilterAdd0 = Function("fwpuclnt", "FwpmFilterAdd0", DWORD, HANDLE, POINTER, POINTER, POINTER, check=zero)
"""engine, FWPM_FILTER0*, security descriptor, UINT64* id"""

FwpmFilterDeleteById0 = Function("fwpuclnt", "FwpmFilterDeleteById0", DWORD, HANDLE, UINT64, check=zero)

FwpmFilterDeleteByKey0 = Function("fwpuclnt", "FwpmFilterDeleteByKey0", DWORD, HANDLE, POINTER, check=zero)
"""engine, GUID*"""

FwpmFilterGetByKey0 = Function("fwpuclnt", "FwpmFilterGetByKey0", DWORD, HANDLE, POINTER, POINTER, check=zero)
"""engine, GUID*, FWPM_FILTER0** to be freed"""

FwpmFreeMemory0 = Function("fwpuclnt", "FwpmFreeMemory0", None, POINTER)
"""void**"""

FwpmProviderAdd0 = Function("fwpuclnt", "FwpmProviderAdd0", DWORD, HANDLE, POINTER, POINTER, check=zero)
"""engine, FWPM_PROVIDER0*, security descriptor"""

FwpmProviderDeleteByKey0 = Function("fwpuclnt", "FwpmProviderDeleteByKey0", DWORD, HANDLE, POINTER, check=zero)
FwpmSubLayerAdd0 = Function("fwpuclnt", "FwpmSubLayerAdd0", DWORD, HANDLE, POINTER, POINTER, check=zero)
"""engine, FWPM_SUBLAYER0*, security descriptor"""

FwpmSubLayerDeleteByKey0 = Function("fwpuclnt", "FwpmSubLayerDeleteByKey0", DWORD, HANDLE, POINTER, check=zero)

FwpmProviderGetByKey0 = Function("fwpuclnt", "FwpmProviderGetByKey0", DWORD, HANDLE, POINTER, POINTER, check=zero)
"""engine, GUID* key, FWPM_PROVIDER0** found"""

FwpmSubLayerGetByKey0 = Function("fwpuclnt", "FwpmSubLayerGetByKey0", DWORD, HANDLE, POINTER, POINTER, check=zero)
"""engine, GUID* key, FWPM_SUBLAYER0** found"""

FwpmCalloutGetByKey0 = Function("fwpuclnt", "FwpmCalloutGetByKey0", DWORD, HANDLE, POINTER, POINTER, check=zero)
"""engine, GUID* key, FWPM_CALLOUT0** found"""

FwpmCalloutCreateEnumHandle0 = Function(
    "fwpuclnt", "FwpmCalloutCreateEnumHandle0", DWORD, HANDLE, POINTER, POINTER, check=zero
)
"""engine, template (NULL: all), HANDLE* enumeration"""

FwpmCalloutEnum0 = Function("fwpuclnt", "FwpmCalloutEnum0", DWORD, HANDLE, HANDLE, DWORD, POINTER, POINTER, check=zero)
"""engine, enumeration, wanted, FWPM_CALLOUT0*** entries, UINT32* returned"""

FwpmCalloutDestroyEnumHandle0 = Function("fwpuclnt", "FwpmCalloutDestroyEnumHandle0", DWORD, HANDLE, HANDLE, check=zero)
"""engine, enumeration"""

FwpmFilterCreateEnumHandle0 = Function(
    "fwpuclnt", "FwpmFilterCreateEnumHandle0", DWORD, HANDLE, POINTER, POINTER, check=zero
)
"""engine, FWPM_FILTER_ENUM_TEMPLATE0*, HANDLE* enumeration"""

FwpmFilterEnum0 = Function("fwpuclnt", "FwpmFilterEnum0", DWORD, HANDLE, HANDLE, DWORD, POINTER, POINTER, check=zero)
"""engine, enumeration, wanted, FWPM_FILTER0*** entries, UINT32* returned"""

FwpmFilterDestroyEnumHandle0 = Function("fwpuclnt", "FwpmFilterDestroyEnumHandle0", DWORD, HANDLE, HANDLE, check=zero)
"""engine, enumeration"""

FwpmSubLayerCreateEnumHandle0 = Function(
    "fwpuclnt", "FwpmSubLayerCreateEnumHandle0", DWORD, HANDLE, POINTER, POINTER, check=zero
)
"""engine, template (NULL: all), HANDLE* enumeration"""

FwpmSubLayerEnum0 = Function(
    "fwpuclnt", "FwpmSubLayerEnum0", DWORD, HANDLE, HANDLE, DWORD, POINTER, POINTER, check=zero
)
"""engine, enumeration, wanted, FWPM_SUBLAYER0*** entries, UINT32* returned"""

FwpmSubLayerDestroyEnumHandle0 = Function(
    "fwpuclnt", "FwpmSubLayerDestroyEnumHandle0", DWORD, HANDLE, HANDLE, check=zero
)
"""engine, enumeration"""

FwpmEngineGetOption0 = Function("fwpuclnt", "FwpmEngineGetOption0", DWORD, HANDLE, DWORD, POINTER, check=zero)
"""engine, FWPM_ENGINE_OPTION, FWP_VALUE0** value to be freed"""
