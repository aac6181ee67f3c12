"""Sends that name their destination (UDP without connect): classified when a socket first sends there, then now and
then.

What was allowed is left to the kernel ("go on"), which reads the program's memory a second time.  A program that
rewrites the address in between reaches a destination that was not classified: the lab shows what honest programs do, it
does not confine hostile ones.  Where the lab network leads elsewhere, or the answer to a name is ours, the machine
sends in the program's place, from its own socket, so there the copy that was looked at is the one that is used.
Control messages of such a send are dropped.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pointsman.lab import sockaddr
from pointsman.lab.connects import Routes, destination_for, read_memory
from pointsman.lab.kernel import Kernel
from pointsman.lab.placement import Placement
from pointsman.lab.processes import KnownProcess
from pointsman.lab.seccomp import Listener, Notification
from pointsman.lab.sockaddr import Destination, Endpoint
from pointsman.lab.syscalls import Architecture

MAX_DATAGRAM = 65536  # bytes
MAX_PARTS = 1024  # UIO_MAXIOV
MAX_DECIDED = 4096
DECIDED_FOR = 60.0  # seconds: the idle time after which WFP forgets a UDP flow ("ALE Stateful Filtering")
_MESSAGE = struct.Struct("@QI4xQQQQi4x")  # struct msghdr of a 64-bit program
_PART = struct.Struct("@QQ")  # struct iovec
_SENT = struct.Struct("@I")  # mmsghdr.msg_len


@dataclass(frozen=True, slots=True)
class Send:
    """One datagram: its address, and where its bytes are."""

    name: bytes
    """A sockaddr; empty if it names no destination."""
    parts: tuple[tuple[int, int], ...]
    """Addresses and sizes in the program's memory."""
    flags: int


class Datagrams:
    def __init__(self, kernel: Kernel, placement: Placement, routes: Routes, arch: Architecture) -> None:
        self._kernel = kernel
        self._placement = placement
        self._routes = routes
        self._arch = arch
        self._decided: dict[tuple[int, Endpoint], tuple[float, bool]] = {}

    def handle(self, listener: Listener, notification: Notification) -> None:
        """Raises OSError if the program is gone."""
        sends = list(self._sends(listener, notification))
        if not any(send.name for send in sends):
            listener.go_on(notification)
            return
        process = self._kernel.processes.of_thread(notification.tid)
        sock = self._placement.obtain(listener, notification, process, notification.fd())
        if sock is None:
            listener.go_on(notification)
            return
        try:
            if sock.proto == socket.IPPROTO_UDP:
                self._decide(listener, notification, process, sock, sends)
            else:
                listener.go_on(notification)  # TCP ignores the address
        finally:
            self._placement.release(sock)

    def _decide(
        self,
        listener: Listener,
        notification: Notification,
        process: KnownProcess,
        sock: socket.socket,
        sends: list[Send],
    ) -> None:
        targets: list[Destination | None] = []
        led = False
        for index, send in enumerate(sends):
            destination = destination_for(sock, send.name)
            targets.append(destination)
            if destination is None:
                continue
            if self._blocked(process, sock, destination):
                if index == 0:
                    listener.answer(notification, errno.EACCES)
                    return
                led = True  # those before it go out, one call each; then it is the first
                break
            target = destination.towards(self._routes.lead(destination.endpoint)).for_family(sock.family)
            targets[-1] = target
            led = led or target != destination
        if led:
            self._send_for(listener, notification, sock, targets[0], sends[0])
        else:
            listener.go_on(notification)

    def _blocked(self, process: KnownProcess, sock: socket.socket, destination: Destination) -> bool:
        inode = os.fstat(sock.fileno()).st_ino
        key, now = (inode, destination.endpoint), time.monotonic()
        decided = self._decided.pop(key, None)
        if decided is None or now - decided[0] > DECIDED_FOR:
            outcome = self._kernel.classify(
                process,
                protocol=socket.IPPROTO_UDP,
                local=sockaddr.from_python(sock.getsockname()),
                remote=destination.endpoint,
                inode=inode,
            )
            decided = (now, outcome.blocked)
        if decided[1]:
            return True  # a block is asked anew each time: no flow exists
        if len(self._decided) >= MAX_DECIDED:
            del self._decided[next(iter(self._decided))]
        self._decided[key] = decided
        return False

    def _send_for(
        self,
        listener: Listener,
        notification: Notification,
        sock: socket.socket,
        target: Destination | None,
        send: Send,
    ) -> None:
        if sum(size for _, size in send.parts) > MAX_DATAGRAM:
            listener.answer(notification, errno.EMSGSIZE)
            return
        content = b"".join(read_memory(listener, notification, at, size) for at, size in send.parts if size)
        flags = send.flags | socket.MSG_DONTWAIT
        try:
            sent = sock.sendto(content, flags, target.as_python()) if target else sock.send(content, flags)
        except OSError as error:
            listener.answer(notification, error.errno or errno.EIO)
            return
        if notification.nr == self._arch.sendmmsg:
            # One of several was sent, which the call may say; the program comes back with the others.
            _write_memory(notification, notification.args[1] + _MESSAGE.size, _SENT.pack(sent))
            sent = 1
        listener.answer(notification, 0, sent)

    def _sends(self, listener: Listener, notification: Notification) -> Iterator[Send]:
        args = notification.args
        if notification.nr == self._arch.sendto:
            name = _read_name(listener, notification, args[4], args[5])
            yield Send(name, ((args[1], args[2]),), notification.fd(3))
            return
        several = notification.nr == self._arch.sendmmsg
        count, step = (min(args[2] & 0xFFFFFFFF, MAX_PARTS), _MESSAGE.size + 8) if several else (1, _MESSAGE.size)
        headers = read_memory(listener, notification, args[1], count * step)
        for start in range(0, len(headers) - _MESSAGE.size + 1, step):
            name_at, name_size, parts_at, parts, _, _, _ = _MESSAGE.unpack_from(headers, start)
            name = _read_name(listener, notification, name_at, name_size)
            size = min(parts, MAX_PARTS) * _PART.size
            vector = read_memory(listener, notification, parts_at, size) if name and size else b""
            whole = vector[: len(vector) // _PART.size * _PART.size]
            yield Send(name, tuple(_PART.iter_unpack(whole)), notification.fd(3 if several else 2))


def _read_name(listener: Listener, notification: Notification, address: int, size: int) -> bytes:
    """Empty for a send without a destination, and for one that the kernel will refuse."""
    size &= 0xFFFFFFFF
    if not address or size > sockaddr.MAX_SIZE:
        return b""
    return read_memory(listener, notification, address, size)


def _write_memory(notification: Notification, address: int, data: bytes) -> None:
    fd = os.open(f"/proc/{notification.tid}/mem", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, data, address)
    finally:
        os.close(fd)
