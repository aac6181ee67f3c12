from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from pointsman.control.flow_log import FLUSH_RECORDS, FlowLog, human_line
from pointsman.engine.flow_record import FlowRecord
from pointsman.errors import Exit, PointsmanError

RECORD = FlowRecord(
    flow=1, time=1_700_000_000.5, app="/usr/bin/curl", pid=4711, address="192.0.2.1", port=443, host="example.com",
    decision="inspect", rule="default", protocol="https", method="GET", path="/path", status=200, bytes_up=86,
    bytes_down=1256, duration_ms=23.4,
)  # fmt: skip


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (RECORD, "curl[4711] https GET example.com/path → 200  ↑86 ↓1256  23 ms  inspect (default)"),
        (replace(RECORD, port=8443, app="C:\\x\\App.exe"),
         "App.exe[4711] https GET example.com:8443/path → 200  ↑86 ↓1256  23 ms  inspect (default)"),
        (replace(RECORD, method=None, path=None, status=None, protocol="tcp", host=None, address="2001:db8::1",
                 app=None, decision="relay", rule="ssh"),
         "?[4711] tcp [2001:db8::1]:443  ↑86 ↓1256  23 ms  relay (ssh)"),
        (replace(RECORD, method=None, path=None, status=None, protocol="tls", error="dial: refused", note="a note",
                 decision=None, rule=None),
         "curl[4711] tls example.com  ↑86 ↓1256  23 ms  undecided  ! dial: refused  (a note)"),
        (replace(RECORD, path="http://example.com/x"),
         "curl[4711] https GET http://example.com/x → 200  ↑86 ↓1256  23 ms  inspect (default)"),
        (replace(RECORD, path="/\x1b[2J\n"),
         "curl[4711] https GET example.com/\ufffd[2J\ufffd → 200  ↑86 ↓1256  23 ms  inspect (default)"),
    ],
)  # fmt: skip
def test_people_read_one_line_that_peers_cannot_break(record: FlowRecord, line: str) -> None:
    assert human_line(record) == line


def test_programs_read_one_json_object_a_line_and_runs_append(tmp_path: Path) -> None:
    for _ in range(2):
        log = FlowLog(tmp_path / "flows")
        log.write(RECORD)
        log.close()
        log.close()

    lines = [json.loads(line) for line in (tmp_path / "flows").read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0]["status"] == 200 and lines[0]["error"] is None
    assert (tmp_path / "flows").stat().st_mode & 0o777 == 0o600


def test_a_terminal_that_knows_no_arrows_gets_others() -> None:
    raw = io.BytesIO()
    log = FlowLog(stream=io.TextIOWrapper(raw, encoding="cp1252"))
    log.write(replace(RECORD, rule="日本"))

    assert raw.getvalue() == b"curl[4711] https GET example.com/path -> 200  +86 -1256  23 ms  inspect (??)\n"
    assert log.lost == 0


def test_a_log_that_cannot_be_opened_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(PointsmanError) as caught:
        FlowLog(tmp_path / "missing" / "flows")
    assert (caught.value.code, caught.value.status) == ("PM453", Exit.BAD_FILE)


def test_a_log_that_cannot_be_written_costs_the_record_and_nothing_else() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "no space left")

    log = FlowLog(Path("/dev/full"), Full())
    log.write(RECORD)

    assert (log.written, log.lost) == (1, 2)
    log.close()


def test_a_record_that_is_no_unicode_costs_itself_and_not_those_beside_it(tmp_path: Path) -> None:
    log = FlowLog(tmp_path / "flows", later=lambda flush: None)
    for path in ("/a", "/\udc80", "/b"):
        log.write(replace(RECORD, path=path))
    log.close()

    assert [json.loads(line)["path"] for line in (tmp_path / "flows").read_text().splitlines()] == ["/a", "/b"]
    assert (log.written, log.lost) == (3, 1)


def test_records_that_come_close_together_share_a_write_and_never_pile_up(tmp_path: Path) -> None:
    asked: list[object] = []
    log = FlowLog(tmp_path / "flows", later=asked.append)
    for _ in range(FLUSH_RECORDS - 1):
        log.write(RECORD)
    assert len(asked) == 1 and not (tmp_path / "flows").read_bytes()
    log.write(RECORD)
    assert len((tmp_path / "flows").read_bytes().splitlines()) == FLUSH_RECORDS
