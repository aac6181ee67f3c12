"""Who may know whom: the dependency rule as a test.  It walks import statements, so nothing needs to be importable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "pointsman"

# Package → the packages it may import besides itself.  Arrows go down only; `errors` is for everybody.
MAY_IMPORT = {
    "wire": set(),
    "policy": {"wire"},
    "authority": {"wire"},
    "engine": {"policy", "authority", "wire"},
    "system": {"wire"},
    "server": {"engine", "policy", "authority", "wire", "system"},
    "control": {"server", "engine", "policy", "authority", "wire", "system"},
}
PURE = ("wire", "policy", "engine")
EDGE = {
    *("socket", "asyncio", "time", "os", "random", "secrets", "logging", "subprocess", "threading", "tempfile"),
    "pathlib",
}
DISK_IN_AUTHORITY = {"root_store.py", "leaf_cache.py"}  # the second only because CPython loads leafs from files


def files(package: str) -> list[Path]:
    return sorted((SOURCE / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who is meant"
            yield node.module or ""


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_go_down_only(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package, "errors"}
    for path in files(package):
        for name in imports(path):
            if name.startswith("pointsman."):
                assert name.split(".")[1] in allowed, f"{path.relative_to(SOURCE)} imports {name}"


@pytest.mark.parametrize("package", PURE)
def test_what_is_pure_knows_no_clock_no_socket_and_no_disk(package: str) -> None:
    for path in files(package):
        for name in imports(path):
            assert name.split(".")[0] not in EDGE, f"{path.relative_to(SOURCE)} imports {name}"


def test_the_engine_uses_tls_in_memory_only() -> None:
    for path in files("engine"):
        text = path.read_text("utf-8")
        assert "SSLSocket" not in text and "wrap_socket" not in text, path


def test_only_the_stores_of_the_authority_touch_the_disk() -> None:
    for path in files("authority"):
        if path.name not in DISK_IN_AUTHORITY:
            assert not {name.split(".")[0] for name in imports(path)} & (EDGE | {"shutil"}), path


def test_the_operating_system_is_reached_through_its_interface() -> None:
    for package in ("server", "control"):
        for path in files(package):
            for name in imports(path):
                assert not name.startswith("pointsman.system.") or name == "pointsman.system.interface", path


def test_no_product_code_imports_its_test_doubles() -> None:
    for package in MAY_IMPORT:
        for path in files(package):
            assert not any(name.startswith("pointsman.testing") for name in imports(path)), path
