"""`--workers 2` on the real driver: both carry, neither is in the other's way, and one that is killed is replaced."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.engine.flow_record import FlowRecord
from pointsman.lab.flows import KernelFlow
from pointsman.lab.network import Network
from pointsman.lab.session import LabProxy, Session, SessionSettings
from pointsman.wire.abi import Reason, Verdict

from .world import TIMEOUT, Origin

CONNECTIONS = 16
HOLD = f"""
import socket, sys
def answers(one):
    try:
        one.sendall(b"x\\n")
        return one.recv(2) == b"x\\n"
    except OSError:
        return False
held = [socket.create_connection(("203.0.113.10", 7), timeout=20) for _ in range({CONNECTIONS})]
for line in sys.stdin:
    print(sum(map(answers, held)), flush=True)
"""


def test_connections_of_a_worker_that_is_killed_are_lost_and_no_others(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass  # of the worker that was killed
        finally:
            writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        records: list[FlowRecord] = []
        port = server.sockets[0].getsockname()[1]
        settings = SessionSettings(
            network=Network.parse(maps=[f"203.0.113.10:7=127.0.0.1:{port}"]), run_options=("--workers", "2")
        )
        flows: list[KernelFlow] = []
        async with server, Session(settings, on_record=records.append, on_flow=flows.append) as session:
            proxy = await session.start_proxy()
            program = await session.machine.spawn(
                [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )

            async def still_answering() -> int:
                assert program.stdin is not None and program.stdout is not None
                program.stdin.write(b"\n")
                program.stdin.flush()
                return int(await asyncio.wait_for(asyncio.to_thread(program.stdout.readline), TIMEOUT))

            before = {pid: sockets_of(pid) for pid in workers_of(proxy)}
            assert len(before) == 2
            assert await still_answering() == CONNECTIONS
            carries = {pid: (sockets_of(pid) - before[pid]) // 2 for pid in before}
            assert sum(carries.values()) == CONNECTIONS
            victim = min(carries, key=lambda pid: carries[pid])
            os.kill(victim, signal.SIGKILL)
            assert await still_answering() == CONNECTIONS - carries[victim]
            while len(workers_of(proxy) - {victim}) < 2:
                await asyncio.sleep(0.01)  # until its replacement is there
            assert await still_answering() == CONNECTIONS - carries[victim]
            another = await session.machine.spawn(
                [sys.executable, "-c", HOLD], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            assert await asyncio.wait_for(another.wait(), TIMEOUT) == 0
            assert program.stdin is not None
            program.stdin.close()
            assert await asyncio.wait_for(program.wait(), TIMEOUT) == 0
            assert program.stdout is not None
            program.stdout.close()
            await proxy.stop()
            assert workers_of(proxy) == set()
        finished = [record for record in records if record.error is None]
        assert len(finished) >= CONNECTIONS - carries[victim]
        assert len({record.flow for record in records}) == len(records), "workers do not give the same id"
        assert not [flow for flow in flows if flow.verdict is Verdict.BLOCK]

    asyncio.run(scenario())


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_a_rule_that_blocks_what_workers_are_called_does_not_block_what_they_carry(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('default = "block"\n[[rule]]\napp = "curl"\naction = "inspect"\n')

    async def scenario() -> None:
        told = Origin()
        server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
        records: list[FlowRecord] = []
        flows: list[KernelFlow] = []
        settings = SessionSettings(
            network=Network.parse(maps=[f"203.0.113.10:80=127.0.0.1:{server.sockets[0].getsockname()[1]}"]),
            policy=policy,
            run_options=("--workers", "2"),
        )
        async with server, Session(settings, on_record=records.append, on_flow=flows.append) as session:
            proxy = await session.start_proxy()
            for _ in range(6):
                program = await session.machine.spawn(
                    ["curl", "-sS", "-o", "/dev/null", "http://203.0.113.10/"], stdin=subprocess.DEVNULL
                )
                assert await asyncio.wait_for(program.wait(), TIMEOUT) == 0
            await proxy.stop()
        assert [record.status for record in records] == [200] * 6
        assert {flow.reason for flow in flows if flow.verdict is Verdict.BLOCK} == set()
        assert sum(flow.reason is Reason.REDIRECTED for flow in flows) == 6

    asyncio.run(scenario())


def test_workers_do_not_outlive_a_parent_that_is_killed() -> None:
    async def scenario() -> None:
        settings = SessionSettings(run_options=("--workers", "2"))
        async with Session(settings, on_record=lambda record: None) as session:
            proxy = await session.start_proxy()
            orphans = workers_of(proxy)
            assert len(orphans) == 2
            proxy.process.send_signal(signal.SIGKILL)
            await proxy.process.wait()
            async with asyncio.timeout(TIMEOUT):
                while any(map(runs, orphans)):
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers_of(proxy: LabProxy) -> set[int]:
    """Its children but for multiprocessing's own helper."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it has just ended
            if int(status[1]) == proxy.process.pid and status[0] != "Z" and b"spawn_main" in command:
                found.add(int(entry.name))
    return found


def sockets_of(pid: int) -> int:
    links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    return sum(link.startswith("socket:") for link in links)
