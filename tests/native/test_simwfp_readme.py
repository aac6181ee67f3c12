"""The example driver of simwfp/README.md: it compiles as it stands there and does what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```c\n(.*?)```", (ROOT / "simwfp/README.md").read_text(), re.S)
SOURCES = [str(path) for path in sorted((ROOT / "simwfp").glob("*.c")) if path.name != "lab.c"]  # lab.c has a driver
UNREGISTER = "    (void)FwpsCalloutUnregisterById0(callout_id);"


def build(driver: str, test: str, folder: Path) -> Path:
    source, product = folder / "example.c", folder / "example"
    source.write_text(driver + test)
    result = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-std=c11", "-fshort-wchar", "-Wall", "-Wextra", "-Werror",
         "-Wno-multichar", f"-I{ROOT / 'simwfp/include'}", f"-I{ROOT / 'simwfp'}", str(source), *SOURCES,
         "-pthread", "-o", str(product)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return product


@pytest.mark.timeout(300)
def test_the_example_driver_blocks_port_25_and_leaves_nothing(tmp_path: Path) -> None:
    driver, test = BLOCKS
    assert driver.count("\n") <= 44
    result = subprocess.run([build(driver, test, tmp_path)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "port 25: blocked, port 443: open\n")


@pytest.mark.timeout(300)
def test_a_driver_that_forgets_to_unregister_is_told_so(tmp_path: Path) -> None:
    driver, test = BLOCKS
    forgetful = "\n".join(line for line in driver.split("\n") if not line.startswith(UNREGISTER))
    assert forgetful != driver
    result = subprocess.run([build(forgetful, test, tmp_path)], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "a callout function is registered after unload" in result.stderr
