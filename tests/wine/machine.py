"""The Linux end: one Wine prefix with the simulated WFP kernel, and Windows processes in it that obey a test."""

from __future__ import annotations

import base64
import json
import os
import pickle
import select
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
WINE = "/usr/lib/wine/wine64" if Path("/usr/lib/wine/wine64").exists() else "wine"
ANSWER = 60.0  # seconds that a Windows process may think before the test gives up
UNAVAILABLE = 69  # exit status of tools/wine_machine.py where this machine cannot do it
DRIVERS = "drive_c/windows/system32/drivers"
SIMULATOR = "SimWfp"
DRIVER = "pointsman"


def sim_code(function: int) -> int:
    return 0x22 << 16 | function << 2


CONNECT, FLOW_CLOSE, BOOKS, UNLOADED = (sim_code(function) for function in (0x910, 0x911, 0x912, 0x913))
_DIAL = struct.Struct("<IBBHHH16s16sIQQ")
_DIALLED = struct.Struct("<II16sHHIQ")
_CONTEXT_ROOM = 1024
_BOOKS = struct.Struct("<IIIIII256s")


class RemoteError(Exception):
    """An exception in a Windows process."""

    def __init__(self, name: str, text: str, facts: dict[str, Any], trace: str) -> None:
        super().__init__(f"{name}: {text}\n{trace}")
        self.name = name
        self.text = text
        self.facts = facts


@dataclass(frozen=True, slots=True)
class Dialled:
    """What one connect() of an app came to."""

    blocked: bool
    redirected: bool
    remote_port: int
    flow: int
    context: bytes


@dataclass(frozen=True, slots=True)
class Books:
    objects: int
    handles: int
    violations: int
    misuses: int
    notified: bool
    last: str


class Process:
    """A Windows Python that runs peer.py."""

    def __init__(self, machine: Machine) -> None:
        self._process = subprocess.Popen(
            [WINE, str(machine.python / "python.exe"), windows_path(ROOT / "tests/wine/peer.py")],
            env=machine.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=machine.python,
        )  # fmt: skip
        self.pid, self.version, self.started = self.call("about")

    def call(self, name: str, *arguments: object) -> Any:
        """Give an order and return its result; raises RemoteError."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(base64.b64encode(pickle.dumps((name, arguments))) + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER)
        line = self._process.stdout.readline() if ready else b""
        assert line, f"the Windows process gave no answer to {name}, exit status {self._process.poll()}"
        kind, value = pickle.loads(base64.b64decode(line))
        if kind == "error":
            raise RemoteError(*value)
        return value

    def is_alive(self) -> bool:
        assert self._process.stdin is not None
        return self._process.poll() is None and not self._process.stdin.closed

    def wait(self) -> None:
        self._process.wait(ANSWER)

    def end(self) -> None:
        """Orderly if it can be, at once if not; twice is harmless."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(ANSWER)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()
        self._process.stdin.close()


class Machine:
    """A started prefix: the simulated kernel runs, pointsman.sys is in place and does not run."""

    def __init__(self, python: Path, prefix: Path, kernel: Path) -> None:
        self.python = python
        self.prefix = prefix
        self.environment = {
            **os.environ,
            "WINEPREFIX": str(prefix), "WINEARCH": "win64", "WINEDEBUG": os.environ.get("WINEDEBUG", "-all"),
            "WINEDLLOVERRIDES": "mscoree,mshtml,winemenubuilder.exe=;fwpuclnt=n", "DISPLAY": "",
            "PYTHONPATH": windows_path(ROOT / "src"), "PYTHONPYCACHEPREFIX": windows_path(python / "pycache"),
        }  # fmt: skip
        self._busy: list[Process] = []
        self._idle: list[Process] = []
        self._wineserver("-k")
        self._wineserver("-w")
        for name in ("fwpkclnt.sys", "pointsman.sys"):
            shutil.copy2(kernel / name, prefix / DRIVERS / name)
        shutil.copy2(kernel / "fwpuclnt.dll", prefix / "drive_c/windows/system32/fwpuclnt.dll")
        self._wineserver("-p30")  # s that it stays without a process: starts are fast, and a killed run leaves nothing
        self.operator = Process(self)

    def process(self, *, new: bool = False) -> Process:
        """One with nothing open; a `new` one was started now, others may have served a test before."""
        process = self._idle.pop() if self._idle and not new else Process(self)
        self._busy.append(process)
        return process

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the product, in the operator's process: its start alone takes seconds under Wine."""
        return subprocess.CompletedProcess(arguments, *self.operator.call("command", list(arguments)))

    def pointsman(self, *arguments: str, timeout: float = ANSWER) -> subprocess.CompletedProcess[str]:
        """A command of the product, in a Windows process of its own, run to its end.

        Processes of Wine that it brings to life inherit its pipes, so their end is not the end of the command: what
        it has said (less than a pipe holds) is there when it has ended.
        """
        with subprocess.Popen(
            [WINE, str(self.python / "python.exe"), "-m", "pointsman", *arguments],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=self.python,
        ) as process:  # fmt: skip
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            return subprocess.CompletedProcess(arguments, status, *map(_said, (process.stdout, process.stderr)))

    def simulate(self, code: int, request: bytes = b"", reply_size: int = 0) -> bytes:
        reply = self.operator.call("simulator", code, request, reply_size)
        assert isinstance(reply, bytes)
        return reply

    def dial(
        self, pid: int, remote: tuple[IPv4Address | IPv6Address, int], app_id: bytes, *, records: int = 0
    ) -> Dialled:
        """One TCP connect() of a process, through the ALE layers of the simulated filter engine."""
        address, port = remote
        request = _DIAL.pack(
            pid, address.version, 6, 50000, port, len(app_id), bytes(16), address.packed.ljust(16, b"\0"), 0, 1, records
        )
        reply = self.simulate(CONNECT, request + app_id, _DIALLED.size + _CONTEXT_ROOM)
        blocked, redirected, _, remote_port, size, _, flow = _DIALLED.unpack_from(reply)
        context = reply[_DIALLED.size : _DIALLED.size + size]
        return Dialled(bool(blocked), bool(redirected), remote_port, flow, context)

    def hang_up(self, flow: int) -> None:
        self.simulate(FLOW_CLOSE, struct.pack("<Q", flow))

    def books(self) -> Books:
        reply = self.simulate(BOOKS, b"", _BOOKS.size)
        objects, handles, violations, misuses, notified, _, last = _BOOKS.unpack(reply)
        return Books(objects, handles, violations, misuses, bool(notified), last.rstrip(b"\0").decode())

    def release_processes(self) -> None:
        """What the test started: its handles are closed, and the processes that are left serve the next one."""
        while self._busy:
            process = self._busy.pop()
            if process.is_alive():
                process.call("reset")
                self._idle.append(process)
            else:
                process.end()

    def shut_down(self) -> None:
        try:
            for process in [*self._busy, *self._idle, self.operator]:
                process.end()
        finally:
            self._wineserver("-k")
            self._wineserver("-w")

    def _wineserver(self, option: str) -> None:
        subprocess.run(["wineserver", option], env=self.environment, check=False, timeout=ANSWER)


def _said(pipe: IO[bytes] | None) -> str:
    """What is in a pipe now."""
    assert pipe is not None
    os.set_blocking(pipe.fileno(), False)
    return (pipe.read() or b"").decode("utf-8", "replace").replace("\r\n", "\n")


def prepare() -> dict[str, Path] | str:
    """The folders that tools/wine_machine.py makes, or why this machine has none."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools/wine_machine.py")], capture_output=True, text=True, check=False, timeout=900
    )
    if result.returncode == UNAVAILABLE:
        return result.stderr.strip()
    assert result.returncode == 0, result.stderr
    return {name: Path(path) for name, path in json.loads(result.stdout).items()}


def windows_path(path: Path) -> str:
    return "Z:" + str(path).replace("/", "\\")
