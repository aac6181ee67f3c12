"""Services created, started, stopped, deleted and asked about, by the service control manager.

Decides what is an error and what is as good as success (already running, already gone), and words the errors.
Nothing here knows our device or our IOCTLs.  Implements `system.services.Services`.
Source: winsvc.h; "Service Security and Access Rights", Win32 docs.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from pointsman.system.services import DriverService, ProgramService, ServiceState, ServiceStatus, StartType
from pointsman.system.windows import _advapi32 as api
from pointsman.system.windows._library import DWORD, Win32Error
from pointsman.system.windows.service_errors import service_error, still_pending

__all__ = ["POLL", "DriverService", "ProgramService", "ServiceManager", "ServiceState", "ServiceStatus"]

ERROR_MORE_DATA = 234
ERROR_SERVICE_ALREADY_RUNNING = 1056
ERROR_SERVICE_DOES_NOT_EXIST = 1060
ERROR_SERVICE_NOT_ACTIVE = 1062
ERROR_SERVICE_EXISTS = 1073
POLL = 0.25  # seconds between looks at a pending service
STOP_TIMEOUT = 30.0  # seconds
REMOVAL_TIMEOUT = 3.0  # seconds
ERROR_INVALID_LEVEL = 124  # a level that this system does not know (Wine: 4 and 5)
ERROR_SERVICE_REQUEST_TIMEOUT = 1053
START_TIMEOUT = 60.0  # seconds that a program may take until it says that it runs
ENUMERATION_ROOM = 256 << 10  # bytes: the most that EnumServicesStatusExW fills, by its documentation


class ServiceManager:
    """An open handle of the service control manager.  Every method raises PointsmanError (PM205)."""

    def __init__(self, *, create: bool = False, sleep: Callable[[float], None] = time.sleep) -> None:
        """`create`: services will be created, which needs an administrator."""
        access = api.SC_MANAGER_CONNECT | (api.SC_MANAGER_CREATE_SERVICE if create else 0)
        self._sleep = sleep
        try:
            self._handle: int | None = api.OpenSCManagerW(None, None, access)
        except Win32Error as error:
            raise service_error("cannot reach the service manager", error.code) from error

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            api.CloseServiceHandle(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def install(self, service: DriverService | ProgramService) -> bool:
        """Create the service, or make an existing one like it.  True if it was created."""
        if isinstance(service, DriverService):
            kind, start, path, group = api.SERVICE_KERNEL_DRIVER, StartType.DEMAND, service.image, service.group
        else:
            kind, start, path, group = api.SERVICE_WIN32_OWN_PROCESS, service.start, service.command, None
        arguments = (kind, int(start), api.SERVICE_ERROR_NORMAL, path)
        created = self._create(service, arguments, group)
        if not created:
            with self._opened(service.name, api.SERVICE_CHANGE_CONFIG, "cannot change the service") as existing:
                api.ChangeServiceConfigW(
                    existing, *arguments, group, None, _multi_string(service.dependencies), None, None,
                    service.display_name,
                )  # fmt: skip
        if isinstance(service, ProgramService):
            self._configure(service)
        return created

    def _create(
        self, service: DriverService | ProgramService, arguments: tuple[int, int, int, str], group: str | None
    ) -> bool:
        try:
            handle = api.CreateServiceW(
                self._handle, service.name, service.display_name, api.SERVICE_QUERY_STATUS, *arguments,
                group, None, _multi_string(service.dependencies), None, None,
            )  # fmt: skip
        except Win32Error as error:
            if error.code != ERROR_SERVICE_EXISTS:
                raise service_error("cannot create the service", error.code, service.name) from error
            return False
        api.CloseServiceHandle(handle)
        return True

    def _configure(self, service: ProgramService) -> None:
        """What CreateServiceW has no parameter for."""
        actions = (api.SC_ACTION * len(service.restart_after_ms))(
            *(api.SC_ACTION(api.SC_ACTION_RESTART, delay) for delay in service.restart_after_ms)
        )
        failures = api.SERVICE_FAILURE_ACTIONSW(
            service.failures_forgotten_after_s, None, None, len(actions), ctypes.addressof(actions)
        )
        # An end by an exception reports a failure and stops in good order: that shall restart as well.
        also_on_reported_failure = ctypes.c_int32(1)
        own_sid = DWORD(api.SERVICE_SID_TYPE_UNRESTRICTED)  # so that a firewall rule can name NT SERVICE\...
        # More than QUERY_CONFIG, since a restart action asks for the right to start (ChangeServiceConfig2W, remarks).
        access = api.SERVICE_CHANGE_CONFIG | api.SERVICE_START
        with self._opened(service.name, access, "cannot configure the service") as handle:
            description = api.SERVICE_DESCRIPTIONW(service.description)
            for level, value in (
                (api.SERVICE_CONFIG_DESCRIPTION, description),
                (api.SERVICE_CONFIG_FAILURE_ACTIONS, failures),
                (api.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, also_on_reported_failure),
                (api.SERVICE_CONFIG_SERVICE_SID_INFO, own_sid),
            ):
                try:
                    api.ChangeServiceConfig2W(handle, level, ctypes.byref(value))
                except Win32Error as error:
                    if error.code != ERROR_INVALID_LEVEL:
                        raise

    def start(self, name: str, timeout: float = START_TIMEOUT) -> bool:
        """Returns once DriverEntry has returned, or the program says that it runs.  False if it ran already."""
        access, what = api.SERVICE_START | api.SERVICE_QUERY_STATUS, "cannot start the service"
        try:
            with self._opened(name, access, what, ERROR_SERVICE_ALREADY_RUNNING) as it:
                api.StartServiceW(it, 0, None)
                status = self._settled(it, ServiceState.START_PENDING, timeout)
        except _AsGoodAsDoneError:
            return False
        if status is None:
            raise service_error(what, ERROR_SERVICE_REQUEST_TIMEOUT, name)
        if status.dwCurrentState == ServiceState.STOPPED:
            raise service_error(what, status.dwWin32ExitCode or ERROR_SERVICE_NOT_ACTIVE, name)
        return True

    def stop(self, name: str, timeout: float = STOP_TIMEOUT) -> bool:
        """Returns once it has stopped.  False if it did not run.  Close every handle of a driver's device first."""
        access, what = api.SERVICE_STOP | api.SERVICE_QUERY_STATUS, "cannot stop the service"
        status = api.SERVICE_STATUS()
        try:
            with self._opened(name, access, what, ERROR_SERVICE_NOT_ACTIVE) as it:
                api.ControlService(it, api.SERVICE_CONTROL_STOP, ctypes.byref(status))
                if self._settled(it, ServiceState.STOP_PENDING, timeout) is None:
                    raise still_pending(what, name, timeout)
        except _AsGoodAsDoneError:
            return False
        return True

    def delete(self, name: str) -> bool:
        """The entry goes when the service is stopped and every handle is closed.  False if there was none."""
        try:
            with self._opened(name, api.DELETE, "cannot delete the service", ERROR_SERVICE_DOES_NOT_EXIST) as it:
                api.DeleteService(it)
        except _AsGoodAsDoneError:
            return False
        self._await_removal(name)
        return True

    def _await_removal(self, name: str) -> None:
        """A stopped service is gone once its process has ended and nobody holds it; who holds it may take for ever."""
        waited = 0.0
        while waited < REMOVAL_TIMEOUT:
            status = self.query(name)
            if status is None or status.state != ServiceState.STOPPED:
                return
            self._sleep(POLL)
            waited += POLL

    def query(self, name: str) -> ServiceStatus | None:
        """None if there is no such service."""
        access = api.SERVICE_QUERY_STATUS | api.SERVICE_QUERY_CONFIG
        try:
            with self._opened(name, access, "cannot ask about the service", ERROR_SERVICE_DOES_NOT_EXIST) as it:
                status = _status(it)
                return _service_status(status, it)
        except _AsGoodAsDoneError:
            return None

    def drivers(self) -> tuple[str, ...]:
        """The names of all driver services that run."""
        buffer = ctypes.create_string_buffer(ENUMERATION_ROOM)
        needed, count, resume = DWORD(), DWORD(), DWORD()
        names: list[str] = []
        try:
            manager = api.OpenSCManagerW(None, None, api.SC_MANAGER_ENUMERATE_SERVICE)
            try:
                more = True
                while more:
                    more = _enumerate(manager, buffer, needed, count, resume)
                    entries: Any = (api.ENUM_SERVICE_STATUS_PROCESSW * count.value).from_buffer(buffer)
                    names += [entry.lpServiceName for entry in entries]
            finally:
                api.CloseServiceHandle(manager)
        except Win32Error as error:
            raise service_error("cannot list the drivers", error.code) from error
        return tuple(names)

    def _settled(self, handle: int, pending: ServiceState, timeout: float) -> api.SERVICE_STATUS_PROCESS | None:
        """The status once it is no longer pending; None if that takes too long."""
        waited = 0.0
        while (status := _status(handle)).dwCurrentState == pending:
            if waited >= timeout:
                return None
            self._sleep(POLL)
            waited += POLL
        return status

    @contextlib.contextmanager
    def _opened(self, name: str, access: int, what: str, fine: int | None = None) -> Iterator[int]:
        """The service's handle; errors inside are worded, and the code `fine` becomes _AsGoodAsDoneError."""
        handle = None
        try:
            handle = api.OpenServiceW(self._handle, name, access)
            yield handle
        except Win32Error as error:
            if error.code == fine:
                raise _AsGoodAsDoneError from error
            raise service_error(what, error.code, name) from error
        finally:
            if handle is not None:
                api.CloseServiceHandle(handle)


class _AsGoodAsDoneError(Exception):
    """What was asked for was so already."""


def _status(handle: int) -> api.SERVICE_STATUS_PROCESS:
    status = api.SERVICE_STATUS_PROCESS()
    needed = DWORD()
    api.QueryServiceStatusEx(
        handle, api.SC_STATUS_PROCESS_INFO, ctypes.byref(status), ctypes.sizeof(status), ctypes.byref(needed)
    )
    return status


def _service_status(status: api.SERVICE_STATUS_PROCESS, handle: int) -> ServiceStatus:
    room = 8192  # bytes: the largest that QueryServiceConfigW ever needs, by its documentation
    buffer = ctypes.create_string_buffer(room)
    needed = DWORD()
    api.QueryServiceConfigW(handle, buffer, room, ctypes.byref(needed))
    config: Any = api.QUERY_SERVICE_CONFIGW.from_buffer(buffer)
    return ServiceStatus(
        ServiceState(status.dwCurrentState),
        status.dwWin32ExitCode,
        config.lpBinaryPathName or "",
        config.dwServiceType == api.SERVICE_KERNEL_DRIVER,
        StartType(config.dwStartType),
        status.dwProcessId,
    )


def _enumerate(manager: int, buffer: Any, needed: DWORD, count: DWORD, resume: DWORD) -> bool:
    """One buffer full.  True if there is more."""
    try:
        api.EnumServicesStatusExW(
            manager, api.SC_ENUM_PROCESS_INFO, api.SERVICE_DRIVER, api.SERVICE_ACTIVE, buffer, ENUMERATION_ROOM,
            ctypes.byref(needed), ctypes.byref(count), ctypes.byref(resume), None,
        )  # fmt: skip
    except Win32Error as error:
        if error.code == ERROR_MORE_DATA and count.value:
            return True
        raise
    return False


def _multi_string(items: tuple[str, ...]) -> ctypes.Array[ctypes.c_uint16] | None:
    """A list with two NULs at its end, which a Python str cannot carry."""
    if not items:
        return None
    encoded = ("\0".join(items) + "\0\0").encode("utf-16-le")
    return (ctypes.c_uint16 * (len(encoded) // 2)).from_buffer_copy(encoded)
