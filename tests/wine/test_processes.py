"""`WindowsProcesses` among real Windows processes: paths, parents, users, services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .machine import Machine, Process

pytestmark = pytest.mark.timeout(900)
SLEEPER = "import sys; print('here', flush=True); sys.stdin.read()"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process(machine: Machine) -> Iterator[Process]:
    yield machine.process(new=True)
    machine.release_processes()


def path_of(process: Process) -> str:
    path = process.call("image", process.pid, 0)
    assert isinstance(path, str)
    return path


def test_a_program_is_named_by_its_full_path_and_found_among_those_that_run(process: Process) -> None:
    path = path_of(process)

    assert path.lower().endswith("\\python.exe") and path[1:3] == ":\\"
    assert path in process.call("running")
    assert any(one.lower().endswith("\\services.exe") for one in process.call("running"))


def test_a_number_with_another_beginning_is_another_process(process: Process) -> None:
    assert process.call("image", process.pid, process.started) == path_of(process)
    assert process.call("image", process.pid, process.started + 1) is None
    assert process.call("image", 0x7FFF_FFF0, 0) is None
    assert process.call("facts", 0x7FFF_FFF0) is None


def test_ancestors_are_those_that_still_live_and_were_there_before(process: Process) -> None:
    process.call("bear", PARENT)
    grandchild = int(process.call("heard"))
    path = path_of(process)

    assert process.call("facts", grandchild).ancestors[:2] == (path, path)
    process.call("bury")
    # The dead can be seen for as long as somebody holds a handle, and their number is not given away until then.
    assert process.call("facts", grandchild).ancestors[:2] in ((), (path, path))
    process.call("terminate", grandchild)


def test_a_user_is_known_by_name_domain_and_sid_and_found_by_each(process: Process) -> None:
    users = process.call("facts", process.pid).users
    (qualified,) = [one for one in users if "\\" in one]
    name = qualified.split("\\")[1]

    assert name in users
    sid = process.call("sid_of", name)
    assert sid.startswith("S-1-5-21-") and sid.lower() in users
    assert process.call("sid_of", qualified) == sid
    assert process.call("sid_of", "nobody of that name") is None
    assert process.call("sid_of", "Everyone") is None  # a group


def test_a_service_is_found_in_the_process_it_runs_in(process: Process) -> None:
    process.call("start", "RpcSs")
    pid, services = process.call("services_of", "RpcSs")

    assert pid and "rpcss" in services
    assert process.call("facts", process.pid).services == frozenset()
