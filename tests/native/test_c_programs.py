"""Every C test program of driver and simwfp: with UBSan by zig, and with ASan and UBSan where gcc or clang is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path.stem for folder in ("driver", "simwfp") for path in (ROOT / folder / "tests").glob("*_test.c"))
HAS_SANITIZERS = shutil.which("gcc") is not None or shutil.which("clang") is not None


def build(*options: str) -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools/native.py"), "tests", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="session")
def plain() -> Path:
    build()
    return ROOT / "build/tests"


@pytest.fixture(scope="session")
def sanitized() -> Path:
    build("--sanitize")
    return ROOT / "build/tests-asan"


def run(program: Path) -> None:
    environment = {**os.environ, "PM_ROOT": str(ROOT), "UBSAN_OPTIONS": "halt_on_error=1"}
    result = subprocess.run([program], capture_output=True, text=True, check=False, env=environment, timeout=100)
    failures = [line for line in result.stdout.splitlines() if not line.startswith("ok ")]
    assert result.returncode == 0, "\n".join([*failures, result.stderr])
    assert "ok " in result.stdout


def test_there_are_programs_to_run() -> None:
    assert {"registry_test", "connect_redirect_test", "arbitration_test", "misuse_test"} <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.timeout(600)
def test_program_passes(name: str, plain: Path) -> None:
    run(plain / name)


@pytest.mark.skipif(not HAS_SANITIZERS, reason="ASan needs gcc or clang: zig has no runtime for it")
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.timeout(600)
def test_program_passes_under_asan_and_ubsan(name: str, sanitized: Path) -> None:
    run(sanitized / name)
