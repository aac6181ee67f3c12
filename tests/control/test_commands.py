"""The control channel's language, and the Unix socket that carries it."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.control.commands import VERSION, CommandError, Commands, Reply, ask
from pointsman.system.interface import MAX_CONTROL_REQUEST
from pointsman.system.unix_channel import MAX_AT_ONCE, UnixChannel
from pointsman.testing.system import FakeSystem

TIMEOUT = 10.0  # seconds


def commands() -> Commands:
    made = Commands()

    async def echo(arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments

    async def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise CommandError("not today")

    async def crash(_: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError

    async def much(_: dict[str, Any]) -> dict[str, Any]:
        return {"text": "x" * (5 * 1024 * 1024)}

    for name, handler in (("echo", echo), ("refuse", refuse), ("crash", crash), ("much", much)):
        made.add(name, handler)
    return made


def answer(line: bytes) -> Reply:
    return msgspec.json.decode(asyncio.run(commands().answer(line)), type=Reply)


def test_a_command_gets_its_arguments_and_the_caller_its_result() -> None:
    reply = answer(b'{"version":1,"command":"echo","arguments":{"a":[1]}}')

    assert (reply.ok, reply.version, reply.result) == (True, VERSION, {"a": [1]})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"version":1,"command":"refuse"}', "not today"),
        (b'{"version":2,"command":"echo"}', "version 1"),
        (b'{"version":1,"command":"reboot"}', "no command 'reboot'; there are crash, echo, much, refuse"),
        (b'{"version":1,"command":"crash"}', "internal error: ZeroDivisionError"),
        (b'{"version":1,"command":"much"}', "too long"),
        (b'{"version":1,"command":"echo","password":"x"}', "not a request"),
        (b"\xff", "not a request"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(line: bytes, said: str) -> None:
    reply = answer(line)

    assert not reply.ok
    assert reply.error is not None and said in reply.error


@given(st.binary(max_size=200))
def test_any_bytes_get_a_reply(line: bytes) -> None:
    assert not answer(line).ok


@pytest.mark.asyncio
async def test_a_proxy_is_asked_over_its_socket(tmp_path: Path) -> None:
    system = FakeSystem()
    system.control = channel = UnixChannel(tmp_path / "run")  # type: ignore[assignment]  # the double's place
    server = await channel.serve(commands().answer)
    path = tmp_path / "run" / f"control-{os.getpid()}.sock"

    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert channel.peers() == [os.getpid()]
    assert await asyncio.to_thread(ask, system, os.getpid(), "echo", {"a": 1}) == {"a": 1}
    with pytest.raises(CommandError, match="not today"):
        await asyncio.to_thread(ask, system, os.getpid(), "refuse")
    await server.close()
    await server.close()
    assert channel.peers() == []
    with pytest.raises(FileNotFoundError):
        await asyncio.to_thread(ask, system, os.getpid(), "echo")


@pytest.mark.asyncio
async def test_callers_without_bound_or_end_do_not_keep_others_out(tmp_path: Path) -> None:
    channel = UnixChannel(tmp_path)
    server = await channel.serve(commands().answer)
    path = str(tmp_path / f"control-{os.getpid()}.sock")
    endless_reader, endless = await asyncio.open_unix_connection(path)
    endless.write(b"x" * (MAX_CONTROL_REQUEST + 1))
    assert await asyncio.wait_for(endless_reader.read(), TIMEOUT) == b""
    endless.close()
    silent = [await asyncio.open_unix_connection(path) for _ in range(MAX_AT_ONCE)]
    over_reader, over = await asyncio.open_unix_connection(path)
    assert await asyncio.wait_for(over_reader.read(), TIMEOUT) == b""  # one too many is closed, not queued
    over.close()
    silent[0][1].close()
    await silent[0][1].wait_closed()

    async def works() -> bytes:
        while True:
            try:
                return await asyncio.to_thread(channel.ask, os.getpid(), b'{"version":1,"command":"echo"}', TIMEOUT)
            except ConnectionResetError:
                continue  # the one who left has not been noticed yet

    assert b'"ok":true' in await asyncio.wait_for(works(), TIMEOUT)
    await server.close()  # with callers that never said anything
    for _, writer in silent[1:]:
        writer.close()


@pytest.mark.asyncio
async def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o777)
    (tmp_path / "run").chmod(0o777)

    with pytest.raises(PermissionError):
        await UnixChannel(tmp_path / "run").serve(commands().answer)


def test_the_socket_of_a_killed_proxy_is_swept_away(tmp_path: Path) -> None:
    left = tmp_path / "control-99999999.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    channel = UnixChannel(tmp_path)

    assert channel.peers() == [99999999]
    with pytest.raises(ConnectionRefusedError):
        channel.ask(99999999, b"{}", TIMEOUT)
    assert channel.peers() == []


def test_a_proxy_that_does_not_answer_is_a_time_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "control-7.sock"))
        hung.listen()
        with pytest.raises(TimeoutError):
            UnixChannel(tmp_path).ask(7, b"{}", 0.05)
