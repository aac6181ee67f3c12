"""Programs as people have them: other runtimes, other C libraries, other ways to use the network."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.errors import Exit, PointsmanError
from pointsman.lab.machine import Machine, PlacementName
from tests.fetch import FETCH

from .world import ORIGIN, PROGRAMS, REDIRECTED, open_lab, origin

pytestmark = pytest.mark.asyncio
REDIRECT = ["REDIRECT", REDIRECTED, 80]
CLIENTS = {
    "curl": [*FETCH, "http://{}/"],
    "wget": ["wget", "-qO-", "http://{}/"],
    "node": ["node", "-e", "require('http').get('http://{}/', r => r.pipe(process.stdout))"],
    "git": ["git", "ls-remote", "http://{}/repository"],
    "requests": [sys.executable, "-c", "import requests; print(requests.get('http://{}/').text)"],
    "aiohttp": [
        sys.executable,
        "-c",
        """
import aiohttp, asyncio
async def main():
    async with aiohttp.request("GET", "http://{}/") as reply:
        print(await reply.text())
asyncio.run(main())
""",
    ],
}
HERE = [
    name
    for name, argv in CLIENTS.items()
    if (importlib.util.find_spec(name) if argv[0] == sys.executable else shutil.which(argv[0]))
]


@pytest.mark.parametrize("name", HERE)
async def test_a_client_is_redirected(placement: PlacementName, name: str) -> None:
    async with open_lab(placement) as lab:
        proxy = await lab.proxy(REDIRECT)
        await lab.run(*(word.format(REDIRECTED) for word in CLIENTS[name]))

        assert json.loads(await proxy.line())["address"] == REDIRECTED


def static_program(directory: Path) -> Path:
    """`programs/connect.c`, linked statically by whichever compiler is here."""
    program, source = directory / "connect", str(PROGRAMS / "connect.c")
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{os.uname().machine}-linux-musl"]
    compilers = [zig] if importlib.util.find_spec("ziglang") else []
    compilers += [[name] for name in ("musl-gcc", "gcc", "clang") if shutil.which(name)]
    for compiler in compilers:
        if subprocess.run([*compiler, "-static", "-O1", "-o", str(program), source], check=False).returncode == 0:
            return program
    raise AssertionError("no C compiler can link a static program")


async def test_a_static_program_without_our_c_library_is_redirected(placement: PlacementName, tmp_path: Path) -> None:
    program = static_program(tmp_path)
    async with open_lab(placement) as lab:
        proxy = await lab.proxy(REDIRECT)
        done = await lab.run(str(program), REDIRECTED, "80")

        assert done.out == "connected\n"
        assert json.loads(await proxy.line())["app"] == str(program).lower()


async def test_exec_makes_another_program_of_the_same_process(placement: PlacementName, tmp_path: Path) -> None:
    script = """
import os, socket, sys
s = socket.create_connection((sys.argv[1], 80)); s.close()
os.execv(sys.argv[2], [sys.argv[2], sys.argv[1], "80"])
"""
    program = static_program(tmp_path)
    async with open_lab(placement) as lab:
        await lab.proxy(REDIRECT)
        await lab.python(script, REDIRECTED, str(program))

        names = [flow.app.rpartition("/")[2] for flow in lab.flows]
        assert [name[:6] for name in names] == ["python", "connec"]
        assert lab.flows[0].pid == lab.flows[1].pid


async def test_a_missing_command_says_so_as_a_shell_does() -> None:
    async with Machine() as machine:
        with pytest.raises(PointsmanError, match="not found") as error:
            await machine.spawn(["no-such-program"])

        assert (error.value.code, error.value.status) == ("PM501", Exit.NOT_FOUND)


async def test_a_file_that_is_no_program_says_so_as_a_shell_does(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("text")
    async with Machine() as machine:
        with pytest.raises(PointsmanError, match="not executable") as error:
            await machine.spawn([str(plain)])

        assert (error.value.code, error.value.status) == ("PM502", Exit.NOT_EXECUTABLE)


async def test_a_missing_working_directory_is_named(tmp_path: Path) -> None:
    async with Machine() as machine:
        with pytest.raises(PointsmanError, match="PM507"):
            await machine.spawn(["true"], cwd=tmp_path / "nowhere")


async def test_a_program_finds_its_world_as_it_would_outside() -> None:
    signals = "grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\t'; ulimit -Sn"
    outside = subprocess.run(["sh", "-c", signals], capture_output=True, text=True, check=True).stdout.splitlines()
    async with open_lab() as lab:
        done = await lab.run(
            "/bin/sh", "-c", f"{signals}; env; ls /proc/self/fd", env={"PATH": os.environ["PATH"], "ODD": "a=b"}
        )
        lines = done.out.splitlines()

        assert lines[:3] == outside
        assert "SigIgn" in outside[1]
        names = {line.partition("=")[0] for line in lines[3:-4]}
        assert "ODD=a=b" in lines
        assert names - {"_", "SHLVL", "PWD", "OLDPWD"} == {"PATH", "ODD", "POINTSMAN_LAB"}
        assert lines[-4:] == ["0", "1", "2", "3"]


async def test_io_uring_and_fast_open_are_refused_so_that_nothing_slips_by(placement: PlacementName) -> None:
    script = """
import ctypes, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(425, 1, 0)
print(ctypes.get_errno())
try:
    socket.socket().sendto(b"x", socket.MSG_FASTOPEN, (sys.argv[1], 80))
except OSError as error:
    print(error.errno)
"""
    async with open_lab(placement) as lab:
        done = await lab.python(script, ORIGIN)

        assert done.out == f"{errno.ENOSYS}\n{errno.EOPNOTSUPP}\n"


async def test_a_program_keeps_its_exit_status_and_its_signals(placement: PlacementName) -> None:
    async with origin(), open_lab(placement) as lab:
        assert (await lab.run("sh", "-c", "exit 42")).status == 42
        assert (await lab.run("sh", "-c", "kill -TERM $$")).status == -15
