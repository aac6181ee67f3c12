"""The driver's service: created, started, stopped, deleted and asked about, by the service control manager.

Decides what is an error and what is as good as success (already running, already gone), and words the errors.
Nothing here knows our device or our IOCTLs.  Source: winsvc.h; "Service Security and Access Rights", Win32 docs.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

from pointsman.system.windows import _advapi32 as api
from pointsman.system.windows._library import DWORD, Win32Error
from pointsman.system.windows.service_errors import service_error, still_pending

ERROR_SERVICE_ALREADY_RUNNING = 1056
ERROR_SERVICE_DOES_NOT_EXIST = 1060
ERROR_SERVICE_NOT_ACTIVE = 1062
ERROR_SERVICE_EXISTS = 1073
POLL = 0.25  # seconds between looks at a pending service
STOP_TIMEOUT = 30.0  # seconds


class ServiceState(IntEnum):
    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4
    CONTINUE_PENDING = 5
    PAUSE_PENDING = 6
    PAUSED = 7


@dataclass(frozen=True, slots=True)
class DriverService:
    """A kernel driver's service as it should be: started on demand, errors logged, boot goes on."""

    name: str
    image: str
    """Absolute path, or one from \\SystemRoot; never quoted, even with spaces, and without arguments."""
    display_name: str
    group: str | None = "NetworkProvider"
    dependencies: tuple[str, ...] = ("BFE",)


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    state: ServiceState
    exit_code: int
    """Win32 code of the last start or stop, 0: none."""
    image: str
    kernel_driver: bool


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

    def install(self, service: DriverService) -> bool:
        """Create the service, or make an existing one like it.  True if it was created."""
        arguments = (api.SERVICE_KERNEL_DRIVER, api.SERVICE_DEMAND_START, api.SERVICE_ERROR_NORMAL, service.image)
        dependencies = _multi_string(service.dependencies)
        try:
            handle = api.CreateServiceW(
                self._handle, service.name, service.display_name, api.SERVICE_QUERY_STATUS, *arguments,
                service.group, None, dependencies, None, None,
            )  # fmt: skip
        except Win32Error as error:
            if error.code != ERROR_SERVICE_EXISTS:
                raise service_error("cannot create the driver's service", error.code, service.name) from error
        else:
            api.CloseServiceHandle(handle)
            return True
        with self._opened(service.name, api.SERVICE_CHANGE_CONFIG, "cannot change the driver's service") as existing:
            api.ChangeServiceConfigW(
                existing, *arguments, service.group, None, dependencies, None, None, service.display_name
            )
        return False

    def start(self, name: str) -> bool:
        """Returns once DriverEntry has returned.  False if it ran already."""
        try:
            with self._opened(name, api.SERVICE_START, "cannot start the driver", ERROR_SERVICE_ALREADY_RUNNING) as it:
                api.StartServiceW(it, 0, None)
        except _AsGoodAsDoneError:
            return False
        return True

    def stop(self, name: str, timeout: float = STOP_TIMEOUT) -> bool:
        """Returns once the driver is unloaded.  False if it did not run.  Close every handle of its device first."""
        access = api.SERVICE_STOP | api.SERVICE_QUERY_STATUS
        status = api.SERVICE_STATUS()
        what = "cannot stop the driver"
        try:
            with self._opened(name, access, what, ERROR_SERVICE_NOT_ACTIVE) as it:
                api.ControlService(it, api.SERVICE_CONTROL_STOP, ctypes.byref(status))
                waited = 0.0
                while _status(it).dwCurrentState != ServiceState.STOPPED:
                    if waited >= timeout:
                        raise still_pending(what, name, timeout)
                    self._sleep(POLL)
                    waited += POLL
        except _AsGoodAsDoneError:
            return False
        return True

    def delete(self, name: str) -> bool:
        """The entry goes when the driver is stopped and every handle is closed.  False if there was none."""
        try:
            with self._opened(
                name, api.DELETE, "cannot delete the driver's service", ERROR_SERVICE_DOES_NOT_EXIST
            ) as it:
                api.DeleteService(it)
        except _AsGoodAsDoneError:
            return False
        return True

    def query(self, name: str) -> ServiceStatus | None:
        """None if there is no such service."""
        access = api.SERVICE_QUERY_STATUS | api.SERVICE_QUERY_CONFIG
        try:
            with self._opened(
                name, access, "cannot ask about the driver's service", ERROR_SERVICE_DOES_NOT_EXIST
            ) as it:
                status = _status(it)
                kind, image = _config(it)
        except _AsGoodAsDoneError:
            return None
        return ServiceStatus(
            ServiceState(status.dwCurrentState), status.dwWin32ExitCode, image, kind == api.SERVICE_KERNEL_DRIVER
        )

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


def _config(handle: int) -> tuple[int, str]:
    """Service type and image path."""
    room = 8192  # bytes: the largest that QueryServiceConfigW ever needs, by its documentation
    buffer = ctypes.create_string_buffer(room)
    needed = DWORD()
    api.QueryServiceConfigW(handle, buffer, room, ctypes.byref(needed))
    config: Any = api.QUERY_SERVICE_CONFIGW.from_buffer(buffer)
    return config.dwServiceType, config.lpBinaryPathName or ""


def _multi_string(items: tuple[str, ...]) -> ctypes.Array[ctypes.c_uint16] | None:
    """A list with two NULs at its end, which a Python str cannot carry."""
    if not items:
        return None
    encoded = ("\0".join(items) + "\0\0").encode("utf-16-le")
    return (ctypes.c_uint16 * (len(encoded) // 2)).from_buffer_copy(encoded)
