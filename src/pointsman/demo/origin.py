"""The demo's origin, a process of its own outside the lab: HTTPS, HTTP, a service that speaks first, a tripwire.

    python -m pointsman.demo.origin CERTIFICATE.pem

Prints its ports as one JSON line, then `tripwire` for each connection that nobody should have made.  Ends when its
standard input does, so it never outlives the demo.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import socketserver
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pointsman.demo.internet import GREETING, Ports

LOOPBACK = ("127.0.0.1", 0)


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        body = f"hello from {self.headers.get('Host', 'nobody')}, you asked for {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The demo's own report says what happened."""


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that vanish in mid-request are part of the demo."""


class SecureServer(QuietServer):
    def __init__(self, certificate: str) -> None:
        super().__init__(LOOPBACK, Page)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)

    def finish_request(self, request: object, client_address: object) -> None:
        # In the connection's own thread: a handshake that hangs holds up nobody else.
        assert isinstance(request, socket.socket)
        request.settimeout(10)
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)


class Greeter(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(GREETING)
        while self.request.recv(1024):
            pass


class Tripwire(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        print("tripwire", flush=True)


def serve(server: socketserver.TCPServer) -> int:
    """Start it in a thread that ends with the process.  Returns its port."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.socket.getsockname()[1])


def main() -> None:
    ports = Ports(
        https=serve(SecureServer(sys.argv[1])),
        http=serve(QuietServer(LOOPBACK, Page)),
        greeting=serve(socketserver.ThreadingTCPServer(LOOPBACK, Greeter)),
        tripwire=serve(socketserver.ThreadingTCPServer(LOOPBACK, Tripwire)),
    )
    print(json.dumps(dataclasses.asdict(ports)), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
