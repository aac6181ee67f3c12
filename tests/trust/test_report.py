"""Real programs, a real server: who trusts our root, before and after they were told to."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from pointsman.authority.root_store import create_root, load_or_create_root, root_path
from pointsman.trust.environment import trust_environment
from pointsman.trust.probe_server import ProbeServer
from pointsman.trust.report import Answer, report
from pointsman.trust.runtimes import RUNTIMES, Runtime

BY_VARIABLE = ("curl", "wget", "Git", "Python", "Python requests", "Node", "Java")


def runtime(name: str) -> Runtime:
    return next(one for one in RUNTIMES if one.name == name)


@pytest.mark.parametrize("name", BY_VARIABLE)
@pytest.mark.parametrize("permitted", [(), ("corp.example",)], ids=["any name", "constrained"])
def test_a_program_trusts_our_root_once_its_variable_says_so(
    name: str, permitted: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = runtime(name).program
    if program is None or shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # must not get in the way
    root = create_root(tmp_path / "ca", permitted=permitted)

    [before] = report(root, [runtime(name)])
    for variable, value in trust_environment(tmp_path, [root_path(tmp_path / "ca").read_bytes()]).items():
        monkeypatch.setenv(variable, value)
    [after] = report(root, [runtime(name)])

    if before.answer is Answer.UNKNOWN:
        pytest.skip(f"{program} cannot fetch anything: {before.detail}")
    assert (before.answer, after.answer) == (Answer.REFUSES, Answer.TRUSTS), (before.detail, after.detail)
    assert before.detail and before.fix


def test_a_program_that_never_connects_is_not_said_to_distrust(tmp_path: Path) -> None:
    broken = Runtime("broken", "sh", lambda *_: ("-c", "echo no such library >&2; exit 3"), "install it")
    absent = Runtime("absent", "pointsman-no-such-program", lambda *_: (), "install it")

    findings = report(load_or_create_root(tmp_path), [broken, absent])

    assert [one.answer for one in findings] == [Answer.UNKNOWN, Answer.MISSING]
    assert findings[0].detail == "no such library"


def test_a_client_that_connects_and_says_nothing_is_one_that_does_not_trust(tmp_path: Path) -> None:
    with ProbeServer(load_or_create_root(tmp_path)) as server:
        socket.create_connection(("127.0.0.1", server.port)).close()
        assert server.heard() == (1, 0)
        assert server.heard() == (1, 0)  # its own look is not counted


def test_no_thread_and_no_port_is_left(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with ProbeServer(load_or_create_root(tmp_path)) as server:
        port = server.port

    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
