"""What the host reads of Windows' own tables, from bytes as Windows lays them out; and WFP's objects on a double."""

from __future__ import annotations

import ctypes
import struct
import uuid
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from pointsman.system import fwpm
from pointsman.system.host import ChainVerdict, CodeIntegrity, Listener, LogEvent, Sublayer
from pointsman.system.windows import (
    _advapi32_security,
    _crypt32,
    _fwpuclnt,
    _machine,
    _ntdll,
    _wevtapi,
    access_list,
    boot_state,
    chain,
    event_log,
    registry,
    signature,
    tcp_listeners,
)
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.accounts import sid_bytes
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
        self.filter = fwpm.FWPM_FILTER0(flags=0x10, providerKey=ctypes.addressof(self.provider), rawContext=3 << 32)
        self.filter.layerKey = self.callout.applicableLayer
        self.filter.subLayerKey = fwpm.guid_of(guids.SUBLAYER)
        self.filter.action.type, self.filter.action.calloutKey = 0x4005, self.callout.calloutKey
        self.filter_array = (ctypes.c_void_p * 1)(ctypes.addressof(self.filter))
        self.sublayer = fwpm.FWPM_SUBLAYER0(subLayerKey=fwpm.guid_of(guids.SUBLAYER), weight=0x8000)
        self.sublayer.displayData.name = ctypes.addressof(self.name)
        self.sublayer_array = (ctypes.c_void_p * 1)(ctypes.addressof(self.sublayer))
        self.option = fwpm.FWP_VALUE0(type=3)
        self.option.uint32 = 1
        self.asked_layers: list[uuid.UUID] = []
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

    def FwpmFilterCreateEnumHandle0(self, _engine: int, template: Any, _handle: Any) -> None:
        layer, mask = ctypes.string_at(ctypes.addressof(template._obj) + 8, 16), template._obj.actionMask
        assert mask == 0xFFFF_FFFF
        self.asked_layers.append(uuid.UUID(bytes_le=layer))
        self.pages = [1, 0] if self.asked_layers[-1] == guids.LAYER_CONNECT_REDIRECT_V4 else [0]

    def FwpmFilterDestroyEnumHandle0(self, *_: Any) -> None: ...

    def FwpmFilterEnum0(self, _engine: int, _handle: Any, _wanted: int, entries: Any, count: Any) -> None:
        self._page(self.filter_array, entries, count)

    def FwpmSubLayerCreateEnumHandle0(self, *_: Any) -> None:
        self.pages = [1, 0]

    def FwpmSubLayerDestroyEnumHandle0(self, *_: Any) -> None: ...

    def FwpmSubLayerEnum0(self, _engine: int, _handle: Any, _wanted: int, entries: Any, count: Any) -> None:
        self._page(self.sublayer_array, entries, count)

    def FwpmEngineGetOption0(self, _engine: int, option: int, value: Any) -> None:
        assert option == 0
        self._give(value, ctypes.addressof(self.option))

    def _page(self, array: Any, entries: Any, count: Any) -> None:
        number = self.pages.pop(0)
        ctypes.cast(count, ctypes.POINTER(ctypes.c_uint32))[0] = number
        self._give(entries, ctypes.addressof(array))

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


def test_filters_sublayers_and_options_are_read_and_everything_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch)
    objects = WindowsWfpObjects()

    (found,) = objects.filters()

    assert (found.layer, found.sublayer) == (guids.LAYER_CONNECT_REDIRECT_V4, guids.SUBLAYER)
    assert (found.provider, found.callout) == (guids.PROVIDER, guids.CALLOUT_CONNECT_REDIRECT_V4)
    assert (found.context >> 32, found.permits_without_callout) == (3, True)
    assert len(set(engine.asked_layers)) == 4
    assert objects.sublayers() == [Sublayer(guids.SUBLAYER, "redirect", 0x8000)]
    assert objects.collects_net_events() is True
    assert engine.given == 0
    engine.filter.action.type, engine.filter.flags = 0x1001, 0  # FWP_ACTION_BLOCK: no callout
    assert [(one.callout, one.permits_without_callout) for one in objects.filters()] == [(None, False)]


EVENT = (
    "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>"
    "<Provider Name='Service Control Manager'/><EventID Qualifiers='49152'>7034</EventID>"
    "<TimeCreated SystemTime='2026-01-02T03:04:05.1234567Z'/></System>"
    "<EventData><Data Name='param1'>Pointsman proxy</Data><Data Name='param2'>1</Data></EventData></Event>"
)


def test_events_are_read_one_by_one_and_everything_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [EVENT, "<Event", EVENT.replace("7034", "7000")]
    closed: list[int] = []

    def following(_results: int, _many: int, event: Any, *_: Any) -> None:
        if not waiting:
            raise Win32Error("EvtNext", 259)
        event._obj.value = 70 + len(waiting)

    def render(_context: Any, _event: Any, _flags: int, room: int, buffer: Any, used: Any, _count: Any) -> None:
        data = (waiting[0] + "\0").encode("utf-16-le").ljust(10_000, b"\0")
        used._obj.value = len(data)
        if room < len(data):
            raise Win32Error("EvtRender", 122)
        del waiting[0]
        ctypes.memmove(buffer, data, len(data))

    monkeypatch.setattr(_wevtapi, "EvtQuery", lambda *_: 5)
    monkeypatch.setattr(_wevtapi, "EvtNext", following)
    monkeypatch.setattr(_wevtapi, "EvtRender", render)
    monkeypatch.setattr(_wevtapi, "EvtClose", closed.append)

    found = event_log.read("System", "*")

    assert found[0] == LogEvent(7034, "2026-01-02T03:04:05Z", "Pointsman proxy 1")
    assert [one.number for one in found] == [7034, 7000]
    assert closed == [73, 72, 71, 5]


def test_a_log_that_is_not_for_us_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise Win32Error("EvtQuery", 5)

    monkeypatch.setattr(_wevtapi, "EvtQuery", refuse)

    with pytest.raises(OSError, match="EvtQuery: Windows error 5"):
        event_log.read("System", "*")


def test_a_chain_is_judged_for_a_server_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    context = _crypt32.CERT_CHAIN_CONTEXT(cbSize=12)
    context.TrustStatus.dwErrorStatus = 0x20
    freed: list[str] = []

    def chained(engine: int, _certificate: int, *rest: Any) -> None:
        assert engine == 1  # the machine's, not the user's
        rest[-1]._obj.value = ctypes.addressof(context)

    def judged(policy: int, _chain: Any, wanted: Any, status: Any) -> None:
        server = _crypt32.SSL_EXTRA_CERT_CHAIN_POLICY_PARA.from_address(wanted._obj.pvExtraPolicyPara)
        assert (policy, server.dwAuthType, server.pwszServerName) == (4, 2, "a.example")
        status._obj.dwError = 0x800B_0109

    monkeypatch.setattr(_crypt32, "CertCreateCertificateContext", lambda *_: 7)
    monkeypatch.setattr(_crypt32, "CertGetCertificateChain", chained)
    monkeypatch.setattr(_crypt32, "CertVerifyCertificateChainPolicy", judged)
    monkeypatch.setattr(_crypt32, "CertFreeCertificateChain", lambda _: freed.append("chain"))
    monkeypatch.setattr(_crypt32, "CertFreeCertificateContext", lambda _: freed.append("certificate"))

    assert chain.verify(b"der", "a.example") == ChainVerdict(0x800B_0109, 0x20)
    assert freed == ["chain", "certificate"]


def ace(kind: int, flags: int, mask: int, sid: str) -> bytes:
    body = sid_bytes(sid)
    return struct.pack("<BBHI", kind, flags, 8 + len(body), mask) + body


def acl(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<BBHHH", 2, 0, 8 + len(body), len(entries), 0) + body


def test_who_may_write_is_read_from_an_access_list() -> None:
    data = acl(
        ace(1, 0, 0x2, "S-1-1-0"),  # denied
        ace(0, 0, 0x1F01FF, "S-1-5-18"),
        ace(0, 0, 0x1200A9, "S-1-5-32-545"),  # reads and runs
        ace(0, 0x8, 0x1000_0000, "S-1-5-11"),  # for what is made in it
        ace(0, 0, 0x1301BF, "S-1-5-21-1-2-3-1001"),
    )

    assert set(access_list.writers(data)) == {"S-1-5-18", "S-1-5-21-1-2-3-1001"}
    for cut in (b"", data[:7], data[:20], data[:-1]):
        with pytest.raises(ValueError, match=r"access list|beyond"):
            list(access_list.writers(cut))


@pytest.mark.parametrize(
    ("owner", "entries", "names"),
    [
        ("S-1-5-32-544", (ace(0, 0, 0x1F01FF, "S-1-5-32-544"), ace(0, 0, 0x1200A9, "S-1-5-32-545")), ()),
        ("S-1-5-21-1-2-3-1001", (), ("S-1-5-21-1-2-3-1001",)),
        ("S-1-5-18", (ace(0, 3, 0x4, "S-1-5-11"),), ("Authenticated Users",)),
        ("S-1-5-18", None, ("Everyone",)),
    ],
)
def test_who_else_than_administrators_may_write_in_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: str, entries: tuple[bytes, ...] | None, names: tuple[str]
) -> None:
    kept = [ctypes.create_string_buffer(sid_bytes(owner)), ctypes.create_string_buffer(acl(*(entries or ())))]
    freed: list[int | None] = []

    def asked(_name: str, _kind: int, _wanted: int, *to: Any) -> None:
        to[0]._obj.value = ctypes.addressof(kept[0])
        to[2]._obj.value = ctypes.addressof(kept[1]) if entries is not None else None
        to[4]._obj.value = 99

    monkeypatch.setattr(_advapi32_security, "GetNamedSecurityInfoW", asked)
    monkeypatch.setattr(_crypt32, "LocalFree", lambda pointer: freed.append(pointer.value))

    assert access_list.others_who_write(tmp_path) == names
    assert freed == [99]
