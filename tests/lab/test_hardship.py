"""Programs that die, fork, exec, close or are interrupted while their connect is pending; proxies that die or stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pointsman.lab import processes
from pointsman.lab.machine import Machine, PlacementName
from pointsman.wire.abi import LEASE_MIN_MS, STATUS_SIZE, Ioctl, Reason, Status, decode_status
from tests.fetch import FETCH

from .world import ORIGIN, PROGRAMS, REDIRECTED, TIMEOUT, Lab, open_lab, origin

pytestmark = pytest.mark.asyncio

PENDING = "import socket, sys\nprint('connecting', flush=True)\nsocket.socket().connect((sys.argv[1], 80))\n"


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port whose connects stay pending: its queue is full and nobody accepts."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect(full.getsockname())
            except TimeoutError:
                break
        yield full.getsockname()[1]


async def connecting(lab: Lab, script: str, *argv: str) -> tuple[int, asyncio.Task[int], Lab]:
    """Start a program and wait until its connect was classified."""
    program = await lab.machine.spawn([sys.executable, "-c", script, ORIGIN, *argv], stdout=subprocess.DEVNULL)
    while not lab.flows:
        await asyncio.sleep(0.001)
    return program.pid, asyncio.create_task(program.wait()), lab


async def answers(lab: Lab) -> bool:
    """Does the machine still serve other programs?"""
    done = await lab.python("import socket; s = socket.socket(); print(s.connect_ex(('127.0.0.1', 1)))")
    return done.out == f"{errno.ECONNREFUSED}\n"


async def test_a_program_killed_while_connecting_is_gone_and_nothing_hangs(placement: PlacementName) -> None:
    with silent_port() as port:
        async with open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{port}"]) as lab:
            await lab.proxy(["PASS", ORIGIN, 80])
            pid, ended, _ = await connecting(lab, PENDING)
            os.kill(pid, signal.SIGKILL)

            assert await asyncio.wait_for(ended, TIMEOUT) == -signal.SIGKILL
            assert await answers(lab)


async def test_a_signal_handler_interrupts_a_pending_connect(placement: PlacementName) -> None:
    script = """
import signal, socket, sys
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
s = socket.socket()
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    s.connect((sys.argv[1], 80))
except Alarm:
    sys.exit(7)
"""
    with silent_port() as port:
        async with open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{port}"]) as lab:
            done = await lab.python(script, ORIGIN)

            assert done.status == 7, done.err


async def test_a_send_timeout_ends_a_pending_connect(placement: PlacementName) -> None:
    script = """
import socket, struct, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200000))
print(s.connect_ex((sys.argv[1], 80)))
"""
    with silent_port() as port:
        async with open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{port}"]) as lab:
            done = await lab.python(script, ORIGIN)

            assert done.out in (f"{errno.EALREADY}\n", f"{errno.EINPROGRESS}\n")


@pytest.mark.parametrize(
    "meanwhile",
    ["os.execv('/bin/true', ['true'])", "os.close(s.fileno()); os._exit(0)", "os.fork() or os._exit(0); os._exit(0)"],
    ids=["exec", "close", "fork"],
)
async def test_what_other_threads_do_while_one_connects_harms_nobody(placement: PlacementName, meanwhile: str) -> None:
    script = f"""
import os, socket, sys, threading
s = socket.socket()
threading.Thread(target=lambda: s.connect((sys.argv[1], 80)), daemon=True).start()
sys.stdin.readline()
{meanwhile}
"""
    with silent_port() as port:
        async with open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{port}"]) as lab:
            await lab.proxy(["PASS", ORIGIN, 80])
            program = await lab.machine.spawn([sys.executable, "-c", script, ORIGIN], stdin=subprocess.PIPE)
            while not lab.flows:
                await asyncio.sleep(0.001)
            assert program.stdin is not None
            program.stdin.write(b"\n")
            program.stdin.flush()

            assert await asyncio.wait_for(program.wait(), TIMEOUT) == 0
            assert await answers(lab)


async def test_a_process_whose_first_thread_ended_still_connects(placement: PlacementName) -> None:
    script = """
import ctypes, os, socket, sys, threading
def connect():
    while open(f"/proc/self/task/{os.getpid()}/stat").read().rpartition(")")[2].split()[0] != "Z":
        pass
    result = socket.socket().connect_ex((sys.argv[1], 80))
    os.write(1, b"%d" % result)
    os._exit(0)
threading.Thread(target=connect).start()
ctypes.CDLL(None).syscall(ctypes.c_long({"x86_64": 60}.get(os.uname().machine, 93)), 0)  # exit(2): this thread alone
"""
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
        done = await lab.python(script, ORIGIN)

        assert (done.status, done.out) == (0, "0"), done.err


async def test_a_daemon_stays_in_the_lab_after_its_parents_and_ends_with_it(placement: PlacementName) -> None:
    script = """
import os, socket, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
while os.getppid() != int(sys.argv[2]): time.sleep(0.001)
s = socket.create_connection((sys.argv[1], 80))
s.sendall(b"GET /%d HTTP/1.0\\r\\n\\r\\n" % os.getpid())
time.sleep(600)
"""
    async with origin() as server:
        async with open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
            done = await lab.python(script, ORIGIN, str(os.getpid()))
            while not server.asked:
                await asyncio.sleep(0.001)
            daemon = int(server.asked[0].split()[1][1:])

            assert done.status == 0
            assert processes.descends_from(daemon, os.getpid())
        with pytest.raises(ProcessLookupError):
            os.kill(daemon, 0)


async def test_a_stubborn_program_ends_with_the_machine() -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    async with Machine() as machine:
        program = await machine.spawn([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert program.stdout is not None
        with program.stdout as out:
            await asyncio.to_thread(out.readline)

    assert program.returncode == -signal.SIGKILL


def status(lab: Lab) -> Status:
    """The driver's own."""
    device = lab.machine.simulator.open_device(os.getpid())
    try:
        code, reply = lab.machine.simulator.control(device, os.getpid(), Ioctl.STATUS, b"", STATUS_SIZE)
        assert code == 0
        return decode_status(reply)
    finally:
        lab.machine.simulator.close_device(device)


def registrations(lab: Lab) -> list[int]:
    """The PIDs that the driver has registered, newest first."""
    return [registration.pid for registration in status(lab).registrations]


async def test_a_killed_proxy_costs_nobody_the_network(placement: PlacementName) -> None:
    async with origin() as server, open_lab(placement, [f"{REDIRECTED}:80=127.0.0.1:{server.port}"]) as lab:
        proxy = await lab.proxy(["REDIRECT", REDIRECTED, 80])
        assert registrations(lab) == [proxy.program.pid]
        redirected = await lab.run(*FETCH, f"http://{REDIRECTED}/")
        proxy.program.send_signal(signal.SIGKILL)
        await proxy.program.wait()

        assert json.loads(redirected.out)["redirected"]
        assert registrations(lab) == []
        assert (await lab.run(*FETCH, f"http://{REDIRECTED}/")).out == "origin"


async def test_a_newer_proxy_takes_over_and_gives_back(placement: PlacementName) -> None:
    async with open_lab(placement) as lab:
        old = await lab.proxy(["REDIRECT", REDIRECTED, 80])
        new = await lab.proxy(["REDIRECT", REDIRECTED, 80])
        assert registrations(lab) == [new.program.pid, old.program.pid]
        await lab.run(*FETCH, f"http://{REDIRECTED}/")
        assert json.loads(await new.line())["redirected"]
        new.program.send_signal(signal.SIGKILL)
        await new.program.wait()
        await lab.run(*FETCH, f"http://{REDIRECTED}/")

        assert json.loads(await old.line())["redirected"]


async def test_a_stopped_proxy_hangs_nothing_but_its_own_connections(placement: PlacementName) -> None:
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
        proxy = await lab.proxy(["REDIRECT", REDIRECTED, 80])
        proxy.program.send_signal(signal.SIGSTOP)

        assert (await lab.run(*FETCH, f"http://{ORIGIN}/")).out == "origin"
        connected = await lab.python(PENDING, REDIRECTED)
        assert connected.status == 0
        proxy.program.send_signal(signal.SIGCONT)


async def test_a_proxy_that_dials_its_own_redirected_destination_goes_direct(placement: PlacementName) -> None:
    script = """
import json, socket, sys, runpy
sys.argv = [sys.argv[1], json.dumps([["REDIRECT", sys.argv[2], 80]])]
import threading
proxy = runpy.run_path(sys.argv[0])
def serve(listeners, system):
    s = socket.create_connection((json.loads(sys.argv[1])[0][1], 80))
    s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(s.makefile().read().split("\\n")[-1])
proxy["main"].__globals__["serve"] = serve
proxy["main"]()
"""
    async with origin() as server, open_lab(placement, [f"{REDIRECTED}:80=127.0.0.1:{server.port}"]) as lab:
        done = await lab.python(script, str(PROGRAMS / "proxy.py"), REDIRECTED)

        assert done.out == "ready\norigin\n", done.err


async def test_a_socket_with_our_redirect_records_is_not_redirected_again(placement: PlacementName) -> None:
    script = """
import json, os, runpy, socket, sys
fetch = sys.argv[3:]
sys.argv = [sys.argv[1], json.dumps([["REDIRECT", sys.argv[2], 80]])]
host = sys.argv[1] and json.loads(sys.argv[1])[0][1]
proxy = runpy.run_path(sys.argv[0])
def serve(listeners, system):
    if not os.fork():
        os.execvp(fetch[0], [*fetch, "-o", "/dev/null", "http://%s/" % host])
    accepted = listeners[0].accept()[0]
    upstream = socket.socket()
    system.redirects.apply_records(upstream, system.redirects.redirect_records(accepted))
    child = os.fork()  # another process than the proxy, whose own connections pass in any case
    if not child:
        upstream.connect((host, 80))
        upstream.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(upstream.makefile().read().split("\\n")[-1], flush=True)
        os._exit(0)
    os.waitpid(child, 0)
proxy["main"].__globals__["serve"] = serve
proxy["main"]()
"""
    async with origin() as server, open_lab(placement, [f"{REDIRECTED}:80=127.0.0.1:{server.port}"]) as lab:
        done = await lab.python(script, str(PROGRAMS / "proxy.py"), REDIRECTED, *FETCH)

        assert done.out == "ready\norigin\n", done.err
        assert [flow.reason for flow in lab.flows] == [Reason.REDIRECTED]
        assert status(lab).counters[Reason.ALREADY_REDIRECTED] == 1  # which the driver counts and does not report


async def test_a_program_that_hides_its_memory_is_not_held_up(placement: PlacementName) -> None:
    script = """
import ctypes, socket
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
print(socket.socket().connect_ex(("127.0.0.1", 1)))
"""
    async with open_lab(placement) as lab:
        done = await lab.python(script)

        assert done.out == f"{errno.ECONNREFUSED}\n", done.err
        assert bool(lab.machine.unseen) == (os.getuid() != 0)  # root may look all the same


async def test_a_proxy_that_stops_renewing_its_lease_costs_nobody_the_network(placement: PlacementName) -> None:
    async with origin() as server, open_lab(placement, [f"{REDIRECTED}:80=127.0.0.1:{server.port}"]) as lab:
        proxy = await lab.proxy(["REDIRECT", REDIRECTED, 80], lease_ms=LEASE_MIN_MS)
        proxy.program.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(TIMEOUT):
            while (await lab.run(*FETCH, "-m1", f"http://{REDIRECTED}/")).out != "origin":
                continue

        assert lab.flows[-1].reason is Reason.LEASE_OVER
        assert registrations(lab) == [proxy.program.pid]


async def test_a_full_table_of_processes_never_forgets_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_PROCESSES", 4)  # the machine, the proxy, and two more
    # Six processes that have connected and are all alive at once.
    script = (
        "import multiprocessing as m, socket\n"
        "barrier = m.Barrier(6)\n"
        "def one():\n"
        "    socket.socket().connect_ex(('127.0.0.1', 1))\n"
        "    barrier.wait()\n"
        "children = [m.get_context('fork').Process(target=one) for _ in range(6)]\n"
        "[child.start() for child in children]; [child.join() for child in children]\n"
    )
    async with origin() as server, open_lab(maps=[f"{REDIRECTED}:80=127.0.0.1:{server.port}"]) as lab:
        await lab.proxy(("REDIRECT", REDIRECTED, 80))

        many = await lab.python(script)
        await lab.python(f"import socket; socket.create_connection(('{REDIRECTED}', 80)).close()")

        assert many.status == 0
        assert lab.flows[-1].reason is Reason.REDIRECTED
