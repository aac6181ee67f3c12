"""An origin on loopback for programs in the lab: HTTPS with a certificate of its own CA, serving a folder."""

from __future__ import annotations

import functools
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pointsman.demo.internet import make_certificates
from pointsman.lab.check import examine

NAME, NAME_V6 = "www.example", "six.example"
ADDRESS, ADDRESS_V6 = "203.0.113.10", "2001:db8::10"
PAGE = b"<html><head></head><body><p>served</p><script src='/title.js'></script></body></html>\n"


@dataclass(frozen=True)
class Origin:
    options: list[str]
    """Of `pointsman lab`, for programs to find it."""
    url: str
    issuer: str


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self, address: str, folder: Path, context: ssl.SSLContext) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, 0), functools.partial(Handler, directory=str(folder)))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        pass  # browsers open connections that they never use


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    folder = tmp_path_factory.mktemp("origin")
    ca, chain = make_certificates(folder, [NAME, NAME_V6])
    site = folder / "site"
    site.mkdir()
    (site / "index.html").write_bytes(PAGE)
    (site / "title.js").write_text("document.title = 'script ran'")
    _publish_repository(folder, site)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    servers = [Server("127.0.0.1", site, context)]
    options = [
        "--map", f"{ADDRESS}:443=127.0.0.1:{servers[0].port}", "--resolve", f"{NAME}={ADDRESS}",
        "--upstream-ca", str(ca),
    ]  # fmt: skip
    if any(finding.allowed for finding in examine() if finding.name == "IPv6 loopback"):
        servers.append(Server("::1", site, context))
        options += ["--map", f"[{ADDRESS_V6}]:443=[::1]:{servers[1].port}", "--resolve", f"{NAME_V6}={ADDRESS_V6}"]
    yield Origin(options, f"https://{NAME}/", "Demo Internet CA")
    for server in servers:
        server.close()


def _publish_repository(folder: Path, site: Path) -> None:
    """A git repository behind plain files (gitprotocol-http, the "dumb" half)."""
    work = folder / "work"
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (
        ["git", "init", "-q", str(work)],
        ["git", "-C", str(work), *identity, "commit", "-q", "--allow-empty", "-m", "first"],
        ["git", "clone", "-q", "--bare", str(work), str(site / "repo.git")],
        ["git", "-C", str(site / "repo.git"), "update-server-info"],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            return  # no git here: the test that needs it says so
