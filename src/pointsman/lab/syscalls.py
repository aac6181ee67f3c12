"""The Linux calls that Python does not wrap, one to one, by number; no meaning is added here.

The numbers from 424 on are the same on every architecture (Linux, `include/uapi/asm-generic/unistd.h`); the older ones
are in `ARCHITECTURES`.  The aarch64 table is written from that header and has not been run on such a machine.
"""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass

PIDFD_GETFD = 438
PR_SET_CHILD_SUBREAPER = 36
PIDFD_THREAD = os.O_EXCL  # Linux 6.9, include/uapi/linux/pidfd.h

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class ForeignArchitecture:
    """A second system call table of the same processor: `network` are its calls that could reach the network."""

    audit: int
    network: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """AUDIT_ARCH_* (linux/audit.h) and the numbers of the calls we trap."""

    audit: int
    socket: int
    connect: int
    bind: int
    listen: int
    sendto: int
    sendmsg: int
    sendmmsg: int
    seccomp: int
    foreign: ForeignArchitecture
    x32_bit: int = 0
    io_uring_setup: int = 425


ARCHITECTURES = {
    "x86_64": Architecture(
        0xC000003E, socket=41, connect=42, bind=49, listen=50, sendto=44, sendmsg=46, sendmmsg=307, seccomp=317,
        foreign=ForeignArchitecture(0x40000003, (102, 362, 369, 370, 345, 425)), x32_bit=0x40000000,
    ),
    "aarch64": Architecture(
        0xC00000B7, socket=198, connect=203, bind=200, listen=201, sendto=206, sendmsg=211, sendmmsg=269, seccomp=277,
        foreign=ForeignArchitecture(0x40000028, (283, 290, 296, 374, 425)),
    ),
}  # fmt: skip


def architecture() -> Architecture | None:
    """This machine's table; None for a processor we have none for."""
    return ARCHITECTURES.get(platform.machine())


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """Duplicate a descriptor of another process into this one (close-on-exec).  Raises OSError."""
    result = int(_libc.syscall(PIDFD_GETFD, pidfd, fd, 0))
    if result < 0:
        _raise("pidfd_getfd")
    return result


def user_notification_available(arch: Architecture) -> bool:
    """Does this kernel know SECCOMP_RET_USER_NOTIF, and does nobody keep seccomp(2) from us?"""
    action = ctypes.c_uint32(0x7FC00000)
    get_action_available = 2
    return bool(_libc.syscall(arch.seccomp, get_action_available, 0, ctypes.byref(action)) == 0)


def become_subreaper(enabled: bool) -> None:
    """Orphans of our descendants become our children, so that we stay the ancestor of all of them (prctl(2))."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(enabled), 0, 0, 0):
        _raise("prctl(PR_SET_CHILD_SUBREAPER)")


def _raise(call: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}")
