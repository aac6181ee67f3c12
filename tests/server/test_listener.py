from __future__ import annotations

import asyncio
import errno
import socket
from typing import cast

import pytest

from pointsman.errors import Exit, PointsmanError
from pointsman.server.limits import Counters
from pointsman.server.listener import accept_forever, listen


def test_a_port_that_is_taken_is_an_error_for_people() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(PointsmanError) as caught:
            listen(port)

    assert caught.value.code == "PM401"
    assert caught.value.status is Exit.PORT_TAKEN
    assert caught.value.seen == "address already in use (EADDRINUSE)"
    assert str(port) in caught.value.what


def test_without_ipv6_it_listens_on_ipv4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = socket.socket.bind

    def no_ipv6(self: socket.socket, address: tuple[str, int]) -> None:
        if self.family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "cannot assign")
        bind(self, address)

    monkeypatch.setattr(socket.socket, "bind", no_ipv6)
    listeners = listen(0)

    assert listeners.endpoints.v6 is None
    assert listeners.endpoints.v4 is not None
    assert len(listeners.sockets) == 1
    listeners.close()


TROUBLE = (ConnectionAbortedError(), OSError(64, "network name gone"), OSError(errno.EMFILE, "too many files"))


class Troubled:
    """A listening socket whose first accepts fail."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.trouble = list(TROUBLE)

    def fileno(self) -> int:
        return self.listening.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        if self.trouble:
            raise self.trouble.pop()
        return self.listening.accept()


def test_an_error_belongs_to_one_connection_where_readiness_tells() -> None:
    async def scenario() -> None:
        listeners = listen(0)
        accepted: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        counters = Counters()
        troubled = cast("socket.socket", Troubled(listeners.sockets[0]))
        task = asyncio.create_task(accept_forever(troubled, accepted.set_result, counters))
        with socket.create_connection(listeners.sockets[0].getsockname()):
            (await accepted).close()

        assert (counters.accept_errors, counters.accepted) == (3, 1)
        task.cancel()
        await asyncio.wait({task})
        listeners.close()

    asyncio.run(scenario())


def test_an_error_belongs_to_one_connection_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.server.listener.knows_readiness", lambda _: False)

    async def scenario() -> None:
        listeners = listen(0)
        loop = asyncio.get_running_loop()
        accept = loop.sock_accept
        trouble = list(TROUBLE)

        async def troubled(listening: socket.socket) -> tuple[socket.socket, object]:
            if trouble:
                raise trouble.pop()
            return await accept(listening)

        monkeypatch.setattr(loop, "sock_accept", troubled)
        accepted: asyncio.Future[socket.socket] = loop.create_future()
        counters = Counters()
        task = asyncio.create_task(accept_forever(listeners.sockets[0], accepted.set_result, counters))
        with socket.create_connection(listeners.sockets[0].getsockname()):
            (await accepted).close()

        assert (counters.accept_errors, counters.accepted) == (3, 1)
        task.cancel()
        await asyncio.wait({task})
        listeners.close()

    asyncio.run(scenario())
