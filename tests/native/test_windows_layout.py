"""Our declarations of Windows structures against the measured layouts: in C for all targets, in Python by ctypes."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from pointsman.lab import simulator
from pointsman.system import fwpm
from pointsman.wire import guids
from pointsman.wire.filters import Layer

ROOT = Path(__file__).resolve().parents[2]
LAYOUT: dict[str, Any] = json.loads((ROOT / "abi/windows-layout.json").read_text())
HEADERS = "".join(path.read_text() for path in sorted((ROOT / "simwfp/include").glob("*.h")))


def c_asserts() -> str:
    """One line a fact, for everything that our headers declare."""
    lines = ['#include "fwpsk.h"', '#include "fwpmk.h"', '#include "ntifs.h"']
    lines += ["#define OFFSET __builtin_offsetof", "#define SIZE(s, f) sizeof(((s*)0)->f)"]
    for name, struct in LAYOUT["structs"].items():
        lines.append(f'_Static_assert(sizeof({name}) == {struct["size"]}, "{name}");')
        lines.append(f'_Static_assert(_Alignof({name}) == {struct["align"]}, "{name} alignment");')
        declared = declaration(name)
        for field, (offset, size) in struct["fields"].items():
            if re.search(rf"\b{re.escape(field)}\b\s*(\[[^\]]*\])?;", declared):
                lines.append(f'_Static_assert(OFFSET({name}, {field}) == {offset}, "{name}.{field}");')
                lines.append(f'_Static_assert(SIZE({name}, {field}) == {size}, "size of {name}.{field}");')
    for name, value in LAYOUT["constants"].items():
        lines.append(f'_Static_assert((unsigned)({name}) == {value}u, "{name}");')
    for layer, fields in LAYOUT["layer_fields"].items():
        if layer.endswith("V4"):
            prefix = layer.replace("FWPS_LAYER", "FWPS_FIELD")
            for field, index in fields.items():
                if f"{prefix}_{field}" in HEADERS:
                    lines.append(f'_Static_assert({prefix}_{field} == {index}, "{field}");')
    return "\n".join(lines) + "\n"


def declaration(name: str) -> str:
    """The text of a structure in our headers."""
    match = re.search(rf"struct _?{name}_? \{{(.*?)^\}}", HEADERS, re.S | re.M)
    assert match, f"{name} is not declared"
    return match[1]


@pytest.mark.parametrize("target", ["x86_64-windows-gnu", "aarch64-windows-gnu", "x86_64-linux-gnu"])
@pytest.mark.timeout(300)
def test_the_c_declarations_have_the_layout_of_windows(target: str, tmp_path: Path) -> None:
    source = tmp_path / "layout.c"
    source.write_text(c_asserts())

    result = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-std=c11", "-fshort-wchar", "-target", target,
         f"-I{ROOT / 'simwfp/include'}", "-c", str(source), "-o", str(tmp_path / "layout.o")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert c_asserts().count("_Static_assert") > 400
    assert result.returncode == 0, result.stderr


def test_a_wrong_fact_would_be_caught(tmp_path: Path) -> None:
    source = tmp_path / "layout.c"
    source.write_text(
        c_asserts().replace("sizeof(FWPS_CONNECT_REQUEST0) == 312", "sizeof(FWPS_CONNECT_REQUEST0) == 288")
    )

    result = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-std=c11", "-fshort-wchar", f"-I{ROOT / 'simwfp/include'}",
         "-fsyntax-only", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert result.returncode != 0
    assert "FWPS_CONNECT_REQUEST0" in result.stderr


@pytest.mark.parametrize(
    "name",
    ["FWP_BYTE_BLOB", "FWP_V4_ADDR_AND_MASK", "FWP_V6_ADDR_AND_MASK", "FWP_VALUE0", "FWP_RANGE0", "FWPM_DISPLAY_DATA0",
     "FWPM_SESSION0", "FWPM_FILTER_CONDITION0", "FWPM_ACTION0", "FWPM_FILTER0", "FWPM_PROVIDER0", "FWPM_SUBLAYER0"],
)  # fmt: skip
def test_the_ctypes_structures_have_the_layout_of_windows(name: str) -> None:
    cls = getattr(fwpm, name)
    want = LAYOUT["structs"][name]

    assert ctypes.sizeof(cls) == want["size"]
    for field, (offset, size) in want["fields"].items():
        got = getattr(cls, field, None)
        if got is not None:
            assert (got.offset, got.size) == (offset, size), field


def test_guids_and_layer_ids_are_those_of_windows() -> None:
    for name, value in LAYOUT["guids"].items():
        short = name.removeprefix("FWPM_").replace("LAYER_ALE_", "LAYER_")
        if hasattr(guids, short):
            assert getattr(guids, short) == uuid.UUID(value), name
    for layer in Layer:
        assert LAYOUT["constants"][f"FWPS_LAYER_ALE_{layer.name}"] == layer


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("sim_knobs", simulator.Knobs),
        ("sim_connect_request", simulator._ConnectRequest),
        ("sim_connect_result", simulator._ConnectResult),
    ],
)
def test_what_the_lab_hands_to_the_simulator_has_the_fields_of_its_header(
    name: str, cls: type[ctypes.Structure]
) -> None:
    header = (ROOT / "simwfp/include/simwfp.h").read_text()
    body = header[header.index(f"typedef struct {name} {{") : header.index(f"}} {name};")]
    declared = re.findall(r"^\s+(?:const )?(uint\d+_t)(\*?) (\w+)(?:\[(\d+)\])?;", body, re.M)
    sizes = {"uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "uint64_t": 8}

    assert [(field, getattr(cls, field).size) for field, *_ in cls._fields_] == [
        (field, 8 if pointer else sizes[kind] * int(count or 1)) for kind, pointer, field, count in declared
    ]
