"""A long run of the real proxy in the lab under mixed load: does it keep what it should have let go?

    python bench/soak/soak.py SECONDS [KIND ...] [--OPTION ...]      600 is the short form, 3600 the long one

With KINDs of load (load.py), only those: whatever grows with one of them is found so.  Options are of `pointsman run`,
such as --no-fast.

Every second it reads the proxy's resident memory and open files from /proc, and what malloc has given out from the
proxy itself (inside/).  At the end, when the load has gone, the files must be those of the beginning; memory after the
first fifth of the run must have no slope beyond its noise, and the least that was in use in a fifth of the run must not
have grown since the second; the proxy must have ended by itself with status 0, and have complained of nothing
(ResourceWarning, traceback).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pointsman.demo.internet import make_certificates
from pointsman.engine.flow_record import FlowRecord
from pointsman.lab.machine import Process
from pointsman.lab.network import Network
from pointsman.lab.session import Session, SessionSettings

HERE = Path(__file__).parent
NAMES = {"soak.example": "203.0.113.10", "soak2.example": "203.0.113.11"}
PAGE = os.sysconf("SC_PAGE_SIZE")
SETTLE = 30.0  # seconds for the last connections to be closed
ALLOWED_DRIFT = 2 << 20  # bytes over the whole run that an allocator may wander
ALLOWED_GROWTH = 1 << 20  # bytes in use
BAD = ("ResourceWarning", "Traceback", "was destroyed", "never retrieved", "never awaited", "bug in the proxy")


class Watch:
    """Samples of one process."""

    def __init__(self, pid: int, malloc: Path) -> None:
        self._proc = Path(f"/proc/{pid}")
        self._malloc = malloc
        self.memory: list[tuple[float, int]] = []
        self.in_use: list[int] = []
        """Bytes; empty if the C library does not tell."""

    def files(self) -> int:
        return len(os.listdir(self._proc / "fd"))

    def sample(self) -> int:
        size = int((self._proc / "statm").read_text().split()[1]) * PAGE
        self.memory.append((time.monotonic(), size))
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.in_use.append(int(self._malloc.read_text().split(maxsplit=1)[0]))
        return size

    def least_in_use(self) -> tuple[int, int]:
        """In the second and in the last fifth of the run: what connections had that were open has no part in it."""
        fifth = max(1, len(self.in_use) // 5)
        return min(self.in_use[fifth : 2 * fifth]), min(self.in_use[-fifth:])

    def drift(self) -> tuple[float, float]:
        """Bytes gained over the last four fifths by a straight line through them, and the noise about it."""
        late = self.memory[len(self.memory) // 5 :]
        line = statistics.linear_regression([at for at, _ in late], [float(size) for _, size in late])
        away = [size - (line.intercept + line.slope * at) for at, size in late]
        return line.slope * (late[-1][0] - late[0][0]), statistics.pstdev(away)


async def soak(seconds: float, kinds: Sequence[str], options: Sequence[str], directory: Path) -> list[str]:
    """What is wrong; empty: nothing."""
    ca, chain = make_certificates(directory, NAMES)
    origin = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "origin.py"), str(chain),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert origin.stdin is not None and origin.stdout is not None
    ports = json.loads(await origin.stdout.readline())
    maps = [f"{address}:443=127.0.0.1:{port}" for address, port in zip(NAMES.values(), ports, strict=True)]
    network = Network.parse(maps, [f"{name}={address}" for name, address in NAMES.items()])
    records: Counter[str] = Counter()

    def count(record: FlowRecord) -> None:
        records[f"{record.protocol} {'ok' if record.error is None else 'cut short'}"] += 1

    try:
        settings = SessionSettings(network=network, upstream_ca=(ca,), run_options=tuple(options))
        async with Session(settings, on_record=count) as session:
            proxy = await session.start_proxy()
            return await _run(session, proxy.process, [str(seconds), *kinds], directory, records)
    finally:
        origin.stdin.close()
        await origin.wait()


async def _run(
    session: Session, proxy: Process, arguments: Sequence[str], directory: Path, records: Counter[str]
) -> list[str]:
    watch = Watch(proxy.pid, directory / "malloc")
    with (directory / "load.json").open("w+b") as said:
        load = await session.machine.spawn(
            [sys.executable, "-P", str(HERE / "load.py"), *arguments],
            env=session.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        files = watch.files()  # it accepts by now, and the load's interpreter has yet to start
        ended = asyncio.ensure_future(load.wait())
        started = time.monotonic()
        while not ended.done():
            size = watch.sample()
            if len(watch.memory) % 60 == 1:
                in_use = f"  {min(watch.in_use[-60:]) / 1e6:6.2f} MB in use at least" if watch.in_use else ""
                passed = time.monotonic() - started
                print(f"{passed:6.0f} s  {size / 1e6:6.1f} MB{in_use}  {watch.files()} files", flush=True)
            await asyncio.wait([ended], timeout=1)
        said.seek(0)
        result = json.load(said)
    until = time.monotonic() + SETTLE
    # Another process's files tell nobody that they are closed.
    while watch.files() > files and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    left = watch.files()
    proxy.send_signal(signal.SIGTERM)
    status = await proxy.wait()
    drift, noise = watch.drift()
    print(f"done: {result['done']}\nrecords: {dict(records)}")
    print(f"memory: {drift / 1e6:+.2f} MB over the last four fifths, noise {noise / 1e6:.2f} MB")
    print(f"files: {files} before, {left} after")
    wrong = [f"a client failed {count} times: {what}" for what, count in result["failed"].items()]
    if drift > max(3 * noise, ALLOWED_DRIFT):
        wrong.append(f"memory grew by {drift / 1e6:.2f} MB")
    if len(watch.in_use) > 5:
        early, late = watch.least_in_use()
        print(f"in use at least: {early / 1e6:.2f} MB in the second fifth, {late / 1e6:.2f} MB in the last")
        if late - early > ALLOWED_GROWTH:
            wrong.append(f"{(late - early) / 1e6:.2f} MB more are in use")
    if left != files:
        wrong.append(f"{left - files} files are left open")
    if status:
        wrong.append(f"the proxy ended with status {status}")
    return wrong


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    options = [word for word in sys.argv[2:] if word.startswith("--")]
    kinds = [word for word in sys.argv[2:] if not word.startswith("--")]
    os.environ["PYTHONWARNINGS"] = "always::ResourceWarning"
    paths = [str(HERE / "inside"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    with tempfile.TemporaryDirectory(prefix="pointsman-soak-") as directory:
        os.environ["POINTSMAN_SOAK_MALLOC"] = str(Path(directory) / "malloc")
        complaints = Path(directory) / "stderr"
        ours = os.dup(2)
        os.dup2(os.open(complaints, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), 2)
        try:
            wrong = asyncio.run(soak(seconds, kinds, options, Path(directory)))
        finally:
            os.dup2(ours, 2)
            text = complaints.read_text()
            with contextlib.suppress(OSError):
                sys.stderr.write(text)
        wrong += [line for line in text.splitlines() if any(word in line for word in BAD)][:20]
    print("\n".join(wrong) if wrong else "nothing is left behind")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
