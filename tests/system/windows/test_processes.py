"""`WindowsProcesses` on doubles of kernel32 and advapi32: what cannot be brought about under Wine."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import Any

import pytest

from pointsman.system.windows import _advapi32, accounts, processes
from pointsman.system.windows import _advapi32_accounts as accounts_api
from pointsman.system.windows import _kernel32_processes as api
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.accounts import MAX_KNOWN, Accounts, sid_bytes, sid_text
from pointsman.system.windows.processes import MAX_ANCESTORS, WindowsProcesses
from pointsman.system.windows.service_processes import ServiceProcesses
from pointsman.wire.process_facts import ProcessFacts

ALICE, ADMINISTRATORS, USERS = "S-1-5-21-1-2-3-1001", "S-1-5-32-544", "S-1-5-32-545"
NAMES = {ALICE: ("Alice", "DESK", 1), "S-1-5-18": ("SYSTEM", "NT AUTHORITY", 5), "S-1-1-0": ("Everyone", "", 5)}


@dataclass
class Fake:
    image: str
    start: int
    parent: int = 0
    groups: tuple[tuple[str, int], ...] = ()


class Windows:
    """Process numbers serve as handles, of processes and of their tokens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table: dict[int, Fake] = {}
        self.refused: set[int] = set()
        self.open: list[int] = []
        self.looked_up = 0
        self.services: list[tuple[str, int]] = []
        self.batch = 100
        self.kept: list[object] = []
        """What the service manager's answers point at."""
        for module in (api, accounts_api):
            for name in vars(module):
                if hasattr(self, name):
                    monkeypatch.setattr(module, name, getattr(self, name))
        for module in (processes, accounts):
            monkeypatch.setattr(module, "CloseHandle", self.CloseHandle)
        monkeypatch.setattr(_advapi32, "EnumServicesStatusExW", self.EnumServicesStatusExW)
        monkeypatch.setattr(_advapi32, "OpenSCManagerW", lambda *_: 7)
        monkeypatch.setattr(_advapi32, "CloseServiceHandle", lambda _: 1)

    def OpenProcess(self, access: int, inherit: int, pid: int) -> int:
        assert (access, inherit) == (0x1000, 0), "the limited right is granted for protected processes too"
        if pid in self.refused:
            raise Win32Error("OpenProcess", 5)
        if pid not in self.table:
            raise Win32Error("OpenProcess", 87)
        self.open.append(pid)
        return pid

    def CloseHandle(self, handle: Any) -> None:
        self.open.remove(getattr(handle, "value", handle))

    def GetProcessTimes(self, process: int, creation: Any, *_: Any) -> None:
        _put(creation, ctypes.c_uint64, self.table[process].start)

    def QueryFullProcessImageNameW(self, process: int, flags: int, buffer: Any, size: Any) -> None:
        image = self.table[process].image
        if not image:
            raise Win32Error("QueryFullProcessImageNameW", 31)  # the System process
        encoded = image.encode("utf-16-le")
        ctypes.memmove(buffer, encoded, len(encoded))
        _put(size, ctypes.c_uint32, len(image))

    def NtQueryInformationProcess(self, process: int, kind: int, basic: Any, size: int, _: None) -> None:
        assert (kind, size) == (0, 48)
        found = ctypes.cast(basic, ctypes.POINTER(api.PROCESS_BASIC_INFORMATION))[0]
        found.InheritedFromUniqueProcessId = self.table[process].parent

    def K32EnumProcesses(self, ids: Any, size: int, written: Any) -> None:
        numbers = [*self.table, 0, *self.refused]
        ids[: len(numbers)] = numbers
        _put(written, ctypes.c_uint32, 4 * len(numbers))

    def OpenProcessToken(self, process: int, access: int, token: Any) -> None:
        ctypes.cast(token, ctypes.POINTER(ctypes.c_void_p))[0] = process
        self.open.append(process)

    def GetTokenInformation(self, token: Any, kind: int, buffer: Any, size: int, needed: Any) -> None:
        entries = ((ALICE, 0),) if kind == 1 else self.table[token.value].groups
        at = 0 if kind == 1 else 8
        struct.pack_into("<I", buffer, 0, len(entries))
        place = at + 16 * len(entries)
        for index, (sid, attributes) in enumerate(entries):
            struct.pack_into("<QI", buffer, at + 16 * index, ctypes.addressof(buffer) + place, attributes)
            data = sid_bytes(sid)
            buffer[place : place + len(data)] = data
            place += len(data)

    def LookupAccountSidW(self, _m: None, sid: bytes, name: Any, _n: Any, domain: Any, _d: Any, _k: Any) -> None:
        self.looked_up += 1
        account, realm, _ = NAMES[sid_text(sid)]
        for buffer, text in ((name, account), (domain, realm)):
            encoded = text.encode("utf-16-le")
            ctypes.memmove(buffer, encoded, len(encoded))

    def LookupAccountNameW(self, _m: None, name: str, sid: Any, _s: Any, _d: Any, _n: Any, kind: Any) -> None:
        for number, (account, _, what) in NAMES.items():
            if account.lower() == name.lower():
                data = sid_bytes(number)
                ctypes.memmove(sid, data, len(data))
                _put(kind, ctypes.c_uint32, what)
                return
        raise Win32Error("LookupAccountNameW", 1332)

    def EnumServicesStatusExW(self, *arguments: Any) -> None:
        _, _, _, _, buffer, _, _, count, resume, _ = arguments
        at = ctypes.cast(resume, ctypes.POINTER(ctypes.c_uint32))[0]
        some = self.services[at : at + self.batch]
        entries = (_advapi32.ENUM_SERVICE_STATUS_PROCESSW * len(some)).from_buffer(buffer)
        self.kept.append(entries)
        for entry, (name, pid) in zip(entries, some, strict=True):
            entry.lpServiceName = name
            entry.ServiceStatusProcess.dwProcessId = pid
        _put(count, ctypes.c_uint32, len(some))
        _put(resume, ctypes.c_uint32, at + len(some))
        if at + len(some) < len(self.services):
            raise Win32Error("EnumServicesStatusExW", 234)


def _put(pointer: Any, kind: Any, value: int) -> None:
    ctypes.cast(pointer, ctypes.POINTER(kind))[0] = value


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Windows:
    return Windows(monkeypatch)


@pytest.fixture
def watched(windows: Windows) -> WindowsProcesses:
    return WindowsProcesses(ServiceProcesses(clock=lambda: 0.0, wall_clock=lambda: 1000))


def test_a_parent_that_is_younger_than_its_child_is_somebody_else(windows: Windows, watched: WindowsProcesses) -> None:
    windows.table = {
        10: Fake(r"C:\app.exe", start=300, parent=20),
        20: Fake(r"C:\shell.exe", start=200, parent=30),
        30: Fake(r"C:\late.exe", start=250),  # has the number that shell.exe's parent had
    }

    facts = watched.facts(10)

    assert facts is not None and facts.ancestors == (r"C:\shell.exe",)
    windows.table[20].start = 300  # the same tick is no proof against it
    assert watched.facts(10) == ProcessFacts((r"C:\shell.exe", r"C:\late.exe"), facts.users)
    assert not windows.open


def test_ancestors_end_where_nobody_may_look_and_go_on_past_one_without_a_path(
    windows: Windows, watched: WindowsProcesses
) -> None:
    windows.table = {
        10: Fake("a", 5, 20), 20: Fake("", 4, 30), 30: Fake("c", 3, 40), 40: Fake("d", 2, 50),
    }  # fmt: skip
    windows.refused = {40}

    facts = watched.facts(10)

    assert facts is not None and facts.ancestors == ("c",)
    assert not windows.open


def test_a_chain_without_end_ends(windows: Windows, watched: WindowsProcesses) -> None:
    windows.table = {10: Fake("a", 5, 20), 20: Fake("b", 5, 10)}

    facts = watched.facts(10)

    assert facts is not None and len(facts.ancestors) == MAX_ANCESTORS


def test_what_may_not_be_opened_is_there_and_what_is_gone_is_not(windows: Windows, watched: WindowsProcesses) -> None:
    windows.table = {1: Fake(r"C:\a.exe", 1), 2: Fake("", 1)}
    windows.refused = {9}

    assert watched.facts(9) == ProcessFacts()
    assert watched.facts(8) is None
    assert watched.running() == {r"C:\a.exe"}
    assert (watched.image(9, 0), watched.image(2, 0)) == (None, None)
    assert not windows.open


def test_groups_count_as_far_as_the_token_may_speak_for_them(windows: Windows, watched: WindowsProcesses) -> None:
    windows.table = {1: Fake("a", 1, groups=((ADMINISTRATORS, 0x10), (USERS, 7), ("S-1-5-4", 0)))}

    for _ in range(2):
        facts = watched.facts(1)
        assert facts is not None and facts.users == {ALICE.lower(), "alice", "desk\\alice", USERS.lower()}
    assert windows.looked_up == 1, "a name is asked for once"


def test_an_account_is_a_user_or_one_of_the_three_that_services_have(windows: Windows) -> None:
    known = Accounts()

    assert known.sid_of("alice") == ALICE
    assert known.sid_of("system") == "S-1-5-18"
    assert known.sid_of("everyone") is None
    assert known.sid_of("nobody") is None


def test_names_of_so_many_users_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_up(sid: str) -> tuple[str, ...]:
        asked.append(sid)
        return (sid,)

    monkeypatch.setattr(accounts, "_look_up", look_up)
    known = Accounts()
    users = [f"S-1-5-21-{number}" for number in range(MAX_KNOWN + 1)]
    for user in (*users, users[-1]):
        assert known._names_of(user) == (user,)
    assert asked == users
    known._names_of(users[0])
    assert asked == [*users, users[0]], "the first has made room for the last"


def test_services_are_asked_for_once_a_second_and_again_for_a_process_that_is_younger(windows: Windows) -> None:
    now = [0.0, 1000]
    found = ServiceProcesses(clock=lambda: now[0], wall_clock=lambda: int(now[1]))
    windows.services = [(f"Service{n}", n // 2 * 100) for n in range(11)]
    windows.batch = 4

    assert found.of(100, 999) == {"service2", "service3"}
    windows.services = [("Other", 100), ("Stopped", 0)]
    assert found.of(100, 999) == {"service2", "service3"}
    assert found.of(100, 1000) == {"other"}
    windows.services = []
    now[0] += 1.0
    assert found.of(100, 999) == frozenset()


def test_without_a_service_manager_no_service_is_found(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise Win32Error("OpenSCManagerW", 5)

    monkeypatch.setattr(_advapi32, "OpenSCManagerW", refuse)

    assert ServiceProcesses(clock=lambda: 0.0, wall_clock=lambda: 0).of(1, 1) == frozenset()


@pytest.mark.parametrize("text", ["S-1-5-18", ALICE, "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"])
def test_sids_are_read_as_they_are_written(text: str) -> None:
    assert sid_text(sid_bytes(text) + b"what follows") == text


@pytest.mark.parametrize("data", [b"", b"\1\1\0\0\0\0\0\5", b"\2\0\0\0\0\0\0\5", b"\1\x10" + bytes(70)])
def test_other_bytes_are_no_sid(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a SID"):
        sid_text(data)
