"""How the machine comes to hold a program's own socket, so that it can connect it in the program's place.

    getfd   duplicate the program's descriptor (pidfd_getfd, Linux 5.6).  Nothing about the program changes.
    addfd   where that is refused (default containers): socket() is trapped too, the machine creates the socket, puts it
            into the program and keeps a duplicate until the connect is done.  Options and epoll registrations made
            before the connect stay valid, since it is one and the same socket.

Costs of addfd, all of them because of the kept duplicate: a bound socket that is closed without having been connected
keeps its port until the next sweep (a second at most, and before every bind()); a socket from outside the lab
(inherited, received) is unknown, so it is replaced by a new one when it connects, without its options.
"""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator

from pointsman.lab.processes import KnownProcess
from pointsman.lab.seccomp import Listener, Notification
from pointsman.lab.syscalls import PIDFD_THREAD, Architecture, pidfd_getfd

MAX_SOCKETS = 1024
TCP_CLOSE = 7  # include/net/tcp_states.h
_IPPROTO_MPTCP = 262
_KINDS = {
    b"TCP": (socket.AF_INET, socket.SOCK_STREAM, 0), b"TCPv6": (socket.AF_INET6, socket.SOCK_STREAM, 0),
    b"UDP": (socket.AF_INET, socket.SOCK_DGRAM, 0), b"UDPv6": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    b"MPTCP": (socket.AF_INET, socket.SOCK_STREAM, _IPPROTO_MPTCP),
    b"MPTCPv6": (socket.AF_INET6, socket.SOCK_STREAM, _IPPROTO_MPTCP),
}  # fmt: skip
_INET_PROTOCOLS = (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, _IPPROTO_MPTCP)


class Placement(ABC):
    traps_sockets = False

    @abstractmethod
    def obtain(
        self, listener: Listener, notification: Notification, process: KnownProcess, fd: int
    ) -> socket.socket | None:
        """The program's socket, to be given back by `release`; None if it is none of ours to connect.

        Raises OSError if the program is gone.
        """

    @abstractmethod
    def release(self, sock: socket.socket, *, connecting: bool = False) -> None:
        """We are done with it for now.  `connecting`: the program waits for its connect by itself."""

    def socket_call(self, listener: Listener, notification: Notification) -> None:
        """socket(), bind() or listen() of a program; trapped only if `traps_sockets`."""
        listener.go_on(notification)

    @abstractmethod
    def sweep(self) -> None:
        """Let go of what no program has any more."""

    @abstractmethod
    def close(self) -> None:
        """Drop every duplicate."""


class GetFd(Placement):
    def obtain(
        self, _listener: Listener, notification: Notification, process: KnownProcess, fd: int
    ) -> socket.socket | None:
        try:
            duplicate = pidfd_getfd(process.pidfd, fd)
        except OSError as error:
            # A process whose first thread has ended has its descriptors in the others only.
            if error.errno not in (errno.EBADF, errno.ESRCH) or notification.tid == process.pid:
                raise
            duplicate = _of_thread(notification.tid, fd)
        try:
            return socket.socket(fileno=duplicate)
        except OSError:
            os.close(duplicate)  # not a socket: the kernel says so to the program
            return None

    def release(self, sock: socket.socket, *, connecting: bool = False) -> None:
        del connecting  # ours is one of two: closing it is all there is to do
        sock.close()

    def sweep(self) -> None:
        return  # nothing is kept

    def close(self) -> None:
        return


def _of_thread(tid: int, fd: int) -> int:
    pidfd = os.pidfd_open(tid, PIDFD_THREAD)
    try:
        return pidfd_getfd(pidfd, fd)
    finally:
        os.close(pidfd)


class AddFd(Placement):
    traps_sockets = True

    def __init__(self, loop: AbstractEventLoop, arch: Architecture, programs: Callable[[], Iterable[int]]) -> None:
        """`programs` names every process of the lab, for the sweep."""
        self._loop = loop
        self._arch = arch
        self._programs = programs
        self._sockets: dict[int, socket.socket] = {}

    def __len__(self) -> int:
        return len(self._sockets)

    def obtain(
        self, listener: Listener, notification: Notification, _process: KnownProcess, fd: int
    ) -> socket.socket | None:
        path = f"/proc/{notification.tid}/fd/{fd}"
        try:
            inode = _inode(os.readlink(path))
        except FileNotFoundError:
            return None  # EBADF, says the kernel
        if not listener.valid(notification):
            raise ProcessLookupError(notification.tid)
        if inode in self._sockets:
            return self._sockets[inode]
        return self._replace(listener, notification, path, fd, inode)

    def release(self, sock: socket.socket, *, connecting: bool = False) -> None:
        if sock.fileno() < 0 or sock.type != socket.SOCK_STREAM:
            return
        inode = os.fstat(sock.fileno()).st_ino
        if connecting:
            self._loop.add_writer(sock, self._connected, inode)
        elif tcp_state(sock) != TCP_CLOSE:
            self._drop(inode)  # a duplicate of a connected socket would hold back its FIN

    def socket_call(self, listener: Listener, notification: Notification) -> None:
        if notification.nr == self._arch.socket:
            self._create(listener, notification)
            return
        if notification.nr == self._arch.listen:
            self._forget_listening(notification)
        else:
            self.sweep()  # bind(): its port may be held by a duplicate of a socket that is closed
        listener.go_on(notification)

    def sweep(self) -> None:
        if not self._sockets:
            return
        held: set[int] = set()
        for pid in self._programs():
            held.update(_sockets_of(pid))
        for inode in [inode for inode in self._sockets if inode not in held]:
            self._drop(inode)

    def close(self) -> None:
        for inode in list(self._sockets):
            self._drop(inode)

    def _create(self, listener: Listener, notification: Notification) -> None:
        domain, kind, protocol = (notification.fd(argument) for argument in range(3))
        ours = domain in (socket.AF_INET, socket.AF_INET6) and protocol in _INET_PROTOCOLS
        if (
            not ours
            or kind & 0xF not in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            or not _in_our_network(notification.tid)
        ):
            listener.go_on(notification)
            return
        try:
            # Python adds SOCK_CLOEXEC to ours; the program's descriptor has what the program asked for.
            created = _create(domain, kind & ~socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            listener.answer(notification, error.errno or errno.EINVAL)
            return
        try:
            listener.answer_with_fd(notification, created.fileno(), cloexec=bool(kind & socket.SOCK_CLOEXEC))
        except OSError as error:
            created.close()
            listener.answer(notification, error.errno or errno.EIO)
            return
        self._keep(created)

    def _replace(
        self, listener: Listener, notification: Notification, path: str, fd: int, inode: int
    ) -> socket.socket | None:
        """Give the program a socket that we know for one that we do not."""
        kind = _KINDS.get(os.getxattr(path, "system.sockprotoname").rstrip(b"\0")) if inode else None
        if kind is None or not _in_our_network(notification.tid) or _in_use(notification.tid, inode):
            return None
        with open(f"/proc/{notification.tid}/fdinfo/{fd}", "rb") as info:
            flags = next((int(line[6:], 8) for line in info if line.startswith(b"flags:")), 0)
        created = _create(*kind)
        os.set_blocking(created.fileno(), not flags & os.O_NONBLOCK)
        try:
            listener.place(notification, created.fileno(), at=fd, cloexec=bool(flags & os.O_CLOEXEC))
        except OSError:
            created.close()
            raise
        self._keep(created)
        return created

    def _keep(self, created: socket.socket) -> None:
        if len(self._sockets) >= MAX_SOCKETS:
            self.sweep()
        if len(self._sockets) >= MAX_SOCKETS:
            self._drop(next(iter(self._sockets)))  # the oldest; should it connect, it is replaced by a new one
        self._sockets[os.fstat(created.fileno()).st_ino] = created

    def _connected(self, inode: int) -> None:
        sock = self._sockets[inode]
        self._loop.remove_writer(sock)
        if tcp_state(sock) != TCP_CLOSE:
            self._drop(inode)

    def _forget_listening(self, notification: Notification) -> None:
        try:
            self._drop(_inode(os.readlink(f"/proc/{notification.tid}/fd/{notification.fd()}")))
        except OSError:
            return  # EBADF, or gone: the kernel says so

    def _drop(self, inode: int) -> None:
        sock = self._sockets.pop(inode, None)
        if sock is not None:
            self._loop.remove_writer(sock)
            sock.close()


def _create(domain: int, kind: int, protocol: int) -> socket.socket:
    # From its descriptor, so that `proto` is what the kernel made of a 0.
    return socket.socket(fileno=socket.socket(domain, kind, protocol).detach())


def tcp_state(sock: socket.socket) -> int:
    """tcpi_state, a TCP_* of include/net/tcp_states.h; 0 for MPTCP kernels that do not tell."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return 0


def _inode(link: str) -> int:
    """Of `socket:[123]`; 0 for what is no socket."""
    return int(link[8:-1]) if link.startswith("socket:[") else 0


def _sockets_of(pid: int) -> Iterator[int]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return  # it ended
    for name in names:
        try:
            yield _inode(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue  # it closed this one meanwhile


def _in_our_network(tid: int) -> bool:
    """We create sockets in our own network namespace only."""
    return os.readlink(f"/proc/{tid}/ns/net") == os.readlink("/proc/self/ns/net")


def _in_use(tid: int, inode: int) -> bool:
    """Is a socket that we do not hold connected, listening or (UDP) bound?  Then it must not be replaced."""
    wanted = str(inode).encode()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        try:
            with open(f"/proc/{tid}/net/{table}", "rb") as lines:
                if any(wanted in fields[9:10] for fields in map(bytes.split, lines)):
                    return True
        except FileNotFoundError:
            continue  # a kernel without IPv6
    return False
