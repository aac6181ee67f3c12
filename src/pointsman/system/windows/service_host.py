"""A process that the service control manager has started: says what state it is in, and hears that it shall stop.

It knows nothing of what the service does: a `body` runs in the thread that Windows makes for it, and tells by
`ServiceControl` when it is ready.  Whatever the body does, the process has ended STOP_WITHIN seconds after a stop
was asked for: its end takes our filters and our registration with it, so connections go direct.
Source: "Service Control Handler Function", "Writing a ServiceMain Function", Win32 docs.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

from pointsman.system.services import ServiceState
from pointsman.system.windows import _advapi32 as api
from pointsman.system.windows._library import DWORD, Win32Error

ERROR_FAILED_SERVICE_CONTROLLER_CONNECT = 1063
ERROR_SERVICE_SPECIFIC_ERROR = 1066
ERROR_CALL_NOT_IMPLEMENTED = 120
CONTROL_STOP, CONTROL_INTERROGATE, CONTROL_SHUTDOWN, CONTROL_PRESHUTDOWN = 1, 4, 5, 0xF
ACCEPT_STOP, ACCEPT_PRESHUTDOWN = 1, 0x100
START_HINT_MS = 30_000
STOP_WITHIN = 5.0  # seconds
LAST_MOMENT = 0.5  # seconds before that the process is ended, whatever it does

# One calling convention on x64 and ARM64: CFUNCTYPE is WINFUNCTYPE there, and exists for the tests elsewhere.
SERVICE_MAIN = ctypes.CFUNCTYPE(None, DWORD, ctypes.c_void_p)
HANDLER_EX = ctypes.CFUNCTYPE(DWORD, DWORD, DWORD, ctypes.c_void_p, ctypes.c_void_p)


class ServiceControl:
    """What the body of a service says, and hears."""

    def __init__(self, name: str, end_process: Callable[[int], None] = os._exit) -> None:
        self._name = name
        self._end_process = end_process
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._state = ServiceState.START_PENDING
        self._checkpoint = 0
        self._on_stop: Callable[[], None] | None = None
        self._stopping = False
        self._timer: threading.Timer | None = None
        self._handler = HANDLER_EX(self._handle_control)  # Windows calls it for as long as the process lives

    def attach(self) -> None:
        """Raises Win32Error."""
        self._handle = api.RegisterServiceCtrlHandlerExW(self._name, ctypes.cast(self._handler, ctypes.c_void_p), None)
        self._say(ServiceState.START_PENDING)

    def running(self, on_stop: Callable[[], None]) -> None:
        """It does its work; `on_stop` is called once, from another thread, and must not wait."""
        with self._lock:
            self._on_stop = on_stop
            if self._stopping:
                on_stop()
                return
        self._say(ServiceState.RUNNING)

    def stopped(self, status: int) -> None:
        """The last word.  `status` not 0 is a failure, and Windows restarts the service as configured."""
        if self._timer is not None:
            self._timer.cancel()
        self._say(ServiceState.STOPPED, status)

    def _handle_control(self, control: int, _kind: int, _data: Any, _context: Any) -> int:
        if control == CONTROL_INTERROGATE:
            self._say(self._state)
            return 0
        if control not in (CONTROL_STOP, CONTROL_SHUTDOWN, CONTROL_PRESHUTDOWN):
            return ERROR_CALL_NOT_IMPLEMENTED
        with self._lock:
            first, self._stopping = not self._stopping, True
            on_stop = self._on_stop
        if first:
            self._say(ServiceState.STOP_PENDING)
            self._timer = threading.Timer(STOP_WITHIN - LAST_MOMENT, self._end)
            self._timer.daemon = True
            self._timer.start()
            if on_stop is not None:
                on_stop()
        return 0

    def _end(self) -> None:
        self._say(ServiceState.STOPPED)
        self._end_process(0)

    def _say(self, state: ServiceState, status: int = 0) -> None:
        self._state = state
        pending = state in (ServiceState.START_PENDING, ServiceState.STOP_PENDING)
        self._checkpoint = self._checkpoint + 1 if pending else 0
        said = api.SERVICE_STATUS(
            api.SERVICE_WIN32_OWN_PROCESS,
            state,
            ACCEPT_STOP | ACCEPT_PRESHUTDOWN if state == ServiceState.RUNNING else 0,
            ERROR_SERVICE_SPECIFIC_ERROR if status else 0,
            status,
            self._checkpoint,
            (START_HINT_MS if state == ServiceState.START_PENDING else int(STOP_WITHIN * 1000)) if pending else 0,
        )
        try:
            api.SetServiceStatus(self._handle, ctypes.byref(said))
        except Win32Error:
            # The manager no longer listens (it has given us up, or the machine goes down): nobody is left to tell.
            return


def serve(name: str, body: Callable[[ServiceControl], int]) -> bool:
    """Run `body` as the service `name`, until it has stopped.  False if this process was not started as a service.

    The body's result is its exit status; an exception out of it is status 1.
    """
    control = ServiceControl(name)

    def service_main(_count: int, _arguments: Any) -> None:
        control.attach()
        status = 1
        try:
            status = body(control)
        finally:
            control.stopped(status)

    main = SERVICE_MAIN(service_main)
    table = (api.SERVICE_TABLE_ENTRYW * 2)()
    table[0].lpServiceName = name
    table[0].lpServiceProc = ctypes.cast(main, ctypes.c_void_p)
    try:
        api.StartServiceCtrlDispatcherW(ctypes.byref(table))
    except Win32Error as error:
        if error.code == ERROR_FAILED_SERVICE_CONTROLLER_CONNECT:
            return False
        raise
    return True
