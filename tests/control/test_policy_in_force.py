"""Reload: one transaction, a bad file changes nothing, times of day and new programs are noticed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pointsman.control.policy_file import MAX_SIZE, load_policy
from pointsman.control.policy_in_force import PolicyInForce
from pointsman.control.registration import Registration
from pointsman.errors import PointsmanError
from pointsman.policy.decision import Action
from pointsman.policy.rules import Policy
from pointsman.system.interface import DriverError
from pointsman.testing.system import FakeFilterEngine, FakeSystem
from pointsman.wire.abi import Endpoints, Verdict
from pointsman.wire.filters import Field, Filter, Layer

MONDAY_NOON = datetime(2024, 1, 1, 12, 0)
MONDAY_NIGHT = datetime(2024, 1, 1, 23, 0)


class CountingEngine(FakeFilterEngine):
    """Counts transactions, and refuses them if told to."""

    def __init__(self) -> None:
        super().__init__()
        self.swaps = 0
        self.refuses = False

    def replace(self, filters: Sequence[Filter]) -> None:
        if self.refuses:
            raise DriverError("FwpmFilterAdd0", 0x8032_0001)
        self.swaps += 1
        super().replace(filters)


class Rig:
    def __init__(self, directory: Path, text: str) -> None:
        self.file = directory / "policy.toml"
        self.file.write_text(text)
        self.system = FakeSystem()
        self.engine = self.system.filter_engine = CountingEngine()
        endpoints = Endpoints(v4=(IPv4Address("127.0.0.1"), 4000))
        loaded = load_policy(self.file)
        self.registration = Registration(self.system, loaded, endpoints, lease_ms=3000)
        self.time = MONDAY_NOON
        self.used: list[Policy] = []
        self.in_force = PolicyInForce(loaded, self.file, self.system, self.registration, now=lambda: self.time)
        self.in_force.start(self.used.append)
        self.registration.open()

    def write(self, text: str, name: str = "policy.toml") -> None:
        file = self.file.parent / name
        before = file.stat().st_mtime_ns if file.exists() else 0
        file.write_text(text)
        os.utime(file, ns=(before + 1_000_000_000, before + 1_000_000_000))

    def look(self, times: int = 2) -> None:
        """A file counts as written once it is the same at two looks."""
        for _ in range(times):
            asyncio.run(self.in_force.tick())

    def redirects(self) -> set[int]:
        layer = Layer.CONNECT_REDIRECT_V4
        return {one.context >> 28 & 0xF for one in self.engine.filters if one.layer is layer}


def test_a_changed_file_swaps_all_filters_in_one_transaction_and_then_the_proxys_policy(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 'default = "inspect"')
    rig.look()
    assert rig.engine.swaps == 1, "nothing has changed, so nothing is done"

    rig.write('default = "direct"\n[[rule]]\nport = 80\naction = "block"')
    rig.look(1)
    assert rig.engine.swaps == 1, "an editor may be half-way"
    rig.look(1)

    assert rig.engine.swaps == 2
    assert rig.redirects() == {Verdict.PASS}
    assert [policy.default for policy in rig.used] == [Action.INSPECT, Action.DIRECT]
    assert {one.context >> 32 for one in rig.engine.filters} == {rig.registration.number}


@pytest.mark.parametrize(
    "bad",
    [
        "", 'default = "x"', "default = 1", "\0", '[[rule]]\nhost = "file:none"\naction = "block"',
        "#" * (MAX_SIZE + 1),
        '[[rule]]\nnet = "10.0.0.1/8"\naction = "block"', '[groups.hosts]\na = "@a"', "port = " + "9" * 5000,
        '[[rule]]\nname = "a"\naction = "block"\n[[rule]]\nname = "a"\naction = "block"',
    ],
    ids=["empty", "value", "type", "nul", "no list", "large", "network", "circle", "digits", "name twice"],
)  # fmt: skip
def test_a_bad_file_changes_nothing_and_says_why_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    rig = Rig(tmp_path, 'default = "relay"')
    before = list(rig.engine.filters)
    rig.write(bad)
    rig.look(5)

    assert rig.engine.filters == before and rig.engine.swaps == 1
    assert [policy.default for policy in rig.used] == [Action.RELAY]
    assert len([one for one in caplog.messages if "PM301" in one and "policy.toml:" in one]) == 1

    rig.write('default = "direct"')
    rig.look()
    assert rig.used[-1].default is Action.DIRECT


def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 'default = "relay"')
    rig.file.unlink()
    rig.look(3)

    assert rig.engine.swaps == 1 and rig.in_force.refused_reloads == 1


def test_a_list_that_the_policy_names_is_watched_too(tmp_path: Path) -> None:
    (tmp_path / "nets.txt").write_text("192.0.2.1\n")
    rig = Rig(tmp_path, 'default = "direct"\n[[rule]]\nnet = "file:nets.txt"\naction = "relay"')
    rig.write("192.0.2.1\n198.51.100.0/24\n", "nets.txt")
    rig.look()

    assert len(rig.used[-1].rules[0].net) == 2
    assert rig.engine.swaps == 2


def test_if_the_engine_refuses_kernel_and_proxy_keep_the_same_policy_and_it_is_tried_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 'default = "inspect"')
    rig.engine.refuses = True
    rig.write('default = "direct"')
    rig.look(3)
    assert [policy.default for policy in rig.used] == [Action.INSPECT]

    rig.engine.refuses = False
    rig.look(1)
    assert [policy.default for policy in rig.used] == [Action.INSPECT, Action.DIRECT]
    assert rig.engine.filters == []


def test_a_path_that_the_system_cannot_name_changes_nothing_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, 'default = "inspect"')
    plain = rig.system.app_id

    def app_id(path: str) -> bytes:
        if path.startswith("Q:"):
            raise PointsmanError("no such drive", code="PM207", seen=path, effect="none", do="nothing")
        return plain(path)

    monkeypatch.setattr(rig.system, "app_id", app_id)
    rig.write('default = "direct"\n[[rule]]\napp = \'Q:\\a.exe\'\naction = "block"')
    rig.look(5)
    assert [policy.default for policy in rig.used] == [Action.INSPECT]
    assert len([one for one in caplog.messages if "PM207" in one]) == 1

    rig.write('default = "relay"\n[[rule]]\napp = "a.exe"\naction = "block"')
    rig.system.processes.programs = {"Q:\\a.exe", "C:\\a.exe"}
    rig.look()
    assert rig.used[-1].default is Action.RELAY
    apps = {one.value for item in rig.engine.filters for one in item.conditions if one.field is Field.APP_ID}
    assert apps == {plain("C:\\a.exe")}


def test_a_rule_with_a_time_comes_and_goes(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 'default = "inspect"\n[[rule]]\nport = 80\ntime = "08:00-18:00"\naction = "direct"')
    assert rig.redirects() == {Verdict.PASS, Verdict.REDIRECT}
    rig.time = MONDAY_NIGHT
    rig.look(1)

    assert rig.redirects() == {Verdict.REDIRECT}
    assert [len(policy.rules) for policy in rig.used] == [1, 0]


def test_a_program_that_starts_gets_its_filter_and_without_names_nobody_looks(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 'default = "direct"\n[[rule]]\napp = "curl"\naction = "relay"')

    def apps() -> set[object]:
        found = [one for one in rig.engine.filters if one.context & 0x0FFF_FFFF == 0]
        return {condition.value for one in found for condition in one.conditions if condition.field is Field.APP_ID}

    assert apps() == set()
    rig.system.processes.programs = {"/usr/bin/curl", "/usr/bin/wget"}
    rig.look(1)
    assert apps() == {rig.system.app_id("/usr/bin/curl")}

    swaps = rig.engine.swaps
    rig.write('default = "direct"')
    rig.look()
    rig.system.processes.programs = {"/usr/bin/other"}
    rig.look(1)
    assert rig.engine.swaps == swaps + 1
