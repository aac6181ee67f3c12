"""The declarations of the ctypes bindings: layouts of winsvc.h, and that a call needs Windows, not the import."""

from __future__ import annotations

import ctypes

import pytest

from pointsman.system.windows import (
    _advapi32,
    _advapi32_accounts,
    _advapi32_security,
    _crypt32,
    _fwpuclnt,
    _kernel32,
    _kernel32_processes,
    _machine,
    _ntdll,
    _wevtapi,
    _ws2_32,
    wfp_objects,
)
from pointsman.system.windows._library import (
    INVALID_HANDLE_VALUE,
    Function,
    Win32Error,
    code_text,
    nonzero,
    valid_handle,
    zero,
)

MODULES = (
    _advapi32, _advapi32_accounts, _advapi32_security, _crypt32, _fwpuclnt, _kernel32, _kernel32_processes, _machine,
    _ntdll, _wevtapi, _ws2_32,
)  # fmt: skip
FUNCTIONS = {
    id(function): function for module in MODULES for function in vars(module).values() if isinstance(function, Function)
}.values()


def test_structures_have_the_layout_of_64_bit_windows() -> None:
    assert ctypes.sizeof(_advapi32.SERVICE_STATUS) == 28
    assert ctypes.sizeof(_advapi32.SERVICE_STATUS_PROCESS) == 36
    assert _advapi32.SERVICE_STATUS_PROCESS.dwProcessId.offset == 28
    config = _advapi32.QUERY_SERVICE_CONFIGW
    assert ctypes.sizeof(config) == 64
    offsets = (config.lpBinaryPathName.offset, config.lpLoadOrderGroup.offset, config.dwTagId.offset)
    assert offsets == (16, 24, 32)
    assert (config.lpDependencies.offset, config.lpDisplayName.offset) == (40, 56)
    basic = _kernel32_processes.PROCESS_BASIC_INFORMATION
    assert (ctypes.sizeof(basic), basic.InheritedFromUniqueProcessId.offset) == (48, 40)
    service = _advapi32.ENUM_SERVICE_STATUS_PROCESSW
    assert (ctypes.sizeof(service), service.ServiceStatusProcess.offset) == (56, 16)
    assert ctypes.sizeof(_advapi32_accounts.SID_AND_ATTRIBUTES) == 16
    failures = _advapi32.SERVICE_FAILURE_ACTIONSW
    assert (ctypes.sizeof(failures), failures.cActions.offset, failures.lpsaActions.offset) == (40, 24, 32)
    assert ctypes.sizeof(_advapi32.SC_ACTION) == 8
    entry = _advapi32.ENUM_SERVICE_STATUS_PROCESSW
    assert (ctypes.sizeof(entry), entry.ServiceStatusProcess.offset) == (56, 16)
    assert ctypes.sizeof(_advapi32.SERVICE_TABLE_ENTRYW) == 16


def test_structures_of_signatures_versions_and_callouts_have_their_sizes() -> None:
    data = _machine.WINTRUST_DATA
    offsets = (data.dwUIChoice.offset, data.dwUnionChoice.offset, data.pFile.offset, data.dwStateAction.offset)
    assert offsets == (24, 32, 40, 48)
    assert (ctypes.sizeof(data), ctypes.sizeof(_machine.WINTRUST_FILE_INFO)) == (88, 32)
    assert ctypes.sizeof(_ntdll.RTL_OSVERSIONINFOEXW) == 284
    assert ctypes.sizeof(_ntdll.SYSTEM_CODEINTEGRITY_INFORMATION) == 8
    callout = wfp_objects.FWPM_CALLOUT0
    assert (ctypes.sizeof(callout), callout.applicableLayer.offset, callout.calloutId.offset) == (88, 64, 80)
    template = wfp_objects.FWPM_FILTER_ENUM_TEMPLATE0
    fields = (template.enumType, template.filterCondition, template.actionMask, template.calloutKey)
    assert ctypes.sizeof(template) == 72
    assert [field.offset for field in fields] == [24, 48, 56, 64]


def test_structures_of_certificate_chains_have_their_sizes() -> None:
    assert ctypes.sizeof(_crypt32.CERT_CHAIN_PARA) == 24
    assert ctypes.sizeof(_crypt32.SSL_EXTRA_CERT_CHAIN_POLICY_PARA) == 24
    assert ctypes.sizeof(_crypt32.CERT_CHAIN_POLICY_PARA) == 16
    assert ctypes.sizeof(_crypt32.CERT_CHAIN_POLICY_STATUS) == 24
    assert _crypt32.CERT_CHAIN_CONTEXT.TrustStatus.offset == 4


ARGUMENTS = {
    "OpenSCManagerW": 3, "CreateServiceW": 13, "OpenServiceW": 3, "StartServiceW": 3, "ControlService": 3,
    "QueryServiceStatusEx": 5, "QueryServiceConfigW": 4, "ChangeServiceConfigW": 11, "DeleteService": 1,
    "CloseServiceHandle": 1, "CreateFileW": 7, "DeviceIoControl": 8, "CloseHandle": 1, "WSAIoctl": 9,
    "WSAGetLastError": 0, "FwpmEngineOpen0": 5, "FwpmEngineClose0": 1, "FwpmTransactionBegin0": 2,
    "FwpmTransactionCommit0": 1, "FwpmTransactionAbort0": 1, "FwpmFilterAdd0": 4, "FwpmFilterDeleteById0": 2,
    "GetFinalPathNameByHandleW": 4, "QueryDosDeviceW": 3, "GetLogicalDrives": 0, "LCMapStringEx": 9, "OpenProcess": 3,
    "QueryFullProcessImageNameW": 4, "GetProcessTimes": 5, "K32EnumProcesses": 3, "GetSystemTimeAsFileTime": 1,
    "NtQueryInformationProcess": 5, "OpenProcessToken": 3, "GetTokenInformation": 5, "LookupAccountSidW": 7,
    "LookupAccountNameW": 7, "EnumServicesStatusExW": 10, "FwpmFilterDeleteByKey0": 2, "FwpmFilterGetByKey0": 3,
    "FwpmFreeMemory0": 1, "FwpmProviderAdd0": 3, "FwpmProviderDeleteByKey0": 2, "FwpmSubLayerAdd0": 3,
    "FwpmSubLayerDeleteByKey0": 2, "ChangeServiceConfig2W": 3, "StartServiceCtrlDispatcherW": 1,
    "RegisterServiceCtrlHandlerExW": 3, "SetServiceStatus": 2, "FwpmProviderGetByKey0": 3, "FwpmSubLayerGetByKey0": 3,
    "FwpmCalloutGetByKey0": 3, "FwpmCalloutCreateEnumHandle0": 3, "FwpmCalloutEnum0": 5,
    "FwpmCalloutDestroyEnumHandle0": 2, "NtQuerySystemInformation": 4, "RtlGetVersion": 1, "RegGetValueW": 7,
    "RegOpenKeyExW": 5, "RegEnumKeyExW": 8, "RegCloseKey": 1, "IsWow64Process2": 3, "GetCurrentProcess": 0,
    "CreateMutexW": 3, "WaitForSingleObject": 2, "ReleaseMutex": 1, "MoveFileExW": 3, "GetExtendedTcpTable": 6,
    "WinVerifyTrust": 3, "ConvertStringSecurityDescriptorToSecurityDescriptorW": 4, "GetSecurityDescriptorDacl": 4,
    "SetNamedSecurityInfoW": 7, "CryptProtectData": 7, "CryptUnprotectData": 7, "LocalFree": 1, "CertOpenStore": 5,
    "CertAddEncodedCertificateToStore": 6, "CertFindCertificateInStore": 6, "CertDeleteCertificateFromStore": 1,
    "CertFreeCertificateContext": 1, "CertCloseStore": 2, "FwpmFilterCreateEnumHandle0": 3, "FwpmFilterEnum0": 5,
    "FwpmFilterDestroyEnumHandle0": 2, "FwpmSubLayerCreateEnumHandle0": 3, "FwpmSubLayerEnum0": 5,
    "FwpmSubLayerDestroyEnumHandle0": 2, "FwpmEngineGetOption0": 3, "EvtQuery": 4, "EvtNext": 6, "EvtRender": 7,
    "EvtClose": 1, "CertCreateCertificateContext": 3, "CertGetCertificateChain": 8,
    "CertVerifyCertificateChainPolicy": 4, "CertFreeCertificateChain": 1, "GetNamedSecurityInfoW": 8,
}  # fmt: skip
"""How many each function has, by its header."""


@pytest.mark.parametrize(("name", "count"), ARGUMENTS.items())
def test_functions_take_what_the_headers_say(name: str, count: int) -> None:
    (function,) = [function for function in FUNCTIONS if function.name == name]

    assert len(function.arguments) == count


def test_every_function_is_counted_above() -> None:
    assert {function.name for function in FUNCTIONS} == set(ARGUMENTS)


def test_handles_and_sockets_are_as_wide_as_pointers() -> None:
    assert _kernel32.CreateFileW.result is ctypes.c_void_p
    assert _advapi32.OpenServiceW.result is ctypes.c_void_p
    assert ctypes.sizeof(_ws2_32.SOCKET) == 8


def test_a_call_needs_windows_and_an_import_does_not() -> None:
    with pytest.raises(OSError, match=r"kernel32 is part of Windows"):
        _kernel32.CloseHandle(4)


def test_results_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.system.windows._library.last_error", lambda: 1060)
    function = Function("advapi32", "OpenServiceW", None)

    assert nonzero(5, function) == 5
    assert valid_handle(5, function) == 5
    assert zero(0, function) == 0
    for check, result in ((nonzero, 0), (nonzero, None), (valid_handle, None), (valid_handle, INVALID_HANDLE_VALUE)):
        with pytest.raises(Win32Error) as caught:
            check(result, function)
        assert (caught.value.call, caught.value.code) == ("OpenServiceW", 1060)
    with pytest.raises(Win32Error) as caught:
        zero(-0x7FCDFFF7, function)  # a DWORD that arrived signed
    assert caught.value.code == 0x8032_0009


@pytest.mark.parametrize(("code", "text"), [(5, "5"), (1060, "1060"), (0x800B_010C, "0x800B010C")])
def test_codes_are_shown_as_people_look_them_up(code: int, text: str) -> None:
    assert code_text(code) == text
