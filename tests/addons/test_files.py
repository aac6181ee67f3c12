"""Addon files: found, loaded, set up, loaded anew, told to end."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from pointsman.addons.context import ctx
from pointsman.addons.files import open_addons
from pointsman.addons.listener import Limits
from pointsman.errors import PointsmanError

from .world import World, http_flow, plain_context, run, world, written


async def settle(here: World) -> None:
    """Two looks: a file is loaded when it has been left alone between them."""
    await here.files.tick()
    await here.files.tick()


async def path_after(here: World) -> str:
    flow = http_flow()
    await here.ask("request", flow)
    return flow.request.path


def test_functions_objects_and_nested_addons_all_listen(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "def request(flow): flow.request.path += ' function'\n"
        "class Inner:\n    def request(self, flow): flow.request.path += ' inner'\n"
        "class Outer:\n    addons = [Inner()]\n    def request(self, flow): flow.request.path += ' outer'\n"
        "addons = [Outer()]\n",
    )

    async def scenario() -> None:
        async with world(script) as here:
            assert await path_after(here) == "/path?a=1 function outer inner"

    run(scenario())


def test_files_are_asked_in_the_order_of_the_command_line(tmp_path: Path) -> None:
    one = written(tmp_path / "one.py", "def request(flow): flow.request.path += ' one'\n")
    two = written(tmp_path / "two.py", "async def request(flow): flow.request.path += ' two'\n")

    async def scenario() -> None:
        async with world(two, one) as here:
            assert await path_after(here) == "/path?a=1 two one"

    run(scenario())


def test_a_file_finds_what_lies_beside_it_and_its_own_name(tmp_path: Path) -> None:
    written(tmp_path / "beside_addon_helper.py", "WORD = ' helped'\n")
    script = written(
        tmp_path / "a.py",
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport beside_addon_helper\n"
        "@dataclass\nclass State:\n    word: str = beside_addon_helper.WORD\n"
        "def request(flow): flow.request.path += State().word + ' ' + __file__.rpartition('/')[2]\n",
    )

    async def scenario() -> None:
        before = set(sys.modules), list(sys.path)
        async with world(script) as here:
            assert await path_after(here) == "/path?a=1 helped a.py"
        assert list(sys.path) == before[1]
        assert {name for name in sys.modules if "pointsman_addon" in name or name.startswith("mitmproxy")} == set()

    run(scenario())


def test_the_hooks_of_a_life_come_in_order(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "import asyncio, builtins\nsaid = builtins.addon_said = []\n"
        "class A:\n"
        "    def load(self, loader):\n"
        "        loader.add_option('word', str, 'none', 'a word')\n        said.append('load')\n"
        "    def configure(self, updated): said.append(('configure', 'word' in updated))\n"
        "    def running(self):\n"
        "        said.append('running')\n        self.task = asyncio.create_task(self.later())\n"
        "    async def later(self): said.append('task')\n"
        "    def done(self): said.append('done')\n"
        "addons = [A()]\n",
    )

    async def scenario() -> None:
        async with world(script, options=["word=hi"]):
            assert ctx.options.word == "hi"
            await asyncio.sleep(0)
        import builtins

        assert vars(builtins).pop("addon_said") == ["load", ("configure", True), "running", "task", "done"]

    run(scenario())


def test_a_change_is_loaded_once_it_is_left_alone(tmp_path: Path) -> None:
    script = written(tmp_path / "a.py", "def request(flow): flow.request.path = '/one'\n")

    async def scenario() -> None:
        async with world(script) as here:
            assert await path_after(here) == "/one"
            written(script, "def request(flow): flow.request.path = '/the second'\n")
            await here.files.tick()
            assert await path_after(here) == "/one", "an editor may be half-way"
            await here.files.tick()
            assert await path_after(here) == "/the second"
            written(script, "def response(flow): pass\n")
            await settle(here)
            assert here.host.wanted == {"response"} and here.files.reloads == 2

    run(scenario())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def request(flow:\n", "a.py:1: SyntaxError"),
        ("import no_such_module_anywhere\n", "a.py:1: ModuleNotFoundError"),
        ("x = 1\n1 / 0\n", "a.py:2: ZeroDivisionError"),
        ("def load(loader):\n    raise KeyError('boo')\n", "a.py:2: KeyError"),
        (
            "from pointsman.addons.api import OptionsError\ndef configure(updated): raise OptionsError('not that')\n",
            "not that",
        ),
        (
            "from mitmproxy import io\n",
            "a.py:1: ModuleNotFoundError: mitmproxy.io has no counterpart in Pointsman: flows",
        ),
        ("from mitmproxy.exceptions import Nope\n", "a.py:1: mitmproxy.exceptions.Nope has no counterpart"),
        (
            "from mitmproxy import ctx\ndef request(flow):\n    ctx.master.view.add(flow)\n",
            "a.py:3: ctx.master.view has no",
        ),
        ("raise SystemExit(1)\n", "SystemExit"),
        ("import threading\nthreading.Event().wait()\n", "not done after 0.3 s"),
        ("while True: pass\n", "not done after 0.3 s"),
        ("\x00", "null bytes"),
    ],
)
def test_a_bad_file_is_refused_at_the_start_and_keeps_what_runs_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, reason: str
) -> None:
    script = written(tmp_path / "a.py", text)
    limits = Limits(load=0.3, stall=0.1)

    async def start() -> None:
        with pytest.raises(PointsmanError) as raised:
            async with world(script, limits=limits):
                pass
        assert raised.value.code == "PM461" and reason in raised.value.seen and len(str(raised.value).splitlines()) == 4

    async def reload() -> None:
        async with world(script, limits=limits) as here:
            written(script, text)
            for _ in range(3):
                await settle(here)
            assert here.files.refused_reloads == 1
            assert await path_after(here) == "/one"

    run(start())
    written(script, "def request(flow): flow.request.path = '/one'\n")
    run(reload())
    assert caplog.text.count("PM461") == 1 and reason in caplog.text


def test_a_file_that_vanishes_keeps_what_runs(tmp_path: Path) -> None:
    script = written(tmp_path / "a.py", "def request(flow): flow.request.path = '/one'\n")

    async def scenario() -> None:
        async with world(script) as here:
            script.unlink()
            await settle(here)
            assert await path_after(here) == "/one" and here.files.refused_reloads == 1
            written(script, "def request(flow): flow.request.path = '/back'\n")
            await settle(here)
            assert await path_after(here) == "/back"

    run(scenario())


def test_a_file_that_was_switched_off_gets_another_chance_when_it_changes(tmp_path: Path) -> None:
    script = written(tmp_path / "a.py", "import threading\ndef request(flow): threading.Event().wait()\n")

    async def scenario() -> None:
        async with world(script, limits=Limits(budget=0.1, stuck=1)) as here:
            await here.ask("request", http_flow())
            assert here.host.wanted == frozenset()
            written(script, "def request(flow): flow.request.path = '/good'\n")
            await settle(here)
            assert await path_after(here) == "/good"

    run(scenario())


def test_flows_go_on_while_a_slow_file_is_loaded(tmp_path: Path) -> None:
    script = written(tmp_path / "a.py", "def request(flow): flow.request.path = '/one'\n")

    async def scenario() -> None:
        async with world(script) as here:
            written(
                script, "import builtins\nbuiltins.addon_gate.wait()\ndef request(flow): flow.request.path = '/two'\n"
            )
            import builtins

            gate = vars(builtins)["addon_gate"] = threading.Event()
            loading = asyncio.create_task(settle(here))
            for _ in range(5):
                assert await path_after(here) == "/one"
            gate.set()
            await loading
            assert await path_after(here) == "/two"
            del vars(builtins)["addon_gate"]

    run(scenario())


def test_options_are_set_by_type(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "from collections.abc import Sequence\nfrom typing import Optional\n"
        "def load(loader):\n"
        "    loader.add_option('flag', bool, False, '')\n    loader.add_option('count', Optional[int], None, '')\n"
        "    loader.add_option('rate', float, 1.0, '')\n    loader.add_option('names', Sequence[str], [], '')\n"
        "    loader.add_option('mode', str, 'a', '', choices=['a', 'b'])\n",
    )

    async def scenario() -> None:
        options = ["flag", "count=3", "rate=0.5", "names=x=1", "names=y", "mode=b"]
        async with world(script, options=options):
            values = [getattr(ctx.options, name) for name in ("flag", "count", "rate", "names", "mode")]
            assert values == [True, 3, 0.5, ["x=1", "y"], "b"]
            ctx.options.count = None
            with pytest.raises(Exception, match="is a"):
                ctx.options.count = "four"

    run(scenario())


@pytest.mark.parametrize("bad", ["nope=1", "count=many", "flag=perhaps", "count", "mode=c"])
def test_a_setting_that_cannot_be_is_an_error_for_people(tmp_path: Path, bad: str) -> None:
    script = written(
        tmp_path / "a.py",
        "def load(loader):\n"
        "    loader.add_option('count', int, 0, '')\n    loader.add_option('flag', bool, False, '')\n"
        "    loader.add_option('mode', str, 'a', '', choices=['a', 'b'])\n",
    )

    async def scenario() -> None:
        with pytest.raises(PointsmanError) as raised:
            async with world(script, options=[bad]):
                pass
        assert raised.value.code == "PM462" and "count, flag, mode" in raised.value.do

    run(scenario())


def test_an_option_keeps_its_value_when_its_file_is_loaded_anew(tmp_path: Path) -> None:
    text = "def load(loader): loader.add_option('count', int, 0, '')\n"
    script = written(tmp_path / "a.py", text)

    async def scenario() -> None:
        async with world(script, options=["count=5"]) as here:
            written(script, text + "# changed\n")
            await settle(here)
            assert here.files.reloads == 1 and ctx.options.count == 5

    run(scenario())


def test_without_addons_nothing_is_started_and_nothing_can_be_set() -> None:
    async def scenario() -> None:
        async with open_addons([], [], plain_context) as addons:
            assert addons is None
        with pytest.raises(PointsmanError, match="cannot set an option"):
            async with open_addons([], ["a=1"], plain_context):
                pass

    run(scenario())


def test_a_built_in_addon_that_there_is_not_names_those_there_are() -> None:
    async def scenario() -> None:
        with pytest.raises(PointsmanError) as raised:
            async with world("builtin:nope"):
                pass
        assert "modify_headers" in raised.value.seen

    run(scenario())
