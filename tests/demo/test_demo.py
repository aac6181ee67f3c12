"""The demo, as a stranger runs it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pointsman.lab.check import examine

pytestmark = pytest.mark.skipif(
    not all(finding.allowed for finding in examine() if finding.name == "user notification"),
    reason="this kernel cannot trap connect()",
)


@pytest.mark.parametrize("path", ["", "/nonexistent"], ids=["with-curl-if-there", "without-curl"])
def test_every_step_of_the_demo_holds(path: str) -> None:
    environment = {**os.environ, "PATH": path or os.environ["PATH"], "https_proxy": "http://127.0.0.1:9"}

    result = subprocess.run(
        [sys.executable, "-P", "-m", "pointsman", "demo"],
        capture_output=True, text=True, check=False, timeout=110, env=environment,
    )  # fmt: skip

    assert result.returncode == 0, result.stdout + result.stderr
    assert "7 of 7 steps as promised" in result.stdout
    assert "FAIL" not in result.stdout
    assert result.stderr == ""
