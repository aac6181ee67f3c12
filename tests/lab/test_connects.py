"""What becomes of a program's connect(): passed, led elsewhere, redirected, blocked, refused, as the driver says."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys

import pytest

from pointsman.lab.machine import PlacementName
from pointsman.wire.abi import Reason, Verdict
from tests.fetch import FETCH, PROGRAM

from .world import BLOCKED, ORIGIN, ORIGIN_V6, REDIRECTED, REDIRECTED_V6, TIMEOUT, open_lab, origin

pytestmark = pytest.mark.asyncio

CONNECT = """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
if len(sys.argv) > 3: s.setblocking(False)
print(s.connect_ex((host, port)))
"""
ASYNC_FETCH = """
import asyncio, sys
async def fetch(host):
    reader, writer = await asyncio.open_connection(host, 80)
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print((await reader.read()).split(b"\\r\\n\\r\\n")[1].decode(), flush=True)
    writer.close()
asyncio.run(fetch(sys.argv[1]))
"""
REDIRECT = ["REDIRECT", REDIRECTED, 80]
PASS = ["PASS", ORIGIN, 80]


async def test_a_connection_nobody_redirects_goes_where_the_lab_network_leads(placement: PlacementName) -> None:
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
        await lab.proxy(PASS)
        done = await lab.run(*FETCH, f"http://{ORIGIN}/a")

        assert (done.status, done.out) == (0, "origin"), done.err
        assert server.asked == ["GET /a HTTP/1.1"]
        assert [(flow.verdict, flow.reason) for flow in lab.flows] == [(Verdict.PASS, Reason.PASSED_BY_RULE)]


async def test_a_redirected_program_reaches_the_proxy_which_learns_who_it_was(placement: PlacementName) -> None:
    async with open_lab(placement) as lab:
        await lab.proxy(REDIRECT)
        done = await lab.run(*FETCH, f"http://{REDIRECTED}/")

        told = json.loads(done.out)
        assert (told["address"], told["port"], told["rule"], told["records"]) == (REDIRECTED, 80, 1, 8)
        assert told["app"].endswith("/" + PROGRAM.name)
        assert [flow.verdict for flow in lab.flows] == [Verdict.REDIRECT]
        assert lab.flows[0].pid == told["pid"]
        assert str(lab.flows[0].original_destination[0]) == REDIRECTED


async def test_a_blocked_program_gets_eacces(placement: PlacementName) -> None:
    async with open_lab(placement) as lab:
        await lab.proxy(["BLOCK", BLOCKED, 80])
        blocking = await lab.python(CONNECT, BLOCKED, "80")
        non_blocking = await lab.python(CONNECT, BLOCKED, "80", "non-blocking")

        assert (blocking.out, non_blocking.out) == (f"{errno.EACCES}\n", f"{errno.EACCES}\n")
        assert [(flow.verdict, flow.reason) for flow in lab.flows] == [(Verdict.BLOCK, Reason.BLOCKED_BY_RULE)] * 2


async def test_a_non_blocking_program_is_redirected_too(placement: PlacementName) -> None:
    async with open_lab(placement) as lab:
        await lab.proxy(REDIRECT)
        done = await lab.python(ASYNC_FETCH, REDIRECTED)

        assert json.loads(done.out)["address"] == REDIRECTED


async def test_a_non_blocking_connect_is_told_that_it_goes_on(placement: PlacementName) -> None:
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
        done = await lab.python(CONNECT, ORIGIN, "80", "non-blocking")

        assert done.out == f"{errno.EINPROGRESS}\n"


async def test_ipv6_is_passed_and_redirected_as_ipv4_is(placement: PlacementName) -> None:
    async with origin(6) as server, open_lab(placement, [f"[{ORIGIN_V6}]:80=[::1]:{server.port}"]) as lab:
        await lab.proxy(["REDIRECT", REDIRECTED_V6, 80])
        direct = await lab.run(*FETCH, f"http://[{ORIGIN_V6}]/")
        redirected = await lab.python(ASYNC_FETCH, REDIRECTED_V6)

        assert direct.out == "origin", direct.err
        assert json.loads(redirected.out)["address"] == REDIRECTED_V6


async def test_an_ipv6_socket_with_an_ipv4_destination_follows_the_map_of_that_destination(
    placement: PlacementName,
) -> None:
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
        done = await lab.python(CONNECT, f"::ffff:{ORIGIN}", "80")

        assert done.out == "0\n"


async def test_a_dead_port_refuses_blocking_and_non_blocking_programs(placement: PlacementName) -> None:
    async with origin() as server:
        dead = server.port
    async with open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{dead}"]) as lab:
        blocking = await lab.python(CONNECT, ORIGIN, "80")
        waiting = await lab.python(ASYNC_FETCH, ORIGIN)

        assert blocking.out == f"{errno.ECONNREFUSED}\n"
        assert "ConnectionRefusedError" in waiting.err


async def test_a_socket_whose_connect_failed_may_try_again_and_is_asked_about_again(placement: PlacementName) -> None:
    script = """
import socket, sys
s = socket.socket()
first = s.connect_ex((sys.argv[1], 81))
print(first, s.connect_ex((sys.argv[1], 80)), s.connect_ex((sys.argv[1], 80)))
"""
    async with origin() as server:
        dead = server.port
    async with origin() as server:
        maps = [f"{ORIGIN}:80=127.0.0.1:{server.port}", f"{ORIGIN}:81=127.0.0.1:{dead}"]
        async with open_lab(placement, maps) as lab:
            await lab.proxy(PASS, ["PASS", ORIGIN, 81])
            done = await lab.python(script, ORIGIN)

            assert done.out == f"{errno.ECONNREFUSED} 0 {errno.EISCONN}\n"
            assert [flow.original_destination[1] for flow in lab.flows] == [81, 80]


async def test_twenty_threads_connect_at_once(placement: PlacementName) -> None:
    script = """
import http.client, sys, threading
barrier, results = threading.Barrier(20), []
def fetch(n):
    c = http.client.HTTPConnection(sys.argv[1], 80, timeout=20)
    barrier.wait()
    c.request("GET", "/%d" % n)
    results.append(c.getresponse().read())
threads = [threading.Thread(target=fetch, args=(n,)) for n in range(20)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len([r for r in results if r == b"origin"]))
"""
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
        await lab.proxy(PASS)
        done = await lab.python(script, ORIGIN)

        assert done.out == "20\n", done.err
        assert sorted(server.asked) == sorted(f"GET /{n} HTTP/1.1" for n in range(20))
        assert len(lab.flows) == 20


async def test_options_and_epoll_registrations_made_before_connect_stay(placement: PlacementName) -> None:
    script = """
import select, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
s.setblocking(False)
e = select.epoll()
e.register(s, select.EPOLLOUT | select.EPOLLET)
e.poll(0)
s.connect_ex((sys.argv[1], 80))
ready = bool(e.poll(10))
print(ready, *(s.getsockopt(socket.SOL_SOCKET, option) for option in (socket.SO_KEEPALIVE, socket.SO_ERROR)))
"""
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
        done = await lab.python(script, ORIGIN)

        assert done.out == "True 1 0\n", done.err


async def test_an_inherited_socket_connects_too(placement: PlacementName) -> None:
    script = """
import os, socket, subprocess, sys
s = socket.socket(); s.set_inheritable(True)
child = "import socket,sys;print(socket.socket(fileno=int(sys.argv[1])).connect_ex((sys.argv[2], 80)))"
subprocess.run([sys.executable, "-c", child, str(s.fileno()), sys.argv[1]], close_fds=False)
"""
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
        done = await lab.python(script, ORIGIN)

        assert done.out == "0\n", done.err


async def test_the_end_of_a_connection_reaches_the_other_side_when_the_program_closes_it(
    placement: PlacementName,
) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()
        writer.close()

    script = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80)); s.close()
t = socket.socket(); t.setblocking(False); t.connect_ex((sys.argv[1], 80)); t.close()
print("closed", flush=True)
sys.stdin.read()
"""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.sockets[0].getsockname()[1]}"]) as lab:
        await lab.machine.spawn([sys.executable, "-c", script, ORIGIN], stdin=-1, stdout=-3)

        await asyncio.wait_for(ended.wait(), 30)
    server.close()


async def test_other_families_and_bad_addresses_are_left_to_the_kernel(placement: PlacementName) -> None:
    script = """
import ctypes, os, socket, tempfile
libc = ctypes.CDLL(None, use_errno=True)
def connect(s, data, size=None):
    libc.connect(s.fileno(), data, len(data) if size is None else size)
    return ctypes.get_errno()
path = tempfile.mktemp()
server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
client = socket.socket(socket.AF_UNIX); client.connect(path); os.unlink(path)
s = socket.socket()
short, wild = connect(s, b"\\2\\0\\0\\x50"), libc.connect(s.fileno(), ctypes.c_void_p(8), 16)
print(short, wild, ctypes.get_errno(), connect(s, b"\\2\\0" + bytes(14), 4096))
ctypes.set_errno(0)
print(libc.connect(99, b"\\2\\0" + bytes(14), 16), ctypes.get_errno())
"""
    async with open_lab(placement) as lab:
        done = await lab.python(script)

        expected = f"{errno.EINVAL} -1 {errno.EFAULT} {errno.EINVAL}\n-1 {errno.EBADF}\n"
        assert done.out == expected, done.err


async def test_a_thousand_connects_leave_nothing_behind(placement: PlacementName) -> None:
    script = """
import socket, sys
for n in range(int(sys.argv[2])):
    socket.create_connection((sys.argv[1], 80)).close()
"""
    async with origin() as server, open_lab(placement, [f"{ORIGIN}:80=127.0.0.1:{server.port}"]) as lab:
        await lab.proxy(PASS)
        await lab.python(script, ORIGIN, "5")
        before = len(os.listdir("/proc/self/fd"))
        done = await lab.python(script, ORIGIN, "1000")
        assert done.status == 0, done.err
        assert len(lab.flows) == 1005
        async with asyncio.timeout(TIMEOUT):
            while len(os.listdir("/proc/self/fd")) > before:  # the origin, in this process too, closes its own
                await asyncio.sleep(0.01)
