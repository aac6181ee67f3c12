"""The wheels of a release, as an installer sees them: what is in them, for which machine, and that nothing else is."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NATIVE = "pointsman/system/windows/_native/"
MACHINES = {"win_amd64": ("x64", 0x8664), "win_arm64": ("arm64", 0xAA64)}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="wheels are made on Linux"),
    pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed"),
]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    directory = tmp_path_factory.mktemp("wheels")
    subprocess.run([sys.executable, str(ROOT / "tools/wheels.py"), str(directory)], check=True, timeout=600)
    return {path.stem.split("-")[-1]: zipfile.ZipFile(path) for path in directory.iterdir()}


def test_there_is_one_for_each_platform(wheels: dict[str, zipfile.ZipFile]) -> None:
    linux = {tag for tag in wheels if tag.startswith("manylinux_2_28_")}
    assert len(linux) == 1 and set(wheels) - linux == set(MACHINES)


def test_a_wheel_for_windows_has_the_driver_of_its_architecture_and_no_other_binary(
    wheels: dict[str, zipfile.ZipFile],
) -> None:
    for tag, (architecture, machine) in MACHINES.items():
        wheel, folder = wheels[tag], f"{NATIVE}{architecture}/"
        driver = wheel.read(folder + "pointsman.sys")
        at = struct.unpack_from("<I", driver, 0x3C)[0]
        assert struct.unpack_from("<4sH", driver, at) == (b"PE\0\0", machine)
        assert wheel.read(folder + "pointsman.pdb").startswith(b"Microsoft C/C++ MSF 7.00")
        assert b"[Version]" in wheel.read(folder + "pointsman.inf")
        binaries = [name for name in wheel.namelist() if name.endswith((".sys", ".so", ".dll", ".pyd"))]
        assert binaries == [folder + "pointsman.sys"]


def test_the_wheel_for_linux_has_the_library_of_the_lab_and_no_driver(wheels: dict[str, zipfile.ZipFile]) -> None:
    [wheel] = [wheel for tag, wheel in wheels.items() if tag.startswith("manylinux")]

    assert wheel.read("pointsman/lab/_native/libpointsman_lab.so").startswith(b"\x7fELF")
    assert not [name for name in wheel.namelist() if name.startswith(NATIVE)]


def test_every_module_of_the_product_is_in_every_wheel_and_the_record_is_true(
    wheels: dict[str, zipfile.ZipFile],
) -> None:
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/pointsman").rglob("*.py")}
    for wheel in wheels.values():
        names = set(wheel.namelist())
        assert modules <= names
        [record] = [name for name in names if name.endswith(".dist-info/RECORD")]
        for name, digest, _ in csv.reader(wheel.read(record).decode().splitlines()):
            if digest:
                actual = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).rstrip(b"=").decode()
                assert digest == f"sha256={actual}", name
