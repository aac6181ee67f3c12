"""The reader of driver files: the real images, and any damage to them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.operate.image import MACHINE_AMD64, MACHINE_ARM64, ImageError, read_image

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build/driver"


@pytest.fixture(scope="module")
def data() -> bytes:
    file = BUILT / "x64/pointsman.sys"
    if not file.exists():
        pytest.skip("`make driver` has not been run")
    return file.read_bytes()


@pytest.mark.parametrize(("folder", "machine"), [("x64", MACHINE_AMD64), ("arm64", MACHINE_ARM64)])
def test_our_drivers_say_what_they_are(data: bytes, folder: str, machine: int) -> None:
    image = read_image((BUILT / folder / "pointsman.sys").read_bytes())

    assert (image.machine, image.native, image.force_integrity, image.nx_compatible) == (machine, True, True, True)
    assert (image.writable_code, image.signed, image.version) == (False, False, "0.1.0")


def test_flags_of_the_headers_are_seen(data: bytes) -> None:
    changed = bytearray(data)
    (pe,) = struct.unpack_from("<I", changed, 0x3C)
    (optional_size,) = struct.unpack_from("<H", changed, pe + 20)
    struct.pack_into("<H", changed, pe + 24 + 70, 0x40)  # neither FORCE_INTEGRITY nor NX
    struct.pack_into("<II", changed, pe + 24 + 112 + 8 * 4, 0x1000, 0x200)  # a security directory
    struct.pack_into("<I", changed, pe + 24 + optional_size + 36, 0xE000_0020)  # the first section: RWX

    image = read_image(bytes(changed))

    assert (image.force_integrity, image.nx_compatible, image.signed, image.writable_code) == (False, False, True, True)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_cut_and_any_byte_give_an_image_or_an_error(data: bytes, choose: st.DataObject) -> None:
    damaged = bytearray(data[: choose.draw(st.integers(0, len(data)))])
    for at, value in choose.draw(st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), max_size=8)):
        if at < len(damaged):
            damaged[at] = value
    try:
        read_image(bytes(damaged))
    except ImageError as error:
        assert str(error)


@pytest.mark.parametrize("junk", [b"", b"MZ", b"\x7fELF" + bytes(200), b"MZ" + bytes(100)])
def test_what_is_no_image_is_said_to_be_none(junk: bytes) -> None:
    with pytest.raises(ImageError):
        read_image(junk)
