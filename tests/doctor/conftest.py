"""A healthy Windows machine with a driver that runs and a proxy that is registered; tests make one thing wrong."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from pointsman.authority.issue import Root
from pointsman.authority.root_store import load_or_create_root
from pointsman.doctor.canary import Canary
from pointsman.doctor.checks import CHECKS, PROGRAMS
from pointsman.doctor.examination import Result, examine
from pointsman.doctor.finding import Outcome
from pointsman.doctor.scene import Scene
from pointsman.errors import PointsmanError
from pointsman.operate.driver_control import SERVICE, DriverControl
from pointsman.operate.placement import read_driver
from pointsman.operate.proxy_service import SERVICE as PROXY_SERVICE
from pointsman.operate.proxy_service import ProxyService, ServiceSettings
from pointsman.system.host import InstalledFilter, Listener
from pointsman.system.services import DriverService, ServiceState, StartType
from pointsman.testing.host import FakeHost, FakeWfpObjects
from pointsman.testing.system import StatusDriver
from pointsman.trust.report import Answer
from pointsman.trust.report import Finding as ProgramFinding
from pointsman.wire import guids
from pointsman.wire.abi import Endpoints, Reason, RegistrationStatus, Verdict, filter_context

BUILT = Path(__file__).resolve().parents[2] / "build/driver/x64/pointsman.sys"
PROXY, CHILD = 4242, 999
V4, V6 = (IPv4Address("127.0.0.1"), 4433), (IPv6Address("::1"), 4434)


class Patient:
    def __init__(self, folder: Path) -> None:
        self.host = FakeHost(folder / "machine")
        self.driver = StatusDriver()
        self.ca_dir = folder / "ca"
        self.present = True
        self.verdicts: dict[tuple[str, int], tuple[Verdict, Reason] | None] = {
            ("tcp", 4): (Verdict.REDIRECT, Reason.REDIRECTED),
            ("tcp", 6): (Verdict.REDIRECT, Reason.REDIRECTED),
            ("udp", 4): (Verdict.BLOCK, Reason.BLOCKED_BY_RULE),
        }
        """By protocol and family: what the driver does with a canary; None: it does not see it."""
        self.errors: dict[tuple[str, int], str | None] = {("udp", 4): "[WinError 10013]"}
        self.upstream_dials = 1
        self.loops = False
        self._install(folder)

    def _install(self, folder: Path) -> None:
        services = self.host.service_manager
        services.install(DriverService("BFE", "svchost.exe", "Base Filtering Engine"))
        self.entry("BFE", state=ServiceState.RUNNING, start=StartType.AUTOMATIC, kernel_driver=False)
        control = DriverControl(self.host, self.open_driver)
        control.install(read_driver(BUILT))
        services.start(SERVICE)
        ProxyService(self.host, interpreter="python.exe", paths=[]).install(ServiceSettings(None, str(self.ca_dir)))
        services.start(PROXY_SERVICE)
        status = services.query(SERVICE)
        assert status is not None
        self.host.modules = ["\\??\\" + status.image.replace("/", "\\")]
        self.host.devices["Pointsman"] = r"\Device\Pointsman"
        self.host.processes[PROXY] = 77
        self.host.sockets = [Listener(*V4, PROXY), Listener(*V6, PROXY)]
        self.driver.registrations = [RegistrationStatus(3, PROXY, 77, 3000, 2500, Endpoints(V4, V6))]
        self.driver.active = 3
        load_or_create_root(self.ca_dir)
        self.trust(self.ca_dir)
        (self.host.program_data / "Pointsman").mkdir(parents=True, exist_ok=True)
        self.programs: list[ProgramFinding] | OSError = [ProgramFinding("curl", "/curl", Answer.TRUSTS, "", "")]
        self.clock = timedelta()
        wfp = self.host.wfp
        assert isinstance(wfp, FakeWfpObjects)
        wfp.installed = [
            InstalledFilter(
                f"rule {number}", item.layer, guids.SUBLAYER, guids.PROVIDER, item.key,
                filter_context(3, Verdict.REDIRECT, number), True,
            )
            for number, item in enumerate(wfp.present)
        ]  # fmt: skip

    def trust(self, ca_dir: Path) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        root = x509.load_pem_x509_certificate((ca_dir / "root.pem").read_bytes())
        self.thumbprint = root.fingerprint(hashes.SHA1()).hex().upper()
        store = rf"SOFTWARE\Microsoft\SystemCertificates\ROOT\Certificates\{self.thumbprint}"
        self.host.set_value(store, "Blob", b"certificate")

    def entry(self, name: str, **changes: object) -> None:
        entry = self.host.service_manager.entries[name]
        entry.status = replace(entry.status, **changes)  # type: ignore[arg-type]  # by name, for the tests' brevity

    def open_driver(self) -> StatusDriver:
        if not self.present:
            raise PointsmanError("no driver", code="PM201", seen="no such device", effect="none", do="start it")
        return self.driver

    def child(self, arguments: list[str]) -> str:
        """Plays the canary: the driver writes its event, the counters move."""
        kind, address = arguments[0], arguments[1]
        family = 6 if ":" in address else 4
        decided = self.verdicts[kind, family]
        if decided is not None:
            self._event(CHILD, *decided, 6 if kind == "tcp" else 17)
            self.driver.counters[decided[1]] += 1
        if kind == "tcp":
            self.driver.counters[Reason.OWN_PROCESS] += self.upstream_dials
        if self.loops:
            self._event(PROXY, Verdict.REDIRECT, Reason.REDIRECTED, 6)
        return json.dumps({"pid": CHILD, "error": self.errors.get((kind, family)), "errno": 0})

    def _event(self, pid: int, verdict: Verdict, reason: Reason, protocol: int) -> None:
        number = len(self.driver.events)
        self.driver.events.append(
            struct.pack(
                "<QQIIIIQIIBBHHH16sIIH6x416s8x", number, 0, 1, verdict, reason, pid, 0, 3, 1, 4, protocol, 80, 0, 0,
                bytes(16), 0, 0, 0, b"",
            )
        )  # fmt: skip

    def scene(self) -> Scene:
        return Scene(
            self.host, self.open_driver, self.ca_dir, Canary(self.open_driver, self.child),
            ask_programs=self.ask_programs, now=lambda: datetime.now(UTC) + self.clock,
        )  # fmt: skip

    def ask_programs(self, root: Root) -> list[ProgramFinding]:
        assert root.certificate.subject
        if isinstance(self.programs, OSError):
            raise self.programs
        return self.programs

    def examine(self) -> dict[str, Result]:
        return {result.check.id: result for result in examine([*CHECKS, PROGRAMS], self.scene())}

    def outcome(self, check: str) -> Outcome:
        return self.examine()[check].finding.outcome


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    if not BUILT.exists():
        pytest.skip("`make driver` has not been run")
    return Patient(tmp_path)
