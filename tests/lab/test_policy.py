"""A policy at work on real programs: what only the proxy can see of a process, and a reload under open connections."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from pointsman.engine.flow_record import FlowRecord
from pointsman.lab.flows import KernelFlow
from pointsman.lab.network import Network
from pointsman.lab.session import Session, SessionSettings
from pointsman.wire.abi import Verdict

from .world import TIMEOUT

ECHO = "203.0.113.10"
TALK = """
import socket, sys
talk = socket.create_connection(("203.0.113.10", 7)).makefile("rw", newline="\\n")
for line in sys.stdin:
    talk.write(line); talk.flush()
    sys.stdout.write(talk.readline()); sys.stdout.flush()
"""
CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], 7), timeout=20) as one:
    one.sendall(b"x\\n"); sys.exit(0 if one.recv(2) == b"x\\n" else 1)
"""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    except ConnectionError:
        pass  # a program that was ended
    finally:
        writer.close()


class Lab:
    def __init__(self, policy: Path, port: int) -> None:
        self.records: list[FlowRecord] = []
        self.flows: list[KernelFlow] = []
        maps = [f"203.0.113.{last}:7=127.0.0.1:{port}" for last in range(10, 15)]
        settings = SessionSettings(network=Network.parse(maps=maps), policy=policy)
        self.session = Session(settings, on_record=self.records.append, on_flow=self.flows.append)

    async def connect(self, address: str, *, shell: bool = False) -> int:
        command = [sys.executable, "-c", CONNECT, address]
        if shell:
            command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
        program = await self.session.machine.spawn(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return await asyncio.wait_for(program.wait(), TIMEOUT)


def test_rules_see_who_owns_a_process_where_it_comes_from_and_what_it_is_called(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'default = "direct"\n'
        f'[[rule]]\nname = "user"\nnet = "203.0.113.11"\nuser = "{os.getuid()}"\naction = "relay"\n'
        '[[rule]]\nname = "nobody"\nnet = "203.0.113.12"\nuser = "no-such-user"\naction = "block"\n'
        '[[rule]]\nname = "parent"\nnet = "203.0.113.13"\nparent = ["sh", "dash", "bash"]\naction = "relay"\n'
        '[[rule]]\nname = "name"\nnet = "203.0.113.14"\napp = "python*"\naction = "relay"\n'
    )

    async def scenario() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        lab = Lab(policy, server.sockets[0].getsockname()[1])
        async with server, lab.session as session:
            proxy = await session.start_proxy()
            for last in (10, 11, 12, 14):
                assert await lab.connect(f"203.0.113.{last}") == 0
            assert await lab.connect("203.0.113.13", shell=True) == 0
            await proxy.stop()
        rules = {(record.address, record.rule) for record in lab.records}
        assert ("203.0.113.11", "user") in rules
        assert ("203.0.113.12", "default") in rules
        assert ("203.0.113.13", "parent") in rules
        assert ("203.0.113.14", "name") in rules

    asyncio.run(scenario())


def test_a_reload_blocks_new_connections_and_leaves_open_ones_alone(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('default = "relay"')

    async def scenario() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        lab = Lab(policy, server.sockets[0].getsockname()[1])
        async with server, lab.session as session:
            proxy = await session.start_proxy()
            talk = await session.machine.spawn(
                [sys.executable, "-c", TALK], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert talk.stdin is not None and talk.stdout is not None

            async def say(word: bytes) -> bytes:
                assert talk.stdin is not None and talk.stdout is not None
                talk.stdin.write(word)
                talk.stdin.flush()
                return await asyncio.wait_for(asyncio.to_thread(talk.stdout.readline), TIMEOUT)

            assert await say(b"before\n") == b"before\n"
            assert await lab.connect(ECHO) == 0
            policy.write_text(f'default = "relay"\n[[rule]]\nname = "closed"\nnet = "{ECHO}"\naction = "block"')
            async with asyncio.timeout(TIMEOUT):
                while await lab.connect(ECHO) == 0:
                    pass  # each try is a connection under the old rules; the new ones come within two seconds
            assert await say(b"after\n") == b"after\n"

            talk.stdin.close()
            talk.stdout.close()
            assert await asyncio.wait_for(talk.wait(), TIMEOUT) == 0
            await proxy.stop()
        assert any(flow.verdict is Verdict.BLOCK for flow in lab.flows)
        assert any(record.rule == "default" and record.error is None for record in lab.records)

    asyncio.run(scenario())


DIAL = 'exec 3<>"/dev/tcp/$0/7" && echo x >&3 && read -r -u 3 word && test "$word" = x'


def test_without_the_proxy_a_closed_rule_blocks_and_others_go_direct_until_it_is_removed(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None, "this test needs bash: a program that is not the proxy's own"
    policy = tmp_path / "policy.toml"
    policy.write_text(
        f'default = "direct"\n[[rule]]\nname = "never without"\napp = \'{os.path.realpath(bash)}\'\nnet = "{ECHO}"\n'
        'action = "relay"\non_failure = "closed"\n'
    )

    async def scenario() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        lab = Lab(policy, server.sockets[0].getsockname()[1])
        async with server, lab.session as session:

            async def run(*command: str) -> tuple[int, str]:
                program = await session.machine.spawn(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                assert program.stdout is not None
                with program.stdout as output:
                    text = await asyncio.to_thread(output.read)
                return await asyncio.wait_for(program.wait(), TIMEOUT), text.decode()

            async def closed(*words: str) -> str:
                status, text = await run(sys.executable, "-m", "pointsman", "policy", "closed", *words)
                assert status == 0, text
                return text

            async def dial(address: str) -> bool:
                status, _ = await run(bash, "-c", DIAL, address)
                return status == 0

            proxy = await session.start_proxy()
            assert "4 filters installed" in await closed("install", str(policy))
            assert await dial(ECHO)
            proxy.process.send_signal(signal.SIGKILL)
            await asyncio.wait_for(proxy.ended(), TIMEOUT)

            assert not await dial(ECHO), "the rule is closed"
            assert await dial("203.0.113.11"), "no rule is about this one"
            assert await lab.connect(ECHO) == 0, "the rule is not about this program"
            assert "BLOCK   AUTH_CONNECT_V4  never without: closed" in await closed("list")

            assert await closed("remove") == "4 filters removed\n"
            assert await dial(ECHO), "the network is back"
            assert await closed("list") == "none is installed\n"
        verdicts = [flow.verdict for flow in lab.flows if flow.app == os.path.realpath(bash)]
        assert verdicts[0] is Verdict.REDIRECT and Verdict.REDIRECT not in verdicts[1:]

    asyncio.run(scenario())


def test_a_program_with_a_path_longer_than_the_drivers_record_is_known_to_the_proxy(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None, "this test needs bash: it is copied to a place with a long path"
    folder = tmp_path / ("d" * 200) / ("e" * 200)
    folder.mkdir(parents=True)
    program = shutil.copy(bash, folder / "deepest")
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'default = "block"\n'
        f'[[rule]]\nname = "by path"\nnet = "203.0.113.10"\napp = \'{program}\'\naction = "relay"\n'
        '[[rule]]\nname = "by name"\nnet = "203.0.113.11"\napp = "deepest"\naction = "relay"\n'
    )

    async def scenario() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        lab = Lab(policy, server.sockets[0].getsockname()[1])
        async with server, lab.session as session:
            proxy = await session.start_proxy()
            for address in ("203.0.113.10", "203.0.113.11"):
                one = await session.machine.spawn([str(program), "-c", DIAL, address], stdin=subprocess.DEVNULL)
                assert await asyncio.wait_for(one.wait(), TIMEOUT) == 0, address
            await proxy.stop()
        assert [(record.rule, record.app) for record in lab.records] == [
            ("by path", str(program).lower()), ("by name", str(program).lower()),
        ]  # fmt: skip

    asyncio.run(scenario())
