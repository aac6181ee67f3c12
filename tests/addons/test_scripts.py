"""What scripts written for mitmproxy build on besides flows: applications, cookies, exports, options, and what is not
there and said so."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from pointsman.addons.context import CommandError, ctx
from pointsman.addons.export import curl_command, raw, raw_request, raw_response
from pointsman.addons.foresight import Foresight
from pointsman.addons.options import OptionsError
from pointsman.engine.messages import FlowError, HttpFlow, WebSocketData, WebSocketMessage

from .test_shim import after
from .world import http_flow, run, world, written


def module_after(tmp_path: Path, text: str, *hooks: str, flow: HttpFlow | None = None) -> Any:
    """The script's module when these hooks have been asked."""
    found: list[Any] = []

    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", text)) as here:
            for hook in hooks:
                await here.ask(hook, flow or http_flow(status=200))
            assert here.host.counters.calls_failed == 0
            found.append(here.files.module(0))

    run(scenario())
    return found[0]


WSGI = """
from mitmproxy.addons import asgiapp

def app(environment, start_response):
    body = environment["wsgi.input"].read()
    if environment["PATH_INFO"] == "/broken":
        raise ValueError("broken")
    if environment["PATH_INFO"] == "/endless":
        start_response("200 OK", [])
        return (bytes(1 << 20) for _ in range(1000))
    start_response("201 Made", [("X-Query", environment["QUERY_STRING"]), ("X-Agent", environment["HTTP_USER_AGENT"])])
    return [environment["REQUEST_METHOD"].encode(), b" ", environment["PATH_INFO"].encode("latin-1"), b" ", body]

addons = [asgiapp.WSGIApp(app, "app.example", 80)]
"""
ASGI = """
from mitmproxy.addons import asgiapp

async def app(scope, receive, send):
    event = await receive()
    if scope["path"] == "/broken":
        raise ValueError("broken")
    if scope["path"] == "/endless":
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
    agent = dict(scope["headers"])[b"user-agent"]
    headers = [(b"X-Query", scope["query_string"]), (b"X-Agent", agent)]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": scope["method"].encode() + b" ", "more_body": True})
    await send({"type": "http.response.body", "body": scope["path"].encode("latin-1") + b" " + event["body"]})

addons = [asgiapp.ASGIApp(app, "app.example", 80)]
"""


@pytest.mark.parametrize("text", [WSGI, ASGI], ids=["WSGI", "ASGI"])
def test_an_application_answers_for_its_host_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", text)) as here:

            async def asked(url: str, **more: Any) -> HttpFlow:
                flow = http_flow(url, headers={"User-Agent": "me"}, **more)
                await here.ask("request", flow)
                return flow

            flow = await asked("http://app.example/a%20b?q=1", method="POST", body=b"body")
            assert flow.response is not None and flow.response.content == b"POST /a b body"
            assert flow.response.status_code == 201
            assert (flow.response.headers["x-query"], flow.response.headers["x-agent"]) == ("q=1", "me")
            assert (await asked("http://other.example/")).response is None
            assert (await asked("https://app.example/")).response is None, "another port"
            for path in ("broken", "endless"):
                response = (await asked(f"http://app.example/{path}")).response
                assert response is not None and response.status_code == 500
            assert here.host.counters.calls_failed == 0

    run(scenario())
    assert "ValueError: broken" in caplog.text and "TooLongError" in caplog.text


def test_content_views_are_accepted_and_said_to_be_of_no_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = """
from mitmproxy import contentviews
from mitmproxy.contentviews._api import Contentview, InteractiveContentview, Metadata

class Older(contentviews.View):
    name = "upside down"

    def __call__(self, data, **more) -> contentviews.TViewResult:
        return "title", contentviews.format_text(data[::-1])

class Newer(InteractiveContentview):
    def prettify(self, data: bytes, metadata: Metadata) -> str:
        return data.decode()

older = Older()

def load(loader):
    contentviews.add(older)
    contentviews.add(Newer)

def done():
    contentviews.remove(older)
"""
    module_after(tmp_path, text)
    assert "the content view upside down is kept, and never used" in caplog.text and "Newer" in caplog.text


def test_a_dump_of_times_cookies_and_bodies_has_what_it_asks_for(tmp_path: Path) -> None:
    text = """
import mitmproxy
from mitmproxy import connection, version
from mitmproxy.net.http import cookies
from mitmproxy.utils import human, strutils

seen: set[connection.Server] = set()
entries = []

def response(flow: mitmproxy.http.HTTPFlow):
    is_new = flow.server_conn not in seen
    seen.add(flow.server_conn)
    entries.append({
        "new": is_new, "peer": human.format_address(flow.server_conn.peername), "by": version.MITMPROXY,
        "wait": flow.response.timestamp_start - flow.request.timestamp_end,
        "asked": cookies.group_cookies(flow.request.cookies.fields),
        "given": [(name, value, dict(more), cookies.get_expiration_ts(more))
                  for name, (value, more) in flow.response.cookies.fields],
        "binary": strutils.is_mostly_bin(flow.response.content),
        "head": len(str(flow.response.headers)),
    })
"""
    flow = http_flow(
        headers={"Cookie": "a=1; Path=/x; b=2"},
        status=200,
        answer=b"\x00\x01\x02\xff" * 10,
        answer_headers=[("Set-Cookie", "c=3; Expires=Thu, 01 Jan 1970 00:01:40 GMT; Path=/"), ("Set-Cookie", "d=4")],
    )
    flow.request.timestamp_end = 10.0
    assert flow.response is not None
    flow.response.timestamp_start = 12.5
    first, second = module_after(tmp_path, text, "response", "response", flow=flow).entries
    assert first["new"] and not second["new"] and first["peer"] == "203.0.113.10:443" and first["wait"] == 2.5
    assert first["asked"] == [("a", "1", {"Path": "/x"}), ("b", "2", {})]
    assert first["given"] == [
        ("c", "3", {"Expires": "Thu, 01 Jan 1970 00:01:40 GMT", "Path": "/"}, 100.0), ("d", "4", {}, None),
    ]  # fmt: skip
    assert first["binary"] and first["head"] > 0 and "pointsman" in first["by"]


def test_a_cookie_ends_when_its_age_or_its_date_says_so() -> None:
    from pointsman.addons.shim.net.http import cookies

    assert cookies.is_expired({"Max-Age": "-1"}) and not cookies.is_expired({"max-age": "60"})
    assert not cookies.is_expired({"max-age": "never"}) and not cookies.is_expired({})
    ends = cookies.get_expiration_ts({"max-age": "60", "expires": "Thu, 01 Jan 1970 00:01:40 GMT"})
    assert ends is not None and ends > time.time()
    assert cookies.parse_cookie_header("a=1; b=2") == [("a", "1"), ("b", "2")]
    assert cookies.format_set_cookie_header(cookies.parse_set_cookie_header("a=1; Secure")) == "a=1; Secure"


@pytest.mark.parametrize(
    ("data", "is_binary"),
    [
        (b"", False), (b"text\n\ttext", False), ("grün".encode() * 40, False), (b"a" * 99 + "ü".encode(), False),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), True), (bytes(range(256)), True), (b"latin gr\xfcn", False),
    ],
)  # fmt: skip
def test_what_is_mostly_binary(data: bytes, is_binary: bool) -> None:
    from pointsman.addons.shim.utils import strutils

    assert strutils.is_mostly_bin(data) is is_binary


def test_numbers_and_addresses_for_people() -> None:
    from pointsman.addons.shim.net import server_spec
    from pointsman.addons.shim.utils import human, strutils

    assert [human.pretty_size(size) for size in (0, 1023, 1536, 10 * 1024**2)] == ["0b", "1023b", "1.5k", "10m"]
    assert human.parse_size("10k") == 10240 and human.parse_size("7") == 7 and human.parse_size(None) is None
    assert [human.pretty_duration(value) for value in (0.0123, 1.5, 250.0, None)] == ["12ms", "1.5s", "250s", ""]
    addresses = [("::ffff:1.2.3.4", 1), ("2001:db8::1", 2), ("a.example", 3), ("0.0.0.0", 4)]
    assert [human.format_address(one) for one in addresses] == ["1.2.3.4:1", "[2001:db8::1]:2", "a.example:3", "*:4"]
    assert strutils.escape_control_characters("a\tb\x00c") == "a\tb.c"
    assert server_spec.parse("proxy.example:8080", "http") == ("http", ("proxy.example", 8080))
    assert server_spec.parse("https://p.example/", "http").address == ("p.example", 443)
    with pytest.raises(ValueError, match="no server"):
        server_spec.parse("socks5://p.example", "http")


def test_the_state_of_a_flow_is_plain_and_whole() -> None:
    flow = http_flow(method="POST", body=b"\xff", headers={"A": "1"}, status=418, answer=b"x")
    flow.error = FlowError.at("gone", 7.0)
    flow.metadata["mine"] = 1
    flow.websocket = WebSocketData([WebSocketMessage(True, True, b"hi", 3.0, injected=True)], timestamp_end=4.0)
    state = flow.get_state()
    assert state["request"]["method"] == b"POST" and (b"A", b"1") in state["request"]["headers"]
    assert (state["request"]["host"], state["request"]["port"], state["request"]["content"]) == (
        "example.com", 443, b"\xff",
    )  # fmt: skip
    assert (state["response"]["status_code"], state["response"]["content"]) == (418, b"x")
    assert state["error"] == {"msg": "gone", "timestamp": 7.0} and state["metadata"] == {"mine": 1}
    assert state["websocket"]["messages"] == [(1, True, b"hi", 3.0, False, True)]
    assert state["server_conn"]["address"] == ("203.0.113.10", 443) and state["client_conn"]["sni"] == "example.com"
    assert json.loads(json.dumps(state, default=repr))["id"] == flow.id


def test_a_flow_as_bytes_and_as_a_command() -> None:
    flow = http_flow("http://a.example/p?q='", method="POST", body=b"it's", headers={"Accept-Encoding": "gzip"})
    assert raw_request(flow) == (
        b"POST /p?q=' HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip\r\nContent-Length: 4\r\n\r\nit's"
    )
    assert curl_command(flow) == "curl -H 'Host: a.example' --compressed 'http://a.example/p?q='\"'\"'' -d 'it'\"'\"'s'"
    assert raw(flow) == raw_request(flow)
    with pytest.raises(CommandError, match="no response"):
        raw_response(flow)
    answered = http_flow(status=200, answer=b"x", answer_headers={"Transfer-Encoding": "chunked"})
    assert raw_response(answered) == b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"
    answered.request.raw_content = None
    with pytest.raises(CommandError, match="streamed"):
        raw_request(answered)
    assert "transfer-encoding" in (answered.response.headers if answered.response else {}), "the flow is as it was"


def test_options_of_mitmproxy_say_how_it_is_here_and_cannot_be_set(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", "")):
            assert ctx.options.mode == ["transparent"] and ctx.options.ssl_insecure is False
            assert ctx.options.dumper_filter is None
            ctx.options.upstream_cert = True
            with pytest.raises(OptionsError, match="cannot be set here: origins are verified"):
                ctx.options.ssl_insecure = True
        with pytest.raises(Exception, match="cannot set an option"):
            async with world(written(tmp_path / "a.py", ""), options=["anticache"]):
                pass
        own = "def load(loader): loader.add_option('mode', str, 'mine', '')\n"
        async with world(written(tmp_path / "a.py", own), options=["mode=yours", "dumper_filter=~q"]):
            assert ctx.options.mode == "yours" and ctx.options.dumper_filter == "~q"

    run(scenario())


def test_hooks_that_are_never_called_are_named_when_the_file_is_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = """
class Addon:
    def next_layer(self, layer): ...
    def dns_request(self, flow): ...
    def clientconnect(self, layer): ...
    def request(self, flow): ...

addons = [Addon()]
"""
    after(tmp_path, text, "request", "request")
    said = [record.getMessage() for record in caplog.records if "never called here" in record.getMessage()]
    assert len(said) == 3 and all(record.levelno == logging.WARNING for record in caplog.records)
    assert any("clientconnect is never called here: its name is client_connected now" in one for one in said)


def test_commands_of_tools_that_are_not_there_are_named_when_the_file_is_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = """
from mitmproxy import ctx

def request(flow):
    if flow.request.path == "/never":
        ctx.master.commands.call("browser.start")
    ctx.master.commands.call("replay.client", [])
    if "view" in ctx.master.addons:
        ctx.master.commands.call("view.flows.add", [flow])
"""
    after(tmp_path, text, "request")
    said = [record.getMessage() for record in caplog.records if "there is no command" in record.getMessage()]
    assert len(said) == 1 and "line 6: there is no command browser.start here" in said[0]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("from mitmproxy import ctx\nctx.master.view.add(1)\n", [(2, "ctx.master.view")]),
        ("import mitmproxy\nmitmproxy.ctx.master.event_loop\n", [(2, "ctx.master.event_loop")]),
        ("from mitmproxy import ctx as c\ndef f(): return c.client\n", [(2, "ctx.client")]),
        ("from mitmproxy import ctx\nctx.master.shutdown(); ctx.log.info(''); ctx.options.any\n", []),
        ("from mitmproxy import ctx\nif hasattr(ctx.master, 'view'): ctx.master.view.add(1)\n", []),
        ("from mitmproxy import ctx\ndef f(ctx): return ctx.anything\n", []),
        ("class C: pass\nctx = C()\nctx.anything\n", []),
    ],
)
def test_what_a_text_will_miss_of_the_context(text: str, missing: list[tuple[int, str]]) -> None:
    assert Foresight(text).missing == missing
