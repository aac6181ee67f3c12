"""A service's side of the service manager, on a double of advapi32 that plays the manager."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pointsman.system.services import ServiceState
from pointsman.system.windows import _advapi32 as api
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.service_host import (
    CONTROL_INTERROGATE,
    CONTROL_PRESHUTDOWN,
    CONTROL_STOP,
    HANDLER_EX,
    SERVICE_MAIN,
    ServiceControl,
    serve,
)


@dataclass(frozen=True)
class Said:
    state: ServiceState
    accepts: int
    exit_code: int
    specific: int
    checkpoint: int
    hint: int


class Manager:
    """Starts the service in this thread, and keeps what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[Said] = []
        self.handler: Any = None
        self.refuses = 0
        for name in ("StartServiceCtrlDispatcherW", "RegisterServiceCtrlHandlerExW", "SetServiceStatus"):
            monkeypatch.setattr(api, name, getattr(self, name))

    def StartServiceCtrlDispatcherW(self, table: Any) -> int:
        if self.refuses:
            raise Win32Error("StartServiceCtrlDispatcherW", self.refuses)
        entries = ctypes.cast(table, ctypes.POINTER(api.SERVICE_TABLE_ENTRYW))
        assert entries[0].lpServiceName == "svc" and entries[1].lpServiceName is None
        SERVICE_MAIN(entries[0].lpServiceProc)(0, None)
        return 1

    def RegisterServiceCtrlHandlerExW(self, name: str, handler: ctypes.c_void_p, context: None) -> int:
        assert name == "svc" and handler.value is not None
        self.handler = HANDLER_EX(handler.value)
        return 77

    def SetServiceStatus(self, handle: int, status: Any) -> int:
        assert handle == 77
        value = ctypes.cast(status, ctypes.POINTER(api.SERVICE_STATUS))[0]
        self.said.append(
            Said(
                ServiceState(value.dwCurrentState), value.dwControlsAccepted, value.dwWin32ExitCode,
                value.dwServiceSpecificExitCode, value.dwCheckPoint, value.dwWaitHint,
            )
        )  # fmt: skip
        return 1

    def states(self) -> list[str]:
        return [said.state.name for said in self.said]


class Timers:
    """Timers that a test fires."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0
        timers = self

        class Timer:
            daemon = False

            def __init__(self, seconds: float, function: Callable[[], None]) -> None:
                self.what = (seconds, function)

            def start(self) -> None:
                timers.started.append(self.what)

            def cancel(self) -> None:
                timers.cancelled += 1

        monkeypatch.setattr("pointsman.system.windows.service_host.threading.Timer", Timer)


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    return Manager(monkeypatch)


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    return Timers(monkeypatch)


def test_a_whole_life(manager: Manager, timers: Timers) -> None:
    stops: list[str] = []

    def body(control: ServiceControl) -> int:
        control.running(lambda: stops.append("stop"))
        assert manager.handler(CONTROL_INTERROGATE, 0, None, None) == 0
        assert manager.handler(CONTROL_STOP, 0, None, None) == 0
        assert manager.handler(CONTROL_PRESHUTDOWN, 0, None, None) == 0  # a second one asks nobody again
        assert manager.handler(200, 0, None, None) == 120
        return 0

    assert serve("svc", body)

    assert manager.states() == ["START_PENDING", "RUNNING", "RUNNING", "STOP_PENDING", "STOPPED"]
    assert stops == ["stop"]
    start, running, _, stopping, stopped = manager.said
    assert (start.accepts, running.accepts, stopping.accepts) == (0, 0x101, 0)
    assert start.checkpoint == 1 and start.hint > 0 and running.hint == 0 and stopping.hint == 5000
    assert (stopped.exit_code, stopped.specific) == (0, 0)
    assert timers.cancelled == 1


def test_a_process_that_does_not_stop_is_ended_within_five_seconds(manager: Manager, timers: Timers) -> None:
    ended: list[int] = []
    control = ServiceControl("svc", ended.append)
    control.attach()
    control.running(lambda: None)

    manager.handler(CONTROL_STOP, 0, None, None)
    ((seconds, fire),) = timers.started
    fire()

    assert seconds < 5
    assert ended == [0]
    assert manager.states()[-1] == "STOPPED"


def test_a_stop_before_it_is_ready_is_not_lost(manager: Manager, timers: Timers) -> None:
    stops: list[str] = []
    control = ServiceControl("svc")
    control.attach()

    manager.handler(CONTROL_STOP, 0, None, None)
    control.running(lambda: stops.append("stop"))

    assert stops == ["stop"]
    assert "RUNNING" not in manager.states()


@pytest.mark.parametrize("status", [3, 70])
def test_a_failure_is_reported_so_that_windows_starts_it_anew(manager: Manager, timers: Timers, status: int) -> None:
    serve("svc", lambda _control: status)

    assert (manager.said[-1].state, manager.said[-1].exit_code) == (ServiceState.STOPPED, 1066)
    assert manager.said[-1].specific == status


def test_a_console_is_no_service(manager: Manager) -> None:
    manager.refuses = 1063
    assert serve("svc", lambda _control: 0) is False
    manager.refuses = 5
    with pytest.raises(Win32Error):
        serve("svc", lambda _control: 0)
