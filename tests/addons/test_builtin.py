"""The built-in addons, with the specs that people write for them."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pytest

from pointsman.engine.messages import HttpFlow
from pointsman.errors import PointsmanError

from .world import http_flow, run, world, written


def after(name: str, flow: HttpFlow, *hooks: str, **options: str | list[str]) -> HttpFlow:
    given = [f"{key}={one}" for key, value in options.items() for one in ([value] if isinstance(value, str) else value)]

    async def scenario() -> None:
        async with world(f"builtin:{name}", options=given) as here:
            for hook in hooks:
                assert hook in here.host.wanted
                here.host._needs_more = lambda hook, subject: False  # type: ignore[method-assign]  # no server here
                await here.ask(hook, flow)
            assert here.host.counters.calls_failed == 0

    run(scenario())
    return flow


def refusal(name: str, **options: str) -> str:
    with pytest.raises(PointsmanError) as raised:
        after(name, http_flow(), **options)
    return raised.value.seen


def test_headers_are_set_added_and_removed(tmp_path: Path) -> None:
    value = written(tmp_path / "value", "from a file\n")
    flow = http_flow(headers={"User-Agent": "curl", "Cookie": "a=1"}, status=200, answer_headers={"Server": "x"})
    specs = [
        "/~q/User-Agent/ours/1.0",
        "/Cookie/",
        "|~d example|X-A|1",
        "|~d example|X-A|2",
        "/~d other/X-B/no",
        f"|X-F|@{value}",
    ]
    after("modify_headers", flow, "requestheaders", modify_headers=specs)
    headers = flow.request.headers
    assert headers["user-agent"] == "curl", "~q is for flows that have no response yet"
    assert "cookie" not in headers and headers.get_all("x-a") == ["1", "2"] and "x-b" not in headers
    assert headers["x-f"] == "from a file"
    request = after("modify_headers", http_flow(), "requestheaders", modify_headers=specs).request
    assert request.headers["user-agent"] == "ours/1.0"
    response = after("modify_headers", flow, "responseheaders", modify_headers="/~s/Server/hidden").response
    assert response is not None and response.headers["server"] == "hidden"


def test_bodies_are_changed_as_they_are_coded() -> None:
    flow = http_flow(
        method="POST", body=b"one two", status=200, answer=b"two three", answer_headers={"Content-Encoding": "gzip"}
    )
    after("modify_body", flow, "response", modify_body=[r"/~s/t(wo|hree)/<\1>", "/~d elsewhere/o/0"])
    assert flow.response is not None and flow.response.raw_content is not None
    assert gzip.decompress(flow.response.raw_content) == b"<wo> <hree>"
    flow.response = None
    after("modify_body", flow, "request", modify_body="/~q/one/1")
    assert flow.request.content == b"1 two"


def test_a_body_that_cannot_be_decoded_passes() -> None:
    flow = http_flow(status=200, answer=b"abc")
    assert flow.response is not None
    flow.response.headers["content-encoding"] = "gzip"
    after("modify_body", flow, "response", modify_body="/a/b")
    assert flow.response.raw_content == b"abc"


def test_a_url_leads_elsewhere() -> None:
    flow = after(
        "map_remote",
        http_flow("https://example.com/img/a.png?x=1"),
        "request",
        map_remote="|example.com/img|mirror.example:8443/i",
    )
    assert flow.request.server == ("mirror.example", 8443)
    assert flow.request.url == "https://mirror.example:8443/i/a.png?x=1"
    assert flow.request.headers["host"] == "mirror.example:8443"
    same = after("map_remote", http_flow(), "request", map_remote=r"|~m POST|.*|https://no/")
    assert same.request.server is None


def test_files_answer_and_nothing_outside_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "www"
    (folder / "sub").mkdir(parents=True)
    written(tmp_path / "secret.txt", "secret")
    written(folder / "a b.css", "css")
    written(folder / "sub" / "index.html", "index")
    (folder / "link").symlink_to(tmp_path / "secret.txt")
    spec = f"|example.com/static|{folder}"

    def answer(path: str) -> tuple[int, bytes | None, str | None]:
        response = after("map_local", http_flow(f"https://example.com{path}"), "request", map_local=spec).response
        assert response is not None
        return response.status_code, response.content, response.headers.get("content-type")

    assert answer("/static/a%20b.css?v=2") == (200, b"css", "text/css")
    assert answer("/static/sub/")[:2] == (200, b"index")
    for outside in (
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/..%2fsecret.txt",
        "/static/link",
        "/static//etc/passwd",
        "/static/%00",
    ):
        assert answer(outside)[0] == 404, outside
    assert after("map_local", http_flow("https://example.com/other"), "request", map_local=spec).response is None
    one = after("map_local", http_flow(), "request", map_local=f"|~m GET|path|{tmp_path / 'secret.txt'}").response
    assert one is not None and one.content == b"secret"


def test_what_is_on_the_list_is_not_asked_for() -> None:
    blocked = after("block_list", http_flow(), "requestheaders", block_list=":~d example.com:404")
    assert blocked.response is not None and blocked.response.status_code == 404
    assert after("block_list", http_flow(), "requestheaders", block_list=["/~d other/403", "/~m GET/444"]).killed
    free = after("block_list", http_flow(), "requestheaders", block_list=":!~d example:403")
    assert free.response is None and not free.killed


def test_delays_and_rates_hold_back_one_flow_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    flow = http_flow(status=200, answer=bytes(3000))
    after("delay", flow, "requestheaders", "response", delay=["/~d example/1.5", "/~d other/9"], throttle="/1000")
    assert [seconds for seconds in slept if seconds] == [1.5, 3.0]


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("modify_headers", "/a"),
        ("modify_headers", ""),
        ("modify_headers", "/~nope/A/b"),
        ("modify_headers", "/~b x/A/b"),
        ("modify_headers", "/A/@no-such-file"),
        ("modify_body", "/[/x"),
        ("modify_body", r"/a/\1"),
        ("modify_body", "/a/@no-such-file"),
        ("map_remote", "|[|x"),
        ("map_remote", r"|a|\1"),
        ("map_local", "|a|/no/such/folder"),
        ("block_list", "/~q/99"),
        ("block_list", "x"),
        ("delay", "/~q/soon"),
        ("throttle", "/-1"),
    ],
)
def test_a_spec_that_means_nothing_is_refused_at_the_start(name: str, spec: str) -> None:
    assert name in refusal("delay" if name == "throttle" else name, **{name: spec})
