"""`pointsman lab --check`: what this kernel and this container allow the lab, and what the lab is not.

Each mechanism is tried for real, in a child that is given up afterwards; nothing is concluded from version numbers.
"""

from __future__ import annotations

import errno
import os
import platform
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from pointsman.lab import launch, seccomp
from pointsman.lab.connects import read_memory
from pointsman.lab.syscalls import Architecture, architecture, pidfd_getfd, user_notification_available

TIMEOUT = 10.0  # seconds, for a child's answer
_CHILD = """
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(425, 1, 0)  # io_uring_setup
print(ctypes.get_errno(), flush=True)
socket.socket().connect_ex(("192.0.2.1", 9))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    allowed: bool
    meaning: str
    """One sentence: what it is for if it is allowed, what its absence costs if it is not."""
    limit: bool = False
    """A difference from Windows that no kernel and no permission removes."""


MECHANISMS = (
    ("user notification", "without it nothing can be trapped: the lab cannot run"),
    ("WAIT_KILLABLE_RECV", "without it (before Linux 5.19) a signal can make a program repeat a connect that was done"),
    ("reading memory", "without it no destination can be read: connects go on unseen"),
    ("pidfd_open", "without it the end of a process is not noticed: the lab cannot run"),
    ("pidfd_getfd", "without it the lab creates the programs' sockets (addfd): inherited ones lose their options"),
    ("ADDFD", "without it and without pidfd_getfd no socket can be connected for a program"),
    (
        "ADDFD with SEND",
        "without it (before Linux 5.14) addfd takes two steps, and a dying program may leak a descriptor",
    ),
    ("io_uring refused", "without it a program could connect by io_uring, unseen"),
)
LIMITS = (
    ("death of the lab", "programs it started get ENOSYS from connect() if it is killed; a driver would let them pass"),
    ("getpeername", "a redirected program that asks for its peer sees the proxy's address"),
    ("network namespaces", "sockets that the lab creates (addfd) are in its own network namespace only"),
    ("set-uid programs", "sudo, ping and the like get no privileges: the trap needs no_new_privs"),
    ("32-bit programs", "their connects fail with EACCES, since the lab reads 64-bit calls only"),
    ("raw sockets and ICMP", "they are not classified: the driver handles TCP and UDP"),
    (
        "addressed UDP sends",
        "an allowed one is read again by the kernel, so a hostile program can change it in between",
    ),
    ("connected UDP", "a block shows at connect(); on Windows at the first send"),
    ("letter case", "WFP lower-cases paths, so programs whose paths differ in case alone are one program"),
    ("hidden memory", "connects of programs that are not dumpable (ssh-agent) go on without being seen"),
    ("SO_SNDTIMEO", "a blocking connect that it ends fails with EALREADY, not EINPROGRESS"),
    ("musl with --resolve", "static musl programs drop DNS answers that come from the lab's own server"),
)


def examine() -> list[Finding]:
    """All findings: mechanisms first, in the order in which the lab needs them, then the limits."""
    findings = [Finding("kernel", True, f"Linux {platform.release()} on {platform.machine()}")]
    arch = architecture()
    if arch is None or not user_notification_available(arch):
        findings.append(Finding("user notification", False, "without it nothing can be trapped: the lab cannot run"))
    else:
        findings += _mechanisms(arch)
    findings.append(_ipv6_loopback())
    findings += [Finding(name, False, meaning, limit=True) for name, meaning in LIMITS]
    return findings


def _mechanisms(arch: Architecture) -> Iterator[Finding]:
    results: dict[str, bool] = {}
    try:
        with _Trial(arch) as trial:
            results = trial.run()
    except OSError:
        pass  # the kernel refused the trap itself; what was not reached counts as refused
    for name, meaning in MECHANISMS:
        yield Finding(name, results.get(name, False), meaning)


class _Trial:
    """A child under the trap that asks io_uring, creates a socket and connects it."""

    def __init__(self, arch: Architecture) -> None:
        self._arch = arch
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = ours
        ours.settimeout(TIMEOUT)
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", launch.__file__, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        self._listener: seccomp.Listener | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()
        self._channel.close()
        if self._listener is not None:
            self._listener.close()

    def run(self) -> dict[str, bool]:
        """Raises OSError if the trap cannot be set at all."""
        program = seccomp.program(self._arch, udp_sends=False, sockets=True)
        argv = [os.fsencode(word) for word in (sys.executable, "-I", "-S", "-c", _CHILD)]
        environment = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
        self._channel.sendall(
            launch.encode_order(argv, environment, program, seccomp=self._arch.seccomp, open_files=1024)
        )
        reply, fds, _, _ = socket.recv_fds(self._channel, 16, 1)
        if not fds:
            return {}
        self._listener = listener = seccomp.Listener(fds[0], killable=reply[1:2] == b"1")
        self._channel.sendall(b"A")
        found = {"user notification": True, "WAIT_KILLABLE_RECV": listener.killable}
        created = self._next(listener)
        if created is not None:
            found |= _try_addfd(listener, created)
        connecting = self._next(listener)
        if connecting is not None:
            found |= {
                "pidfd_open": _works(lambda: os.close(os.pidfd_open(self._child.pid))),
                "pidfd_getfd": _works(lambda: _duplicate(self._child.pid, connecting.fd())),
                "reading memory": _works(lambda: read_memory(listener, connecting, connecting.args[1], 16)),
            }
            listener.answer(connecting, errno.ENETUNREACH)
        assert self._child.stdout is not None
        found["io_uring refused"] = self._child.stdout.readline().strip() == str(errno.ENOSYS).encode()
        return found

    def _next(self, listener: seccomp.Listener) -> seccomp.Notification | None:
        select.select([listener.fd], [], [], TIMEOUT)
        try:
            return listener.receive()
        except EOFError:
            return None  # the child ended early


def _try_addfd(listener: seccomp.Listener, created: seccomp.Notification) -> dict[str, bool]:
    with socket.socket() as sock:
        if _works(lambda: listener.add_and_answer(created, sock.fileno(), cloexec=True)):
            return {"ADDFD": True, "ADDFD with SEND": True}
        added = _works(lambda: listener.add(created, sock.fileno(), cloexec=True))
    listener.go_on(created)
    return {"ADDFD": added, "ADDFD with SEND": False}


def _duplicate(pid: int, fd: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        os.close(pidfd_getfd(pidfd, fd))
    finally:
        os.close(pidfd)


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _ipv6_loopback() -> Finding:
    def bind() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))

    meaning = "without it connects to IPv6 destinations cannot be redirected"
    return Finding("IPv6 loopback", _works(bind), meaning)
