"""The certificate authority on Windows' own means: DPAPI, an access list, the machine's certificate store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .machine import Machine, windows_path

pytestmark = pytest.mark.timeout(900)


def test_the_key_is_wrapped_by_dpapi_and_the_root_comes_into_the_store_and_goes(
    machine: Machine, tmp_path: Path
) -> None:
    directory = tmp_path / "ca"

    def pointsman(*arguments: str, status: int = 0) -> str:
        ended, printed, errors = machine.operator.call("command", ["ca", *arguments, "--ca", windows_path(directory)])
        assert ended == status, errors
        return str(printed)

    def installed() -> list[bool]:
        return [root["installed"] for root in json.loads(pointsman("show", "--json"))["roots"]]

    pointsman("create")
    stored = (directory / "root-key.pem").read_bytes()
    assert stored.startswith(b"pointsman dpapi 1\n") and b"PRIVATE" not in stored
    assert installed() == [False]

    pointsman("install")
    pointsman("install")
    assert installed() == [True]
    pointsman("rotate")
    pointsman("install")
    pointsman("rotate", "--finish")
    assert installed() == [True, True]

    assert pointsman("uninstall").count("removed from") == 2
    assert pointsman("uninstall").count("not in") == 2
    assert installed() == [False, False]


def test_a_key_that_was_wrapped_elsewhere_is_refused_without_a_word_of_it(machine: Machine, tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    machine.operator.call("command", ["ca", "create", "--ca", windows_path(directory)])
    key = directory / "root-key.pem"
    key.write_bytes(key.read_bytes()[:-40] + bytes(40))

    status, _, printed = machine.operator.call("command", ["ca", "show", "--ca", windows_path(directory)])

    assert status == 8
    assert "CryptUnprotectData" in printed and "PM451" in printed
