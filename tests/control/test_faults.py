"""Full disks, folders that cannot be written, and clocks that jump: each has a message, and none stops the proxy.

A limit on the size of files (RLIMIT_FSIZE) fills the disk for this process alone: as on a real one, the last write
that fits is taken in part.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from pointsman.authority.leaf_cache import LeafCache
from pointsman.authority.root_store import load_or_create_root
from pointsman.cli.service_program import open_log
from pointsman.control.flow_log import FlowLog, json_line
from pointsman.control.kernel_log import NAME, kept_records
from pointsman.control.learned_file import LearnedFile
from pointsman.engine.learned import CLOCK_SLACK, LIFETIME, Learned
from pointsman.errors import PointsmanError
from pointsman.testing import authority
from pointsman.testing.proxy import running_proxy
from pointsman.testing.system import FakeSystem

from .test_flow_log import RECORD
from .test_kernel_log import Ring
from .test_kernel_log import log as kernel_log

HANDSHAKE = "unknown_ca"
NOW = 1_700_000_000.0


@contextlib.contextmanager
def disk_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_flow_file_on_a_full_disk_has_whole_lines_and_counts_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = FlowLog(tmp_path / "flows", later=lambda _: None)
    with disk_for(2 * len(json_line(RECORD)) + 20):
        for number in range(5):
            log.write(replace(RECORD, flow=number))
        log.flush()
        log.write(replace(RECORD, flow=5))
        log.flush()
    assert (log.written, log.lost) == (6, 4)
    log.write(replace(RECORD, flow=6))
    log.close()

    lines = (tmp_path / "flows").read_text().splitlines()
    assert [json.loads(lines[at])["flow"] for at in (0, 1, -1)] == [0, 1, 6]
    assert len(lines) == 4  # the third is the part that the disk took
    assert [record.flow for record in log.recent(0, 9)[0]] == list(range(7))
    assert [one.getMessage().split(";")[0] for one in caplog.records] == [
        "cannot write the flow log: the disk took only a part", "the flow log can be written again",
    ]  # fmt: skip


def test_a_kernel_log_on_a_full_disk_has_whole_lines_and_counts_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    system = Ring()
    system.written = 1
    log = kernel_log(system, tmp_path)
    log.tick()
    one = (tmp_path / NAME).stat().st_size
    with disk_for(3 * one):
        system.written = 10
        log.tick()
        taken = log.written
        system.written = 12
        log.tick()
        assert log.written == taken and log.unwritten == 12 - taken > 2
    system.written = 13
    log.tick()
    log.close()

    assert [record.sequence for record in kept_records(tmp_path)] == [*range(taken), 12]
    assert log.written == taken + 1
    assert len(caplog.records) == 2 and "connections go on" in caplog.records[0].getMessage()


def test_what_was_learned_on_a_full_disk_holds_and_leaves_no_draft(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learned = LearnedFile(tmp_path / "learned.json")
    with disk_for(10):
        learned.refused("/a", "a.example", HANDSHAKE, NOW)

    assert learned.find("/a", "a.example", NOW) is not None
    assert list(tmp_path.iterdir()) == []
    assert "holds until this proxy ends" in caplog.text
    learned.refused("/a", "b.example", HANDSHAKE, NOW)
    assert len(LearnedFile(tmp_path / "learned.json").entries()) == 2


def test_an_authority_on_a_full_disk_is_an_error_and_leaves_nothing_half(tmp_path: Path) -> None:
    with disk_for(100), pytest.raises(PointsmanError) as caught:
        load_or_create_root(tmp_path / "ca")

    assert caught.value.code == "PM451" and "connections go direct" in caught.value.effect
    assert list((tmp_path / "ca").iterdir()) == []
    load_or_create_root(tmp_path / "ca")


def test_a_service_log_on_a_full_disk_costs_its_lines_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, raises = logging.getLogger(), logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    try:
        open_log(tmp_path / "service.log")
        logging.getLogger("pointsman.service").warning("before")
        with disk_for(200):
            for number in range(20):
                logging.getLogger("pointsman.service").warning("line %d that is long enough", number)
        logging.getLogger("pointsman.service").warning("after")
    finally:
        root.handlers[0].close()
        root.handlers[:], logging.raiseExceptions = handlers, raises
        root.setLevel(level)
    text = (tmp_path / "service.log").read_text()
    assert "before" in text and "after" in text and "line 19" not in text
    assert capsys.readouterr() == ("", "")


@pytest.mark.asyncio
async def test_connections_go_on_while_every_file_is_full(tmp_path: Path) -> None:
    system = FakeSystem()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    origin = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with origin, running_proxy(tmp_path, 'default = "relay"', system=system) as proxy:
        proxy.redirect_to(origin.sockets[0].getsockname()[1])
        with disk_for(1):
            for _ in range(3):
                reader, writer = await asyncio.open_connection(*proxy.address)
                writer.write(b"through")
                assert await asyncio.wait_for(reader.read(), 20) == b"through"
                writer.close()
        await proxy.stop()
    assert system.driver.closed


READ_ONLY = """
import asyncio, sys
from pathlib import Path
from pointsman.errors import PointsmanError
from pointsman.testing.proxy import running_proxy
from pointsman.authority.root_store import load_or_create_root
from pointsman.control.learned_file import LearnedFile
from tests.control.test_kernel_log import Ring, log
import subprocess
where = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "none", where], check=True)
(where / "there").mkdir()
known = load_or_create_root(where / "there")
subprocess.run(["mount", "-o", "remount,ro", where], check=True)
try:
    load_or_create_root(where / "new")
except PointsmanError as error:
    print(error.code, error.seen)
print(load_or_create_root(where / "there").certificate == known.certificate)
learned = LearnedFile(where / "there/learned.json")
learned.refused("/a", "a.example", "unknown_ca", 1e9)
print(learned.find("/a", "a.example", 1e9) is not None)
ring = Ring()
ring.written = 5
events = log(ring, where)
events.tick()
print(events.written, events.unwritten)
"""


def test_a_read_only_disk_keeps_what_is_known_working(tmp_path: Path) -> None:
    unshare = [shutil.which("unshare") or "unshare", "-rm"]
    if subprocess.run(
        [*unshare, "mount", "-t", "tmpfs", "none", tmp_path], check=False, capture_output=True
    ).returncode:
        pytest.skip("this system lets us mount nothing of our own")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", READ_ONLY, tmp_path],
        capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    code, *rest = done.stdout.splitlines()
    assert code.startswith("PM451") and "Read-only" in code
    assert rest == ["True", "True", "0 5"]
    assert "cannot keep what was learned" in done.stderr and "events are lost, connections go on" in done.stderr


def test_what_was_learned_ends_by_a_clock_that_jumps_either_way() -> None:
    def learned() -> Learned:
        one = Learned()
        one.refused("/a", "a.example", HANDSHAKE, NOW)
        return one

    assert learned().find("/a", "a.example", NOW - CLOCK_SLACK / 2) is not None
    assert learned().find("/a", "a.example", NOW + LIFETIME / 2) is not None
    assert learned().find("/a", "a.example", NOW + LIFETIME) is None
    assert learned().find("/a", "a.example", NOW - 365 * 24 * 3600) is None  # else it would hold for a year and more


def test_a_leaf_needs_no_room_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    before = len(list(Path("/proc/self/fd").iterdir()))

    LeafCache(authority.root(), now=lambda: datetime.now(UTC)).get(("a.example",), None)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("jump", [timedelta(days=-200), timedelta(days=200)])
def test_a_leaf_is_issued_anew_for_a_clock_that_has_jumped(jump: timedelta) -> None:
    now = [datetime.now(UTC)]
    root = authority.root()
    leaves = LeafCache(root, now=lambda: now[0])
    leaves.get(("a.example",), None)
    now[0] += jump

    assert leaves.cached(("a.example",), None) is None
    leaves.get(("a.example",), None)
    assert leaves.issued == 2
