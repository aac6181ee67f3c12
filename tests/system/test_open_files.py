"""A proxy has two sockets for each connection, and Unix often allows 1,024 softly."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from pointsman.system.open_files import raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
print(raise_open_files(200), resource.getrlimit(resource.RLIMIT_NOFILE))
print(raise_open_files(150), resource.getrlimit(resource.RLIMIT_NOFILE))
print(raise_open_files(400), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bound")
def test_the_soft_bound_goes_up_as_far_as_wanted_and_as_the_hard_one_lets_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["(100, 300) (200, 300)", "None (200, 300)", "(200, 300) (300, 300)"]
