"""What can be read off the driver's sources and package: sizes, the exit path, the INF, the version."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("decide", "state", "wfp", "nt")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / "driver" / folder).glob("*.[ch]"))
SLOW = re.compile(
    r"\b(Fwp[ms]\w+|ExAllocate\w+|KeDelay\w+|KeWait\w+|DbgPrintEx|Zw\w+|Io(Create|Delete|Queue|Allocate)\w+)\("
)


def functions(path: Path) -> dict[str, str]:
    """Each function of a file with its text; a function starts at column 0 and ends with a brace there."""
    found = re.findall(r"(?ms)^[A-Za-z_][^;{}=]*?(\w+)\([^;{}]*\)\s\{\n(.*?)^\}", path.read_text())
    return dict(found)


ALL = {name: body for path in SOURCES if path.suffix == ".c" for name, body in functions(path).items()}


def test_the_driver_is_small() -> None:
    lines = {path: path.read_text().count("\n") for path in [*SOURCES, ROOT / "driver/platform.h"]}
    assert sum(lines.values()) < 2000
    assert max(lines.values()) <= 400


def test_no_function_is_long() -> None:
    assert len(ALL) > 80
    assert [name for name, body in ALL.items() if body.count("\n") > 78] == []


def called_from(name: str, seen: set[str]) -> set[str]:
    if name not in seen and name in ALL:
        seen.add(name)
        for other in re.findall(r"\b(\w+)\b", ALL[name]):
            called_from(other, seen)
    return seen


@pytest.mark.parametrize("entry", ["process_changed", "on_cleanup"])
def test_exit_paths_never_allocate_wait_or_call_the_filter_engine(entry: str) -> None:
    """simwfp asserts the same while it runs (sim_slow_call)."""
    reached = called_from(entry, set())
    assert "forget" in reached and "removed" in reached
    for name in reached - {"complete"}:
        assert not SLOW.search(ALL[name]), name


def inf() -> ConfigParser:
    parser = ConfigParser(inline_comment_prefixes=(";",), allow_no_value=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # case counts in an INF's values
    parser.read(ROOT / "driver/package/pointsman.inf")
    return parser


def test_the_inf_installs_a_demand_started_callout_driver_on_both_machines() -> None:
    parser = inf()
    assert parser["Version"]["Class"] == "WFPCALLOUTS"
    assert parser["Version"]["ClassGuid"] == "{57465043-616C-6C6F-7574-5F636C617373}"
    assert parser["Pointsman.Service"]["StartType"] == "3"
    assert parser["Pointsman.Service"]["ServiceType"] == "1"
    assert parser["Pointsman.Service"]["ServiceBinary"] == r"%12%\pointsman.sys"
    for machine in ("amd64", "arm64"):
        section = f"DefaultInstall.NT{machine}.10.0...17763"
        assert parser[section]["CopyFiles"] == "Pointsman.Files"
        assert parser[f"{section}.Services"]["AddService"] == "%Service%,,Pointsman.Service"
        assert f"DefaultUninstall.NT{machine}.10.0...17763" in parser
    used = set(re.findall(r"%([A-Za-z]+)%", (ROOT / "driver/package/pointsman.inf").read_text())) - {"windir"}
    assert used == set(parser["Strings"])


def test_one_version_everywhere() -> None:
    number = int(re.findall(r"#define PM_DRIVER_VERSION (0x\w+)u", (ROOT / "abi/pointsman_abi.h").read_text())[0], 16)
    version = (number >> 24, number >> 16 & 0xFF, number & 0xFFFF)
    resource = (ROOT / "driver/package/pointsman.rc").read_text()
    assert "FILEVERSION {},{},{},0".format(*version) in resource
    assert '"FileVersion", "{}.{}.{}"'.format(*version) in resource
    assert inf()["Version"]["DriverVer"].endswith(",{}.{}.{}.0".format(*version))


def test_the_wdk_project_builds_the_same_sources() -> None:
    project = ElementTree.parse(ROOT / "driver/package/pointsman.vcxproj")
    space = {"m": "http://schemas.microsoft.com/developer/msbuild/2003"}
    patterns = [item.get("Include", "") for item in project.findall(".//m:ItemGroup/m:ClCompile", space)]
    folder = ROOT / "driver/package"
    compiled = {path.resolve() for pattern in patterns for path in folder.glob(pattern.replace("\\", "/"))}
    assert compiled == {path for path in SOURCES if path.suffix == ".c"}
    options = project.find(".//m:Link/m:AdditionalOptions", space)
    assert options is not None and "/INTEGRITYCHECK" in (options.text or "")
    platforms = {item.text for item in project.findall(".//m:ProjectConfiguration/m:Platform", space)}
    assert platforms == {"x64", "ARM64"}
