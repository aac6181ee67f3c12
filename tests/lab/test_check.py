"""`lab --check` tries every mechanism for real and states the limits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pointsman.lab.check import LIMITS, examine

FINDINGS = {finding.name: finding.allowed for finding in examine()}


def test_what_this_machine_allows_is_found_by_trying() -> None:
    findings = {finding.name: finding for finding in examine()}

    for name in ("user notification", "reading memory", "pidfd_open", "io_uring refused"):
        assert findings[name].allowed, name
    assert findings["pidfd_getfd"].allowed or findings["ADDFD"].allowed
    assert all(finding.meaning for finding in findings.values())


def test_the_differences_from_windows_are_listed_as_such() -> None:
    limits = [finding for finding in examine() if finding.limit]

    assert [finding.name for finding in limits] == [name for name, _ in LIMITS]
    assert not any(finding.allowed for finding in limits)


ORPHAN = """
import errno, socket, sys
print("here", flush=True)
sys.stdin.readline()
with socket.socket() as asked:
    print(errno.errorcode.get(asked.connect_ex(("127.0.0.1", 9)), "connected"), flush=True)
"""


@pytest.mark.skipif(not FINDINGS["user notification"], reason="this kernel cannot trap connect()")
def test_a_program_whose_lab_was_killed_gets_enosys_as_the_check_says() -> None:
    """On Windows the driver stays when the proxy dies, and lets all pass; the trap of a lab that is gone cannot."""
    lab = subprocess.Popen(
        [sys.executable, "-P", "-m", "pointsman", "lab", "--", sys.executable, "-c", ORPHAN],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert lab.stdin is not None and lab.stdout is not None
    try:
        assert lab.stdout.readline() == "here\n"
        lab.kill()
        lab.wait()
        lab.stdin.write("go on\n")
        lab.stdin.flush()
        assert lab.stdout.readline() == "ENOSYS\n"
    finally:
        lab.kill()
        lab.wait()
        lab.stdin.close()
        lab.stdout.close()

    assert any(one.name == "death of the lab" and "ENOSYS" in one.meaning for one in examine() if one.limit)
