"""A program's connect(): asked of the driver, then performed on the program's own socket.

The address is copied from the program once and only the copy counts, so a second thread that rewrites it changes
nothing: it is we who connect, and the kernel does not look at the address again.

The machine never waits for a connection.  Our own attempt is non-blocking.  If it goes on and the program's socket is
blocking, the program is told to go on with its connect(): on a socket that is already connecting, that call only waits
(with SO_SNDTIMEO, with signals) and returns the outcome.  So nothing hangs here, whatever becomes of the program.

Where the kernel goes on, a program that puts another socket under the same descriptor number in that instant connects
that one unseen.  The lab shows what honest programs do; it does not confine hostile ones.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Protocol

from pointsman.lab import sockaddr
from pointsman.lab.kernel import Kernel
from pointsman.lab.placement import TCP_CLOSE, Placement, tcp_state
from pointsman.lab.seccomp import Listener, Notification
from pointsman.lab.sockaddr import Destination, Endpoint

MAX_UNDELIVERED = 256
USER_SPACE = (1 << 63) - 1
NAME_SERVICES = ("/run/nscd/socket", "/var/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve")
PROTOCOLS = {socket.IPPROTO_TCP: socket.IPPROTO_TCP, 262: socket.IPPROTO_TCP, socket.IPPROTO_UDP: socket.IPPROTO_UDP}
"""What a socket says of itself → what WFP is told.  262 is MPTCP, which is TCP to everyone else."""


class Routes(Protocol):
    """Where packets go in the lab's network."""

    def lead(self, destination: Endpoint) -> Endpoint: ...

    @property
    def answers_names(self) -> bool:
        """Are name lookups ours?"""


def read_memory(listener: Listener, notification: Notification, address: int, size: int) -> bytes:
    """Bytes of the trapped thread.  Raises OSError if it is gone or the address is not its own."""
    fd = os.open(f"/proc/{notification.tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not listener.valid(notification):
            raise ProcessLookupError(notification.tid)  # the file may be another process's, which has the TID now
        if address > USER_SPACE or (data := _pread(fd, size, address)) is None:
            raise OSError(errno.EFAULT, "a wild pointer")
        return data
    finally:
        os.close(fd)


def _pread(fd: int, size: int, address: int) -> bytes | None:
    try:
        return os.pread(fd, size, address)
    except OSError as error:
        if error.errno == errno.EIO:
            return None  # what /proc/TID/mem says of an address that is not mapped
        raise


def destination_for(sock: socket.socket, data: bytes) -> Destination | None:
    """The destination in a socket's own family; None if the kernel will refuse it."""
    destination = sockaddr.decode(data)
    if destination is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if sock.family == socket.AF_INET and destination.address.version == 6:
        return None
    if sock.type == socket.SOCK_STREAM and sock.family != sockaddr.family_of(data):
        return None
    return destination.for_family(sock.family)


class Connects:
    def __init__(self, kernel: Kernel, placement: Placement, routes: Routes) -> None:
        self._kernel = kernel
        self._placement = placement
        self._routes = routes
        self._undelivered: dict[int, int] = {}

    def handle(self, listener: Listener, notification: Notification) -> None:
        """Raises OSError if the program is gone."""
        size = notification.fd(2)
        if not 2 <= size <= sockaddr.MAX_SIZE:
            listener.go_on(notification)  # EINVAL, says the kernel
            return
        data = read_memory(listener, notification, notification.args[1], size)
        family = sockaddr.family_of(data)
        if family in (socket.AF_INET, socket.AF_INET6):
            self._connect(listener, notification, data)
        elif family == socket.AF_UNIX and self._routes.answers_names and sockaddr.unix_path(data) in NAME_SERVICES:
            listener.answer(notification, errno.ENOENT)  # look names up by DNS, which is ours
        else:
            listener.go_on(notification)

    def _connect(self, listener: Listener, notification: Notification, data: bytes) -> None:
        process = self._kernel.processes.of_thread(notification.tid)
        sock = self._placement.obtain(listener, notification, process, notification.fd())
        if sock is None:
            listener.go_on(notification)
            return
        connecting = False
        try:
            destination = destination_for(sock, data)
            protocol = PROTOCOLS.get(sock.proto)
            inode = os.fstat(sock.fileno()).st_ino
            if destination is None or protocol is None:
                listener.go_on(notification)
            elif protocol == socket.IPPROTO_TCP and tcp_state(sock) != TCP_CLOSE:
                self._again(listener, notification, inode)
            else:
                local = sockaddr.from_python(sock.getsockname())
                outcome = self._kernel.classify(
                    process, protocol=protocol, local=local, remote=destination.endpoint, inode=inode
                )
                if outcome.blocked:
                    listener.answer(notification, errno.EACCES)
                    return
                target = destination.towards(outcome.remote)
                if not outcome.flow:
                    target = target.towards(self._routes.lead(target.endpoint)).for_family(sock.family)
                result = self._attempt(sock, target)
                self._record(sock, target, outcome.flow, result)
                connecting = result == errno.EINPROGRESS
                self._tell(listener, notification, sock, inode, result)
        finally:
            self._placement.release(sock, connecting=connecting)

    def _attempt(self, sock: socket.socket, target: Destination) -> int:
        """connect() without waiting; an errno."""
        fd = sock.fileno()
        blocking = os.get_blocking(fd)
        # The flag is of the file description, which the program's other threads use too: it is back in microseconds.
        if blocking:
            os.set_blocking(fd, False)
        try:
            return sock.connect_ex(target.as_python())
        finally:
            if blocking:
                os.set_blocking(fd, True)

    def _record(self, sock: socket.socket, target: Destination, flow: int, result: int) -> None:
        if not flow:
            return
        if result in (0, errno.EINPROGRESS):
            self._kernel.remember(sockaddr.from_python(sock.getsockname()), target.endpoint, flow)
        else:
            self._kernel.simulator.close_flow(flow)

    def _tell(
        self, listener: Listener, notification: Notification, sock: socket.socket, inode: int, result: int
    ) -> None:
        if result == errno.EINPROGRESS and os.get_blocking(sock.fileno()):
            listener.go_on(notification)  # the program waits in the kernel; see the top of this file
        elif not listener.answer(notification, result) and sock.type == socket.SOCK_STREAM:
            # A signal took the call away (before Linux 5.19); the program may make it once more.
            if len(self._undelivered) >= MAX_UNDELIVERED:
                del self._undelivered[next(iter(self._undelivered))]
            self._undelivered[inode] = result

    def _again(self, listener: Listener, notification: Notification, inode: int) -> None:
        """A socket that is connected or connecting: nothing to decide, the kernel knows what to say."""
        result = self._undelivered.pop(inode, None)
        if result is None:
            listener.go_on(notification)
        else:
            listener.answer(notification, result)
