"""Who may know whom: the import statements of the product, checked against the dependency rule (ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src/pointsman"

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "wire": set(),
    "policy": {"wire", "errors"},
    "authority": {"errors"},
    "engine": {"policy", "authority", "wire", "errors"},
    "system": {"wire", "errors"},
    "addons": {"engine", "policy", "authority", "wire", "errors"},
    "server": {"engine", "policy", "authority", "wire", "system", "errors"},
    "control": {"addons", "server", "engine", "policy", "authority", "wire", "system", "errors"},
    "trust": {"authority", "system", "errors"},
    "operate": {"system", "wire", "errors"},
    "doctor": {"operate", "trust", "authority", "system", "wire", "errors"},
    "lab": {"trust", "control", "engine", "policy", "authority", "wire", "system", "errors"},
    "demo": {"lab", "control", "engine", "policy", "authority", "wire", "errors"},
    "cli": {
        "doctor",
        "operate",
        "trust",
        "demo",
        "lab",
        "control",
        "server",
        "engine",
        "policy",
        "authority",
        "wire",
        "system",
        "errors",
    },
    "testing": {"operate", "control", "server", "engine", "policy", "authority", "wire", "system", "errors"},
    "__main__": {"cli"},
}
"""What each package may import; nothing imports its caller, and nothing imports the test doubles."""

CHOSEN = (
    "pointsman.lab.system",
    "pointsman.system.windows.system",
    "pointsman.system.windows.host",
    "pointsman.system.netfilter",
)
"""The systems, of which `cli/run.py` takes one."""

PURE = ("wire", "policy", "engine")
FORBIDDEN_IN_PURE = {"socket", "asyncio", "time", "os", "random", "logging", "threading", "subprocess", "pathlib"}

MODULES = sorted(SOURCE.rglob("*.py"))


def imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(module: Path) -> str:
    return module.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down_only(module: Path) -> None:
    package = package_of(module)
    if package == "__init__":
        return
    for name in imports(module):
        parts = name.split(".")
        if parts[0] == "pointsman" and len(parts) > 1 and parts[1] not in ("__version__", package):
            assert parts[1] in ALLOWED[package], f"{package} must not know {name}"


@pytest.mark.parametrize("package", PURE)
def test_the_engine_and_what_is_below_do_no_input_or_output(package: str) -> None:
    for module in (SOURCE / package).rglob("*.py"):
        used = {name.split(".")[0] for name in imports(module)}
        assert not used & FORBIDDEN_IN_PURE, f"{module} uses {used & FORBIDDEN_IN_PURE}"


def test_the_operating_system_is_chosen_in_one_place() -> None:
    choosing = {
        str(module.relative_to(SOURCE))
        for module in MODULES
        for name in imports(module)
        if name.startswith(CHOSEN) and package_of(module) not in ("lab", "system")
    }
    assert choosing == {"cli/run.py"}


def test_the_simulator_knows_no_name_of_the_driver() -> None:
    for path in (ROOT / "simwfp").rglob("*.[ch]"):
        assert not re.search(r"\bpm_|\bPM_", path.read_text().replace("no pm_ name", "")), path


def test_the_driver_includes_windows_headers_in_one_file_and_knows_no_host() -> None:
    for path in (ROOT / "driver").rglob("*.[ch]"):
        if "tests" in path.parts:
            continue
        text = path.read_text()
        windows = [name for name in re.findall(r"#include <(.*)>", text) if name != "stdint.h"]
        assert not windows or path.name == "platform.h", f"{path}: {windows}"
        assert "_WIN32" not in text and "__linux__" not in text, path


def test_the_deciding_part_of_the_driver_is_pure() -> None:
    for path in (ROOT / "driver/decide").glob("*.[ch]"):
        for name in re.findall(r'#include "(.*)"', path.read_text()):
            assert name in ("address.h", "decide.h", "registry.h", "pointsman_abi.h"), f"{path} includes {name}"
