"""`ServiceManager` on a double of advapi32 that keeps services as Windows does, and the words for every error."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import pytest

from pointsman.errors import PointsmanError
from pointsman.system.windows import _advapi32 as api
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.service_errors import ADVICE, service_error
from pointsman.system.windows.service_manager import (
    POLL,
    DriverService,
    ProgramService,
    ServiceManager,
    ServiceState,
)

SERVICE = DriverService("pointsman", r"C:\Program Files\Pointsman\pointsman.sys", "Pointsman driver")


PROGRAM = ProgramService(
    "PointsmanProxy", '"C:\\python.exe" "C:\\service.py"', "Pointsman proxy", "what it does",
    dependencies=("BFE", "pointsman"),
)  # fmt: skip


@dataclass
class Entry:
    kind: int
    start: int
    path: str
    group: str | None
    dependencies: str
    state: int = ServiceState.STOPPED
    pending_looks: int = 0


class Advapi32:
    """Handles are names.  `fail` makes one call fail with one code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: dict[str, Entry] = {}
        self.fail: dict[str, int] = {}
        self.open = 0
        self.configured: dict[int, object] = {}
        self.unload_takes = 0  # looks at the status
        self.accesses: list[int] = []
        for name in vars(api):
            if hasattr(self, name):
                monkeypatch.setattr(api, name, getattr(self, name))

    def _check(self, call: str) -> None:
        if call in self.fail:
            raise Win32Error(call, self.fail[call])

    def OpenSCManagerW(self, machine: None, database: None, access: int) -> str:
        self._check("OpenSCManagerW")
        self.accesses.append(access)
        self.open += 1
        return "scm"

    def CreateServiceW(self, scm: str, name: str, display: str, access: int, *rest: Any) -> str:
        self._check("CreateServiceW")
        if name in self.entries:
            raise Win32Error("CreateServiceW", 1073)
        kind, start, _, path, group, _, dependencies, account, password = rest
        assert account is None and password is None
        self.entries[name] = Entry(kind, start, path, group, bytes(dependencies).decode("utf-16-le"))
        self.open += 1
        return name

    def ChangeServiceConfigW(self, name: str, kind: int, start: int, error: int, path: str, *rest: Any) -> int:
        self._check("ChangeServiceConfigW")
        self.entries[name].path = path
        return 1

    def OpenServiceW(self, scm: str, name: str, access: int) -> str:
        self._check("OpenServiceW")
        if name not in self.entries:
            raise Win32Error("OpenServiceW", 1060)
        self.open += 1
        return name

    def StartServiceW(self, name: str, count: int, arguments: None) -> int:
        self._check("StartServiceW")
        if self.entries[name].state == ServiceState.RUNNING:
            raise Win32Error("StartServiceW", 1056)
        self.entries[name].state = ServiceState.RUNNING
        return 1

    def ControlService(self, name: str, control: int, status: Any) -> int:
        self._check("ControlService")
        if self.entries[name].state != ServiceState.RUNNING:
            raise Win32Error("ControlService", 1062)
        self.entries[name].state = ServiceState.STOP_PENDING
        self.entries[name].pending_looks = self.unload_takes
        return 1

    def QueryServiceStatusEx(self, name: str, level: int, status: Any, size: int, needed: Any) -> int:
        entry = self.entries[name]
        if entry.state == ServiceState.STOP_PENDING:
            if entry.pending_looks == 0:
                entry.state = ServiceState.STOPPED
            entry.pending_looks -= 1
        filled = ctypes.cast(status, ctypes.POINTER(api.SERVICE_STATUS_PROCESS))[0]
        filled.dwServiceType, filled.dwCurrentState, filled.dwWin32ExitCode = entry.kind, entry.state, 1077
        return 1

    def QueryServiceConfigW(self, name: str, buffer: Any, size: int, needed: Any) -> int:
        config = api.QUERY_SERVICE_CONFIGW.from_buffer(buffer)
        config.dwServiceType = self.entries[name].kind
        self.path = ctypes.create_unicode_buffer(self.entries[name].path)  # lives on, as the buffer's strings do
        config.lpBinaryPathName = ctypes.cast(self.path, ctypes.c_wchar_p)
        return 1

    def ChangeServiceConfig2W(self, name: str, level: int, value: Any) -> int:
        self._check("ChangeServiceConfig2W")
        match level:
            case api.SERVICE_CONFIG_FAILURE_ACTIONS:
                actions = ctypes.cast(value, ctypes.POINTER(api.SERVICE_FAILURE_ACTIONSW))[0]
                each = ctypes.cast(actions.lpsaActions, ctypes.POINTER(api.SC_ACTION))
                told: object = (actions.dwResetPeriod, [(each[i].Type, each[i].Delay) for i in range(actions.cActions)])
            case api.SERVICE_CONFIG_DESCRIPTION:
                told = ctypes.cast(value, ctypes.POINTER(api.SERVICE_DESCRIPTIONW))[0].lpDescription
            case _:
                told = ctypes.cast(value, ctypes.POINTER(ctypes.c_uint32))[0]
        self.configured[level] = told
        return 1

    def EnumServicesStatusExW(self, scm: str, level: int, types: int, states: int, buffer: Any, *rest: Any) -> int:
        self._check("EnumServicesStatusExW")
        assert (types, states) == (0x0B, 1)
        _, _, count, resume, _ = rest
        number = ctypes.cast(count, ctypes.POINTER(ctypes.c_uint32))
        again = ctypes.cast(resume, ctypes.POINTER(ctypes.c_uint32))
        names = [name for name, entry in self.entries.items() if entry.state == ServiceState.RUNNING]
        first = again[0]
        page = names[first : first + 1]  # one a call, as with a small buffer
        entries = (api.ENUM_SERVICE_STATUS_PROCESSW * 1).from_buffer(buffer)
        self.kept = [ctypes.create_unicode_buffer(name) for name in page]
        for entry, text in zip(entries, self.kept, strict=False):
            entry.lpServiceName = ctypes.cast(text, ctypes.c_wchar_p)
        number[0], again[0] = len(page), first + len(page)
        if first + len(page) < len(names):
            raise Win32Error("EnumServicesStatusExW", 234)
        return 1

    def DeleteService(self, name: str) -> int:
        self._check("DeleteService")
        del self.entries[name]
        return 1

    def CloseServiceHandle(self, handle: str) -> int:
        self.open -= 1
        return 1


@pytest.fixture
def advapi32(monkeypatch: pytest.MonkeyPatch) -> Advapi32:
    return Advapi32(monkeypatch)


@pytest.fixture
def naps() -> list[float]:
    return []


@pytest.fixture
def manager(advapi32: Advapi32, naps: list[float]) -> ServiceManager:
    return ServiceManager(create=True, sleep=naps.append)


def test_a_service_is_created_as_a_demand_start_driver_that_needs_bfe(
    advapi32: Advapi32, manager: ServiceManager
) -> None:
    assert manager.install(SERVICE) is True

    entry = advapi32.entries["pointsman"]
    assert (entry.kind, entry.start) == (1, 3)
    assert entry.path == SERVICE.image  # bare, although it holds a space
    assert (entry.group, entry.dependencies) == ("NetworkProvider", "BFE\0\0")


def test_an_existing_service_gets_the_wanted_path(advapi32: Advapi32, manager: ServiceManager) -> None:
    manager.install(DriverService("pointsman", r"C:\old.sys", "old"))

    assert manager.install(SERVICE) is False
    assert advapi32.entries["pointsman"].path == SERVICE.image


def test_stop_waits_until_the_driver_is_unloaded(
    advapi32: Advapi32, manager: ServiceManager, naps: list[float]
) -> None:
    advapi32.unload_takes = 3
    manager.install(SERVICE)
    manager.start("pointsman")

    assert manager.stop("pointsman") is True

    assert naps == [POLL] * 3
    assert advapi32.entries["pointsman"].state == ServiceState.STOPPED


def test_a_stop_that_never_ends_names_the_open_handle(
    advapi32: Advapi32, manager: ServiceManager, naps: list[float]
) -> None:
    advapi32.unload_takes = 1_000_000
    manager.install(SERVICE)
    manager.start("pointsman")

    with pytest.raises(PointsmanError) as caught:
        manager.stop("pointsman", timeout=5)

    assert sum(naps) == 5
    assert "\\Device\\Pointsman" in caught.value.do


def test_what_is_so_already_is_no_error(manager: ServiceManager) -> None:
    assert manager.delete("pointsman") is False
    assert manager.query("pointsman") is None
    manager.install(SERVICE)
    assert manager.stop("pointsman") is False
    assert manager.start("pointsman") is True
    assert manager.start("pointsman") is False


def test_query_tells_state_path_and_kind(manager: ServiceManager) -> None:
    manager.install(SERVICE)
    manager.start("pointsman")

    status = manager.query("pointsman")

    assert status is not None
    assert (status.state, status.exit_code) == (ServiceState.RUNNING, 1077)
    assert (status.image, status.kernel_driver) == (SERVICE.image, True)


def test_no_handle_is_left_after_success_and_after_failure(advapi32: Advapi32, manager: ServiceManager) -> None:
    manager.install(SERVICE)
    advapi32.fail = {"StartServiceW": 577, "DeleteService": 1072}
    for call in (manager.start, manager.delete):
        with pytest.raises(PointsmanError):
            call("pointsman")
    manager.query("pointsman")
    assert advapi32.open == 1

    manager.close()
    manager.close()

    assert advapi32.open == 0


def test_a_program_is_restarted_when_it_fails_and_after_it_reports_a_failure(
    advapi32: Advapi32, manager: ServiceManager
) -> None:
    assert manager.install(PROGRAM) is True

    entry = advapi32.entries["PointsmanProxy"]
    assert (entry.kind, entry.start, entry.group) == (0x10, 2, None)
    assert entry.dependencies == "BFE\0pointsman\0\0"
    assert advapi32.configured[api.SERVICE_CONFIG_FAILURE_ACTIONS] == (900, [(1, 5000), (1, 30000), (1, 600000)])
    assert advapi32.configured[api.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG] == 1
    assert advapi32.configured[api.SERVICE_CONFIG_SERVICE_SID_INFO] == 1
    assert advapi32.configured[api.SERVICE_CONFIG_DESCRIPTION] == "what it does"
    assert manager.install(PROGRAM) is False


def test_a_level_that_the_system_does_not_know_is_no_error_and_others_are(
    advapi32: Advapi32, manager: ServiceManager
) -> None:
    advapi32.fail = {"ChangeServiceConfig2W": 124}
    assert manager.install(PROGRAM) is True
    advapi32.fail = {"ChangeServiceConfig2W": 5}
    with pytest.raises(PointsmanError, match="cannot configure the service"):
        manager.install(PROGRAM)


def test_drivers_that_run_are_listed_over_several_pages(advapi32: Advapi32, manager: ServiceManager) -> None:
    for name in ("one", "two", "three"):
        manager.install(DriverService(name, "x.sys", name))
    manager.start("one")
    manager.start("three")

    assert manager.drivers() == ("one", "three")
    advapi32.fail = {"EnumServicesStatusExW": 5}
    with pytest.raises(PointsmanError, match="cannot list the drivers"):
        manager.drivers()
    manager.close()
    assert advapi32.open == 0


def test_only_creating_asks_for_the_right_to_create(advapi32: Advapi32) -> None:
    with ServiceManager(), ServiceManager(create=True):
        assert advapi32.accesses == [1, 3]


@pytest.mark.parametrize(
    ("call", "code", "sentence"),
    [
        ("OpenSCManagerW", 5, "access denied"),
        ("CreateServiceW", 1072, "the service is marked for deletion"),
        ("ChangeServiceConfigW", 5, "access denied"),
        ("StartServiceW", 2, "the driver file is not where the service looks for it"),
        ("StartServiceW", 577, "the driver's signature is missing, not trusted, or the file was changed"),
        ("StartServiceW", 1068, "a service that it depends on did not start: the Base Filtering Engine"),
        ("StartServiceW", 1275, "Windows or a security product keeps the driver from loading"),
        ("StartServiceW", 1306, "the driver refuses this version of Windows"),
        ("StartServiceW", 0x800B_010C, "the driver's certificate is revoked"),
        ("ControlService", 1052, "the service cannot take that request in its present state"),
        ("DeleteService", 1072, "the service is marked for deletion"),
        ("StartServiceW", 31337, "unknown to us"),
    ],
)
def test_a_failing_call_becomes_four_lines(advapi32: Advapi32, call: str, code: int, sentence: str) -> None:
    def everything() -> None:
        with ServiceManager(create=True) as manager:
            manager.install(SERVICE)
            manager.install(SERVICE)
            manager.start("pointsman")
            manager.stop("pointsman")
            manager.delete("pointsman")

    everything()  # without a fault it holds
    advapi32.fail = {call: code}

    with pytest.raises(PointsmanError) as caught:
        everything()

    error = caught.value
    assert error.code == "PM205"
    assert sentence in error.seen
    assert (f"0x{code:08X}" if code >= 0x8000_0000 else f"error {code}:") in error.seen
    assert len(str(error).splitlines()) == 4


@pytest.mark.parametrize("code", sorted(ADVICE))
def test_every_known_code_says_what_and_what_to_do(code: int) -> None:
    error = service_error("cannot start the driver", code, "pointsman")

    assert error.seen.startswith("pointsman: Windows error ")
    assert len(error.do) > 8
    assert "unknown" not in error.seen
    if code == 0x800B_010C:
        assert "never switch the blocklist off" in error.do
