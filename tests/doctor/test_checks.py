"""Every check: a healthy machine is healthy, and each fault is found by the check that is there for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding

from pointsman.authority.issue import ROOT_LIFETIME, issue_root
from pointsman.doctor.checks import CHECKS, PROGRAMS
from pointsman.doctor.checks.integrity_log import CODE_INTEGRITY
from pointsman.doctor.checks.quarantine import DEFENDER
from pointsman.doctor.examination import Check, Need, examine
from pointsman.doctor.finding import Finding, Outcome
from pointsman.doctor.scene import Scene
from pointsman.operate.driver_control import SERVICE
from pointsman.operate.proxy_service import SERVICE as PROXY_SERVICE
from pointsman.operate.signing import CERT_E_UNTRUSTEDROOT, TRUST_E_NOSIGNATURE
from pointsman.system.host import Callout, ChainVerdict, CodeIntegrity, Listener, LogEvent, Sublayer, WindowsBuild
from pointsman.system.services import ServiceState, StartType
from pointsman.testing.host import FakeWfpObjects
from pointsman.trust.report import Answer
from pointsman.trust.report import Finding as ProgramFinding
from pointsman.wire import guids
from pointsman.wire.abi import Reason, RegistrationStatus, State, Verdict, filter_context

from .conftest import PROXY, V4, V6, Patient

OK, WARN, FAIL, SKIPPED = Outcome.OK, Outcome.WARN, Outcome.FAIL, Outcome.SKIPPED
CONTROL = r"SYSTEM\CurrentControlSet\Control"
TCPIP = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters"
INTERNET = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings"


def test_a_healthy_machine(patient: Patient) -> None:
    found = {id_: result.finding.outcome for id_, result in patient.examine().items()}

    assert len(found) == len(CHECKS) + 1
    assert {id_ for id_, outcome in found.items() if outcome is not OK} == {"W8"}, found
    assert found["W8"] is SKIPPED  # the driver runs: nothing of it is stale


def driver_stopped(patient: Patient, code: int = 0) -> None:
    patient.entry(SERVICE, state=ServiceState.STOPPED, exit_code=code)
    patient.present = False
    patient.host.devices.clear()


def image_of(patient: Patient) -> Path:
    return Path(patient.host.service_manager.entries[SERVICE].status.image)


def change_image(patient: Patient) -> None:
    image_of(patient).write_bytes(image_of(patient).read_bytes() + bytes(8))


def dump(patient: Patient) -> None:
    folder = patient.host.system_root / "Minidump"
    folder.mkdir(parents=True)
    (folder / "a.dmp").write_bytes(b"")
    later = image_of(patient).stat().st_mtime + 60
    os.utime(folder / "a.dmp", (later, later))


def without(patient: Patient, what: str) -> None:
    wfp = patient.host.wfp
    assert isinstance(wfp, FakeWfpObjects)
    match what:
        case "provider":
            wfp.providers.clear()
        case "sublayer":
            wfp.sublayer_keys.clear()
        case "callout":
            del wfp.present[0]
        case "function":
            wfp.present[1] = replace(wfp.present[1], registered=False)


def redirector(patient: Patient, layer: object = guids.LAYER_CONNECT_REDIRECT_V4) -> None:
    assert isinstance(patient.host.wfp, FakeWfpObjects)
    assert layer in (guids.LAYER_CONNECT_REDIRECT_V4, guids.LAYER_AUTH_CONNECT_V4)
    key = guids.CONDITION_FLAGS  # any GUID that is not ours
    where = guids.LAYER_AUTH_CONNECT_V4 if layer == guids.LAYER_AUTH_CONNECT_V4 else guids.LAYER_CONNECT_REDIRECT_V4
    patient.host.wfp.present.append(Callout(key, "Shield redirect", where, None, True))


def registered(patient: Patient, **changes: object) -> None:
    (entry,) = patient.driver.registrations
    patient.driver.registrations = [replace(entry, **changes)]  # type: ignore[arg-type]  # by name, for brevity


def integrity(patient: Patient, value: CodeIntegrity | None) -> None:
    patient.host.integrity = value


def register_nobody(patient: Patient) -> None:
    patient.driver.registrations, patient.driver.active = [], 0


def both(*spoils: Callable[[Patient], object]) -> Callable[[Patient], None]:
    def spoil(patient: Patient) -> None:
        for each in spoils:
            each(patient)

    return spoil


def system_proxy(patient: Patient, server: str) -> None:
    patient.host.set_value(INTERNET, "ProxyEnable", 1)
    patient.host.set_value(INTERNET, "ProxyServer", server)


def logged(
    channel: str, number: int, text: str = "\\\\SystemRoot\\\\drivers\\\\Pointsman.sys"
) -> Callable[[Patient], None]:
    def spoil(patient: Patient) -> None:
        patient.host.logs[channel] = [LogEvent(number, "2026-01-02T03:04:05Z", text)]

    return spoil


def closed(channel: str) -> Callable[[Patient], None]:
    def spoil(patient: Patient) -> None:
        patient.host.logs[channel] = OSError(5, "denied")

    return spoil


def wfp_of(patient: Patient) -> FakeWfpObjects:
    assert isinstance(patient.host.wfp, FakeWfpObjects)
    return patient.host.wfp


def filters(**changes: object) -> Callable[[Patient], None]:
    def spoil(patient: Patient) -> None:
        wfp = wfp_of(patient)
        wfp.installed[0] = replace(wfp.installed[0], **changes)  # type: ignore[arg-type]  # by name, for brevity

    return spoil


def asked_first(patient: Patient) -> None:
    wfp = wfp_of(patient)
    wfp.other_sublayers = [Sublayer(guids.CONDITION_FLAGS, "Shield", 0xFFFF)]
    wfp.installed.append(replace(wfp.installed[0], provider=None, sublayer=guids.CONDITION_FLAGS))


def no_wfp(patient: Patient) -> None:
    patient.host.wfp = OSError(5, "denied")


def refusing(patient: Patient) -> None:
    patient.programs = [ProgramFinding("node", "/node", Answer.REFUSES, "", "NODE_EXTRA_CA_CERTS=FILE")]


def leave_no_root(patient: Patient) -> None:
    for name in ("root.pem", "root-key.pem"):
        (patient.ca_dir / name).unlink()


CASES: list[tuple[str, Outcome, Callable[[Patient], object]]] = [
    ("P1", FAIL, lambda p: setattr(p.host, "windows", WindowsBuild(10, 0, 17134, server=False))),
    ("P2", FAIL, lambda p: setattr(p.host, "native_machine", 0xAA64)),
    ("P3", WARN, lambda p: setattr(p.host, "elevated", False)),
    ("P4", WARN, lambda p: p.host.set_value(CONTROL + r"\Session Manager", "PendingFileRenameOperations",
                                            (r"\??\C:\Program Files\Pointsman\driver\a\pointsman.sys",))),
    ("P5", WARN, dump),
    ("S1", SKIPPED, lambda p: setattr(p.host, "secure", None)),
    ("S1", OK, lambda p: setattr(p.host, "secure", True)),
    ("S2", WARN, lambda p: integrity(p, CodeIntegrity.ENABLED | CodeIntegrity.TEST_SIGNING)),
    ("S2", SKIPPED, lambda p: integrity(p, None)),
    ("S3", WARN, lambda p: integrity(p, CodeIntegrity(0))),
    ("S3", SKIPPED, lambda p: integrity(p, None)),
    ("S4", OK, lambda p: integrity(p, CodeIntegrity.ENABLED | CodeIntegrity.MEMORY_INTEGRITY)),
    ("S4", SKIPPED, lambda p: integrity(p, None)),
    ("S5", SKIPPED, lambda p: integrity(p, None)),
    ("S6", OK, lambda p: p.host.set_value(CONTROL + r"\CI\Config", "VulnerableDriverBlocklistEnable", 1)),
    ("D1", FAIL, lambda p: image_of(p).unlink()),
    ("D1", SKIPPED, lambda p: p.host.service_manager.entries.pop(SERVICE)),
    ("D2", FAIL, change_image),
    ("D2", SKIPPED, lambda p: image_of(p).unlink()),
    ("D3", WARN, lambda p: p.host.signatures.update({"pointsman.sys": TRUST_E_NOSIGNATURE})),
    ("D3", FAIL, both(lambda p: p.host.signatures.update({"pointsman.sys": CERT_E_UNTRUSTEDROOT}), driver_stopped)),
    ("D3", WARN, both(lambda p: setattr(p.host, "windows", WindowsBuild(10, 0, 26100, server=True)), driver_stopped)),
    ("D5", FAIL, lambda p: p.host.service_manager.entries.pop(SERVICE)),
    ("D5", FAIL, lambda p: p.entry(SERVICE, start=StartType.DISABLED)),
    ("D5", FAIL, lambda p: p.entry(SERVICE, kernel_driver=False)),
    ("D5", WARN, lambda p: p.entry(SERVICE, start=StartType.BOOT)),
    ("D6", WARN, lambda p: p.host.set_value(r"SYSTEM\CurrentControlSet\Services\pointsman", "DeleteFlag", 1)),
    ("D7", FAIL, driver_stopped),
    ("D7", FAIL, lambda p: driver_stopped(p, 577)),
    ("D7", FAIL, lambda p: p.entry(SERVICE, state=ServiceState.STOP_PENDING)),
    ("D7", SKIPPED, lambda p: p.host.service_manager.entries.pop(SERVICE)),
    ("D8", WARN, lambda p: setattr(p.host, "modules", [r"\??\C:\elsewhere\pointsman.sys"])),
    ("D8", SKIPPED, lambda p: setattr(p.host, "modules", None)),
    ("D8", SKIPPED, lambda p: setattr(p.host, "modules", [r"\SystemRoot\system32\ntoskrnl.exe"])),
    ("D9", FAIL, lambda p: p.host.devices.clear()),
    ("D9", FAIL, lambda p: p.host.devices.update({"Pointsman": r"\Device\Other"})),
    ("D9", SKIPPED, driver_stopped),
    ("D10", FAIL, lambda p: setattr(p, "present", False)),
    ("D10", FAIL, lambda p: setattr(p.driver, "abi", 2)),
    ("D11", FAIL, lambda p: setattr(p.driver, "state", State.CALLOUTS | State.OBJECTS | State.REDIRECT_HANDLE)),
    ("D11", SKIPPED, driver_stopped),
    ("D12", WARN, lambda p: setattr(p.driver, "version", 2 << 16)),
    ("D12", SKIPPED, driver_stopped),
    ("W1", FAIL, lambda p: p.entry("BFE", state=ServiceState.STOPPED)),
    ("W1", WARN, lambda p: p.entry("BFE", start=StartType.DEMAND)),
    ("W1", FAIL, lambda p: p.host.service_manager.entries.pop("BFE")),
    ("W2", FAIL, lambda p: setattr(p.host, "wfp", OSError(1753, "no endpoint"))),
    ("W3", FAIL, lambda p: without(p, "provider")),
    ("W3", FAIL, lambda p: without(p, "sublayer")),
    ("W3", SKIPPED, driver_stopped),
    ("W3", SKIPPED, lambda p: setattr(p.host, "wfp", OSError(5, "denied"))),
    ("W4", FAIL, lambda p: without(p, "callout")),
    ("W4", FAIL, lambda p: without(p, "function")),
    ("W4", SKIPPED, lambda p: setattr(p.host, "wfp", OSError(5, "denied"))),
    ("W8", FAIL, driver_stopped),
    ("W8", OK, both(driver_stopped, lambda p: without(p, "provider"))),
    ("R1", FAIL, register_nobody),
    ("R1", FAIL, lambda p: setattr(p.driver, "active", 0)),
    ("R1", FAIL, lambda p: p.host.processes.update({PROXY: 78})),
    ("R1", WARN, lambda p: p.driver.registrations.insert(
        0, RegistrationStatus(4, 5, 0, 3000, 0, p.driver.registrations[0].endpoints))),
    ("R1", SKIPPED, driver_stopped),
    ("R2", WARN, lambda p: registered(p, lease_left_ms=100)),
    ("R2", SKIPPED, register_nobody),
    ("R4", FAIL, lambda p: setattr(p.host, "sockets", [Listener(*V4, PROXY)])),
    ("R4", FAIL, lambda p: setattr(p.host, "sockets", [Listener(*V4, 1), Listener(*V6, PROXY)])),
    ("R4", SKIPPED, lambda p: setattr(p.host, "sockets", None)),
    ("R4", SKIPPED, lambda p: setattr(p.host, "sockets", [Listener(*V4, 0), Listener(*V6, 0)])),
    ("R4", SKIPPED, register_nobody),
    ("T1", WARN, lambda p: p.host.values.clear()),
    ("T1", FAIL, lambda p: p.host.set_value(
        rf"SOFTWARE\Microsoft\SystemCertificates\Disallowed\Certificates\{p.thumbprint}", "Blob", b"x")),
    ("T1", SKIPPED, lambda p: (p.ca_dir / "root.pem").unlink()),
    ("T2", SKIPPED, lambda p: (p.ca_dir / "root.pem").write_text("junk")),
    ("T4", FAIL, lambda p: (p.ca_dir / "root-key.pem").chmod(0o644)),
    ("T4", SKIPPED, lambda p: (p.ca_dir / "root-key.pem").unlink()),
    ("W7", WARN, lambda p: setattr(p.host.service_manager, "other_drivers", ("WinDivert", "null"))),
    ("W7", OK, lambda p: setattr(p.host.service_manager, "other_drivers", ("wintun",))),
    ("W7c", WARN, redirector),
    ("W7c", OK, lambda p: redirector(p, guids.LAYER_AUTH_CONNECT_V4)),
    ("W7c", SKIPPED, lambda p: setattr(p.host, "wfp", OSError(5, "denied"))),
    ("N1", WARN, lambda p: system_proxy(p, "127.0.0.1:4433")),
    ("N1", OK, lambda p: system_proxy(p, "proxy.example:8080")),
    ("N2", WARN, lambda p: p.host.set_value(TCPIP, "MaxUserPort", 5000)),
    ("L1", WARN, lambda p: p.entry(PROXY_SERVICE, state=ServiceState.STOPPED)),
    ("L1", FAIL, lambda p: p.entry(PROXY_SERVICE, state=ServiceState.STOPPED, exit_code=1066)),
    ("L1", FAIL, lambda p: p.entry(PROXY_SERVICE, pid=1)),
    ("L1", SKIPPED, lambda p: p.host.service_manager.entries.pop(PROXY_SERVICE)),
    ("L3", SKIPPED, lambda p: (p.host.program_data / "Pointsman").rmdir()),
    ("R5", FAIL, lambda p: p.verdicts.update({("tcp", 4): (Verdict.PASS, Reason.LEASE_OVER)})),
    ("R5", OK, lambda p: p.verdicts.update({("tcp", 4): (Verdict.PASS, Reason.PASSED_BY_RULE)})),
    ("R5", OK, lambda p: p.verdicts.update({("tcp", 4): (Verdict.BLOCK, Reason.BLOCKED_BY_RULE)})),
    ("R5", WARN, lambda p: p.verdicts.update({("tcp", 4): None})),
    ("R5", FAIL, lambda p: p.errors.update({("tcp", 4): "refused"})),
    ("R5", SKIPPED, register_nobody),
    ("R5", SKIPPED, driver_stopped),
    ("R5b", FAIL, lambda p: p.verdicts.update({("tcp", 6): (Verdict.PASS, Reason.NO_ENDPOINT)})),
    ("R5b", SKIPPED, lambda p: (p.verdicts.update({("tcp", 6): None}), p.errors.update({("tcp", 6): "unreachable"}))),
    ("R5c", FAIL, lambda p: p.errors.clear()),
    ("R5c", SKIPPED, lambda p: p.verdicts.update({("udp", 4): (Verdict.PASS, Reason.PASSED_BY_RULE)})),
    ("S7", FAIL, both(logged(CODE_INTEGRITY, 3077), lambda p: driver_stopped(p, 577))),
    ("S7", WARN, both(logged(CODE_INTEGRITY, 3076), driver_stopped)),
    ("S7", OK, logged(CODE_INTEGRITY, 3077)),
    ("S7", OK, both(logged(CODE_INTEGRITY, 3077, "other.sys"), driver_stopped)),
    ("S7", SKIPPED, closed(CODE_INTEGRITY)),
    ("S8", FAIL, both(logged(DEFENDER, 1117), lambda p: image_of(p).unlink())),
    ("S8", WARN, logged(DEFENDER, 1116)),
    ("S8", SKIPPED, closed(DEFENDER)),
    ("L2", WARN, logged("System", 7034, "PointsmanProxy 1")),
    ("L2", WARN, both(logged("System", 7000, "pointsman 577"), lambda p: p.host.service_manager.entries.pop(
        PROXY_SERVICE))),
    ("L2", OK, logged("System", 7034, "Spooler 1")),
    ("L2", SKIPPED, closed("System")),
    ("W5", FAIL, filters(permits_without_callout=False)),
    ("W5", FAIL, filters(callout=None)),
    ("W5", WARN, filters(context=filter_context(2, Verdict.REDIRECT, 1))),
    ("W5", WARN, lambda p: wfp_of(p).installed.clear()),
    ("W5", OK, both(register_nobody, lambda p: wfp_of(p).installed.clear())),
    ("W5", SKIPPED, no_wfp),
    ("W5", SKIPPED, driver_stopped),
    ("W6", OK, asked_first),
    ("W6", SKIPPED, no_wfp),
    ("W9", WARN, lambda p: setattr(wfp_of(p), "net_events", False)),
    ("W9", SKIPPED, no_wfp),
    ("T3", WARN, lambda p: setattr(p.host, "chain_verdict", ChainVerdict(CERT_E_UNTRUSTEDROOT, 0x20))),
    ("T3", WARN, lambda p: setattr(p.host, "chain_verdict", ChainVerdict(0x800B_010A, 0x10000))),
    ("T3", FAIL, lambda p: setattr(p.host, "chain_verdict", ChainVerdict(CERT_E_UNTRUSTEDROOT, 0x400_0020))),
    ("T3", FAIL, lambda p: setattr(p.host, "chain_verdict", ChainVerdict(0x800B_0101, 1))),
    ("T3", SKIPPED, lambda p: setattr(p.host, "chain_verdict", OSError(5, "denied"))),
    ("T3", SKIPPED, leave_no_root),
    ("T3", SKIPPED, lambda p: (p.ca_dir / "root-key.pem").write_text("junk")),
    ("T5", WARN, refusing),
    ("T5", OK, lambda p: setattr(p, "programs", [])),
    ("T5", SKIPPED, lambda p: setattr(p, "programs", OSError(98, "in use"))),
    ("T5", SKIPPED, leave_no_root),
    ("N3", FAIL, lambda p: setattr(p, "clock", timedelta(days=-30))),
    ("N3", FAIL, lambda p: setattr(p, "clock", ROOT_LIFETIME + timedelta(days=2))),
    ("N3", WARN, lambda p: setattr(p, "clock", timedelta(minutes=-10))),
    ("N3", SKIPPED, leave_no_root),
    ("R6", FAIL, lambda p: setattr(p, "loops", True)),
    ("R6", SKIPPED, lambda p: setattr(p, "upstream_dials", 0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("id_", "outcome", "spoil"), CASES, ids=[f"{case[0]}-{case[1]}-{n}" for n, case in enumerate(CASES)]
)
def test_one_thing_wrong(patient: Patient, id_: str, outcome: Outcome, spoil: Callable[[Patient], object]) -> None:
    spoil(patient)

    results = patient.examine()

    finding = results[id_].finding
    assert finding.outcome is outcome, finding
    assert "broke" not in finding.seen
    if outcome in (WARN, FAIL):
        assert finding.effect and len(finding.do) > 8
        assert len(results[id_].lines()) == 3
    broken = [result for result in results.values() if "the check itself broke" in result.finding.seen]
    assert not broken, broken


def test_whoever_is_asked_before_us_is_named(patient: Patient) -> None:
    asked_first(patient)

    assert "Shield (1 filters)" in patient.examine()["W6"].finding.seen


def test_the_log_is_asked_for_our_numbers_of_one_day(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def heard(channel: str, query: str) -> list[LogEvent]:
        asked.append((channel, query))
        return []

    monkeypatch.setattr(patient.host, "log_events", heard)

    patient.examine()

    assert [channel for channel, _ in asked] == [CODE_INTEGRITY, DEFENDER, "System"]
    assert "EventID=3077" in asked[0][1] and "<= 86400000" in asked[0][1]
    assert "Provider[@Name='Service Control Manager']" in asked[2][1]


def test_every_check_has_a_case_besides_health() -> None:
    always_told = {"D4"}  # its facts have a test of their own (tests/operate/test_image.py)
    assert {check.id for check in (*CHECKS, PROGRAMS)} - {id_ for id_, _, _ in CASES} == always_told


@pytest.mark.parametrize(
    ("age", "outcome"),
    [
        (timedelta(days=-2), FAIL), (timedelta(days=1), OK), (ROOT_LIFETIME - timedelta(days=20), WARN),
        (ROOT_LIFETIME + timedelta(days=2), FAIL),
    ],
)  # fmt: skip
def test_a_root_and_a_clock_that_do_not_agree(patient: Patient, age: timedelta, outcome: Outcome) -> None:
    """What a clock that jumps does: the root is as old as the clock says."""
    issued = issue_root(generate_private_key(SECP256R1()), now=datetime.now(UTC) - age, serial=7)
    (patient.ca_dir / "root.pem").write_bytes(issued.certificate.public_bytes(Encoding.PEM))

    assert patient.outcome("T2") is outcome


def test_a_driver_file_with_bad_headers(patient: Patient) -> None:
    data = bytearray(image_of(patient).read_bytes())
    pe = int.from_bytes(data[0x3C:0x40], "little")
    data[pe + 24 + 70 : pe + 24 + 72] = bytes(2)
    image_of(patient).write_bytes(data)

    assert patient.outcome("D4") is FAIL


def test_a_check_that_breaks_is_our_bug_and_the_others_are_run(patient: Patient) -> None:
    def broken(_scene: Scene) -> Finding:
        raise ZeroDivisionError("by hand")

    results = examine([Check("X1", "broken", Need.NOTHING, broken), *CHECKS], patient.scene())

    assert results[0].finding.outcome is FAIL
    assert "ZeroDivisionError" in results[0].finding.seen
    assert len(results) == len(CHECKS) + 1


def test_without_windows_the_driver_is_examined_all_the_same(patient: Patient) -> None:
    scene = Scene(None, patient.open_driver, patient.ca_dir, patient.scene().canary)

    found = {result.check.id: result.finding.outcome for result in examine(CHECKS, scene)}

    assert [found[id_] for id_ in ("D10", "D11", "R1", "R2", "R5", "R5b", "R5c", "R6")] == [OK] * 8
    assert found["D5"] is SKIPPED
