"""The driver on simwfp, loaded into this process: the C library's `sim_*` calls as Python methods.

One `Simulator` a process, since the library holds one kernel, and one thread, since the lab's machine has one (the
driver itself is tested with threads in `driver/tests`).  It knows WFP and the driver's device, and nothing of Linux
sockets.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from pointsman.system import fwpm
from pointsman.system import fwpm_persistent as persistent
from pointsman.system.interface import DriverError
from pointsman.wire.abi import Address
from pointsman.wire.filters import Filter, NativeFilter

LIBRARY = Path(__file__).parent / "_native" / "libpointsman_lab.so"
READ_WRITE = 3
FIRST_FLOW_CONTEXT = 4096  # bytes offered for a redirect context
_DISPATCH_LEVEL = 2


class Knobs(ctypes.Structure):
    """`sim_knobs` (simwfp.h): what Windows leaves open.  As made here they are those of the lab."""

    _fields_ = [
        ("native_block_vetoes", ctypes.c_uint32),
        ("acquire_sets_block", ctypes.c_uint32),
        ("block_at_redirect", ctypes.c_uint32),
        ("local_address_writable", ctypes.c_uint32),
        ("v4mapped_v6_only", ctypes.c_uint32),
        ("auth_twice", ctypes.c_uint32),
        ("auto_weight", ctypes.c_uint32),
        ("tie_order", ctypes.c_uint32),
        ("tie_seed", ctypes.c_uint32),
        ("entry_action_so_far", ctypes.c_uint32),
        ("empty_matches_not_equal", ctypes.c_uint32),
        ("unregistered_block_soft", ctypes.c_uint32),
        ("reauth_block_drops", ctypes.c_uint32),
        ("peer_is_redirected", ctypes.c_uint32),
        ("classify_irql", ctypes.c_uint32),
        ("real_clock", ctypes.c_uint32),
        ("bfe_stopped", ctypes.c_uint32),
    ]

    def __init__(self, **knobs: int) -> None:
        super().__init__(**{"acquire_sets_block": 1, "classify_irql": _DISPATCH_LEVEL, "real_clock": 1, **knobs})


class _ConnectRequest(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_uint32),
        ("family", ctypes.c_uint8),
        ("protocol", ctypes.c_uint8),
        ("local_port", ctypes.c_uint16),
        ("remote_port", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16),
        ("compartment", ctypes.c_uint32),
        ("local_address", ctypes.c_uint8 * 16),
        ("remote_address", ctypes.c_uint8 * 16),
        ("app_id", ctypes.c_char_p),
        ("app_id_size", ctypes.c_uint64),
        ("endpoint", ctypes.c_uint64),
        ("records", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("no_process", ctypes.c_uint32),
    ]


class _ConnectResult(ctypes.Structure):
    _fields_ = [
        ("blocked", ctypes.c_uint32),
        ("redirected", ctypes.c_uint32),
        ("remote_address", ctypes.c_uint8 * 16),
        ("remote_port", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16),
        ("action", ctypes.c_uint32),
        ("redirect_classifies", ctypes.c_uint32),
        ("auth_classifies", ctypes.c_uint32),
        ("flow", ctypes.c_uint64),
    ]


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """One connect() of a program, as WFP sees it."""

    pid: int
    app_id: bytes
    """With its terminating NUL."""
    protocol: int
    local: tuple[Address, int]
    remote: tuple[Address, int]
    endpoint: int
    """A number that stays the same for the socket."""
    records: int = 0
    """The flow whose redirect records the socket carries."""
    names_process: bool = True
    """False: WFP does not say whose connection it is."""
    flags: int = 0
    """FWP_CONDITION_FLAG_* to add."""
    compartment: int = 1


@dataclass(frozen=True, slots=True)
class ConnectOutcome:
    blocked: bool
    remote: tuple[Address, int]
    """Where the connection goes now."""
    flow: int
    """For `redirect_context` and `close_flow`; 0 if nobody redirected it."""


class Simulator:
    """A booted kernel with the driver loaded."""

    def __init__(self, library: Path = LIBRARY, knobs: Knobs | None = None) -> None:
        """Raises OSError if there is no library (`make lib`), DriverError if the driver does not load."""
        self._lib = ctypes.CDLL(str(library))
        _declare(self._lib)
        status = self._lib.sim_lab_start_with(ctypes.byref(knobs or Knobs()))
        if status:
            raise DriverError("DriverEntry", status & 0xFFFFFFFF)

    def close(self) -> None:
        """Unload the driver; the library aborts the process if it left anything behind."""
        self._lib.sim_lab_stop()

    # Processes.

    def process_started(self, pid: int, *, parent: int, start: int, image: str) -> None:
        """`start`: 100 ns since 1601; `image`: the NT path as Windows would report it."""
        encoded = image.encode("utf-16-le", "surrogatepass")
        self._lib.sim_process_start(pid, parent, start, encoded, len(encoded))

    def process_exited(self, pid: int) -> None:
        self._lib.sim_process_exit(pid)

    # The control device.

    def open_device(self, pid: int) -> int:
        file = ctypes.c_void_p()
        status = self._lib.sim_open(pid, READ_WRITE, None, ctypes.byref(file))
        if status or not file.value:
            raise DriverError("CreateFile", status & 0xFFFFFFFF)
        return file.value

    def control(self, file: int, pid: int, code: int, request: bytes, reply_size: int) -> tuple[int, bytes]:
        """Returns the NTSTATUS and the reply's bytes."""
        out = ctypes.create_string_buffer(reply_size) if reply_size else None
        written = ctypes.c_uint32()
        status = self._lib.sim_ioctl(file, pid, code, request, len(request), out, reply_size, ctypes.byref(written))
        return status & 0xFFFFFFFF, out.raw[: written.value] if out is not None else b""

    def close_device(self, file: int) -> None:
        self._lib.sim_close(file)

    # The filter engine, for user-mode callers.

    def open_engine(self, pid: int) -> int:
        engine = ctypes.c_void_p()
        built = fwpm.dynamic_session("pointsman")
        _check(
            "FwpmEngineOpen0", self._lib.sim_user_engine_open(pid, ctypes.byref(built.session), ctypes.byref(engine))
        )
        assert engine.value is not None
        return engine.value

    def replace_filters(self, engine: int, old: Sequence[int], new: Sequence[Filter]) -> list[int]:
        """Swap in one transaction; returns the new ids.  Raises DriverError, and then nothing has changed."""
        _check("FwpmTransactionBegin0", self._lib.sim_user_transaction_begin(engine, 0))
        ids: list[int] = []
        try:
            for filter_id in old:
                _check("FwpmFilterDeleteById0", self._lib.sim_user_filter_delete(engine, filter_id))
            for item in new:
                built = fwpm.build_filter(item)
                new_id = ctypes.c_uint64()
                _check(
                    "FwpmFilterAdd0",
                    self._lib.sim_user_filter_add(engine, ctypes.byref(built.filter), ctypes.byref(new_id)),
                )
                ids.append(new_id.value)
            _check("FwpmTransactionCommit0", self._lib.sim_user_transaction_commit(engine))
        except DriverError:
            self._lib.sim_user_transaction_abort(engine)  # the first error is the one to report
            raise
        return ids

    def close_engine(self, engine: int) -> None:
        self._lib.sim_user_engine_close(engine)

    def replace_persistent_filters(self, pid: int, old: int, new: Sequence[NativeFilter]) -> None:
        """Swap those that outlive sessions; `old`: how many there were.  Raises as `replace_filters`."""
        engine, lib = ctypes.c_void_p(), self._lib
        session = fwpm.static_session("pointsman closed")
        _check("FwpmEngineOpen0", lib.sim_user_engine_open(pid, ctypes.byref(session.session), ctypes.byref(engine)))
        try:
            _check("FwpmTransactionBegin0", lib.sim_user_transaction_begin(engine, 0))
            try:
                if old:
                    self._delete_persistent(engine, old)
                if new:
                    self._add_persistent(engine, new)
                _check("FwpmTransactionCommit0", lib.sim_user_transaction_commit(engine))
            except DriverError:
                lib.sim_user_transaction_abort(engine)  # the first error is the one to report
                raise
        finally:
            lib.sim_user_engine_close(engine)

    def _delete_persistent(self, engine: ctypes.c_void_p, count: int) -> None:
        lib = self._lib
        for number in range(count):
            key = persistent.filter_key(number)
            _check("FwpmFilterDeleteByKey0", lib.sim_user_filter_delete_by_key(engine, ctypes.byref(key)))
        key = persistent.sublayer_key()
        _check("FwpmSubLayerDeleteByKey0", lib.sim_user_sublayer_delete_by_key(engine, ctypes.byref(key)))
        key = persistent.provider_key()
        _check("FwpmProviderDeleteByKey0", lib.sim_user_provider_delete_by_key(engine, ctypes.byref(key)))

    def _add_persistent(self, engine: ctypes.c_void_p, new: Sequence[NativeFilter]) -> None:
        lib = self._lib
        provider, _provider_owns = persistent.build_provider()
        sublayer, _sublayer_owns = persistent.build_sublayer()
        _check("FwpmProviderAdd0", lib.sim_user_provider_add(engine, ctypes.byref(provider)))
        _check("FwpmSubLayerAdd0", lib.sim_user_sublayer_add(engine, ctypes.byref(sublayer)))
        for number, item in enumerate(new):
            built = persistent.build_native_filter(item, number)
            added = lib.sim_user_filter_add(engine, ctypes.byref(built.filter), ctypes.byref(ctypes.c_uint64()))
            _check("FwpmFilterAdd0", added)

    # Connections.

    def connect(self, request: ConnectRequest) -> ConnectOutcome:
        remote, local = request.remote[0], request.local[0]
        raw = _ConnectRequest(
            pid=request.pid,
            family=remote.version,
            protocol=request.protocol,
            local_port=request.local[1],
            remote_port=request.remote[1],
            app_id=request.app_id,
            app_id_size=len(request.app_id),
            endpoint=request.endpoint,
            records=request.records,
            no_process=not request.names_process,
            flags=request.flags,
            compartment=request.compartment,
        )
        raw.local_address[: len(local.packed)] = local.packed
        raw.remote_address[: len(remote.packed)] = remote.packed
        result = _ConnectResult()
        self._lib.sim_connect(ctypes.byref(raw), ctypes.byref(result))
        packed = bytes(result.remote_address)
        address: Address = IPv4Address(packed[:4]) if remote.version == 4 else IPv6Address(packed)
        return ConnectOutcome(bool(result.blocked), (address, result.remote_port), result.flow)

    def redirect_context(self, flow: int) -> bytes | None:
        out = ctypes.create_string_buffer(FIRST_FLOW_CONTEXT)
        size = self._lib.sim_flow_context(flow, out, FIRST_FLOW_CONTEXT)
        return out.raw[:size] if size else None

    def close_flow(self, flow: int) -> None:
        self._lib.sim_flow_close(flow)


def _check(call: str, result: int) -> None:
    if result:
        raise DriverError(call, result & 0xFFFFFFFF)


def _declare(lib: ctypes.CDLL) -> None:
    """Argument types of every function we call: a pointer passed as an int would be cut to 32 bits."""
    p, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    status = ctypes.c_int32
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "sim_lab_start_with": (status, (p,)),
        "sim_lab_stop": (None, ()),
        "sim_process_start": (None, (u32, u32, u64, ctypes.c_char_p, u32)),
        "sim_process_exit": (None, (u32,)),
        "sim_open": (status, (u32, u32, p, p)),
        "sim_ioctl": (status, (p, u32, u32, ctypes.c_char_p, u32, p, u32, p)),
        "sim_close": (None, (p,)),
        "sim_user_engine_open": (u32, (u32, p, p)),
        "sim_user_engine_close": (u32, (p,)),
        "sim_user_transaction_begin": (u32, (p, u32)),
        "sim_user_transaction_commit": (u32, (p,)),
        "sim_user_transaction_abort": (u32, (p,)),
        "sim_user_filter_add": (u32, (p, p, p)),
        "sim_user_filter_delete": (u32, (p, u64)),
        "sim_user_filter_delete_by_key": (u32, (p, p)),
        "sim_user_provider_add": (u32, (p, p)),
        "sim_user_provider_delete_by_key": (u32, (p, p)),
        "sim_user_sublayer_add": (u32, (p, p)),
        "sim_user_sublayer_delete_by_key": (u32, (p, p)),
        "sim_connect": (None, (p, p)),
        "sim_flow_context": (u32, (u64, p, u32)),
        "sim_flow_close": (None, (u64,)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = list(arguments)
