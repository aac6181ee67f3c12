"""The real driver on simwfp, with a proxy registered, asked about one connection after the other."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from pointsman.lab.simulator import ConnectRequest, Knobs, Simulator
from pointsman.policy.match import Connection
from pointsman.policy.situation import Situation, Whose
from pointsman.policy.tables import Address
from pointsman.system.program_path import program_path
from pointsman.testing.system import FakeSystem
from pointsman.wire.abi import REGISTERED_SIZE, Endpoints, Ioctl, Verdict, decode_registered, register_request
from pointsman.wire.filters import Filter
from pointsman.wire.redirect_context import decode_redirect_context

PROXY, APP, SYSTEM = 4000, 5000, 4
IS_RAW_ENDPOINT = 0x10
PROXY_V4 = (IPv4Address("127.0.0.1"), 3128)
PROXY_V6 = (IPv6Address("::1"), 3128)
_ANY: dict[int, Address] = {4: IPv4Address(0), 6: IPv6Address(0)}
_BOUND: dict[int, Address] = {4: IPv4Address("192.0.2.77"), 6: IPv6Address("2001:db8:77::1")}


def app_id(path: str) -> bytes:
    return (path.lower().replace("/", "\\") + "\0").encode("utf-16-le")


class OneProcess(FakeSystem):
    """A system on which the program at `path` runs as whatever process is asked for."""

    def __init__(self, path: str | None) -> None:
        super().__init__()
        if path is not None:
            self.processes.images = dict.fromkeys((PROXY, APP, SYSTEM), path)

    def app_id(self, path: str) -> bytes:
        return app_id(path)

    def image_path(self, app_id: bytes) -> str:
        return app_id.decode("utf-16-le").rstrip("\0").replace("\\", "/")


@dataclass
class Driver:
    """Context manager: a booted kernel under the given knobs."""

    knobs: Knobs
    _filters: list[int] = field(default_factory=list)
    _endpoint: int = 0
    program: str | None = None
    """As the proxy sees it: of the connection that was redirected last."""

    def __enter__(self) -> Driver:
        self.simulator = Simulator(knobs=self.knobs)
        for pid in (SYSTEM, PROXY, APP):
            self.simulator.process_started(pid, parent=1, start=pid, image="\\device\\x")
        self._device = self.simulator.open_device(PROXY)
        endpoints = Endpoints(PROXY_V4, PROXY_V6)
        request = register_request(endpoints, lease_ms=60_000)
        status, reply = self.simulator.control(self._device, PROXY, Ioctl.REGISTER, request, REGISTERED_SIZE)
        assert status == 0, hex(status)
        self.registration = decode_registered(reply).registration
        self._engine = self.simulator.open_engine(PROXY)
        return self

    def __exit__(self, *_: object) -> None:
        self.simulator.close_engine(self._engine)
        self.simulator.close_device(self._device)
        for pid in (SYSTEM, PROXY, APP):
            self.simulator.process_exited(pid)
        self.simulator.close()

    def load(self, filters: list[Filter]) -> None:
        self._filters = self.simulator.replace_filters(self._engine, self._filters, filters)

    def verdict(self, connection: Connection, situation: Situation) -> Verdict:
        """What becomes of one connect() or first datagram."""
        self._endpoint += 1
        version = connection.address.version
        outcome = self.simulator.connect(
            ConnectRequest(
                pid={Whose.PROXY: PROXY, Whose.SYSTEM: SYSTEM}.get(situation.whose, APP),
                app_id=app_id(connection.app) if connection.app else b"",
                protocol=connection.protocol.value,
                local=((_BOUND if situation.bound_locally else _ANY)[version], 0),
                remote=(connection.address, connection.port),
                endpoint=self._endpoint,
                names_process=situation.whose is not Whose.NOBODY,
                flags=IS_RAW_ENDPOINT if situation.raw_endpoint else 0,
                compartment=2 if situation.other_compartment else 1,
            )
        )
        if outcome.flow:
            context = self.simulator.redirect_context(outcome.flow)
            assert context is not None
            self.program = program_path(OneProcess(connection.app), decode_redirect_context(context))
            self.simulator.close_flow(outcome.flow)
        if outcome.blocked:
            return Verdict.BLOCK
        if outcome.remote == (connection.address, connection.port):
            return Verdict.PASS
        assert outcome.remote[1] == 3128, outcome
        return Verdict.REDIRECT


def seeds() -> list[int]:
    """What the fast loop starts from: fixed ones, and those in POINTSMAN_POLICY_SEEDS (comma-separated)."""
    extra = [int(seed) for seed in os.environ.get("POINTSMAN_POLICY_SEEDS", "").split(",") if seed]
    return [1, 2, 3, 4, 5, 6, 7, 8, 9, *extra]
