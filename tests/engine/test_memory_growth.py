"""Connections, one after the other, leave nothing behind: what malloc has given out is counted, not what the process
has, so neither the allocator's habits nor the machine's other work can show."""

from __future__ import annotations

import ctypes
import gc
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from pointsman.authority.leaf_cache import SESSIONS_LIMIT, LeafCache
from pointsman.engine.events import Lost
from pointsman.engine.sessions import Sessions
from pointsman.engine.tls import PIECE, TlsSide
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd, pump

NAME = "www.example.com"
GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TIMES = 4
ROUND = SESSIONS_LIMIT // TIMES  # connections of each kind; of the old one TIMES as many, so its table is as full again
MARGIN = 32 * 1024  # bytes; one session that is lost with each connection of a kind is 128 kB at least


class _MallInfo(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def malloc_counter() -> Callable[[], int] | None:
    """Bytes in use, of the heap and mapped; None where the C library is not glibc 2.33 or newer."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None) if sys.platform == "linux" else None
    if mallinfo2 is None:
        return None
    mallinfo2.restype = _MallInfo

    def count() -> int:
        gc.collect()
        info = mallinfo2()
        return int(info.uordblks) + int(info.hblkhd)

    return count


class World:
    """One proxy's memory and the peers that are there all the time."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.leaves = LeafCache(authority.root("proxy"), now=lambda: datetime.now(UTC))
        offers: tuple[tuple[str, ...], ...] = (), ("http/1.1",)
        self.offers = {alpn: authority.client_context(*alpn) for alpn in offers}
        self.origin = authority.server_context(NAME)
        self.origin.num_tickets = 2
        self.apps = {alpn: authority.client_context(*alpn, trusts=authority.root("proxy")) for alpn in offers}
        self.old = authority.client_context(trusts=authority.root("proxy"))
        self.old.maximum_version = ssl.TLSVersion.TLSv1_2
        self.old.options |= ssl.OP_NO_TICKET

    def connect(self, app: ssl.SSLContext) -> tuple[Rig, TlsEnd, TlsEnd]:
        rig = Rig(sessions=self.sessions, upstream_tls=self.offers.__getitem__)
        rig.leaves = self.leaves
        ends = TlsEnd(rig, APP, app, NAME), TlsEnd(rig, ORIGIN, self.origin)
        pump(*ends)
        return rig, *ends

    def visit(self, app_context: ssl.SSLContext) -> None:
        rig, app, origin = self.connect(app_context)
        app.send(GET)
        pump(app, origin)
        origin.send(OK)
        pump(app, origin)
        assert bytes(app.received) == OK
        app.close_notify()
        origin.close_notify()
        pump(app, origin)
        rig.ends(APP)
        rig.ends(ORIGIN)
        assert rig.over and rig.record.status == 200

    def vanish(self) -> None:
        """In the middle of an answer."""
        rig, app, origin = self.connect(self.apps[()])
        app.send(GET)
        pump(app, origin)
        origin.send(OK[:-1])
        pump(app, origin)
        rig.event(Lost(APP, "reset"))
        assert rig.over and rig.record.error is not None

    def round(self) -> None:
        for _ in range(ROUND):
            for app in (*self.apps.values(), *[self.old] * TIMES):
                self.visit(app)
            self.vanish()


def test_a_connection_leaves_nothing_for_the_cycle_collector() -> None:
    """What is left to it grows old and stays for long."""
    world = World()
    gc.collect()
    gc.disable()
    try:
        world.visit(world.apps[()])
        world.visit(world.old)
        world.vanish()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_as_much_is_in_use_after_twice_as_many_connections() -> None:
    in_use = malloc_counter()
    if in_use is None:
        pytest.skip("only glibc from 2.33 on says what malloc has given out")
    world = World()
    world.round()
    after_one = in_use()
    world.round()
    grown = in_use() - after_one

    assert world.leaves.issued >= 3, "the one of the old client was replaced"
    assert grown < MARGIN, f"{grown} bytes in {ROUND * (TIMES + 3)} connections"


def kept_after(answer: bytes) -> int:
    """Bytes that an idle connection holds which has carried this, without its peers."""
    in_use = malloc_counter()
    if in_use is None:
        pytest.skip("only glibc from 2.33 on says what malloc has given out")
    world = World()
    world.visit(world.apps[()])
    before = in_use()
    rig, app, origin = world.connect(world.apps[()])
    app.send(GET)
    pump(app, origin)
    origin.send(answer)
    pump(app, origin)
    assert len(app.received) == len(answer)
    del app, origin
    rig.received.clear()
    return in_use() - before


def test_an_idle_connection_keeps_little_of_the_bulk_that_it_has_carried() -> None:
    """OpenSSL's memory BIOs never give back what they grew to."""
    body = bytes(4 * 1024 * 1024)
    bulk = kept_after(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    assert bulk - kept_after(OK) < 3 * PIECE, "a piece and a third on either side"


def test_the_room_for_writing_is_let_go_once_the_tickets_are_read() -> None:
    """They come with the first answer where the request was faster: as at most origins that are not on this machine."""
    in_use = malloc_counter()
    if in_use is None or ssl.OPENSSL_VERSION_INFO >= (3, 1):
        pytest.skip(f"not seen with {ssl.OPENSSL_VERSION}")
    context, incoming, outgoing = authority.server_context(NAME), ssl.MemoryBIO(), ssl.MemoryBIO()
    context.num_tickets = 2
    origin = context.wrap_bio(incoming, outgoing, server_side=True)
    side = TlsSide(authority.client_context(), server_side=False, server_hostname=NAME)
    while not side.handshake():
        incoming.write(side.take())
        with suppress(ssl.SSLWantReadError):
            origin.do_handshake()
        side.receive(outgoing.read())
    incoming.write(side.take() + side.encrypt(GET))
    origin.do_handshake()  # its tickets
    origin.read()
    origin.write(OK)
    answer = outgoing.read()

    before = in_use()
    assert side.decrypt(answer) == OK
    after_tickets = in_use()
    side.let_go()

    assert side.take() == b"", "nothing is said for that"
    assert in_use() < after_tickets - 15 * 1024 and in_use() < before + 4 * 1024
