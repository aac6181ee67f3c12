"""Who is told of what a socket can do, also when others have closed it meanwhile and its number is somebody else's."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from functools import partial

import pytest

from pointsman.server.readiness import AT_ONCE, READ, WRITE, Readiness, readiness

if not hasattr(select, "epoll"):
    pytest.skip("no epoll on this system", allow_module_level=True)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        ours.setblocking(False)
        yield ours, theirs


def test_it_calls_for_what_was_asked_last(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ready, told = Readiness(), list[object]()
    ready.watch(ours.fileno(), READ, lambda _: told.append("first"))
    ready.serve()
    assert told == [], "there is nothing to read"

    theirs.send(b"x")
    ready.watch(ours.fileno(), READ | WRITE, told.append)
    ready.serve()
    ready.watch(ours.fileno(), WRITE, told.append)
    ready.serve()
    ready.forget(ours.fileno())
    ready.serve()
    assert told == [READ | WRITE, WRITE]


def test_an_error_is_told_to_who_waits_for_anything() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    with listening, socket.create_connection(listening.getsockname()) as ours:
        theirs, _ = listening.accept()
        ready, told = Readiness(), list[int]()
        ready.watch(ours.fileno(), READ, told.append)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        ready.serve()

        (events,) = told
        assert events & select.EPOLLERR
        with pytest.raises(ConnectionResetError):
            ours.recv(1)


def test_who_was_closed_by_another_in_the_same_turn_is_not_told_nor_is_the_next_with_its_number() -> None:
    """Both ends of the first pair can be read from; whoever is served first closes the other, and opens a third."""
    one, two = socket.socketpair()
    one.send(b"x")
    two.send(b"x")
    ready, told = Readiness(), list[str]()
    opened: list[socket.socket] = []

    def first(mine: socket.socket, other: socket.socket) -> Callable[[int], None]:
        def served(_: int) -> None:
            told.append("one of the pair")
            number = other.fileno()
            ready.forget(number)
            other.close()
            third, fourth = socket.socketpair()
            opened.extend((third, fourth))
            if number in (third.fileno(), fourth.fileno()):
                ready.watch(number, READ, lambda _: told.append("the next with its number"))
                ready.forget(mine.fileno())

        return served

    ready.watch(one.fileno(), READ, first(one, two))
    ready.watch(two.fileno(), READ, first(two, one))
    ready.serve()
    assert told == ["one of the pair"] and len(opened) == 2
    assert len({one.fileno(), two.fileno()} - {-1}) == 1

    for number, its_peer in ((opened[0], opened[1]), (opened[1], opened[0])):
        if number.fileno() in ready._calls:
            its_peer.send(b"y")
            ready.serve()
            assert told[-1] == "the next with its number", "from the next turn on it is watched like any other"
    for left in (one, two, *opened):
        left.close()


def test_forgetting_what_is_closed_or_unknown_is_harmless(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    ready, told = Readiness(), list[int]()
    ready.forget(ours.fileno())
    number = ours.fileno()
    ready.watch(number, WRITE, told.append)
    ours.close()
    ready.forget(number)
    ready.serve()
    assert told == []


def test_a_turn_is_bounded_and_nobody_is_left_out() -> None:
    ready, told = Readiness(), list[int]()
    pairs = [socket.socketpair() for _ in range(AT_ONCE // 2 + 8)]
    sockets = [one for pair in pairs for one in pair]
    for one in sockets:
        ready.watch(one.fileno(), WRITE, partial(lambda number, _: told.append(number), one.fileno()))
    ready.serve()
    assert len(told) == AT_ONCE
    for _ in range(3):
        ready.serve()
    assert set(told) == {one.fileno() for one in sockets}
    for one in sockets:
        one.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_each_loop_has_its_own_and_serves_it(loop: str, pair: tuple[socket.socket, socket.socket]) -> None:
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop", reason="the extra `fast` is not installed").new_event_loop
    ours, theirs = pair

    async def once() -> Readiness:
        mine, told = readiness(), asyncio.get_running_loop().create_future()
        mine.watch(ours.fileno(), READ, told.set_result)
        theirs.send(b"x")
        assert await told == READ
        assert ours.recv(1) == b"x"
        mine.forget(ours.fileno())
        assert readiness() is mine
        return mine

    def run(one: Coroutine[object, object, Readiness]) -> Readiness:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(one)

    assert run(once()) is not run(once())
