"""The lab's kernel: every question to the driver on simwfp goes through here, one at a time.

It knows processes, connections and what became of them; it knows nothing of seccomp or of how a socket is connected.
One thread asks and remembers, so a proxy that asks about a connection it has just accepted is always answered after the
connect that made it was recorded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pointsman.lab.flows import KernelFlow, one_flow
from pointsman.lab.processes import KnownProcess, Processes
from pointsman.lab.simulator import ConnectOutcome, ConnectRequest, Simulator
from pointsman.lab.sockaddr import Endpoint, unmapped
from pointsman.wire.abi import EVENT_BATCH, EVENTS_SIZE, Event, Ioctl, decode_events, events_request
from pointsman.wire.filters import InstalledFilter, NativeFilter

MAX_FLOWS = 4096
MAX_RECORDS = 4096
MAX_EVENT_READS = 64
"""Batches a connect may take from the ring: more than it holds."""


class Kernel:
    def __init__(
        self,
        simulator: Simulator,
        *,
        on_flow: Callable[[KernelFlow], None] | None = None,
        on_exit: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        self.simulator = simulator
        self.processes = Processes(simulator, on_exit)
        self._on_flow = on_flow
        self._flows: dict[tuple[Endpoint, Endpoint], int] = {}
        self._records: dict[int, int] = {}
        self._next_event = 0
        self._persistent: list[InstalledFilter] = []
        self.processes.of_pid(os.getpid())
        self._device = simulator.open_device(os.getpid())

    def classify(
        self, process: KnownProcess, *, protocol: int, local: Endpoint, remote: Endpoint, inode: int
    ) -> ConnectOutcome:
        """Ask the driver about one connect(); `inode` names the socket."""
        outcome = self.simulator.connect(
            ConnectRequest(
                pid=process.pid,
                app_id=process.app_id,
                protocol=protocol,
                local=local,
                remote=remote,
                endpoint=inode,
                records=self._records.pop(inode, 0),
            )
        )
        if self._on_flow is not None:
            flow = one_flow(self._new_events())
            if flow is not None:
                self._on_flow(flow)
        return outcome

    def remember(self, local: Endpoint, proxy: Endpoint, flow: int) -> None:
        """A redirected connection exists: `local` is how the proxy will see its peer."""
        key = (unmapped(local), unmapped(proxy))
        old = self._flows.pop(key, None)
        if old is None and len(self._flows) >= MAX_FLOWS:
            old = self._flows.pop(next(iter(self._flows)))
        if old is not None:
            self.simulator.close_flow(old)
        self._flows[key] = flow

    def flow_of(self, peer: Endpoint, local: Endpoint) -> int:
        """The flow of a connection that a proxy accepted; 0 if nobody redirected it."""
        return self._flows.get((unmapped(peer), unmapped(local)), 0)

    def redirect_context(self, peer: Endpoint, local: Endpoint) -> bytes | None:
        flow = self.flow_of(peer, local)
        return self.simulator.redirect_context(flow) if flow else None

    def apply_records(self, inode: int, flow: int) -> None:
        """The socket `inode` carries the connection of `flow` on; its next connect() says so to WFP."""
        if len(self._records) >= MAX_RECORDS:
            del self._records[next(iter(self._records))]
        self._records[inode] = flow

    def replace_persistent(self, pid: int, filters: Sequence[NativeFilter]) -> None:
        """Raises DriverError, and then nothing has changed."""
        self.simulator.replace_persistent_filters(pid, len(self._persistent), filters)
        self._persistent = [InstalledFilter(one.name, one.layer, one.blocks) for one in filters]

    @property
    def persistent(self) -> list[InstalledFilter]:
        """The simulator keeps no names: who installs remembers them here, for as long as this machine is on."""
        return list(self._persistent)

    def close(self) -> None:
        for flow in self._flows.values():
            self.simulator.close_flow(flow)
        self._flows.clear()
        self.simulator.close_device(self._device)
        self.processes.close()

    def _new_events(self) -> list[Event]:
        events: list[Event] = []
        for _ in range(MAX_EVENT_READS):
            status, data = self.simulator.control(
                self._device, os.getpid(), Ioctl.READ_EVENTS, events_request(self._next_event), EVENTS_SIZE
            )
            if status:
                return events  # an old driver without the ring: connections go on, nothing is printed
            batch = decode_events(data)
            events += batch.events
            self._next_event = batch.next_sequence
            if len(batch.events) < EVENT_BATCH:
                break
        return events
