r"""The control channel on Windows: `\\.\pipe\pointsman-control-PID`, for SYSTEM, administrators and its owner.

Decides who may open it (a security descriptor, no remote clients, the first instance must be ours) and that whoever
answers is the process whose name it bears.  Must not know what is asked: that is `control.commands`.

Threads with blocking calls, not the proactor: asyncio's pipe server takes no security descriptor, and the default one
lets everybody read.  There are a few of them, so that one caller who says nothing does not lock out the others.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from pointsman.system.interface import MAX_CONTROL_REPLY, MAX_CONTROL_REQUEST, Answer
from pointsman.system.windows import _kernel32
from pointsman.system.windows import _named_pipes as pipes
from pointsman.system.windows._library import DWORD, Win32Error

SDDL = "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)"  # full access: SYSTEM, administrators, the owner; nobody else
WORKERS = 4
ANSWER_TIMEOUT = 30.0  # seconds that a command may take
END_TIMEOUT = 2.0  # seconds for the workers to end
CHUNK = 64 * 1024  # bytes
BUSY_TIMEOUT = 1000  # ms until one of the workers is free
_NAME = re.compile(r"pointsman-control-(\d+)")
_MISSING = {2, 3}  # ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND


class PipeChannel:
    """Implements `interface.ControlChannel`."""

    async def serve(self, answer: Answer) -> PipeControlServer:
        server = PipeControlServer(pipe_name(os.getpid()), answer, asyncio.get_running_loop())
        try:
            server.start()
        except Win32Error as error:
            raise _as_os_error(error) from error
        return server

    def peers(self) -> Sequence[int]:
        try:
            names = os.listdir("\\\\.\\pipe\\")
        except OSError:
            return []  # Wine lists none; the driver still names those that are registered
        return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)

    def ask(self, pid: int, request: bytes, timeout: float) -> bytes:
        # A thread, since a pipe that blocks cannot be given a time-out; it ends when the proxy answers or ends.
        asked: Future[bytes] = Future()

        def work() -> None:
            try:
                asked.set_result(_ask(pid, request))
            except Win32Error as error:
                asked.set_exception(_as_os_error(error))
            except OSError as error:
                asked.set_exception(error)

        threading.Thread(target=work, name="pointsman control request", daemon=True).start()
        return asked.result(timeout)


class PipeControlServer:
    """Implements `interface.ControlServer`."""

    def __init__(self, name: str, answer: Answer, loop: asyncio.AbstractEventLoop) -> None:
        self._name = name
        self._answer = answer
        self._loop = loop
        self._is_ending = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Raises Win32Error."""
        handles: list[int] = []
        try:
            for number in range(WORKERS):
                handles.append(_create(self._name, is_first=number == 0))
        except Win32Error:
            for handle in handles:
                _kernel32.CloseHandle(handle)
            raise
        for handle in handles:
            thread = threading.Thread(target=self._work, args=(handle,), name="pointsman control", daemon=True)
            self._threads.append(thread)
            thread.start()

    async def close(self) -> None:
        if self._is_ending:
            return
        self._is_ending = True
        await asyncio.to_thread(self._wake_and_join)

    def _wake_and_join(self) -> None:
        for _ in self._threads:  # each waits in ConnectNamedPipe until somebody comes: we do
            with suppress(Win32Error):
                _kernel32.CloseHandle(_open(self._name))
        for thread in self._threads:
            thread.join(END_TIMEOUT)  # one that is held up by a silent caller ends with the process

    def _work(self, handle: int) -> None:
        try:
            while not self._is_ending:
                with suppress(Win32Error, OSError):
                    _connect(handle)
                    if not self._is_ending:
                        self._serve_one(handle)
                with suppress(Win32Error):
                    pipes.DisconnectNamedPipe(handle)
        finally:
            _kernel32.CloseHandle(handle)

    def _serve_one(self, handle: int) -> None:
        request = _read_line(handle, MAX_CONTROL_REQUEST)
        answering = asyncio.run_coroutine_threadsafe(_awaited(self._answer, request), self._loop)
        try:
            reply = answering.result(ANSWER_TIMEOUT)
        except TimeoutError:
            answering.cancel()
            return
        _write(handle, reply + b"\n")
        pipes.FlushFileBuffers(handle)  # disconnecting would throw away what has not been read


def pipe_name(pid: int) -> str:
    return rf"\\.\pipe\pointsman-control-{pid}"


async def _awaited(answer: Answer, request: bytes) -> bytes:
    return await answer(request)


def _create(name: str, *, is_first: bool) -> int:
    descriptor = ctypes.c_void_p()
    pipes.ConvertStringSecurityDescriptorToSecurityDescriptorW(
        SDDL, pipes.SDDL_REVISION_1, ctypes.byref(descriptor), None
    )
    try:
        attributes = pipes.SECURITY_ATTRIBUTES(ctypes.sizeof(pipes.SECURITY_ATTRIBUTES), descriptor, 0)
        mode = pipes.PIPE_ACCESS_DUPLEX | (pipes.FILE_FLAG_FIRST_PIPE_INSTANCE if is_first else 0)
        kind = pipes.PIPE_TYPE_BYTE | pipes.PIPE_WAIT | pipes.PIPE_REJECT_REMOTE_CLIENTS
        handle = pipes.CreateNamedPipeW(name, mode, kind, WORKERS, CHUNK, CHUNK, 0, ctypes.byref(attributes))
    finally:
        pipes.LocalFree(descriptor)
    return int(handle)


def _connect(handle: int) -> None:
    try:
        pipes.ConnectNamedPipe(handle, None)
    except Win32Error as error:
        if error.code != pipes.ERROR_PIPE_CONNECTED:  # that is: somebody came before we asked
            raise


def _open(name: str) -> int:
    access = _kernel32.GENERIC_READ | _kernel32.GENERIC_WRITE
    # Whoever owns a pipe may act as its client unless the client forbids it.
    flags = pipes.SECURITY_SQOS_PRESENT | pipes.SECURITY_IDENTIFICATION
    return int(_kernel32.CreateFileW(name, access, 0, None, _kernel32.OPEN_EXISTING, flags, None))


def _ask(pid: int, request: bytes) -> bytes:
    name = pipe_name(pid)
    try:
        handle = _open(name)
    except Win32Error as error:
        if error.code != pipes.ERROR_PIPE_BUSY:
            raise
        pipes.WaitNamedPipeW(name, BUSY_TIMEOUT)
        handle = _open(name)
    try:
        owner = DWORD()
        pipes.GetNamedPipeServerProcessId(handle, ctypes.byref(owner))
        if owner.value != pid:
            raise PermissionError(f"{name} belongs to process {owner.value}")
        _write(handle, request + b"\n")
        return _read_line(handle, MAX_CONTROL_REPLY)
    finally:
        _kernel32.CloseHandle(handle)


def _read_line(handle: int, limit: int) -> bytes:
    data = bytearray()
    buffer = ctypes.create_string_buffer(CHUNK)
    count = DWORD()
    while not data.endswith(b"\n"):
        pipes.ReadFile(handle, buffer, CHUNK, ctypes.byref(count), None)
        if not count.value:
            raise ConnectionResetError("the pipe was closed")
        data += buffer.raw[: count.value]
        if len(data) > limit:
            raise ConnectionAbortedError("a line without end")
    return bytes(data[:-1])


def _write(handle: int, data: bytes) -> None:
    count = DWORD()
    while data:
        pipes.WriteFile(handle, data, len(data), ctypes.byref(count), None)
        data = data[count.value :]


def _as_os_error(error: Win32Error) -> OSError:
    if error.code in _MISSING:
        return FileNotFoundError(str(error))
    return PermissionError(str(error)) if error.code == 5 else OSError(str(error))
