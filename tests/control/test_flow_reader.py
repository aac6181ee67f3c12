"""Flow records as `pointsman flows` reads them: of the file, of the running proxy, and which are wanted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pointsman.control.commands import VERSION, CommandError, Reply, Request
from pointsman.control.flow_log import RECENT, FlowLog, json_line
from pointsman.control.flow_reader import Ask, FlowFile, RememberedFlows, wanted
from pointsman.control.operations import FLOWS_AT_ONCE, Operations
from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.system.interface import MAX_CONTROL_REPLY

from .test_flow_log import RECORD


def numbers(source: FlowFile | RememberedFlows) -> list[int]:
    return [record.flow for record in source.read()]


def test_the_last_records_are_remembered_and_numbered_from_the_first() -> None:
    log = FlowLog()
    for number in range(RECENT + 7):
        log.write(replace(RECORD, flow=number))

    records, following = log.recent(0, 5)
    assert ([one.flow for one in records], following) == ([7, 8, 9, 10, 11], 12)
    records, following = log.recent(RECENT + 5, 100)
    assert ([one.flow for one in records], following) == ([RECENT + 5, RECENT + 6], RECENT + 7)
    assert log.recent(RECENT + 99, 5) == ([], RECENT + 7)


def test_a_file_is_read_on_where_it_was_left_and_junk_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    path.write_bytes(json_line(replace(RECORD, flow=1)) + b"junk\n" + json_line(replace(RECORD, flow=2))[:-9])
    reader = FlowFile(path)

    assert numbers(reader) == [1]
    with path.open("ab") as file:
        file.write(json_line(replace(RECORD, flow=2))[-9:] + json_line(replace(RECORD, flow=3)))
    assert numbers(reader) == [2, 3]
    assert numbers(reader) == []
    path.write_bytes(json_line(replace(RECORD, flow=4)))  # somebody rotated it
    assert numbers(reader) == [4]


def test_of_a_long_file_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "flows"
    path.write_bytes(b"".join(json_line(replace(RECORD, flow=number)) for number in range(50)))
    monkeypatch.setattr("pointsman.control.flow_reader.TAIL", 2 * len(json_line(RECORD)) + 20)
    monkeypatch.setattr("pointsman.control.flow_reader.CHUNK", 100)

    assert numbers(FlowFile(path)) == [48, 49]


@pytest.mark.parametrize(
    ("app", "host", "is_wanted"),
    [
        (None, None, True), ("CURL", None, True), ("/usr/bin/curl", None, True), ("wget", None, False),
        (None, "example.com", True), (None, "com", True), (None, "ample.com", False), (None, "192.0.2.1", True),
        ("curl", "other.example", False),
    ],
)  # fmt: skip
def test_which_are_wanted(app: str | None, host: str | None, is_wanted: bool) -> None:
    assert wanted(RECORD, app, host) is is_wanted
    assert wanted(replace(RECORD, app="C:\\x\\Curl.EXE"), "curl", host) is (is_wanted if app is None else host is None)


def test_a_record_without_app_and_host_is_nobodys() -> None:
    bare = replace(RECORD, app=None, host=None)

    assert not wanted(bare, "curl", None) and not wanted(bare, None, "example.com")


def asking(log: FlowLog) -> Ask:
    """The `flows` command as the control channel has it; nothing else of the proxy is there."""
    nothing: Any = None
    fields = dict.fromkeys(Operations.__dataclass_fields__, nothing)
    commands = Operations(**{**fields, "flows": log}).commands()

    def ask(arguments: dict[str, Any]) -> dict[str, Any]:
        request = msgspec.json.encode(Request(VERSION, "flows", arguments))
        reply = msgspec.json.decode(asyncio.run(commands.answer(request)), type=Reply)
        if reply.result is None:
            raise CommandError(reply.error or "")
        return reply.result

    return ask


def test_a_running_proxy_tells_its_last_records_in_pieces() -> None:
    log = FlowLog()
    longest = replace(RECORD, path="\u0001" * PATH_LIMIT)  # six characters each in JSON
    for number in range(FLOWS_AT_ONCE + 3):
        log.write(replace(longest, flow=number))
    ask = asking(log)
    reader = RememberedFlows(ask)

    assert numbers(reader) == list(range(FLOWS_AT_ONCE + 3))
    assert numbers(reader) == []
    log.write(replace(RECORD, flow=999))
    assert numbers(reader) == [999]
    for number in range(RECENT + 5):
        log.write(replace(RECORD, flow=number))
    assert numbers(reader)[0] == 5
    assert reader.lost == 5
    assert (ask({})["sees_all"], ask({})["lost"], ask({})["file"]) == (True, 0, None)
    assert len(msgspec.json.encode(ask({}))) < MAX_CONTROL_REPLY
    for wrong in ({"since": -1}, {"since": "1"}, {"since": True}, {"last": 1}):
        with pytest.raises(CommandError):
            ask(wrong)
