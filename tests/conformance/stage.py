"""A whole proxy in a thread of its own, so that tests can play raw peers on blocking sockets at both of its ends.

One stage serves all tests of a module: starting a proxy costs more than most of them.  A raw origin is a function that
gets the accepted socket, in a thread for each connection; that its peer goes or sends nonsense is nobody's concern.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pointsman.engine.flow_record import FlowRecord
from pointsman.server.limits import Limits
from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, RunningProxy, running_proxy
from pointsman.wire.hpack import HpackError
from pointsman.wire.http2_messages import Http2Error

HOST = "www.example.com"
Serve = Callable[[socket.socket], None]


class Stage:
    def __init__(self, proxy: RunningProxy) -> None:
        self.proxy = proxy
        self._context = authority_of(proxy)

    def connect(self, *alpn: str, tls: bool = True, buffer: int | None = None) -> socket.socket:
        """As an app whose connection was redirected.  `buffer`: bytes that its kernel takes before it reads."""
        one = socket.socket()
        one.settimeout(PATIENCE)
        if buffer is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        with suppress(ConnectionResetError):  # an origin that resets at once may be quicker; the next call tells
            one.connect(self.proxy.address)
        if not tls:
            return one
        context = authority_of(self.proxy) if alpn else self._context
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context.wrap_socket(one, server_hostname=HOST)

    def records(self, beyond: int) -> list[FlowRecord]:
        """Those after the first `beyond`, as soon as there is one."""
        until = time.monotonic() + PATIENCE
        while len(found := self.all_records()) <= beyond:
            assert time.monotonic() < until, "no record was written"
            time.sleep(0.005)
        return found[beyond:]

    def all_records(self) -> list[FlowRecord]:
        return self.proxy.records() if self.proxy.flow_file.exists() else []


def authority_of(proxy: RunningProxy) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(proxy.ready.root_pem))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextmanager
def stage(
    directory: Path, policy: str, port: int, *, limits: Limits | None = None, addons: tuple[str, ...] = ()
) -> Iterator[Stage]:
    """Every connection to it was dialled to `port` of loopback."""
    ready: list[RunningProxy] = []
    is_up, over = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def main() -> None:
        async with running_proxy(directory, policy, limits=limits, addons=addons) as proxy:
            proxy.redirect_to(port)
            ready.append(proxy)
            is_up.set()
            await asyncio.to_thread(over.wait)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # told to the thread of the test, which would wait for ever otherwise
            failed.append(error)
        finally:
            is_up.set()

    thread = threading.Thread(target=run, name="proxy")
    thread.start()
    try:
        is_up.wait(PATIENCE)
        assert ready, failed
        yield Stage(ready[0])
    finally:
        over.set()
        thread.join(PATIENCE)
    assert not failed, failed
    assert not thread.is_alive()


@contextmanager
def raw_origin(serve: Serve, *alpn: str, tls: bool = True) -> Iterator[int]:
    """The port where `serve` gets every connection, inside TLS unless told otherwise."""
    context = authority.server_context(HOST, alpn=alpn[0] if alpn else None)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def one(accepted: socket.socket) -> None:
        with suppress(OSError, ssl.SSLError, HpackError, Http2Error):
            accepted.settimeout(PATIENCE)
            peer = context.wrap_socket(accepted, server_side=True) if tls else accepted
            with peer:
                serve(peer)

    def accept() -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                threading.Thread(target=one, args=(accepted,), daemon=True).start()

    thread = threading.Thread(target=accept, name="origin")
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE)


def read_to_end(peer: socket.socket) -> bytes:
    """Until FIN or RST."""
    data = b""
    with suppress(ConnectionError, ssl.SSLError):
        while part := peer.recv(65536):
            data += part
    return data
