"""A Windows Python under Wine that does what a test on Linux says: one line in, one line out, both pickled.

It calls the product's own Windows code, `pointsman.system.windows`; only what no product needs (ending another
process, the simulator's device) is done here by hand.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import importlib
import io
import os
import pickle
import queue
import socket
import struct
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from pointsman.cli.main import main as main_of_product
from pointsman.control.commands import ask
from pointsman.control.proxy import Ready, run_proxy
from pointsman.control.registration import Registration
from pointsman.control.settings import Settings
from pointsman.policy.load import parse_policy
from pointsman.server.limits import Counters
from pointsman.system.windows._advapi32 import (
    SC_MANAGER_CONNECT,
    SERVICE_QUERY_STATUS,
    OpenSCManagerW,
    OpenServiceW,
)
from pointsman.system.windows._kernel32 import GENERIC_READ, OPEN_EXISTING, CreateFileW
from pointsman.system.windows._library import BOOL, DWORD, HANDLE, Function, nonzero
from pointsman.system.windows.driver import WindowsDriver
from pointsman.system.windows.filter_engine import WindowsFilterEngine
from pointsman.system.windows.redirect_context import WindowsRedirects
from pointsman.system.windows.service_manager import DriverService, ServiceManager, ServiceStatus, _status
from pointsman.system.windows.system import WindowsSystem
from pointsman.wire import abi
from pointsman.wire.filters import Filter
from pointsman.wire.process_facts import ProcessFacts
from pointsman.wire.redirect_context import RedirectContext, encode_redirect_context

OpenProcess = Function("kernel32", "OpenProcess", HANDLE, DWORD, BOOL, DWORD, check=nonzero)
TerminateProcess = Function("kernel32", "TerminateProcess", BOOL, HANDLE, DWORD, check=nonzero)
GetProcessTimes = Function(
    "kernel32", "GetProcessTimes", BOOL, HANDLE, *(ctypes.c_void_p for _ in range(4)), check=nonzero
)
CloseHandle = Function("kernel32", "CloseHandle", BOOL, HANDLE, check=nonzero)
DuplicateHandle = Function(
    "kernel32", "DuplicateHandle", BOOL, HANDLE, HANDLE, HANDLE, ctypes.c_void_p, DWORD, BOOL, DWORD, check=nonzero
)
PROCESS_TERMINATE = 1
PROCESS_DUP_HANDLE = 0x40
DUPLICATE_SAME_ACCESS = 2
CURRENT_PROCESS = ctypes.c_void_p(-1)
PROCESS_QUERY_LIMITED_INFORMATION = 0x1000


class ProxySystem(WindowsSystem):
    """Windows, but for what Wine's Winsock cannot tell: where an accepted connection was going."""

    def __init__(self, destination: tuple[abi.Address, int]) -> None:
        super().__init__()
        self.redirects = Redirected(destination)


class Redirected(WindowsRedirects):
    def __init__(self, destination: tuple[abi.Address, int]) -> None:
        super().__init__()
        self._destination = destination

    def redirect_context(self, accepted: socket.socket) -> bytes | None:
        assert super().redirect_context(accepted) is None  # Wine's honest answer
        context = RedirectContext(
            registration=1, rule_id=abi.RULE_DEFAULT, generation=1, time=0, process_start=0, pid=4321,
            original_destination=self._destination, protocol=6, flags=abi.Flag(0), app_id="\\a.exe".encode("utf-16-le"),
        )  # fmt: skip
        return encode_redirect_context(context)


class Peer:
    """Every public method is an order."""

    def __init__(self) -> None:
        self._driver: WindowsDriver | None = None
        self._engine: WindowsFilterEngine | None = None
        self._simulator: WindowsDriver | None = None
        self._held: int | None = None
        self._registration: Registration | None = None
        self._proxy: threading.Thread | None = None
        self._ready: Ready | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    def about(self) -> tuple[int, str, int]:
        """Process id, what Python says it is, and when this process began (100 ns since 1601)."""
        times = [ctypes.c_uint64() for _ in range(4)]
        handle = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, os.getpid())
        GetProcessTimes(handle, *(ctypes.addressof(time) for time in times))
        CloseHandle(handle)
        return os.getpid(), sys.version, times[0].value

    def reset(self) -> None:
        """Everything closed, as in a process that has just started."""
        for child in self._children:
            child.kill()
            child.wait()
        self._children.clear()
        if self._proxy is not None and self._proxy.is_alive():
            self.stop_proxy()
        if self._held is not None:
            CloseHandle(self._held)
        for opened in (self._registration, self._engine, self._driver, self._simulator):
            if opened is not None:
                opened.close()
        self._held = self._registration = self._engine = self._driver = self._simulator = None

    def terminate(self, pid: int) -> None:
        handle = OpenProcess(PROCESS_TERMINATE, 0, pid)
        TerminateProcess(handle, 1)
        CloseHandle(handle)

    def handle(self) -> int:
        """The number of the driver's handle in this process."""
        number = self.driver._handle
        assert number is not None, "it is closed"
        return number

    def hold(self, pid: int, handle: int) -> None:
        """Have a handle of another process open too, so that its end is not the last close."""
        process = OpenProcess(PROCESS_DUP_HANDLE, 0, pid)
        held = HANDLE()
        DuplicateHandle(process, handle, CURRENT_PROCESS, ctypes.byref(held), 0, 0, DUPLICATE_SAME_ACCESS)
        CloseHandle(process)
        self._held = held.value

    # ---- commands ----

    def command(self, arguments: list[str]) -> tuple[int, str, str]:
        """A command of the product as `python -m pointsman` runs it, in this process.  Exit status, output, errors."""
        out, err = io.StringIO(), io.StringIO()
        before = sys.argv
        sys.argv = ["pointsman", *arguments]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main_of_product()
            status = 0
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        finally:
            sys.argv = before
        return status, out.getvalue(), err.getvalue()

    # ---- services ----

    def hold_service(self, name: str) -> None:
        """Have the service open, as services.msc would, until this process ends."""
        OpenServiceW(OpenSCManagerW(None, None, SC_MANAGER_CONNECT), name, SERVICE_QUERY_STATUS)

    def install(self, service: DriverService) -> bool:
        with ServiceManager(create=True) as manager:
            return manager.install(service)

    def start(self, name: str) -> bool:
        with ServiceManager() as manager:
            return manager.start(name)

    def stop(self, name: str) -> bool:
        with ServiceManager() as manager:
            return manager.stop(name)

    def delete(self, name: str) -> bool:
        with ServiceManager() as manager:
            return manager.delete(name)

    def query(self, name: str) -> ServiceStatus | None:
        with ServiceManager() as manager:
            return manager.query(name)

    # ---- the driver ----

    def open(self) -> None:
        self._driver = WindowsDriver()

    def open_read_only(self) -> None:
        self.open()
        self.driver.close()
        self.driver._handle = CreateFileW(abi.DEVICE_PATH, GENERIC_READ, 3, None, OPEN_EXISTING, 0, None)

    def open_below(self, name: str) -> None:
        WindowsDriver(abi.DEVICE_PATH + "\\" + name).close()

    def close(self) -> None:
        self.driver.close()

    @property
    def driver(self) -> WindowsDriver:
        assert self._driver is not None, "the test has to open the driver first"
        return self._driver

    def control(self, code: int, request: bytes, reply_size: int) -> bytes:
        return self.driver.control(code, request, reply_size)

    def version(self) -> abi.Version:
        return abi.decode_version(self.control(abi.Ioctl.QUERY_VERSION, b"", abi.VERSION_SIZE))

    def register(self, endpoints: abi.Endpoints, lease_ms: int) -> abi.Registered:
        request = abi.register_request(endpoints, lease_ms=lease_ms)
        return abi.decode_registered(self.control(abi.Ioctl.REGISTER, request, abi.REGISTERED_SIZE))

    def renew(self, registration: int) -> None:
        self.control(abi.Ioctl.RENEW, abi.registration_request(registration), 0)

    def withdraw(self, registration: int) -> None:
        self.control(abi.Ioctl.WITHDRAW, abi.registration_request(registration), 0)

    def status(self) -> abi.Status:
        return abi.decode_status(self.control(abi.Ioctl.STATUS, b"", abi.STATUS_SIZE))

    def events(self, first: int) -> abi.Events:
        return abi.decode_events(
            self.control(abi.Ioctl.READ_EVENTS, abi.events_request(first), abi.EVENTS_SIZE)
        )  # fmt: skip

    # ---- the filter engine ----

    def open_engine(self) -> None:
        self._engine = WindowsFilterEngine()

    def replace(self, filters: list[Filter]) -> None:
        assert self._engine is not None, "the test has to open the engine first"
        self._engine.replace(filters)

    def close_engine(self) -> None:
        assert self._engine is not None, "the test has to open the engine first"
        self._engine.close()

    # ---- the product's own registration, and the rest of its Windows system ----

    def open_registration(self, policy: str, endpoints: abi.Endpoints) -> int:
        """Register and install the policy's filters, as `pointsman run` does."""
        self._registration = Registration(
            WindowsSystem(), parse_policy(policy.encode(), "policy.toml"), endpoints, lease_ms=60_000
        )
        self._registration.open()
        return self._registration.number

    def renew_registration(self) -> tuple[int, int]:
        assert self._registration is not None, "the test has to open it first"
        self._registration.renew()
        return self._registration.number, self._registration.refused_renewals

    def withdraw_registration(self) -> None:
        """Behind the registration's back."""
        with_device = WindowsDriver()
        assert self._registration is not None, "the test has to open it first"
        with_device.control(abi.Ioctl.WITHDRAW, abi.registration_request(self._registration.number), 0)
        with_device.close()

    def import_everything(self, names: list[str]) -> dict[str, str]:
        """What did not import, and why."""
        failed = {}
        for name in names:
            try:
                importlib.import_module(name)
            except Exception:
                failed[name] = traceback.format_exc()
        return failed

    # ---- the product's own proxy ----

    def start_proxy(
        self, policy: str, ca_dir: str, destination: tuple[abi.Address, int], upstream_ca: str | None = None
    ) -> tuple[abi.Endpoints, int]:
        """The proxy on this system's event loop, in a thread; every connection it accepts was for `destination`."""
        settings = Settings(
            policy=parse_policy(policy.encode(), "policy.toml"), ca_dir=Path(ca_dir),
            upstream_ca=() if upstream_ca is None else (Path(upstream_ca),),
        )  # fmt: skip
        system = ProxySystem(destination)
        ready: queue.Queue[Ready | BaseException] = queue.Queue()

        def run() -> None:
            try:
                asyncio.run(run_proxy(settings, system, ready.put))
            except BaseException as error:  # the test sees it
                ready.put(error)

        self._proxy = threading.Thread(target=run)
        self._proxy.start()
        outcome = ready.get(timeout=30)
        if isinstance(outcome, BaseException):
            raise outcome
        self._ready = outcome
        return outcome.endpoints, outcome.registration

    def proxy_facts(self) -> tuple[Counters, str]:
        """Counters, and the event loop it runs on."""
        assert self._ready is not None, "the test has to start it first"
        return self._ready.counters, type(asyncio.new_event_loop()).__name__

    def ask_proxy(self, pid: int, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Over the named pipe, as `pointsman status` and its like do."""
        return ask(WindowsSystem(), pid, command, arguments)

    def stop_proxy(self) -> None:
        assert self._ready is not None and self._proxy is not None, "the test has to start it first"
        self._ready.stop()
        self._proxy.join(30)
        assert not self._proxy.is_alive(), "the proxy does not end"

    def app_id(self, path: str) -> bytes:
        return WindowsSystem().app_id(path)

    def image_path(self, app_id: bytes) -> str:
        return WindowsSystem().image_path(app_id)

    def redirect_facts(self) -> tuple[bytes | None, bytes, int]:
        """Of a connection that nobody redirected: context, records, and records refused when setting some."""
        redirects = WindowsSystem().redirects
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            client.connect(listener.getsockname())
            accepted, _ = listener.accept()
            with accepted:
                context, records = redirects.redirect_context(accepted), redirects.redirect_records(accepted)
            with socket.socket() as upstream:
                redirects.apply_records(upstream, b"opaque")
        return context, records, redirects.refused_records

    # ---- processes ----

    def facts(self, pid: int) -> ProcessFacts | None:
        return WindowsSystem().processes.facts(pid)

    def image(self, pid: int, start: int) -> str | None:
        return WindowsSystem().processes.image(pid, start)

    def running(self) -> frozenset[str]:
        return WindowsSystem().processes.running()

    def sid_of(self, user: str) -> str | None:
        return WindowsSystem().processes.sid_of(user)

    def services_of(self, name: str) -> tuple[int, frozenset[str]]:
        """The process of a running service, and the services in it."""
        with ServiceManager() as manager, manager._opened(name, SERVICE_QUERY_STATUS, "") as it:
            pid: int = _status(it).dwProcessId
        facts = WindowsSystem().processes.facts(pid)
        assert facts is not None
        return pid, facts.services

    def bear(self, program: str) -> int:
        """A child that runs `program`, a Python text, until `reset`; its number."""
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._children.append(child)
        return child.pid

    def heard(self) -> str:
        """A line that the last child has printed."""
        output = self._children[-1].stdout
        assert output is not None
        return output.readline().decode().strip()

    def bury(self) -> None:
        child = self._children.pop()
        child.kill()
        child.wait()

    # ---- the simulator (simwfp/wine/test_device.h) ----

    def simulator(self, code: int, request: bytes, reply_size: int) -> bytes:
        if self._simulator is None:
            self._simulator = WindowsDriver(r"\\.\SimWfp")
        return self._simulator.control(code, request, reply_size)


def main() -> None:
    """Until end of file.  Nothing else may write to standard output."""
    peer = Peer()
    lines, replies = sys.stdin.buffer, sys.stdout.buffer
    for line in lines:
        name, arguments = pickle.loads(base64.b64decode(line))
        reply: tuple[str, Any]
        try:
            reply = ("value", getattr(peer, name)(*arguments))
        except Exception as error:
            reply = ("error", (type(error).__name__, str(error), _facts(error), traceback.format_exc()))
        replies.write(base64.b64encode(pickle.dumps(reply)) + b"\n")
        replies.flush()


def _facts(error: Exception) -> dict[str, object]:
    return {name: value for name, value in vars(error).items() if isinstance(value, int | str)}


assert struct.calcsize("P") == 8, "a 64-bit Python is needed"

if __name__ == "__main__":
    main()
