"""The control channel on Linux: a Unix socket per proxy, 0600 in a directory of 0700.

Decides who may ask (the same user, or root: SO_PEERCRED, besides the file's mode) and how much at once.  Must not know
what is asked: that is `control.commands`.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pointsman.system.interface import MAX_CONTROL_REPLY, MAX_CONTROL_REQUEST, Answer

MAX_AT_ONCE = 16  # connections; more are closed
REQUEST_TIMEOUT = 5.0  # seconds for the request to arrive, and for the reply to be taken
_NAME = re.compile(r"control-(\d+)\.sock")
_CREDENTIALS = struct.Struct("=iII")


def user_directory() -> Path:
    """Of this user, for what does not outlive a boot (XDG Base Directory Specification)."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime or tempfile.gettempdir()) / (f"pointsman-{os.getuid()}" if not runtime else "pointsman")


class UnixChannel:
    """Implements `interface.ControlChannel`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def serve(self, answer: Answer) -> UnixControlServer:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        status = self._directory.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise PermissionError(f"{self._directory} is not ours alone")
        path = self._path(os.getpid())
        path.unlink(missing_ok=True)  # of a process that had our PID before
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(path))
            path.chmod(0o600)
            listening.setblocking(False)
            server = UnixControlServer(path, answer)
            await server.start(listening)
        except BaseException:
            listening.close()
            raise
        return server

    def peers(self) -> Sequence[int]:
        try:
            names = os.listdir(self._directory)
        except OSError:
            return []
        return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)

    def ask(self, pid: int, request: bytes, timeout: float) -> bytes:
        path = self._path(pid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(timeout)
            try:
                asking.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)  # its proxy was killed
                raise
            asking.sendall(request + b"\n")
            return _line(asking)

    def _path(self, pid: int) -> Path:
        return self._directory / f"control-{pid}.sock"


class UnixControlServer:
    """Implements `interface.ControlServer`."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, listening: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._accepted, sock=listening, limit=MAX_CONTROL_REQUEST)

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._path.unlink(missing_ok=True)
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a coroutine of ours runs in a task"
        self._open.add(task)
        try:
            if len(self._open) <= MAX_AT_ONCE and _is_allowed(writer):
                async with asyncio.timeout(REQUEST_TIMEOUT):
                    request = await reader.readuntil(b"\n")
                reply = await self._answer(request[:-1])
                writer.write(reply + b"\n")
                async with asyncio.timeout(REQUEST_TIMEOUT):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it went away, or sends what is no request
        finally:
            self._open.discard(task)
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(REQUEST_TIMEOUT):
                    await writer.wait_closed()


def _is_allowed(writer: asyncio.StreamWriter) -> bool:
    peer: socket.socket = writer.get_extra_info("socket")
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    return uid in (0, os.getuid())


def _line(asking: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = asking.recv(65536)
        if not chunk:
            raise ConnectionResetError("the proxy closed the control channel without an answer")
        data += chunk
        if len(data) > MAX_CONTROL_REPLY:
            raise ConnectionAbortedError("a reply without end")
    return bytes(data[:-1])
