"""The whole proxy going on through other proxies, on real sockets: every language, chains, faults, fall-back."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import pytest

from pointsman.policy.upstreams import Credentials, Hop
from pointsman.server.limits import Limits
from pointsman.server.upstream_dial import MAX_NAMES, Upstreams
from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, RunningProxy, running_proxy
from pointsman.testing.system import RECORDS, FakeRedirects
from pointsman.testing.upstream_proxy import UpstreamProxy, upstream_proxy

HOST = "www.example.com"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"
GET = f"GET /page HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PROXIES = [("http", False), ("http", True), ("socks5", False), ("socks5", True)]


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 2 * PATIENCE))


def policy(*proxies: object, action: str = "inspect", more: str = "") -> str:
    """Everything goes through an upstream of these alternatives."""
    return f'[upstreams.u]\nproxies = {toml(proxies)}\n{more}\n[[rule]]\naction = "{action}"\nupstream = "u"\n'


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PAGE)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # a connection without a request
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def origin(handler: Handler = page, *, tls: bool = False) -> asyncio.Server:
    context = authority.server_context(HOST) if tls else None
    return await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def proxy_tls(wanted: bool = True) -> ssl.SSLContext | None:
    return authority.server_context("127.0.0.1") if wanted else None


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


async def get(proxy: RunningProxy, *, tls: bool = False) -> bytes:
    """What an app that asks for the page receives until the end."""
    context = ssl.create_default_context(cafile=str(proxy.ready.root_pem)) if tls else None
    reader, writer = await asyncio.open_connection(*proxy.address, ssl=context, server_hostname=HOST if tls else None)
    writer.write(GET)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(("kind", "tls"), PROXIES)
@pytest.mark.parametrize("action", ["upstream", "inspect"])
def test_every_language_carries_https_by_name_decrypted_or_not(
    tmp_path: Path, kind: str, tls: bool, action: str
) -> None:
    async def scenario() -> None:
        server = await origin(tls=True)
        names = {HOST: port_of(server)}
        async with (
            server,
            upstream_proxy(kind, tls=proxy_tls(tls), names=names) as far,
            running_proxy(tmp_path, policy(far.url(), action=action)) as proxy,
        ):
            proxy.redirect_to(443, "203.0.113.9")  # nobody is there: only the upstream finds it, by its name
            trusted = proxy.ready.root_pem if action == "inspect" else tmp_path / "origin-root.pem"
            context = ssl.create_default_context(cafile=str(trusted))
            reader, writer = await asyncio.open_connection(*proxy.address, ssl=context, server_hostname=HOST)
            writer.write(GET)
            assert await reader.read() == PAGE
            writer.close()
            await proxy.stop()
            (record,) = proxy.records()
            assert record.upstream == f"u ({far.url()})"
            assert record.protocol == ("https" if action == "inspect" else "tls")
            assert far.asked == [(HOST, 443)]
            assert proxy.system.redirects.applied == [RECORDS], "on the socket to the first proxy"

    run(scenario())


@pytest.mark.parametrize("first", PROXIES)
@pytest.mark.parametrize("second", PROXIES)
def test_chains_of_any_mix_carry_an_intercepted_connection(
    tmp_path: Path, first: tuple[str, bool], second: tuple[str, bool]
) -> None:
    async def scenario() -> None:
        server = await origin(tls=True)
        names = {HOST: port_of(server)}
        async with (
            server,
            upstream_proxy(first[0], tls=proxy_tls(first[1]), user=("a", "b")) as near,
            upstream_proxy(second[0], tls=proxy_tls(second[1]), names=names) as far,
            running_proxy(tmp_path, policy([near.url("a:b@"), far.url()])) as proxy,
        ):
            proxy.redirect_to(443, "203.0.113.9")
            assert await get(proxy, tls=True) == PAGE
            await proxy.stop()
            (record,) = proxy.records()
            assert (record.status, record.upstream) == (200, f"u ({near.url()} > {far.url()})")
            assert (near.asked, far.asked) == ([("127.0.0.1", far.port)], [(HOST, 443)])

    run(scenario())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_without_a_name_the_upstream_gets_the_address_that_was_dialled(tmp_path: Path, kind: str, address: str) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        await echo(reader, writer)

    async def scenario() -> None:
        server = await asyncio.start_server(greet, address, 0)
        async with server, upstream_proxy(kind) as far, running_proxy(tmp_path, policy(far.url())) as proxy:
            proxy.redirect_to(port_of(server), address)
            reader, writer = await asyncio.open_connection(*proxy.address)
            assert await reader.readline() == b"220 ready\r\n", "the server speaks first"
            writer.write(b"QUIT")
            writer.write_eof()
            assert await reader.read() == b"QUIT"
            writer.close()
            assert far.asked == [(address, port_of(server))]

    run(scenario())


@pytest.mark.parametrize("said", ["192.0.2.77", "[2001:db8::77]:80"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_an_address_in_the_host_field_is_no_name(tmp_path: Path, kind: str, said: str) -> None:
    async def scenario() -> None:
        server = await origin()
        async with server, upstream_proxy(kind) as far, running_proxy(tmp_path, policy(far.url())) as proxy:
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(f"GET / HTTP/1.1\r\nHost: {said}\r\n\r\n".encode())
            assert await reader.read() == PAGE
            writer.close()
            assert far.asked == [("127.0.0.1", port_of(server))]

    run(scenario())


def test_an_upstream_that_is_not_to_ask_by_name_does_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin()
        async with (
            server,
            upstream_proxy("socks5") as far,
            running_proxy(tmp_path, policy(far.url(), more='dns = "app"')) as proxy,
        ):
            proxy.redirect_to(port_of(server))
            assert await get(proxy) == PAGE
            assert far.asked == [("127.0.0.1", port_of(server))]

    run(scenario())


@pytest.mark.parametrize("tls", [False, True])
def test_ten_megabytes_each_way_arrive_as_they_were(tmp_path: Path, tls: bool) -> None:
    data = os.urandom(1 << 20) * 10

    async def scenario() -> None:
        server = await origin(echo)
        async with (
            server,
            upstream_proxy("socks5", tls=proxy_tls(tls)) as far,
            running_proxy(tmp_path, policy(far.url(), action="relay")) as proxy,
        ):
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)

            async def send() -> None:
                writer.write(data)
                await writer.drain()

            async with asyncio.TaskGroup() as group:
                group.create_task(send())
                assert await reader.readexactly(len(data)) == data
            writer.close()

    run(scenario())


REFUSALS = [
    ("http", b"HTTP/1.1 403 No\r\n\r\n", "forbidden (HTTP 403)"),
    ("http", b"HTTP/1.1 502 No\r\nContent-Length: 2\r\n\r\nxx", "bad gateway (HTTP 502)"),
    ("http", b"\x05\x00", "its answer is no HTTP/1"),
    ("http", b"HTTP/1.1 200 OK\r\n", "it closed the connection"),
    ("socks5", b"\x05\x05\x00\x01" + bytes(6), "connection refused (SOCKS 0x05)"),
    ("socks5", b"\x05\x02", "not allowed by its rules (SOCKS 0x02)"),
    ("socks5", b"HTTP/1.1 400 ", "not a reply of SOCKS 5: it begins with 0x48 (HTTP?)"),
]


@pytest.mark.parametrize(("kind", "says", "words"), REFUSALS)
def test_what_a_proxy_refuses_is_told_to_the_app_and_in_the_record(
    tmp_path: Path, kind: str, says: bytes, words: str
) -> None:
    async def scenario() -> None:
        async with upstream_proxy(kind, says=says) as far, running_proxy(tmp_path, policy(far.url())) as proxy:
            proxy.redirect_to(443, "203.0.113.9")
            assert (await get(proxy)).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
            with pytest.raises(ssl.SSLError, match="INTERNAL_ERROR"):
                await get(proxy, tls=True)
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"\x00\x01 neither")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            await proxy.stop()
            errors = {record.error for record in proxy.records()}
            assert errors == {f"dial: upstream u: {far.url()}: {words}"}
            assert [record.upstream for record in proxy.records()] == ["u"] * 3

    run(scenario())


def test_a_proxy_that_never_answers_is_given_up_in_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = Limits(dial_timeout=0.5)
        async with (
            upstream_proxy("http", says=b"") as far,
            running_proxy(tmp_path, policy(far.url()), limits=limits) as proxy,
        ):
            proxy.redirect_to(443, "203.0.113.9")
            assert (await get(proxy)).startswith(b"HTTP/1.1 502 ")
            await proxy.stop()
            assert proxy.records()[0].error == f"dial: upstream u: {far.url()}: no answer in time"

    run(scenario())


@pytest.mark.parametrize("where", ["url", "env", "file"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_credentials_reach_the_proxy_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, where: str
) -> None:
    secret = "s3cret/:@word"
    monkeypatch.setenv("TEST_PROXY_AUTH", f"alice:{secret}")
    (tmp_path / "proxy.secret").write_text(f"alice:{secret}\n")

    async def scenario() -> None:
        server = await origin()
        names = {HOST: port_of(server)}
        async with server, upstream_proxy(kind, user=("alice", secret), names=names) as far:
            references = {"env": "env:TEST_PROXY_AUTH", "file": f"file:{tmp_path}/proxy.secret"}
            proxy_of_policy: object = {"url": far.url(), "auth": references.get(where)}
            if where == "url":
                proxy_of_policy = far.url("alice:s3cret%2F%3A%40word@")
            async with running_proxy(tmp_path, policy(proxy_of_policy)) as proxy:
                proxy.redirect_to(80, "203.0.113.9")
                assert await get(proxy) == PAGE
                far.user = ("alice", "another")
                assert (await get(proxy)).startswith(b"HTTP/1.1 502 ")
                await proxy.stop()
                said = proxy.flow_file.read_text() + proxy.people.getvalue()
                assert "HTTP 407" in said or "refused user and password" in said
                assert not any(word in said for word in ("s3cret", "alice", "TEST_PROXY_AUTH", "czNjcmV0"))

    run(scenario())


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        ("env:NOT_SET_ANYWHERE", "no credentials in env:NOT_SET_ANYWHERE: the variable is not set"),
        ("file:/nowhere/at-all", "no credentials in file:/nowhere/at-all: no such file or directory"),
    ],
)
def test_missing_credentials_are_an_error_and_not_an_attempt_without(tmp_path: Path, auth: str, words: str) -> None:
    async def scenario() -> None:
        async with (
            upstream_proxy("http") as far,
            running_proxy(tmp_path, policy({"url": far.url(), "auth": auth})) as proxy,
        ):
            proxy.redirect_to(80, "203.0.113.9")
            assert (await get(proxy)).startswith(b"HTTP/1.1 502 ")
            await proxy.stop()
            assert proxy.records()[0].error == f"dial: upstream u: {far.url()}: {words}"
            assert far.connections == 0

    run(scenario())


def test_a_proxy_that_fails_is_left_out_and_the_next_one_used(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin()
        names = {HOST: port_of(server)}
        async with (
            server,
            upstream_proxy("http", user=("x", "y")) as bad,
            upstream_proxy("socks5", names=names) as good,
            running_proxy(tmp_path, policy(bad.url(), good.url())) as proxy,
        ):
            proxy.redirect_to(80, "203.0.113.9")
            for _ in range(3):
                assert await get(proxy) == PAGE
            await proxy.stop()
            assert bad.connections == 1, "it asked for a password, and was not asked again"
            assert {record.upstream for record in proxy.records()} == {f"u ({good.url()})"}

    run(scenario())


def test_a_proxy_that_does_not_listen_is_left_out_too_and_the_error_names_all_that_were_tried(tmp_path: Path) -> None:
    async def scenario() -> None:
        ports = closed_port(), closed_port()
        async with running_proxy(tmp_path, policy(*(f"http://127.0.0.1:{port}" for port in ports))) as proxy:
            proxy.redirect_to(80, "203.0.113.9")
            assert (await get(proxy)).startswith(b"HTTP/1.1 502 ")
            assert (await get(proxy)).startswith(b"HTTP/1.1 502 ")
            await proxy.stop()
            refused = [f"http://127.0.0.1:{port}: connection refused (ECONNREFUSED)" for port in ports]
            assert [record.error for record in proxy.records()] == [
                f"dial: upstream u: {'; '.join(refused)}",
                f"dial: upstream u: {refused[0]}",  # both are left out now; the one that is due first is tried
            ]

    run(scenario())


@pytest.mark.parametrize(("fallback", "answer"), [("fail", b"HTTP/1.1 502 "), ("direct", PAGE)])
def test_the_policy_says_what_happens_if_no_proxy_works(tmp_path: Path, fallback: str, answer: bytes) -> None:
    async def scenario() -> None:
        server = await origin()
        text = policy(f"http://127.0.0.1:{closed_port()}", more=f'fallback = "{fallback}"')
        async with server, running_proxy(tmp_path, text) as proxy:
            proxy.redirect_to(port_of(server))
            for _ in range(2):  # once because it fails, once because it is left out
                assert (await get(proxy)).startswith(answer)
            await proxy.stop()
            if fallback == "direct":
                assert [record.upstream for record in proxy.records()] == ["u (direct, no proxy works)"] * 2

    run(scenario())


def test_what_a_working_proxy_refuses_is_never_gone_around(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin()
        async with (
            server,
            upstream_proxy("http", says=b"HTTP/1.1 403 No\r\n\r\n") as strict,
            upstream_proxy("http") as lax,
        ):
            text = policy(strict.url(), lax.url(), more='fallback = "direct"')
            async with running_proxy(tmp_path, text) as proxy:
                proxy.redirect_to(port_of(server))
                for _ in range(3):
                    assert (await get(proxy)).startswith(b"HTTP/1.1 502 ")
                assert (strict.connections, lax.connections) == (3, 0)

    run(scenario())


def test_tls_with_a_proxy_whose_certificate_is_not_trusted_or_of_another_name_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        for context, words in (
            (authority.server_context("127.0.0.1", signed_by=authority.root("stranger")), "certificate not valid"),
            (authority.server_context("other.example"), "certificate not valid"),
        ):
            async with upstream_proxy("http", tls=context) as far:
                directory = tmp_path / str(far.port)
                directory.mkdir()
                async with running_proxy(directory, policy(far.url())) as proxy:
                    proxy.redirect_to(443, "203.0.113.9")
                    with pytest.raises(ssl.SSLError):
                        await get(proxy, tls=True)
                    await proxy.stop()
                    error = proxy.records()[0].error or ""
                    assert error.startswith(f"dial: upstream u: {far.url()}: TLS with the proxy: {words}")
                    assert far.asked == [], "it has learned nothing"

    run(scenario())


def test_a_name_of_a_proxy_is_looked_up_and_one_that_leads_nowhere_is_said_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin()
        names = {HOST: port_of(server)}
        async with server, upstream_proxy("http", names=names) as far:
            text = policy("http://nowhere.invalid:3128", f"http://localhost:{far.port}")
            async with running_proxy(tmp_path, text) as proxy:
                proxy.redirect_to(80, "203.0.113.9")
                assert await get(proxy) == PAGE
                await proxy.stop()
                assert proxy.records()[0].upstream == f"u (http://localhost:{far.port})"

    run(scenario())


def test_addresses_of_proxies_are_remembered_for_so_many_names_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        asked: list[str] = []

        async def found(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
        upstreams = Upstreams(ssl.create_default_context, FakeRedirects(), lambda _: Credentials("u", "p"), timeout=5.0)
        async with await origin() as server:

            async def connect(number: int) -> None:
                (await upstreams.connected(Hop("http", f"h{number}.example", port_of(server)), b"")).close()

            for number in (*range(MAX_NAMES + 1), MAX_NAMES):
                await connect(number)
            assert len(asked) == MAX_NAMES + 1
            await connect(0)
            assert asked[-1] == "h0.example", "the first has made room for the last"
            assert len(upstreams._addresses) == MAX_NAMES

    run(scenario())


def test_what_the_destination_says_in_one_breath_with_the_proxy_is_not_lost(tmp_path: Path) -> None:
    class Breathless(UpstreamProxy):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n220 ready\r\n")
            await echo(reader, writer)

    async def scenario() -> None:
        far = Breathless("http")
        server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
        far.port = port_of(server)
        async with server, running_proxy(tmp_path, policy(far.url())) as proxy:
            proxy.redirect_to(25, "203.0.113.9")
            reader, writer = await asyncio.open_connection(*proxy.address)
            assert await reader.readline() == b"220 ready\r\n"
            writer.write(b"QUIT\r\n")
            assert await reader.readline() == b"QUIT\r\n"
            writer.close()

    run(scenario())


def test_a_silent_app_that_speaks_after_all_is_taken_the_way_of_its_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        elsewhere: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def dialled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            elsewhere.set_result(None)
            assert await reader.read() == b"", "not a byte goes the wrong way"
            over.set_result(None)
            writer.close()

        server, straight = await origin(), await origin(dialled)
        async with server, straight, upstream_proxy("http", names={HOST: port_of(server)}) as far:
            text = f'[upstreams]\nu = "{far.url()}"\n[[rule]]\nhost = "{HOST}"\naction = "upstream"\nupstream = "u"'
            async with running_proxy(tmp_path, text) as proxy:
                proxy.redirect_to(port_of(straight))
                reader, writer = await asyncio.open_connection(*proxy.address)
                await elsewhere
                writer.write(GET)
                assert await reader.read() == PAGE
                await over
                writer.close()

    run(scenario())
