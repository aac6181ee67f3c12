"""`lab --check` tries every mechanism for real and states the limits."""

from __future__ import annotations

from pointsman.lab.check import LIMITS, examine


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
