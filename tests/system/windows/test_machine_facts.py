"""What the host reads of Windows' own tables, from bytes as Windows lays them out; and WFP's objects on a double."""

from __future__ import annotations

import ctypes
import struct
import uuid
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from pointsman.system.host import CodeIntegrity, Listener
from pointsman.system.windows import _fwpuclnt, _machine, _ntdll, boot_state, registry, signature, tcp_listeners
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.wfp_objects import FWPM_CALLOUT0, WindowsWfpObjects
from pointsman.wire import guids


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (1, "text\0".encode("utf-16-le"), "text"),
        (2, "%A%\\b\0".encode("utf-16-le"), "%A%\\b"),
        (7, "a\0b\0\0".encode("utf-16-le"), ("a", "b")),
        (4, struct.pack("<I", 7), 7),
        (11, struct.pack("<Q", 1 << 40), 1 << 40),
        (3, b"\1\2", b"\1\2"),
        (4, b"\1\2", None),
        (99, b"x", None),
        (1, b"odd", "\u646f"),
    ],
)
def test_registry_values_by_their_type(kind: int, data: bytes, value: object) -> None:
    assert registry.decode(kind, data) == value


def test_an_absent_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise Win32Error("RegGetValueW", 2)

    monkeypatch.setattr(_machine, "RegGetValueW", absent)
    monkeypatch.setattr(_machine, "RegOpenKeyExW", absent)

    assert registry.read("a", "b") is None
    assert registry.key_names("a") == ()


def test_listeners_of_both_families() -> None:
    v4 = struct.pack("<I", 2) + b"".join(
        struct.pack("<I4sHxxIII", 2, IPv4Address(address).packed, int.from_bytes(port.to_bytes(2, "big"), "little"),
                    0, 0, pid)
        for address, port, pid in (("127.0.0.1", 4433, 10), ("0.0.0.0", 80, 11))
    )  # fmt: skip
    v6 = struct.pack("<I", 1) + struct.pack(
        "<16sI2sxx16sIIII", IPv6Address("::1").packed, 0, (4434).to_bytes(2, "big"), bytes(16), 0, 0, 2, 12
    )

    assert tcp_listeners.rows_v4(v4) == [
        Listener(IPv4Address("127.0.0.1"), 4433, 10),
        Listener(IPv4Address("0.0.0.0"), 80, 11),
    ]
    assert tcp_listeners.rows_v6(v6) == [Listener(IPv6Address("::1"), 4434, 12)]
    assert tcp_listeners.rows_v4(struct.pack("<I", 1000)) == []  # a table that lies about its length


def test_modules_of_the_kernel() -> None:
    def entry(path: bytes) -> bytes:
        return bytes(40) + path.ljust(256, b"\0")

    data = struct.pack("<II", 3, 0) + entry(rb"\SystemRoot\system32\ntoskrnl.exe") + entry(rb"\??\C:\p\pointsman.sys")

    assert boot_state.module_paths(data) == [r"\SystemRoot\system32\ntoskrnl.exe", r"\??\C:\p\pointsman.sys"]


def test_options_of_code_integrity_and_a_system_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def query(_class: int, buffer: Any, size: int, _needed: None) -> int:
        told = ctypes.cast(buffer, ctypes.POINTER(_ntdll.SYSTEM_CODEINTEGRITY_INFORMATION))[0]
        assert told.Length == size == 8
        told.CodeIntegrityOptions = 0x403
        return 0

    monkeypatch.setattr(_ntdll, "NtQuerySystemInformation", query)
    assert boot_state.code_integrity() == (
        CodeIntegrity.ENABLED | CodeIntegrity.TEST_SIGNING | CodeIntegrity.MEMORY_INTEGRITY
    )
    monkeypatch.setattr(_ntdll, "NtQuerySystemInformation", lambda *_: 0xC000_0003)
    assert boot_state.code_integrity() is None
    assert boot_state.loaded_modules() is None


def test_a_signature_is_asked_for_and_its_state_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    actions: list[tuple[int, int]] = []

    def verify(_window: int, _action: Any, data: Any) -> int:
        told = ctypes.cast(data, ctypes.POINTER(_machine.WINTRUST_DATA))[0]
        actions.append((told.dwStateAction, told.cbStruct))
        return 0x800B_0100

    monkeypatch.setattr(_machine, "WinVerifyTrust", verify)

    assert signature.verify(tmp_path) == 0x800B_0100
    assert actions == [(1, 88), (2, 88)]


class Engine:
    """fwpuclnt.dll with one callout; counts what it has given out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given = 0
        self.failure = 0
        self.name = ctypes.create_unicode_buffer("redirect")
        self.provider = (ctypes.c_uint8 * 16).from_buffer_copy(guids.PROVIDER.bytes_le)
        self.callout = FWPM_CALLOUT0(flags=0x4_0000, providerKey=ctypes.addressof(self.provider))
        self.callout.calloutKey.bytes_le[:] = list(guids.CALLOUT_CONNECT_REDIRECT_V4.bytes_le)
        self.callout.applicableLayer.bytes_le[:] = list(guids.LAYER_CONNECT_REDIRECT_V4.bytes_le)
        self.callout.displayData.name = ctypes.addressof(self.name)
        self.pages = [1, 0]
        self.array = (ctypes.c_void_p * 1)(ctypes.addressof(self.callout))
        for name in dir(self):
            if name.startswith("Fwpm"):
                monkeypatch.setattr(_fwpuclnt, name, getattr(self, name))

    def FwpmEngineOpen0(self, *arguments: Any) -> None:
        if self.failure:
            raise Win32Error("FwpmEngineOpen0", self.failure)
        ctypes.cast(arguments[-1], ctypes.POINTER(ctypes.c_void_p))[0] = 5

    def FwpmEngineClose0(self, _engine: int) -> None: ...

    def FwpmCalloutGetByKey0(self, _engine: int, key: Any, found: Any) -> None:
        wanted = uuid.UUID(bytes_le=ctypes.string_at(key, 16))
        if wanted != guids.CALLOUT_CONNECT_REDIRECT_V4:
            raise Win32Error("FwpmCalloutGetByKey0", 0x8032_0001)
        self._give(found, ctypes.addressof(self.callout))

    def FwpmProviderGetByKey0(self, _engine: int, _key: Any, found: Any) -> None:
        if self.failure:
            raise Win32Error("FwpmProviderGetByKey0", self.failure)
        self._give(found, ctypes.addressof(self.provider))

    def FwpmCalloutCreateEnumHandle0(self, *_: Any) -> None: ...

    def FwpmCalloutDestroyEnumHandle0(self, *_: Any) -> None: ...

    def FwpmCalloutEnum0(self, _engine: int, _handle: Any, _wanted: int, entries: Any, count: Any) -> None:
        number = self.pages.pop(0)
        ctypes.cast(count, ctypes.POINTER(ctypes.c_uint32))[0] = number
        self._give(entries, ctypes.addressof(self.array))

    def FwpmFreeMemory0(self, _pointer: Any) -> None:
        self.given -= 1

    def _give(self, to: Any, address: int) -> None:
        ctypes.cast(to, ctypes.POINTER(ctypes.c_void_p))[0] = address
        self.given += 1


def test_wfp_objects_are_found_by_key_and_everything_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch)
    objects = WindowsWfpObjects()

    found = objects.callout(guids.CALLOUT_CONNECT_REDIRECT_V4)
    assert found is not None
    assert (found.registered, found.layer, found.provider) == (True, guids.LAYER_CONNECT_REDIRECT_V4, guids.PROVIDER)
    assert objects.callout(guids.CALLOUT_AUTH_CONNECT_V4) is None
    assert objects.has_provider(guids.PROVIDER)
    assert [item.key for item in objects.callouts()] == [guids.CALLOUT_CONNECT_REDIRECT_V4]
    objects.close()
    objects.close()

    assert engine.given == 0


def test_an_engine_that_refuses_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch)
    objects = WindowsWfpObjects()
    engine.failure = 5
    with pytest.raises(OSError, match="Windows error 5"):
        objects.has_provider(guids.PROVIDER)
    engine.failure = 1753
    with pytest.raises(OSError, match="1753"):
        WindowsWfpObjects()
