"""An HTTPS server on loopback, with a leaf of our root: a client that sends it a request trusts that root.

Nothing a client prints has to be understood for that: one that does not trust the root closes, or sends an alert,
instead of its request (RFC 8446 6.2).
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from pointsman.authority.issue import Root
from pointsman.authority.leaf_cache import LeafCache

HOST = "127.0.0.1"  # an address: name constraints of a root are about names
CLIENT_TIMEOUT = 10.0  # seconds for one client to say what it wants
CLIENTS_LIMIT = 32  # at once; a browser opens a handful
HEAD_LIMIT = 16 * 1024  # bytes of a request that are read
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nConnection: close\r\n\r\npointsman\n"


class ProbeServer:
    """Serves in threads while it is entered."""

    def __init__(self, root: Root) -> None:
        leaves = LeafCache(root, now=lambda: datetime.now(UTC), capacity=1)
        self._context = leaves.get((HOST,), "http/1.1")
        self._listener = socket.create_server((HOST, 0), backlog=CLIENTS_LIMIT)
        self.port = int(self._listener.getsockname()[1])
        self._accepting = threading.Thread(target=self._accept, name="trust probe")
        self._clients: list[threading.Thread] = []
        self._connections = self._requests = 0
        self._own: set[tuple[str, int]] = set()
        """Addresses from which we ourselves have connected, to see that all before it were accepted."""
        self._changed = threading.Condition()
        self._stop = False

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop = True
        self.heard()
        self._accepting.join()
        self._listener.close()

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/"

    def heard(self) -> tuple[int, int]:
        """Connections and requests of all clients that have connected by now; waits until these have been served."""
        with socket.socket() as own:
            own.bind((HOST, 0))
            with self._changed:
                self._own.add(own.getsockname())
                own.connect((HOST, self.port))
                self._changed.wait_for(lambda: own.getsockname() not in self._own)  # accepted, and so all before it
        for client in self._clients:
            client.join()
        self._clients.clear()
        return self._connections, self._requests

    def _accept(self) -> None:
        while not self._stop or self._own:
            client, address = self._listener.accept()
            with self._changed:
                is_own = address in self._own
                self._own.discard(address)
                self._changed.notify_all()
            if is_own or len(self._clients) >= CLIENTS_LIMIT:
                client.close()
                continue
            self._connections += 1
            client.settimeout(CLIENT_TIMEOUT)
            thread = threading.Thread(target=self._serve, args=(client,))
            self._clients.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        # An SSLError is an OSError: it does not trust us, which is an answer too.
        with client, suppress(OSError), self._context.wrap_socket(client, server_side=True) as tls:
            request = b""
            while b"\r\n\r\n" not in request and len(request) < HEAD_LIMIT:
                data = tls.recv(HEAD_LIMIT)
                if not data:
                    return
                request += data
            with self._changed:
                self._requests += 1
            tls.sendall(_ANSWER)
