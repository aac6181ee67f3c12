"""The addons in `examples/addons` do what they say."""

from __future__ import annotations

from pathlib import Path

from .world import http_flow, run, world

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/addons"


def test_an_answer_says_who_asked() -> None:
    async def scenario() -> None:
        async with world(EXAMPLES / "who_asked.py") as here:
            flow = http_flow(status=200)
            await here.ask("response", flow)
            assert flow.response is not None
            assert flow.response.headers["x-asked-by"] == "/usr/bin/curl (PID 4242), rule 'default'"

    run(scenario())


def test_searches_are_written_down(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = tmp_path / "found.txt"
        options = ["search_filter=~d example.com", f"search_log={log}"]
        async with world(EXAMPLES / "search_log.py", options=options) as here:
            for url in ("https://example.com/?q=a+b", "https://example.com/", "https://example.org/?q=c"):
                await here.ask("request", http_flow(url))
        assert log.read_text() == "/usr/bin/curl\texample.com\ta b\n"

    run(scenario())


def test_text_is_changed_as_it_streams() -> None:
    async def scenario() -> None:
        async with world(EXAMPLES / "shout.py") as here:
            text = http_flow(status=200, answer_headers={"Content-Type": "text/plain"})
            page = http_flow(status=200, answer_headers={"Content-Type": "text/html"})
            for flow in (text, page):
                await here.ask("responseheaders", flow)
            assert text.response is not None and callable(text.response.stream) and text.response.stream(b"ab") == b"AB"
            assert page.response is not None and page.response.stream is False

    run(scenario())
