"""The device socket: what travels over it comes out as it went in, and strangers and junk get nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import PointsmanError
from pointsman.lab.app_id import app_id, image_path, nt_path
from pointsman.lab.device import HEADER, MAX_REQUEST, Op, decode_filters, decode_native, encode_filters, encode_native
from pointsman.lab.system import LabSystem
from pointsman.wire.filters import Condition, Field, Filter, Layer, NativeFilter

from .world import TIMEOUT, open_lab

numbers = st.integers(0, 2**64 - 1)
values = (
    st.binary(max_size=40)
    | st.integers(0, 65535)
    | st.tuples(st.integers(0, 65535), st.integers(0, 65535))
    | st.integers(0, 32).map(lambda bits: IPv4Network((0xCB007100, bits), strict=False))
    | st.integers(0, 128).map(lambda bits: IPv6Network((0x20010DB8 << 96, bits), strict=False))
)
conditions = st.builds(Condition, st.sampled_from(Field), values)
filters = st.builds(
    Filter, st.text(max_size=20), st.sampled_from(Layer), numbers, numbers, st.lists(conditions).map(tuple)
)


@given(st.lists(filters, max_size=5))
def test_filters_arrive_as_they_were_sent(sent: list[Filter]) -> None:
    assert decode_filters(encode_filters(sent)) == sent


@given(
    st.lists(
        st.builds(
            NativeFilter, st.text(max_size=20), st.sampled_from(Layer), numbers, st.booleans(),
            st.lists(conditions).map(tuple),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_native_filters_arrive_as_they_were_sent(sent: list[NativeFilter]) -> None:
    assert decode_native(encode_native(sent)) == sent


@given(st.binary(max_size=100))
def test_any_bytes_are_filters_or_a_value_error(junk: bytes) -> None:
    try:
        decode_filters(junk)
    except ValueError:
        return


def test_an_app_id_is_what_windows_would_make_of_the_path() -> None:
    assert nt_path("/usr/bin/Curl") == r"\device\harddiskvolume3\usr\bin\curl"
    assert app_id("/bin/a") == "\\device\\harddiskvolume3\\bin\\a\0".encode("utf-16-le")
    assert image_path(app_id("/opt/ä b/X")) == image_path(app_id("/opt/ä b/X")[:-2]) == "/opt/ä b/x"


def test_outside_a_lab_the_proxy_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POINTSMAN_LAB", raising=False)

    with pytest.raises(PointsmanError, match="PM506"):
        LabSystem()
    with pytest.raises(PointsmanError, match="PM506"):
        LabSystem("/nonexistent/device")


MACHINE = """
import asyncio, sys
from pointsman.lab.machine import Machine
async def main():
    async with Machine() as machine:
        print(machine.device_path, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


@pytest.mark.asyncio
async def test_a_process_that_the_machine_did_not_start_is_a_stranger() -> None:
    machine = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MACHINE, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert machine.stdin is not None
    assert machine.stdout is not None
    path = (await asyncio.wait_for(machine.stdout.readline(), TIMEOUT)).decode().strip()

    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(TIMEOUT)
            stranger.connect(path)
            try:
                stranger.sendall(HEADER.pack(0, Op.OPEN_DEVICE))
                return stranger.recv(100)
            except (BrokenPipeError, ConnectionResetError):
                return b""

    assert await asyncio.to_thread(ask) == b""
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    machine.stdin.close()
    assert await asyncio.wait_for(machine.wait(), TIMEOUT) == 0


@pytest.mark.asyncio
async def test_a_program_of_the_lab_may_open_the_device() -> None:
    script = "import os;from pointsman.lab.system import LabSystem;LabSystem().open_driver();print('open')"
    async with open_lab() as lab:
        done = await lab.python(script)

        assert done.out == "open\n", done.err


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "request_bytes",
    [
        HEADER.pack(0, 99),
        HEADER.pack(0, Op.CONTROL),
        HEADER.pack(8, Op.CONTROL) + b"\xff" * 8,
        HEADER.pack(3, Op.REPLACE_FILTERS) + b"abc",
        HEADER.pack(3, Op.REDIRECT_CONTEXT) + b"abc",
        HEADER.pack(3, Op.APPLY_RECORDS) + b"abc",
    ],
)
async def test_a_request_that_makes_no_sense_gets_a_status(request_bytes: bytes) -> None:
    async with open_lab() as lab:
        reader, writer = await asyncio.open_unix_connection(str(lab.machine.device_path))
        writer.write(request_bytes)
        size, status = HEADER.unpack(await asyncio.wait_for(reader.readexactly(HEADER.size), TIMEOUT))
        writer.close()

        assert (size, status >> 28) == (0, 0xC)


@pytest.mark.asyncio
async def test_a_request_without_bound_ends_the_connection() -> None:
    async with open_lab() as lab:
        reader, writer = await asyncio.open_unix_connection(str(lab.machine.device_path))
        writer.write(HEADER.pack(MAX_REQUEST + 1, Op.REPLACE_FILTERS))

        assert await asyncio.wait_for(reader.read(), TIMEOUT) == b""
        writer.close()


@pytest.mark.asyncio
async def test_a_connection_that_nobody_redirected_has_no_context() -> None:
    async with open_lab() as lab:

        def ask() -> tuple[bytes | None, bytes]:
            system = LabSystem(str(lab.machine.device_path))
            with (
                socket.create_server(("127.0.0.1", 0)) as server,
                socket.create_connection(server.getsockname()),
                server.accept()[0] as accepted,
            ):
                answer = system.redirects.redirect_context(accepted), system.redirects.redirect_records(accepted)
            system.close()
            return answer

        assert await asyncio.to_thread(ask) == (None, b"")
