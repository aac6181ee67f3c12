"""What a driver file says of itself: a reader of the parts of PE that decide whether Windows will load it.

Pure: bytes in, a value or ImageError out.  Whether the facts are good enough is `operate.signing`'s and the doctor's.
Source: "PE Format", Win32 docs; VS_FIXEDFILEINFO, verrsrc.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MACHINE_AMD64, MACHINE_ARM64 = 0x8664, 0xAA64
MACHINE_NAMES = {MACHINE_AMD64: "x64", MACHINE_ARM64: "arm64", 0x014C: "x86"}
SUBSYSTEM_NATIVE = 1
FORCE_INTEGRITY, NX_COMPATIBLE = 0x80, 0x100
EXECUTE, WRITE = 0x2000_0000, 0x8000_0000
PE32_PLUS = 0x20B
RESOURCES, SECURITY = 2, 4  # data directories
RT_VERSION = 16
FIXED_INFO_SIGNATURE = 0xFEEF_04BD
MAX_SECTIONS = 96  # the loader's own limit


class ImageError(ValueError):
    """Not a 64-bit PE image, or cut off."""


@dataclass(frozen=True, slots=True)
class DriverImage:
    machine: int
    native: bool
    """Subsystem 1: a driver, and no program."""
    force_integrity: bool
    """The kernel wants it for process notifications."""
    nx_compatible: bool
    writable_code: bool
    """A section both writable and executable: memory integrity refuses it."""
    signed: bool
    """It carries a signature, whosever."""
    version: str | None
    """Of the version resource, as `major.minor.patch`."""

    @property
    def machine_name(self) -> str:
        return MACHINE_NAMES.get(self.machine, f"machine 0x{self.machine:04X}")


def read_image(data: bytes) -> DriverImage:
    """Raises ImageError."""
    try:
        return _read(data)
    except (struct.error, IndexError) as error:
        raise ImageError("the file is cut off or damaged") from error


def _read(data: bytes) -> DriverImage:
    if data[:2] != b"MZ":
        raise ImageError("the file is no Windows image")
    (pe,) = struct.unpack_from("<I", data, 0x3C)
    if data[pe : pe + 4] != b"PE\0\0":
        raise ImageError("the file is no Windows image")
    machine, count = struct.unpack_from("<HH", data, pe + 4)
    (optional_size,) = struct.unpack_from("<H", data, pe + 20)
    optional = pe + 24
    if struct.unpack_from("<H", data, optional)[0] != PE32_PLUS or count > MAX_SECTIONS:
        raise ImageError("the file is no 64-bit image")
    subsystem, characteristics = struct.unpack_from("<HH", data, optional + 68)
    sections = [_Section(data, optional + optional_size + 40 * index) for index in range(count)]
    for section in sections:
        if section.raw + section.raw_size > len(data):
            raise ImageError("the file is cut off")
    _, signature_size = struct.unpack_from("<II", data, optional + 112 + 8 * SECURITY)
    (resources,) = struct.unpack_from("<I", data, optional + 112 + 8 * RESOURCES)
    return DriverImage(
        machine=machine,
        native=subsystem == SUBSYSTEM_NATIVE,
        force_integrity=bool(characteristics & FORCE_INTEGRITY),
        nx_compatible=bool(characteristics & NX_COMPATIBLE),
        writable_code=any(section.flags & EXECUTE and section.flags & WRITE for section in sections),
        signed=signature_size > 0,
        version=_version(data, sections, resources) if resources else None,
    )


class _Section:
    def __init__(self, data: bytes, at: int) -> None:
        self.size, self.address, self.raw_size, self.raw = struct.unpack_from("<8xIIII", data, at)
        (self.flags,) = struct.unpack_from("<36xI", data, at)

    def holds(self, address: int) -> bool:
        return bool(self.address <= address < self.address + max(self.size, self.raw_size))


def _version(data: bytes, sections: list[_Section], resources: int) -> str | None:
    """Of the first version resource: the tree is type, name, language, and a leaf with address and size."""
    root = _offset(sections, resources)
    entry = _entry(data, root, root, RT_VERSION)
    for _ in range(2):
        if entry is None or not entry & 0x8000_0000:
            return None
        entry = _entry(data, root, root + (entry & 0x7FFF_FFFF), None)
    if entry is None:
        return None
    address, size = struct.unpack_from("<II", data, root + entry)
    block = data[(start := _offset(sections, address)) : start + size]
    fixed = block.find(struct.pack("<I", FIXED_INFO_SIGNATURE))
    if fixed < 0:
        return None
    minor, major, _, patch = struct.unpack_from("<HHHH", block, fixed + 8)
    return f"{major}.{minor}.{patch}"


def _entry(data: bytes, root: int, directory: int, wanted: int | None) -> int | None:
    """Where the entry of a resource directory leads: the one with the id `wanted`, or the first."""
    if directory < root:
        return None
    named, ids = struct.unpack_from("<12xHH", data, directory)
    for index in range(named + ids):
        name, leads_to = struct.unpack_from("<II", data, directory + 16 + 8 * index)
        if wanted is None or name == wanted:
            return int(leads_to)
    return None


def _offset(sections: list[_Section], address: int) -> int:
    for section in sections:
        if section.holds(address):
            return int(address - section.address + section.raw)
    raise ImageError("an address in the file is in no section")
