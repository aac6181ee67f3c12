"""Every test of the lab runs for both ways of placing sockets, if it asks for `placement`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pointsman.lab.machine import PlacementName


@pytest.fixture(params=["getfd", "addfd"])
def placement(request: pytest.FixtureRequest) -> PlacementName:
    name: PlacementName = request.param
    return name


@pytest.fixture(autouse=True)
def programs_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(Path(__file__).parents[2] / "src")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")])))
