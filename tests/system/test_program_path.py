"""Whose path is too long for the driver's record is asked for, and never taken for another's."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pointsman.errors import PointsmanError
from pointsman.system.program_path import program_path
from pointsman.testing.system import FakeSystem, context_for
from pointsman.wire.abi import APP_ID_MAX, Flag

PATH = "/deep/" + "d" * 300 + "/app"
CUT = replace(
    context_for("203.0.113.7", 443, pid=7),
    app_id=PATH.encode("utf-16-le")[:APP_ID_MAX],
    flags=Flag.APP_ID_TRUNCATED,
)


def test_a_path_that_fits_is_taken_as_it_is() -> None:
    system = FakeSystem()
    system.processes.images = {4711: "/another"}

    assert program_path(system, context_for("203.0.113.7", 443, app="/usr/bin/app")) == "/usr/bin/app"
    assert program_path(system, context_for("203.0.113.7", 443, app="")) is None


def test_a_path_that_was_cut_is_asked_for() -> None:
    system = FakeSystem()
    system.processes.images = {7: PATH.replace("deep", "DEEP")}

    assert program_path(system, CUT) == PATH


@pytest.mark.parametrize("images", [{}, {7: "/another"}, {7: PATH[1:]}])
def test_of_a_process_that_is_gone_the_part_that_was_kept_is_all_there_is(images: dict[int, str]) -> None:
    system = FakeSystem()
    system.processes.images = images

    assert program_path(system, CUT) == PATH[: APP_ID_MAX // 2]


def test_a_path_that_means_nothing_to_the_system_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    system = FakeSystem()
    system.processes.images = {7: PATH}

    def refuse(path: str) -> bytes:
        raise PointsmanError("no such drive", code="PM207", seen=path, effect="none", do="nothing")

    monkeypatch.setattr(system, "app_id", refuse)

    assert program_path(system, CUT) == PATH[: APP_ID_MAX // 2]
