"""The trap of one command and its descendants: takes notifications from the kernel and has each one answered.

Whatever goes wrong with one call ends that call alone: a program that went away needs no answer, a bug of ours is an
EIO for the program and an exception for the event loop's handler.  No path leaves a thread waiting.
"""

from __future__ import annotations

import errno
from asyncio import AbstractEventLoop

from pointsman.lab.connects import Connects
from pointsman.lab.datagrams import Datagrams
from pointsman.lab.placement import Placement
from pointsman.lab.seccomp import Listener, Notification
from pointsman.lab.syscalls import Architecture

MAX_AT_ONCE = 64
"""Calls answered before other work of the loop gets its turn."""


class Trap:
    def __init__(
        self,
        loop: AbstractEventLoop,
        listener: Listener,
        arch: Architecture,
        *,
        connects: Connects,
        datagrams: Datagrams,
        placement: Placement,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._placement = placement
        self._handlers = {
            arch.connect: connects.handle,
            arch.sendto: datagrams.handle,
            arch.sendmsg: datagrams.handle,
            arch.sendmmsg: datagrams.handle,
            arch.socket: placement.socket_call,
            arch.bind: placement.socket_call,
            arch.listen: placement.socket_call,
        }
        self.open = True
        self.unseen = 0
        """Calls that went on without having been looked at."""
        loop.add_reader(listener.fd, self._readable)

    def close(self) -> None:
        if self.open:
            self.open = False
            self._loop.remove_reader(self._listener.fd)
            self._listener.close()

    def _readable(self) -> None:
        for _ in range(MAX_AT_ONCE):
            try:
                notification = self._listener.receive()
            except EOFError:
                self.close()  # the last process under this filter is gone
                return
            if notification is None:
                return
            self._handle(notification)

    def _handle(self, notification: Notification) -> None:
        try:
            self._handlers[notification.nr](self._listener, notification)
        except PermissionError:
            # A program that hides its memory (PR_SET_DUMPABLE), or a socket filter of the machine's own: not ours to
            # see.
            self.unseen += 1
            self._listener.go_on(notification)
        except OSError as error:
            # Most often the program went away while we looked at it, and nobody reads this answer.  Otherwise /proc or
            # a socket call refused us; the errno is the best that can be told.
            self._listener.answer(notification, error.errno or errno.EIO)
        except Exception as error:  # a bug of ours must not leave a thread waiting for ever
            self._listener.answer(notification, errno.EIO)
            self._loop.call_exception_handler({"message": f"trapped call {notification.nr}", "exception": error})
