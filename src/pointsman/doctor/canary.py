"""A connection made by another process than the proxy, and what the driver says it did with it.

The destinations are documentation addresses (RFC 5737, RFC 3849), which nobody answers: who connects to one has been
led to the proxy.  The driver's events name the child's process, the verdict and the registration, so nothing is
guessed from timing.  The child is a few lines of Python in a process of its own, since the proxy's own are let pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from pointsman.system.interface import Driver
from pointsman.wire import abi

TARGET_V4 = IPv4Address("192.0.2.80")
TARGET_V6 = IPv6Address("2001:db8::80")
TCP, UDP = 6, 17
PATIENCE = 5.0  # seconds for a connect() that must be answered on loopback
LIFETIME = 30.0  # seconds of the whole child
MAX_BATCHES = 64
CHILD = """
import json, os, socket, sys
kind, address, port, patience = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
told = {"pid": os.getpid(), "error": None, "errno": 0}
try:
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as asked:
        asked.settimeout(patience)
        asked.connect((address, port))
        asked.send(b"pointsman doctor\\r\\n\\r\\n")
        asked.settimeout(0.5)  # the proxy dials meanwhile; it need not get through
        if kind == "tcp":
            try:
                asked.recv(1)
            except OSError:
                pass  # whoever answered the connect owes us no reply
except OSError as error:
    told.update(error=str(error), errno=error.errno or 0)
print(json.dumps(told))
"""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One probe: what the child saw, and what the driver said."""

    pid: int
    error: str | None
    """Of connect(); None if somebody answered."""
    flows: tuple[abi.Event, ...]
    """The driver's events about the child's connections."""
    others: tuple[abi.Event, ...]
    """And about everybody else's, meanwhile."""
    before: abi.Status
    after: abi.Status

    def verdict(self) -> abi.Verdict | None:
        """Of the last layer that said something; None if no filter of ours saw the connection."""
        return self.flows[-1].verdict if self.flows else None

    def grown(self, counter: int) -> int:
        return self.after.counters[counter] - self.before.counters[counter]


class Canary:
    def __init__(self, open_driver: Callable[[], Driver], child: Callable[[list[str]], str] | None = None) -> None:
        """`child`: runs the script with its arguments and gives its output (tests)."""
        self._open_driver = open_driver
        self._child = child or _run_child

    def send(self, protocol: int, address: IPv4Address | IPv6Address, port: int) -> Sighting:
        """Raises PointsmanError, DriverError (no driver), OSError (no child)."""
        driver = self._open_driver()
        try:
            before = _status(driver)
            kind = "udp" if protocol == UDP else "tcp"
            told = json.loads(self._child([kind, str(address), str(port), str(PATIENCE)]))
            events = _events_since(driver, before.events_written)
            after = _status(driver)
        finally:
            driver.close()
        flows = [event for event in events if event.kind == abi.EventKind.FLOW]
        mine = tuple(event for event in flows if event.pid == told["pid"] and event.protocol == protocol)
        others = tuple(event for event in flows if event.pid != told["pid"])
        return Sighting(told["pid"], told["error"], mine, others, before, after)


def _run_child(arguments: list[str]) -> str:
    try:
        return subprocess.run(
            [sys.executable, "-I", "-c", CHILD, *arguments],
            capture_output=True, text=True, check=True, timeout=LIFETIME, stdin=subprocess.DEVNULL,
        ).stdout  # fmt: skip
    except subprocess.SubprocessError as error:
        raise OSError(f"the probe did not run: {error}") from error


def _status(driver: Driver) -> abi.Status:
    return abi.decode_status(driver.control(abi.Ioctl.STATUS, b"", abi.STATUS_SIZE))


def _events_since(driver: Driver, sequence: int) -> list[abi.Event]:
    events: list[abi.Event] = []
    for _ in range(MAX_BATCHES):
        reply = driver.control(abi.Ioctl.READ_EVENTS, abi.events_request(sequence), abi.EVENTS_SIZE)
        batch = abi.decode_events(reply)
        events += batch.events
        sequence = batch.next_sequence
        if len(batch.events) < abi.EVENT_BATCH:
            break
    return events
