"""Which system calls of a program are trapped, and how a trapped one is received and answered (seccomp_unotify(2)).

This file knows the kernel's formats: the filter (classic BPF over `struct seccomp_data`), the notification, the answer.
What the answer should be is `trap`'s business.

The filter runs in the kernel on every system call of the program, so everything that needs no thought is decided in it:
sends without an address are never seen here, TCP Fast Open sends are refused (the program then connects), and io_uring
does not exist, since a connect through it would pass no filter.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from pointsman.lab.syscalls import Architecture

# struct seccomp_data: nr, arch, instruction_pointer, args[6].
_NR, _ARCH, _ARGS = 0, 4, 16
_LOAD, _JEQ, _JSET, _RET = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JSET|K, BPF_RET|K
_ALLOW, _ERRNO, _NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000  # SECCOMP_RET_*
_MSG_FASTOPEN = 0x20000000
_INSTRUCTION = struct.Struct("=HBBI")

_RECV, _SEND, _ID_VALID, _ADDFD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103  # SECCOMP_IOCTL_NOTIF_*
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_ADDED = struct.Struct("=QIIII")
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_SETFD, _ADDFD_SEND = 1, 2  # SECCOMP_ADDFD_FLAG_*
Block = list[tuple[int, int, int, int]]


def program(arch: Architecture, *, udp_sends: bool, sockets: bool) -> bytes:
    """The filter as `struct sock_filter[]`.

    Args:
        udp_sends: trap sends that name a destination.
        sockets: trap socket(), bind() and listen() too, for `placement.AddFd`.
    """
    notify, allow = (_RET, 0, 0, _NOTIFY), (_RET, 0, 0, _ALLOW)
    calls: dict[int, Block] = {arch.connect: [notify], arch.io_uring_setup: [_refuse(errno.ENOSYS)]}
    if udp_sends:
        # A pointer is NULL if both halves are; args are 64 bits wide, BPF reads 32 (both orders of halves work).
        named = [_load(4, 0), (_JEQ, 0, 2, 0), _load(4, 4), (_JEQ, 1, 0, 0), notify, allow]
        calls[arch.sendto] = [*_refuse_fast_open(3), *named]
        calls[arch.sendmsg] = [*_refuse_fast_open(2), notify]
        calls[arch.sendmmsg] = [*_refuse_fast_open(3), notify]
    if sockets:
        calls |= {arch.socket: [notify], arch.bind: [notify], arch.listen: [notify]}
    foreign = [(_LOAD, 0, 0, _NR), *_dispatch({nr: [_refuse(errno.EACCES)] for nr in arch.foreign.network}), allow]
    native: Block = [(_LOAD, 0, 0, _NR)]
    if arch.x32_bit:
        native += [(_JSET, 0, 1, arch.x32_bit), _refuse(errno.ENOSYS)]
    native += [*_dispatch(calls), allow]
    code: Block = [(_LOAD, 0, 0, _ARCH), (_JEQ, 0, len(native), arch.audit), *native]
    code += [(_JEQ, 0, len(foreign), arch.foreign.audit), *foreign, _refuse(errno.EACCES)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


def _load(argument: int, offset: int) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, _ARGS + 8 * argument + offset)


def _refuse(number: int) -> tuple[int, int, int, int]:
    return (_RET, 0, 0, _ERRNO | number)


def _refuse_fast_open(flags_argument: int) -> Block:
    return [_load(flags_argument, 0), (_JSET, 0, 1, _MSG_FASTOPEN), _refuse(errno.EOPNOTSUPP)]


def _dispatch(calls: dict[int, Block]) -> Iterable[tuple[int, int, int, int]]:
    for nr, block in calls.items():
        yield (_JEQ, 0, len(block), nr)
        yield from block


@dataclass(frozen=True, slots=True)
class Notification:
    """A program's thread stands in a system call and waits for our answer."""

    id: int
    tid: int
    nr: int
    args: tuple[int, ...]

    def fd(self, argument: int = 0) -> int:
        """A C int: the kernel takes the low 32 bits of the register."""
        return _signed(self.args[argument])


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


class Listener:
    """Through it the kernel tells of trapped calls.  An answer may come too late: then it returns False."""

    def __init__(self, fd: int, *, killable: bool) -> None:
        self.fd = fd
        self.killable = killable
        """Only death ends a call that we have received (Linux 5.19); else any signal does."""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def receive(self) -> Notification | None:
        """The next one; None if there is none now.  Raises EOFError once no process is left under the filter."""
        ready = self._poll.poll(0)
        if not ready:
            return None
        if not ready[0][1] & select.POLLIN:
            raise EOFError
        data = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.fd, _RECV, data)
        except FileNotFoundError:
            return None  # it went away between poll and here
        identifier, tid, _, nr, _, _, *args = _NOTIFICATION.unpack(data)
        return Notification(identifier, tid, nr, tuple(args))

    def valid(self, notification: Notification) -> bool:
        """Does the thread still wait?  Ask after opening anything of /proc/TID: only then it was that thread's."""
        try:
            fcntl.ioctl(self.fd, _ID_VALID, struct.pack("=Q", notification.id))
        except OSError:
            return False  # ENOENT; anything else means that no answer can reach it either
        return True

    def go_on(self, notification: Notification) -> bool:
        """Let the kernel perform the call as the program made it."""
        return self._send(_RESPONSE.pack(notification.id, 0, 0, _CONTINUE))

    def answer(self, notification: Notification, number: int, value: int = 0) -> bool:
        """End the call with an errno, or with `value` if `number` is 0."""
        return self._send(_RESPONSE.pack(notification.id, value, -number, 0))

    def place(self, notification: Notification, fd: int, *, at: int, cloexec: bool) -> None:
        """Put our `fd` at a number of the program's descriptor table, in place of what is there.  Raises OSError."""
        flags = os.O_CLOEXEC if cloexec else 0
        fcntl.ioctl(self.fd, _ADDFD, _ADDED.pack(notification.id, _SETFD, fd, at, flags))

    def answer_with_fd(self, notification: Notification, fd: int, *, cloexec: bool) -> None:
        """End the call with a new descriptor for our `fd`.  Raises OSError, and the call is still unanswered."""
        try:
            self.add_and_answer(notification, fd, cloexec=cloexec)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self.answer(notification, 0, self.add(notification, fd, cloexec=cloexec))

    def add_and_answer(self, notification: Notification, fd: int, *, cloexec: bool) -> None:
        """Both at once.  Raises OSError; EINVAL before Linux 5.14."""
        flags = os.O_CLOEXEC if cloexec else 0
        fcntl.ioctl(self.fd, _ADDFD, _ADDED.pack(notification.id, _ADDFD_SEND, fd, 0, flags))

    def add(self, notification: Notification, fd: int, *, cloexec: bool) -> int:
        """Give the program a new descriptor and return its number; its call is still unanswered.  Raises OSError."""
        flags = os.O_CLOEXEC if cloexec else 0
        return int(fcntl.ioctl(self.fd, _ADDFD, bytearray(_ADDED.pack(notification.id, 0, fd, 0, flags))))

    def close(self) -> None:
        """Programs that are still under the filter get ENOSYS for trapped calls from now on."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _send(self, response: bytes) -> bool:
        try:
            fcntl.ioctl(self.fd, _SEND, response)
        except FileNotFoundError:
            return False  # the thread was killed, or a signal ended its call
        return True
