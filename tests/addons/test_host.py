"""What an addon does wrong, and that nobody else notices: real blocking, real loops without end, real exceptions."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from pointsman.addons.listener import Limits, Listener, concurrent
from pointsman.engine.messages import HttpFlow

from .world import http_flow, run, world, written

QUICK = Limits(budget=0.2, concurrent_budget=0.2, stall=0.1, stuck=3, pending=5)
"""Budgets that a test can wait for.  Nothing is asserted about how long a thing took."""


def test_a_hook_changes_the_flow_first_in_a_thread_then_on_the_loop(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "import threading\nthreads = []\n"
        "def response(flow):\n"
        "    threads.append(threading.current_thread() is threading.main_thread())\n"
        "    flow.response.headers['x-count'] = str(len(threads))\n",
    )

    async def scenario() -> None:
        async with world(script) as here:
            flow = http_flow(status=200)
            await here.ask("response", flow)
            assert flow.response is not None and flow.response.headers["x-count"] == "1"
            await here.ask_inline("response", flow)
            threads = here.files.module(0).threads
            assert threads[0] is False and threads[-1] is True
            assert threads.index(True) >= here.host.limits.proving_calls

    run(scenario())


def test_who_answers_at_once_is_asked_so_and_nobody_twice(tmp_path: Path) -> None:
    quick = written(tmp_path / "quick.py", "asked = []\ndef response(flow): asked.append(flow)\n")
    slow = written(tmp_path / "slow.py", "asked = []\nasync def response(flow): asked.append(flow)\n")

    async def scenario() -> None:
        async with world(quick, slow) as here:
            first, second = here.files.module(0), here.files.module(1)
            for _ in range(here.host.limits.proving_calls + 50):
                await here.ask("response", http_flow(status=200))
            for module in (first, second):
                module.asked.clear()
            flow = http_flow(status=200)
            assert here.host.answer("response", flow) is False, "the second one is a coroutine"
            assert first.asked == second.asked == []
            await here.ask("response", flow)
            assert first.asked == second.asked == [flow]
        async with world(quick) as here:
            await here.ask_inline("response", http_flow(status=200))
            only = here.files.module(0)
            only.asked.clear()
            assert here.host.answer("response", flow) is True
            assert only.asked == [flow]

    run(scenario())


def test_nobody_is_asked_what_nobody_listens_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", "def response(flow): pass\n")) as here:
            assert here.host.wanted == {"response"}
            assert here.host.run("request", http_flow(), lambda: None) is True

    run(scenario())


@pytest.mark.parametrize("proved", [False, True], ids=["in a thread", "on the loop"])
def test_an_exception_is_reported_and_the_flow_is_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, proved: bool
) -> None:
    script = written(
        tmp_path / "bad.py",
        "fail = False\n"
        "def request(flow):\n"
        "    if fail:\n"
        "        flow.request.path = '/half'\n"
        "        flow.request.headers['x-half'] = 'yes'\n"
        "        del flow.request.headers['host']\n"
        "        1 / 0\n",
    )

    async def scenario() -> None:
        async with world(script) as here:
            if proved:
                await here.ask_inline("request", http_flow())
            here.files.module(0).fail = True
            flow = http_flow()
            before = list(flow.request.headers.fields)
            await here.ask("request", flow)
            assert flow.request.path == "/path?a=1"
            assert flow.request.headers.fields == before
            assert here.host.counters.calls_failed == 1

    run(scenario())
    assert "bad.py" in caplog.text and "request, flow 7-1: ZeroDivisionError" in caplog.text
    assert "addons: 1 calls failed" in caplog.text


@pytest.mark.parametrize(
    "error", ["SystemExit(3)", "BaseException()", "StopIteration()", "__import__('asyncio').CancelledError()"]
)
@pytest.mark.parametrize("proved", [False, True], ids=["in a thread", "on the loop"])
def test_nothing_that_a_hook_raises_ends_the_proxy(tmp_path: Path, error: str, proved: bool) -> None:
    script = written(tmp_path / "a.py", f"fail = False\ndef request(flow):\n    if fail: raise {error}\n")

    async def scenario() -> None:
        async with world(script) as here:
            if proved:
                await here.ask_inline("request", http_flow())
            here.files.module(0).fail = True
            await here.ask("request", http_flow())
            assert here.host.counters.calls_failed == 1

    run(scenario())


@pytest.mark.parametrize("how", ["sleep", "loop"])
def test_the_watchdog_works_on_uvloop_too(tmp_path: Path, how: str) -> None:
    uvloop = pytest.importorskip("uvloop", reason="the extra `fast` is not installed")
    script = written(
        tmp_path / "a.py", f"import time\nblocks = False\ndef request(flow):\n    if blocks:\n        {BLOCKING[how]}\n"
    )

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            await here.ask_inline("request", http_flow())
            here.files.module(0).blocks = True
            await asyncio.sleep(0)
            assert here.host.run("request", http_flow(), lambda: None) is True
            assert here.host.counters.stalls == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 20))


def test_a_loop_that_something_else_holds_up_ends_no_hook(tmp_path: Path) -> None:
    script = written(tmp_path / "a.py", "def request(flow): pass\n")

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            await here.ask_inline("request", http_flow())
            until = time.monotonic() + 4 * QUICK.stall
            while time.monotonic() < until:  # no turn of the loop, a hook all the time, but never the same
                assert here.host.run("request", http_flow(), lambda: None) is True
            assert here.host.counters.stalls == 0

    run(scenario())


BLOCKING = {
    "lock": "threading.Event().wait()",
    "sleep": "time.sleep(3600)",
    "loop": "while True: pass",
    "regex": "re.match('(a*)*b', 'a' * 60)",
}


@pytest.mark.parametrize("how", BLOCKING)
def test_a_hook_that_blocks_once_it_is_trusted_is_ended_and_the_loop_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    script = written(
        tmp_path / "a.py",
        "import re, threading, time\nblocks = False\n"
        f"def request(flow):\n    if blocks:\n        flow.request.path = '/half'\n        {BLOCKING[how]}\n",
    )

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            await here.ask_inline("request", http_flow())
            here.files.module(0).blocks = True
            flow = http_flow()
            assert here.host.run("request", flow, lambda: None) is True
            assert flow.request.path == "/path?a=1"
            assert here.host.counters.stalls == 1
            here.files.module(0).blocks = False
            assert here.host.run("request", http_flow(), lambda: None) is False, "it is in a thread from now on"

    run(scenario())
    assert "held the event loop" in caplog.text


@pytest.mark.parametrize("how", ["lock", "loop"])
def test_flows_that_meet_a_stuck_hook_go_on_unchanged_and_others_never_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    script = written(
        tmp_path / "stuck.py",
        f"import threading, time\ndef request(flow):\n    flow.request.path = '/half'\n    {BLOCKING[how]}\n",
    )

    async def scenario() -> None:
        turned = 0

        async def others() -> None:
            nonlocal turned
            while True:
                await asyncio.sleep(0.01)
                turned += 1

        async with world(
            script, written(tmp_path / "b.py", "def response(flow): flow.metadata['b'] = 1\n"), limits=QUICK
        ) as here:
            beat = asyncio.create_task(others())
            threads = threading.active_count()
            flows = [http_flow() for _ in range(3)]
            for flow in flows:
                await here.ask("request", flow)
            assert [flow.request.path for flow in flows] == ["/path?a=1"] * 3
            assert here.host.counters.calls_timed_out == 3
            assert turned > 10, "the loop turned all the while"
            assert here.host.wanted == {"response"}, "the addon is switched off, the other is not"
            assert threading.active_count() <= threads + 5
            other = http_flow(status=200)
            await here.ask("response", other)
            assert other.metadata == {"b": 1}
            beat.cancel()

    run(scenario())
    assert "gave no answer within 0.2 s" in caplog.text and "switched off after 3 calls" in caplog.text


def test_a_loop_without_end_in_a_thread_is_ended_too(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "import threading\nthreads = []\n"
        "def request(flow):\n    threads.append(threading.current_thread())\n    while True: pass\n",
    )

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            module = here.files.module(0)
            await here.ask("request", http_flow())
            await asyncio.to_thread(module.threads[0].join, 10)
            assert not module.threads[0].is_alive()

    run(scenario())


def test_what_a_stuck_hook_does_later_does_not_reach_the_flow(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "import threading\ngo, over = threading.Event(), threading.Event()\n"
        "def request(flow):\n"
        "    request = flow.request\n"
        "    try:\n        go.wait()\n"
        "    finally:\n        request.headers['x-late'] = 'yes'\n        over.set()\n",
    )

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            flow = http_flow()
            await here.ask("request", flow)
            here.files.module(0).go.set()
            await asyncio.to_thread(here.files.module(0).over.wait, 10)
            assert "x-late" not in flow.request.headers

    run(scenario())


def test_an_async_hook_may_wait_and_has_a_budget(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script = written(
        tmp_path / "a.py",
        "import asyncio\n"
        "async def request(flow):\n    await asyncio.sleep(0)\n    flow.request.path = '/seen'\n"
        "async def response(flow):\n    flow.response.status_code = 500\n    await asyncio.Event().wait()\n",
    )

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            flow = http_flow(status=200)
            await here.ask("request", flow)
            assert flow.request.path == "/seen"
            await here.ask("response", flow)
            assert flow.response is not None and flow.response.status_code == 200
            assert here.host.counters.calls_timed_out == 1

    run(scenario())
    assert "response, flow 7-1: gave no answer" in caplog.text


def test_a_hook_that_nothing_else_waits_for_has_the_longer_budget() -> None:
    limits = Limits()

    async def waits(flow: HttpFlow) -> None:
        del flow

    assert Listener("a.py", "request", waits, limits).budget == limits.concurrent_budget
    assert Listener("a.py", "request", concurrent(lambda flow: None), limits).budget == limits.concurrent_budget
    assert Listener("a.py", "request", lambda flow: None, limits).budget == limits.budget


def test_an_async_hook_that_does_not_let_itself_be_cancelled_is_left_behind(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "import asyncio\nstop = asyncio.Event()\n"
        "async def request(flow):\n"
        "    while not stop.is_set():\n"
        "        try:\n            await stop.wait()\n"
        "        except asyncio.CancelledError:\n            pass\n",
    )

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            for _ in range(3):
                await here.ask("request", http_flow())
            assert here.host.wanted == frozenset()
            here.files.module(0).stop.set()

    run(scenario())


def test_an_async_hook_that_blocks_between_two_awaits_is_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = written(tmp_path / "a.py", "import time\nasync def request(flow):\n    time.sleep(3600)\n")

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            await here.ask("request", http_flow())
            assert here.host.counters.calls_failed == 1

    run(scenario())
    assert "held the event loop too long" in caplog.text


@pytest.mark.parametrize(
    "called", ["asyncio.create_task(later(flow))", "start(later, flow)"], ids=["itself", "in a helper"]
)
def test_a_hook_that_starts_a_task_runs_on_the_loop(tmp_path: Path, called: str) -> None:
    script = written(
        tmp_path / "a.py",
        "import asyncio\n"
        "async def later(flow): flow.metadata['later'].set()\n"
        "def start(what, flow):\n    asyncio.get_running_loop()\n    return asyncio.create_task(what(flow))\n"
        f"def request(flow): flow.metadata['task'] = {called}\n",
    )

    async def scenario() -> None:
        async with world(script) as here:
            flow = http_flow()
            later = flow.metadata["later"] = asyncio.Event()
            await here.ask("request", flow)
            await later.wait()
            assert here.host.counters.calls_failed == 0

    run(scenario())


def test_concurrent_hooks_run_side_by_side(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "import threading\nfrom mitmproxy.script import concurrent\nboth = threading.Barrier(2)\n"
        "@concurrent\ndef request(flow):\n    flow.metadata['began']()\n    both.wait()\n"
        "    flow.metadata['met'] = True\n",
    )

    async def scenario() -> None:
        async with world(script) as here:
            one, other = http_flow(), http_flow()
            began, loop = asyncio.Event(), asyncio.get_running_loop()
            for flow in (one, other):
                flow.metadata["began"] = lambda: loop.call_soon_threadsafe(began.set)
            first = asyncio.create_task(here.ask("request", one))
            await began.wait()  # a thread is busy with it when the other comes
            await asyncio.gather(first, here.ask("request", other))
            assert one.metadata["met"] and other.metadata["met"]

    run(scenario())


def test_hooks_of_one_file_run_one_at_a_time(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "import time\ninside = 0\nmost = 0\n"
        "def request(flow):\n    global inside, most\n    inside += 1\n"
        "    most = max(most, inside)\n    time.sleep(0.01)\n    inside -= 1\n",
    )

    async def scenario() -> None:
        async with world(script) as here:
            await asyncio.gather(*(here.ask("request", http_flow()) for _ in range(10)))
            assert here.files.module(0).most == 1

    run(scenario())


def test_a_hook_that_was_fast_and_becomes_slow_goes_back_to_a_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = written(
        tmp_path / "a.py", "import time\nslow = False\ndef request(flow):\n    if slow: time.sleep(0.05)\n"
    )

    async def scenario() -> None:
        async with world(script) as here:
            await here.ask_inline("request", http_flow())
            here.files.module(0).slow = True
            for _ in range(3):
                assert here.host.run("request", http_flow(), lambda: None) is True
            assert here.host.run("request", http_flow(), lambda: None) is False
            here.files.module(0).slow = False
            calls = 0
            while not here.host.run("request", http_flow(), lambda: None):
                await here.ask("request", http_flow())
                calls += 1
            assert calls > here.host.limits.proving_calls, "it has to prove itself over more calls than before"

    run(scenario())
    assert "it runs in a thread until 64 calls in a row were fast" in caplog.text


def test_a_hook_that_is_slow_again_and_again_stays_in_its_thread() -> None:
    limits = Limits()
    listener = Listener("a.py", "request", lambda _: None, limits)
    demotions = 0
    for _ in range(10):
        for _ in range(listener.bar):
            listener.took(0.0, limits)
        for moment in range(limits.strikes):
            demotions += listener.inline and listener.was_slow(float(moment), limits)
    assert demotions == limits.chances and not listener.inline and listener.proved


def test_a_slow_call_now_and_then_is_forgiven() -> None:
    limits = Limits()
    listener = Listener("a.py", "request", lambda _: None, limits)
    for _ in range(listener.bar):
        listener.took(0.0, limits)
    assert not any(listener.was_slow(now * (limits.forgive + 1), limits) for now in range(100)) and listener.inline


def test_more_flows_than_may_wait_go_on_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script = written(
        tmp_path / "a.py",
        "import threading\ngo = threading.Event()\n"
        "def request(flow):\n    go.wait()\n    flow.request.path = '/seen'\n",
    )

    async def scenario() -> None:
        async with world(script, limits=Limits(pending=5)) as here:
            flows = [http_flow() for _ in range(20)]
            asked = [asyncio.create_task(here.ask("request", flow)) for flow in flows]
            await asyncio.wait(asked[5:])
            assert here.host.counters.refused == 15
            here.files.module(0).go.set()
            await asyncio.gather(*asked)
            assert [flow.request.path for flow in flows].count("/seen") == 5

    run(scenario())
    assert caplog.text.count("further ones go on unchanged") == 1


def test_a_hook_that_fails_for_every_flow_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = written(tmp_path / "a.py", "fail = False\ndef request(flow):\n    if fail: 1 / 0\n")

    async def scenario() -> None:
        async with world(script) as here:
            await here.ask_inline("request", http_flow())
            here.files.module(0).fail = True
            for _ in range(1500):
                assert here.host.run("request", http_flow(), lambda: None)
            assert here.host.counters.calls_failed == 1500

    with caplog.at_level(logging.ERROR):
        run(scenario())
    assert len(caplog.records) == 6  # 1, 2, 3, 10, 100, 1000


def test_many_flows_leave_nothing_behind(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "async def request(flow): flow.metadata['seen'] = 1\ndef response(flow): flow.response.headers['x'] = '1'\n",
    )

    async def scenario() -> None:
        async with world(script) as here:

            async def some(count: int) -> int:
                for _ in range(count):
                    flow = http_flow(status=200)
                    await here.ask("request", flow)
                    await here.ask("response", flow)
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            try:
                before = await some(200)
                after = await some(2000)
            finally:
                tracemalloc.stop()
            assert after - before < 100_000  # bytes; one flow alone has some 3,000

    run(scenario())


def test_the_watchdog_of_a_loop_outside_the_main_thread_ends_loops(tmp_path: Path) -> None:
    script = written(tmp_path / "a.py", "endless = False\ndef request(flow):\n    while endless: pass\n")
    stalls = []

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            await here.ask_inline("request", http_flow())
            here.files.module(0).endless = True
            assert here.host.run("request", http_flow(), lambda: None) is True
            stalls.append(here.host.counters.stalls)

    thread = threading.Thread(target=run, args=(scenario(),))
    thread.start()
    thread.join(20)
    assert stalls == [1]


@pytest.mark.parametrize("wrong", ["1 / 0", "while True: pass", "return 'text'"])
def test_a_stream_function_that_fails_or_blocks_lets_the_body_pass(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    script = written(
        tmp_path / "a.py",
        f"calls = 0\ndef change(data):\n    global calls\n"
        f"    calls += 1\n    if calls < 3: return data.upper()\n    {wrong}\n"
        "def responseheaders(flow): flow.response.stream = change\n",
    )

    async def scenario() -> None:
        async with world(script, limits=QUICK) as here:
            flow = http_flow(status=200)
            await here.ask("responseheaders", flow)
            assert flow.response is not None and callable(flow.response.stream)
            assert [flow.response.stream(data) for data in (b"a", b"b", b"c", b"d")] == [b"A", b"B", b"c", b"d"]
            assert here.files.module(0).calls == 3

    run(scenario())
    assert caplog.text.count("the body goes on unchanged") == 1


def test_a_host_header_that_a_hook_sets_is_what_the_origin_is_told(tmp_path: Path) -> None:
    script = written(tmp_path / "a.py", "def request(flow): flow.request.headers['Host'] = 'other.example'\n")

    async def scenario() -> None:
        async with world(script) as here:
            flow = http_flow()
            await here.ask("request", flow)
            assert flow.request.authority == "other.example" and flow.request.server is None

    run(scenario())


def test_what_waits_is_given_up_when_the_host_closes(tmp_path: Path) -> None:
    script = written(tmp_path / "a.py", "import threading\ngo = threading.Event()\ndef request(flow): go.wait()\n")

    async def scenario() -> None:
        async with world(script) as here:
            asked = asyncio.create_task(here.ask("request", http_flow()))
            await asyncio.sleep(0)
            module = here.files.module(0)
        await asked
        module.go.set()

    run(scenario())
