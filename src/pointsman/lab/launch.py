"""Become a program under the trap: `python -I -S launch.py FD`.

The machine starts this file as a process of its own and tells it over the Unix socket FD what to run.  A seccomp filter
binds the thread that installs it and what that thread becomes, so the main thread installs it, a second thread, started
before and hence free, sends the listener to the machine (the two share one descriptor table), and once the machine has
it, the main thread becomes the program.  FD is close-on-exec: its end says that the program runs; an errno before it,
why not.

It imports little on purpose: this is the start-up time of every program in the lab.

    machine → here   u32 size, then `_ORDER`, argv and environment as NUL-terminated strings, the BPF program
    here → machine   b"L" + killable (0 or 1), with the listener as SCM_RIGHTS; then b"A" comes back
                     b"T" + u32 errno: no trap here;  b"X" + u32 errno: the program could not be started
"""

from __future__ import annotations

import _socket
import _thread
import ctypes
import os
import resource
import signal
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to import than all of the above
    from typing import NoReturn

_ORDER = struct.Struct("=IIIIq")  # seccomp's number, counts of argv and environment, size of the filter, RLIMIT_NOFILE
_SIZE = struct.Struct("=I")
_FAILED = struct.Struct("=cI")
MAX_ORDER = 16 << 20  # bytes; Linux takes 6 MiB of arguments and environment at most
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 1, 1 << 3, 1 << 5


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def encode_order(
    argv: list[bytes], environment: dict[bytes, bytes], program: bytes, *, seccomp: int, open_files: int
) -> bytes:
    """The machine's side of it."""
    strings = [*argv, *(name + b"=" + value for name, value in environment.items())]
    order = _ORDER.pack(seccomp, len(argv), len(environment), len(program), open_files)
    body = order + b"".join(text + b"\0" for text in strings) + program
    return _SIZE.pack(len(body)) + body


def install(libc: ctypes.CDLL, seccomp: int, program: bytes) -> tuple[int, bool]:
    """Put this thread under the filter.  Returns the listener and whether only death ends a received call."""
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    filter_ = _Program(len(program) // 8, program)
    for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):
        listener = libc.syscall(seccomp, _SET_MODE_FILTER, flags, ctypes.byref(filter_))
        if listener >= 0:
            return listener, flags != _NEW_LISTENER
    raise OSError(ctypes.get_errno(), "seccomp(SECCOMP_SET_MODE_FILTER)")


def main(channel_fd: int) -> NoReturn:
    os.set_inheritable(channel_fd, False)
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, channel_fd)
    body = _receive(channel, _SIZE.unpack(_receive(channel, _SIZE.size))[0])
    seccomp, arguments, variables, size, open_files = _ORDER.unpack_from(body)
    strings = body[_ORDER.size : len(body) - size].split(b"\0")
    argv = strings[:arguments]
    environment = dict(text.split(b"=", 1) for text in strings[arguments : arguments + variables])

    installed, sent = _thread.allocate_lock(), _thread.allocate_lock()
    installed.acquire()
    sent.acquire()
    listener: list[tuple[int, bool]] = []

    def send_listener() -> None:
        installed.acquire()
        if listener:
            fd, killable = listener[0]
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("=i", fd))]
            channel.sendmsg([b"L1" if killable else b"L0"], rights)
            if channel.recv(1) == b"A":
                sent.release()
                return
        os._exit(1)  # the machine is gone

    _thread.start_new_thread(send_listener, ())
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        listener.append(install(libc, seccomp, body[len(body) - size :]))
    except OSError as error:
        _fail(channel_fd, b"T", error)
    installed.release()
    sent.acquire()
    os.close(listener[0][0])
    _become(channel_fd, argv, environment, open_files)


def _become(channel_fd: int, argv: list[bytes], environment: dict[bytes, bytes], open_files: int) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would keep that
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        _fail(channel_fd, b"X", error)


def _receive(channel: _socket.socket, size: int) -> bytes:
    if size > MAX_ORDER:
        os._exit(1)
    data = bytearray()
    while len(data) < size:
        chunk = channel.recv(size - len(data))
        if not chunk:
            os._exit(1)  # the machine is gone
        data += chunk
    return bytes(data)


def _fail(channel_fd: int, stage: bytes, error: OSError) -> NoReturn:
    os.write(channel_fd, _FAILED.pack(stage, error.errno or 0))  # write(), not send(): this thread may be trapped
    os._exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]))
