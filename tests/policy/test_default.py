"""The built-in policy does what its comments say."""

from __future__ import annotations

import pytest

from pointsman.control.policy_file import default_policy
from pointsman.policy.lint import lint
from pointsman.policy.question import Question, ask, destination

from .driver import app_id

PUBLIC = "203.0.113.9"
CURL = "/usr/bin/curl"


@pytest.mark.parametrize(
    ("app", "to", "more", "expected"),
    [
        (CURL, PUBLIC, {}, ("inspect", "default", True)),
        (CURL, f"{PUBLIC}:80", {}, ("inspect", "default", True)),
        (CURL, PUBLIC, {"protocol": "quic"}, ("block", "no QUIC", False)),
        (CURL, f"{PUBLIC}:53", {"protocol": "udp"}, ("direct", "default", False)),
        (CURL, f"{PUBLIC}:445", {"protocol": "tcp"}, ("direct", "file sharing", False)),
        (CURL, f"{PUBLIC}:123", {"protocol": "udp"}, ("direct", "NetBIOS, DHCP, NTP", False)),
        (CURL, "224.0.0.251:5353", {"protocol": "udp"}, ("direct", "name and service discovery", False)),
        (CURL, "[fe80::1]:547", {"protocol": "udp"}, ("direct", "NetBIOS, DHCP, NTP", False)),
        (CURL, f"{PUBLIC}:80", {"host": "www.msftconnecttest.com"}, ("relay", "connectivity probes", True)),
        (CURL, PUBLIC, {"host": "fe2.update.microsoft.com"}, ("relay", "updates", True)),
        (CURL, PUBLIC, {"host": "chat.signal.org"}, ("relay", "pinned hosts", True)),
        ("C:\\Windows\\System32\\svchost.exe", PUBLIC, {}, ("direct", "Windows services", False)),
        ("C:\\WINDOWS\\system32\\SvcHost.exe", PUBLIC, {"protocol": "quic"}, ("direct", "Windows services", False)),
        ("D:\\Windows\\System32\\svchost.exe", PUBLIC, {}, ("inspect", "default", True)),
        ("C:\\Users\\a\\AppData\\Local\\Signal.exe", PUBLIC, {}, ("relay", "pinned apps", True)),
        ("C:\\Users\\a\\AppData\\Local\\Signal.exe", PUBLIC, {"protocol": "quic"}, ("direct", "pinned apps", False)),
        (CURL, "192.168.1.1", {}, ("direct", "default", False)),
        (CURL, "100.64.1.1", {}, ("direct", "default", False)),
        (CURL, "[fe80::1]:443", {}, ("direct", "default", False)),
        (CURL, "127.0.0.1", {}, ("direct", "default", False)),
    ],
)
def test_each_line_does_what_it_says(app: str, to: str, more: dict[str, str], expected: tuple[str, str, bool]) -> None:
    address, port = destination(to)
    question = Question(app=app, address=address, port=port, protocol=more.get("protocol", ""), host=more.get("host"))

    found = ask(default_policy(), question, minute=0, app_id=app_id, sees_tokens=False).outcome

    assert (found.action.value, found.wanted.rule_name, found.is_by_proxy) == expected


def test_nothing_in_it_is_odd() -> None:
    assert lint(default_policy()) == []
