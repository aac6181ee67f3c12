"""Scripts written for mitmproxy, unchanged: one in the manner of each kind that it publishes, none of them its own."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pointsman.addons.context import ctx
from pointsman.engine.messages import ConnectionNotice, HttpFlow, TcpMessage, WebSocketMessage
from pointsman.errors import PointsmanError

from .world import connection, http_flow, run, world, written


def after(
    tmp_path: Path, text: str, *hooks: str, flow: HttpFlow | None = None, options: tuple[str, ...] = ()
) -> HttpFlow:
    """The flow when these hooks of the script have been asked."""
    script = written(tmp_path / "script.py", text)
    flow = flow or http_flow(status=200, answer=b"hello")

    async def scenario() -> None:
        async with world(script, options=options) as here:
            for hook in hooks:
                await here.ask(hook, flow)
            assert here.host.counters.calls_failed == 0

    run(scenario())
    return flow


def test_a_header_is_added_by_an_object(tmp_path: Path) -> None:
    text = """
class Stamp:
    def __init__(self):
        self.seen = 0

    def response(self, flow):
        self.seen += 1
        flow.response.headers["seen"] = str(self.seen)

addons = [Stamp()]
"""
    flow = after(tmp_path, text, "response", "response")
    assert flow.response is not None and flow.response.headers["seen"] == "2"


def test_a_form_is_changed_or_made(tmp_path: Path) -> None:
    text = """
from mitmproxy import http

def request(flow: http.HTTPFlow) -> None:
    if flow.request.urlencoded_form:
        flow.request.urlencoded_form["who"] = "us"
    else:
        flow.request.urlencoded_form = [("made", "here")]
"""
    form = http_flow(method="POST", body=b"who=me&x=1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert after(tmp_path, text, "request", flow=form).request.content == b"who=us&x=1"
    assert after(tmp_path, text, "request").request.content == b"made=here"


def test_a_query_is_changed(tmp_path: Path) -> None:
    text = "from mitmproxy import http\ndef request(flow: http.HTTPFlow): flow.request.query['lang'] = 'de'\n"
    assert after(tmp_path, text, "request").request.path == "/path?a=1&lang=de"


def test_a_request_is_answered_without_the_origin(tmp_path: Path) -> None:
    text = """
from mitmproxy import http

def request(flow):
    if flow.request.pretty_url.startswith("https://example.com/path"):
        flow.response = http.Response.make(200, b"from here", {"Content-Type": "text/html"})
"""
    flow = after(tmp_path, text, "request", flow=http_flow())
    assert flow.response is not None and flow.response.content == b"from here"


@pytest.mark.parametrize("hook", ["response", "responseheaders"])
def test_bodies_are_streamed_as_they_are_or_through_a_function(tmp_path: Path, hook: str) -> None:
    plain = after(tmp_path, f"def {hook}(flow): flow.response.stream = True\n", hook)
    assert plain.response is not None and plain.response.stream is True
    text = """
from collections.abc import Iterable

def double(data: bytes) -> bytes | Iterable[bytes]:
    yield data
    yield data.upper()

def responseheaders(flow):
    flow.response.stream = double
"""
    flow = http_flow(status=200)

    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", text)) as here:
            await here.ask("responseheaders", flow)
            assert flow.response is not None and callable(flow.response.stream)
            assert flow.response.stream(b"ab") == b"abAB"

    run(scenario())


def test_trailers_are_set(tmp_path: Path) -> None:
    text = """
from mitmproxy import http
from mitmproxy.net.http import Headers

def response(flow: http.HTTPFlow):
    if not flow.response.trailers:
        flow.response.trailers = Headers([(b"x-sum", b"1")])
        flow.response.headers["trailer"] = "x-sum"
"""
    flow = after(tmp_path, text, "response")
    assert flow.response is not None and flow.response.trailers is not None and flow.response.trailers["X-Sum"] == "1"


def test_pages_are_turned_around(tmp_path: Path) -> None:
    text = """
from mitmproxy import http

def response(flow: http.HTTPFlow) -> None:
    page = flow.response
    page.content = page.content.replace(b"</head>", b"<style>body{transform:scaleX(-1)}</style></head>")
"""
    flow = after(
        tmp_path,
        text,
        "response",
        flow=http_flow(status=200, answer=b"<head></head>", answer_headers={"Content-Encoding": "gzip"}),
    )
    assert flow.response is not None and flow.response.text == "<head><style>body{transform:scaleX(-1)}</style></head>"
    assert flow.response.raw_content != flow.response.content


def test_flows_are_filtered_by_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
from __future__ import annotations
from mitmproxy import ctx, flowfilter, http
from mitmproxy.addonmanager import Loader

class Only:
    filter: flowfilter.TFilter

    def load(self, loader: Loader):
        loader.add_option("only", str, "", "Which flows to print.")

    def configure(self, updated):
        if "only" in updated:
            self.filter = flowfilter.parse(ctx.options.only) if ctx.options.only else None

    def response(self, flow: http.HTTPFlow) -> None:
        if flowfilter.match(self.filter, flow):
            print("matched", flow.request.url)

addons = [Only()]
"""
    after(tmp_path, text, "response", options=("only=~d example & ~c 200",))
    after(tmp_path, text, "response", options=("only=~m POST",))
    after(tmp_path, text, "response")
    assert capsys.readouterr().out.count("matched https://example.com/path?a=1") == 2


def test_options_are_declared_and_checked(tmp_path: Path) -> None:
    text = """
from typing import Optional
from mitmproxy import ctx, exceptions

class Level:
    def load(self, loader):
        loader.add_option(name="level", typespec=Optional[int], default=None, help="A header for requests")

    def configure(self, updates):
        if "level" in updates and ctx.options.level is not None and ctx.options.level > 9:
            raise exceptions.OptionsError("level is at most 9")

    def response(self, flow):
        if ctx.options.level is not None:
            flow.response.headers["level"] = str(ctx.options.level)

addons = [Level()]
"""
    flow = after(tmp_path, text, "response", options=("level=7",))
    assert flow.response is not None and flow.response.headers["level"] == "7"
    with pytest.raises(PointsmanError) as raised:
        after(tmp_path, text, options=("level=10",))
    assert raised.value.seen == "level is at most 9"


def test_commands_are_there_for_other_addons(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = """
import logging
from collections.abc import Sequence
from mitmproxy import command, ctx, flow, http, types
from mitmproxy.log import ALERT

class Count:
    def __init__(self):
        self.num = 0

    @command.command("count.up")
    def up(self, by: int = 1) -> None:
        self.num += by
        logging.info(f"num = {self.num}")

    @command.command("count.mark")
    @command.argument("path", type=types.Path)
    def mark(self, flows: Sequence[flow.Flow], path: types.Path) -> None:
        for f in flows:
            if isinstance(f, http.HTTPFlow):
                f.request.headers["marked"] = path
        logging.log(ALERT, "done")

    def response(self, flow):
        ctx.master.commands.call("count.up", 2)
        ctx.master.commands.call("count.mark", [flow], "here")

addons = [Count()]
"""
    with caplog.at_level(logging.INFO):
        flow = after(tmp_path, text, "response", "response")
    assert flow.request.headers["marked"] == "here"
    assert "num = 4" in caplog.text and "done" in caplog.text


def test_events_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = """
import logging
from mitmproxy import ctx
from mitmproxy.log import ALERT

def load(loader):
    logging.info("some text")
    logging.log(ALERT, "louder")
    ctx.log.warn("old style")
    ctx.log("very old style", "error")
"""
    with caplog.at_level(logging.INFO):
        after(tmp_path, text)
    for said in ("some text", "louder", "old style", "very old style"):
        assert said in caplog.messages


def test_blocking_scripts_mark_their_hooks(tmp_path: Path) -> None:
    text = """
import asyncio
import time
from mitmproxy.script import concurrent

async def request(flow):
    await asyncio.sleep(0.001)
    flow.metadata["waited"] = True

@concurrent
def response(flow):
    time.sleep(0.001)
    flow.metadata["slept"] = True

class Inside:
    @concurrent
    def response(self, flow):
        flow.metadata["inside"] = True

addons = [Inside()]
"""
    assert after(tmp_path, text, "request", "response").metadata == {"waited": True, "slept": True, "inside": True}


def test_websocket_messages_are_read_changed_and_dropped(tmp_path: Path) -> None:
    text = """
import re
from mitmproxy import http

def websocket_message(flow: http.HTTPFlow):
    assert flow.websocket is not None
    message = flow.websocket.messages[-1]
    if message.from_client and message.is_text:
        message.content = re.sub(rb"^Hello", b"Bye", message.content)
    if b"secret" in message.content:
        message.drop()
"""
    flow = http_flow(status=200)
    flow.messages = [
        WebSocketMessage(False, True, b"Hello old", 0.0),
        WebSocketMessage(True, True, b"Hello secret", 0.0),
    ]
    after(tmp_path, text, "websocket_message", flow=flow)
    assert [(message.content, message.dropped) for message in flow.messages] == [
        (b"Hello old", False),
        (b"Bye secret", True),
    ]


def test_tcp_messages_are_changed(tmp_path: Path) -> None:
    text = """
import logging
from mitmproxy import tcp
from mitmproxy.utils import strutils

def tcp_message(flow: tcp.TCPFlow):
    message = flow.messages[-1]
    message.content = message.content.replace(b"foo", b"bar")
    logging.info(f"tcp_message[from_client={message.from_client}]: {strutils.bytes_to_escaped_str(message.content)}")
"""
    piece = TcpMessage(connection(), "intercept", "default", True, b"a foo\x00")

    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", text)) as here:
            await here.ask("tcp_message", piece)

    run(scenario())
    assert piece.content == b"a bar\x00"


def test_connections_are_let_alone_by_name(tmp_path: Path) -> None:
    text = """
from mitmproxy import connection, tls
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

def tls_clienthello(data: tls.ClientHelloData):
    if data.client_hello.sni == "bank.example":
        data.ignore_connection = True

def client_connected(client: connection.Client):
    assert client.id

def server_connected(data: ServerConnectionHookData):
    assert data.server.address == ("203.0.113.10", 443) and data.client.id
"""
    notice = ConnectionNotice(connection(), "intercept", "default", "bank.example", ("h2",))

    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", text)) as here:
            for hook in ("client_connected", "server_connected", "tls_clienthello"):
                await here.ask(hook, notice)
            assert here.host.counters.calls_failed == 0

    run(scenario())
    assert notice.ignore


def test_a_script_may_end_the_proxy(tmp_path: Path) -> None:
    text = """
from mitmproxy import ctx

def request(flow):
    if flow.request.pretty_url == "https://example.com/path?a=1":
        ctx.master.shutdown()
"""

    async def scenario() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with world(written(tmp_path / "a.py", text)) as here:

            def stop() -> None:
                loop.call_soon_threadsafe(stopped.set)

            await here.files.running(stop)
            await here.ask("request", http_flow())
            await stopped.wait()

    run(scenario())


def test_what_has_no_counterpart_says_where_the_list_is(tmp_path: Path) -> None:
    with pytest.raises(PointsmanError) as raised:
        after(tmp_path, "from mitmproxy import dns\n")
    assert "mitmproxy.dns has no counterpart" in raised.value.seen and "DNS does not pass" in raised.value.seen
    with pytest.raises(PointsmanError) as raised:
        after(tmp_path, "import mitmproxy.addons.view\n")
    assert "docs/reference/addons.md" in raised.value.seen


def test_a_real_mitmproxy_steps_aside_while_addons_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ModuleType("mitmproxy")
    monkeypatch.setitem(sys.modules, "mitmproxy", real)

    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", "from mitmproxy import http\ndef request(flow): pass\n")):
            assert sys.modules["mitmproxy"] is not real

    run(scenario())
    assert sys.modules["mitmproxy"] is real and "mitmproxy.http" not in sys.modules


def test_addons_find_each_other_by_name(tmp_path: Path) -> None:
    text = "class Named:\n    name = 'other'\nclass Plain: pass\naddons = [Named(), Plain()]\n"

    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", text)):
            assert "other" in ctx.master.addons and "plain" in ctx.master.addons and "view" not in ctx.master.addons

    run(scenario())
