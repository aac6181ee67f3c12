"""advapi32.dll, 1:1: the service control manager (winsvc.h).  A failed call raises Win32Error; otherwise no logic."""

from __future__ import annotations

import ctypes

from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, WIDE, Function, nonzero

SC_MANAGER_CONNECT = 0x0001
SC_MANAGER_CREATE_SERVICE = 0x0002
SC_MANAGER_ENUMERATE_SERVICE = 0x0004
SERVICE_QUERY_CONFIG = 0x0001
SERVICE_CHANGE_CONFIG = 0x0002
SERVICE_QUERY_STATUS = 0x0004
SERVICE_START = 0x0010
SERVICE_STOP = 0x0020
DELETE = 0x1_0000
SERVICE_KERNEL_DRIVER = 1
SERVICE_DRIVER = 0x0B
SERVICE_WIN32 = 0x30
SERVICE_WIN32_OWN_PROCESS = 0x10
SERVICE_DEMAND_START = 3
SERVICE_ACTIVE = 1
SC_ENUM_PROCESS_INFO = 0
SERVICE_CONFIG_DESCRIPTION = 1
SERVICE_CONFIG_FAILURE_ACTIONS = 2
SERVICE_CONFIG_FAILURE_ACTIONS_FLAG = 4
SERVICE_CONFIG_SERVICE_SID_INFO = 5
SERVICE_CONFIG_PRESHUTDOWN_INFO = 7
SERVICE_SID_TYPE_UNRESTRICTED = 1
SC_ACTION_RESTART = 1
SERVICE_ERROR_NORMAL = 1
SERVICE_NO_CHANGE = 0xFFFF_FFFF
SERVICE_CONTROL_STOP = 1
SC_STATUS_PROCESS_INFO = 0


class SERVICE_STATUS(ctypes.Structure):
    _fields_ = [
        ("dwServiceType", DWORD),
        ("dwCurrentState", DWORD),
        ("dwControlsAccepted", DWORD),
        ("dwWin32ExitCode", DWORD),
        ("dwServiceSpecificExitCode", DWORD),
        ("dwCheckPoint", DWORD),
        ("dwWaitHint", DWORD),
    ]


class SERVICE_STATUS_PROCESS(ctypes.Structure):
    _fields_ = [*SERVICE_STATUS._fields_, ("dwProcessId", DWORD), ("dwServiceFlags", DWORD)]


class QUERY_SERVICE_CONFIGW(ctypes.Structure):
    _fields_ = [
        ("dwServiceType", DWORD),
        ("dwStartType", DWORD),
        ("dwErrorControl", DWORD),
        ("lpBinaryPathName", WIDE),
        ("lpLoadOrderGroup", WIDE),
        ("dwTagId", DWORD),
        ("lpDependencies", WIDE),
        ("lpServiceStartName", WIDE),
        ("lpDisplayName", WIDE),
    ]


class SERVICE_DESCRIPTIONW(ctypes.Structure):
    _fields_ = [("lpDescription", WIDE)]


class SC_ACTION(ctypes.Structure):
    _fields_ = [("Type", DWORD), ("Delay", DWORD)]


class SERVICE_FAILURE_ACTIONSW(ctypes.Structure):
    _fields_ = [
        ("dwResetPeriod", DWORD),
        ("lpRebootMsg", WIDE),
        ("lpCommand", WIDE),
        ("cActions", DWORD),
        ("lpsaActions", POINTER),
    ]


class ENUM_SERVICE_STATUS_PROCESSW(ctypes.Structure):
    _fields_ = [
        ("lpServiceName", WIDE),
        ("lpDisplayName", WIDE),
        ("ServiceStatusProcess", SERVICE_STATUS_PROCESS),
    ]


class SERVICE_TABLE_ENTRYW(ctypes.Structure):
    _fields_ = [("lpServiceName", WIDE), ("lpServiceProc", POINTER)]


OpenSCManagerW = Function("advapi32", "OpenSCManagerW", HANDLE, WIDE, WIDE, DWORD, check=nonzero)
"""machine, database, access"""

CreateServiceW = Function(
    "advapi32", "CreateServiceW", HANDLE,
    HANDLE, WIDE, WIDE, DWORD, DWORD, DWORD, DWORD, WIDE, WIDE, POINTER, POINTER, WIDE, WIDE, check=nonzero,
)  # fmt: skip
"""scm, name, display name, access, type, start, error control, path, group, tag*, dependencies, account, password"""

OpenServiceW = Function("advapi32", "OpenServiceW", HANDLE, HANDLE, WIDE, DWORD, check=nonzero)
"""scm, name, access"""

StartServiceW = Function("advapi32", "StartServiceW", BOOL, HANDLE, DWORD, POINTER, check=nonzero)
"""service, count, arguments: drivers get none"""

ControlService = Function("advapi32", "ControlService", BOOL, HANDLE, DWORD, POINTER, check=nonzero)
"""service, control, SERVICE_STATUS*"""

QueryServiceStatusEx = Function(
    "advapi32", "QueryServiceStatusEx", BOOL, HANDLE, DWORD, POINTER, DWORD, POINTER, check=nonzero
)
"""service, level, buffer, size, DWORD* needed"""

QueryServiceConfigW = Function("advapi32", "QueryServiceConfigW", BOOL, HANDLE, POINTER, DWORD, POINTER, check=nonzero)
"""service, buffer, size, DWORD* needed"""

ChangeServiceConfigW = Function(
    "advapi32", "ChangeServiceConfigW", BOOL,
    HANDLE, DWORD, DWORD, DWORD, WIDE, WIDE, POINTER, POINTER, WIDE, WIDE, WIDE, check=nonzero,
)  # fmt: skip
"""service, type, start, error control, path, group, tag*, dependencies, account, password, display name"""

DeleteService = Function("advapi32", "DeleteService", BOOL, HANDLE, check=nonzero)
CloseServiceHandle = Function("advapi32", "CloseServiceHandle", BOOL, HANDLE, check=nonzero)

ChangeServiceConfig2W = Function("advapi32", "ChangeServiceConfig2W", BOOL, HANDLE, DWORD, POINTER, check=nonzero)
"""service, level, the level's structure*"""

EnumServicesStatusExW = Function(
    "advapi32", "EnumServicesStatusExW", BOOL,
    HANDLE, DWORD, DWORD, DWORD, POINTER, DWORD, POINTER, POINTER, POINTER, WIDE, check=nonzero,
)  # fmt: skip
"""scm, level, types, states, buffer, size, DWORD* needed, DWORD* count, DWORD* resume, group"""

StartServiceCtrlDispatcherW = Function("advapi32", "StartServiceCtrlDispatcherW", BOOL, POINTER, check=nonzero)
"""SERVICE_TABLE_ENTRYW*, ended by an empty one; returns when the service has stopped"""

RegisterServiceCtrlHandlerExW = Function(
    "advapi32", "RegisterServiceCtrlHandlerExW", HANDLE, WIDE, POINTER, POINTER, check=nonzero
)
"""service name, handler, context"""

SetServiceStatus = Function("advapi32", "SetServiceStatus", BOOL, HANDLE, POINTER, check=nonzero)
"""status handle, SERVICE_STATUS*"""
