"""pointsman.sys as the loader of Windows will see it: read by a parser of our own, for x64 and ARM64."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MACHINES = {"x64": 0x8664, "arm64": 0xAA64}
EXECUTE, WRITE = 0x2000_0000, 0x8000_0000
DYNAMIC_BASE, FORCE_INTEGRITY, NX = 0x40, 0x80, 0x100


@dataclass(frozen=True)
class Section:
    name: str
    address: int
    size: int
    raw: int
    flags: int


class Image:
    """PE/COFF specification, "Optional Header" and "Section Table"."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        pe = self.u32(0x3C)
        assert data[pe : pe + 4] == b"PE\0\0"
        self.machine, sections = struct.unpack_from("<HH", data, pe + 4)
        optional_size = struct.unpack_from("<H", data, pe + 20)[0]
        self.optional = pe + 24
        assert struct.unpack_from("<H", data, self.optional)[0] == 0x20B
        self.section_alignment = self.u32(self.optional + 32)
        self.checksum_at = self.optional + 64
        self.subsystem, self.characteristics = struct.unpack_from("<HH", data, self.optional + 68)
        self.sections = [self._section(self.optional + optional_size + 40 * i) for i in range(sections)]

    def u32(self, offset: int) -> int:
        return int(struct.unpack_from("<I", self.data, offset)[0])

    def _section(self, at: int) -> Section:
        name, size, address, _, raw = struct.unpack_from("<8sIIII", self.data, at)
        return Section(name.rstrip(b"\0").decode(), address, size, raw, self.u32(at + 36))

    def directory(self, index: int) -> tuple[int, int]:
        at = self.optional + 112 + 8 * index
        return self.u32(at), self.u32(at + 4)

    def section_of(self, rva: int) -> Section:
        return next(s for s in self.sections if s.address <= rva < s.address + s.size)

    def offset(self, rva: int) -> int:
        section = self.section_of(rva)
        return rva - section.address + section.raw

    def text(self, rva: int) -> str:
        start = self.offset(rva)
        return self.data[start : self.data.index(b"\0", start)].decode()

    def imports(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        at = self.offset(self.directory(1)[0])
        while self.u32(at + 12):
            names: set[str] = set()
            thunk = self.offset(self.u32(at))
            while value := struct.unpack_from("<Q", self.data, thunk)[0]:
                assert not value >> 63, "imported by ordinal"
                names.add(self.text((value & 0x7FFF_FFFF) + 2))
                thunk += 8
            found[self.text(self.u32(at + 12))] = names
            at += 20
        return found

    def checksum(self) -> int:
        """As the loader computes it: one's complement sum of words without the field itself, plus the length."""
        total = 0
        padded = self.data + b"\0" * (-len(self.data) % 2)
        for at in range(0, len(padded), 2):
            if not self.checksum_at <= at < self.checksum_at + 4:
                total += padded[at] | padded[at + 1] << 8
                total = (total & 0xFFFF) + (total >> 16)
        return total + len(self.data)


@pytest.fixture(scope="module", params=sorted(MACHINES))
def name(request: pytest.FixtureRequest) -> str:
    subprocess.run([sys.executable, str(ROOT / "tools/native.py"), "driver"], check=True, capture_output=True)
    return str(request.param)


@pytest.fixture(scope="module")
def image(name: str) -> Image:
    return Image((ROOT / "build/driver" / name / "pointsman.sys").read_bytes())


def allowed(definition: str) -> set[str]:
    lines = (ROOT / "driver/package" / definition).read_text().splitlines()
    return {line for line in lines if re.fullmatch(r"\w+", line) and line != "EXPORTS"}


@pytest.mark.timeout(600)
def test_it_is_a_native_image_of_its_machine(name: str, image: Image) -> None:
    assert image.machine == MACHINES[name]
    assert image.subsystem == 1


def test_process_notification_and_memory_integrity_will_accept_it(image: Image) -> None:
    assert image.characteristics & FORCE_INTEGRITY
    assert image.characteristics & NX
    assert image.characteristics & DYNAMIC_BASE
    assert image.section_alignment % 0x1000 == 0
    assert not [s.name for s in image.sections if s.flags & WRITE and s.flags & EXECUTE]
    assert not image.section_of(image.directory(1)[0]).flags & EXECUTE  # the import table


def test_it_imports_just_what_is_listed(image: Image) -> None:
    assert image.imports() == {
        "ntoskrnl.exe": allowed("ntoskrnl.def"), "fwpkclnt.sys": allowed("fwpkclnt.def"),
    }  # fmt: skip


def test_its_checksum_is_right(image: Image) -> None:
    assert image.u32(image.checksum_at) == image.checksum()


def test_its_symbols_are_beside_it_and_named_without_a_path(name: str, image: Image) -> None:
    rva, size = image.directory(6)
    entry = image.offset(rva)
    codeview = [
        image.u32(at + 24) for at in range(entry, entry + size, 28) if image.u32(at + 12) == 2
    ]  # PointerToRawData of IMAGE_DEBUG_TYPE_CODEVIEW

    assert image.data[codeview[0] : codeview[0] + 4] == b"RSDS"
    path = image.data[codeview[0] + 24 : image.data.index(b"\0", codeview[0] + 24)].decode()
    assert path == "pointsman.pdb"
    assert (ROOT / "build/driver" / name / path).stat().st_size > 0


def pdb_guid(data: bytes) -> bytes:
    """Of the PDB information stream: stream 1 of the MSF container (LLVM documentation, "The MSF File Format")."""

    def words(at: int, count: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{count}I", data, at)

    assert data.startswith(b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0")
    block, _, _, directory_size, _, map_at = words(32, 6)
    blocks = words(map_at * block, -(-directory_size // block))
    directory = b"".join(data[b * block : (b + 1) * block] for b in blocks)
    count = struct.unpack_from("<I", directory)[0]
    sizes = struct.unpack_from(f"<{count}I", directory, 4)
    first_blocks = 0 if sizes[0] == 0xFFFFFFFF else -(-sizes[0] // block)  # those of stream 0
    stream = struct.unpack_from("<I", directory, 4 + 4 * count + 4 * first_blocks)[0]
    return data[stream * block + 12 : stream * block + 28]


def test_the_symbols_are_those_of_this_very_image(name: str, image: Image) -> None:
    rva, size = image.directory(6)
    entry = image.offset(rva)
    codeview = next(image.u32(at + 24) for at in range(entry, entry + size, 28) if image.u32(at + 12) == 2)
    guid = image.data[codeview + 4 : codeview + 20]

    assert guid != bytes(16)
    assert guid == pdb_guid((ROOT / "build/driver" / name / "pointsman.pdb").read_bytes())


def test_its_version_is_a_resource(image: Image) -> None:
    rva, size = image.directory(2)
    assert size > 0
    resources = image.data[image.offset(rva) : image.offset(rva) + size]
    fixed = resources.index(struct.pack("<I", 0xFEEF04BD))  # VS_FIXEDFILEINFO
    high, low = struct.unpack_from("<II", resources, fixed + 8)
    assert (high >> 16, high & 0xFFFF, low >> 16) == (0, 1, 0)
    assert "Pointsman WFP callout driver".encode("utf-16-le") in resources
