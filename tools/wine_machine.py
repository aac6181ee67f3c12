"""What the tests under Wine need, from scratch: a Windows Python from wheels, a Wine prefix, and the simulated WFP.

    python tools/wine_machine.py        prints the folders as JSON: {"python": ..., "prefix": ..., "kernel": ...}

Downloads, Python and prefix are kept in the user's cache ($XDG_CACHE_HOME/pointsman/wine), the products of our own
sources in build/wine.  Nothing here is ever shipped.  Needs Debian's `wine` and `wine64`, and runs on CPython 3.11:
its pure-Python standard library is the one that the Windows python311.dll gets.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import native

ROOT = native.ROOT
OUTPUT = ROOT / "build/wine"
REQUIREMENTS = ROOT / "tests/wine/requirements.txt"
PYTHON_SOURCE = ROOT / "tests/wine/python.c"
PRIMITIVES_SOURCE = ROOT / "tests/wine/bcryptprimitives.c"
PORT = ROOT / "simwfp/wine"
SIMULATED_KERNEL = {  # what Wine's ntoskrnl.exe is instead, or host.c
    "clock.c", "device.c", "device_security.c", "irql.c", "knobs.c", "lab.c", "machine.c", "pool.c", "processes.c",
}  # fmt: skip
KERNEL_SOURCES = [path for path in native.SIM_SOURCES if path.name not in SIMULATED_KERNEL]
KERNEL_PORT = [PORT / name for name in ("entry.c", "host.c", "watch.c", "test_device.c", "filter_parts.c")]
CLIENT_SOURCES = [PORT / name for name in ("fwpuclnt.c", "filter_parts.c")]
TARGET = ["-target", "x86_64-windows-gnu"]
FREESTANDING = [
    "-O2", "-fno-sanitize=all", "-fno-stack-protector", "-mno-stack-arg-probe", "-fno-builtin", f"-I{PORT / 'include'}",
    "-D_Thread_local=",  # one thread dispatches; Wine's kernel gives a driver no thread-local storage
]  # fmt: skip
UNAVAILABLE = 69  # exit status: this machine cannot do it (EX_UNAVAILABLE of sysexits.h)
UNUSED = 14 * 86400  # seconds
LAYOUT = b"3"  # of the folder that build_python makes
UNUSED_STDLIB = {"__pycache__", "ensurepip", "idlelib", "lib-dynload", "lib2to3", "site-packages", "test", "tkinter"}
PIP_TARGET = ["--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp"]


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pointsman/wine"


def missing() -> str | None:
    """Why this machine cannot do it; None if it can."""
    if shutil.which("wineserver") is None or wine() is None:
        return "no Wine (Debian: apt-get install --no-install-recommends wine wine64)"
    if sys.version_info[:2] != (3, 11):
        return "the Windows Python for Wine is 3.11 and takes the standard library of this one, which is not"
    return None


def wine() -> str | None:
    packaged = Path("/usr/lib/wine/wine64")
    return str(packaged) if packaged.exists() else shutil.which("wine64") or shutil.which("wine")


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """The folder `name` of the cache, for one process at a time."""
    folder = cache() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / (name + ".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def link_freestanding(product: Path, sources: list[Path], libraries: list[Path], exports: Path, *flags: str) -> Path:
    """An image without a C library: `sources` on the simulator's headers, imports by the `.def` files `libraries`."""
    options = [*native.COMMON, *TARGET, *FREESTANDING]
    if native.is_current(product, [*sources, *libraries, exports, Path(__file__)], [*options, *flags]):
        return product
    folder = product.parent / product.stem
    folder.mkdir(parents=True, exist_ok=True)
    objects = [folder / (source.stem + ".obj") for source in sources]
    for source, target in zip(sources, objects, strict=True):
        native.run([*native.zig("cc"), "-c", *options, str(source), "-o", str(target)])
    imports = [folder / (definition.stem + ".lib") for definition in libraries]
    for definition, library in zip(libraries, imports, strict=True):
        native.run([*native.zig("dlltool"), "-d", str(definition), "-l", str(library), "-m", "i386:x86-64"])
    native.run(
        [
            *native.zig("lld-link"), "/nodefaultlib", "/dynamicbase", "/nxcompat", *flags, f"/def:{exports}",
            f"/out:{product}", *map(str, [*objects, *imports]),
        ]
    )  # fmt: skip
    return product


def build_kernel() -> Path:
    """build/wine with the driver's `pointsman.sys` (as it is), `fwpkclnt.sys` and `fwpuclnt.dll`."""
    driver = native.build_driver("x64")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    shutil.copy2(driver, OUTPUT / driver.name)
    link_freestanding(
        OUTPUT / "fwpkclnt.sys", [*KERNEL_SOURCES, *KERNEL_PORT], [PORT / "ntoskrnl.def"],
        ROOT / "driver/package/fwpkclnt.def", "/driver", "/subsystem:native", "/entry:DriverEntry", "/release",
    )  # fmt: skip
    link_freestanding(
        OUTPUT / "fwpuclnt.dll",
        CLIENT_SOURCES,
        [PORT / "kernel32.def", PORT / "ntdll.def"],
        PORT / "fwpuclnt.def",
        "/dll",
        "/noentry",
    )
    return OUTPUT


def build_python() -> Path:
    """A folder with a Windows python.exe, its standard library and the wheels of tests/wine/requirements.txt."""
    digest = hashlib.sha256(
        REQUIREMENTS.read_bytes() + PYTHON_SOURCE.read_bytes() + PRIMITIVES_SOURCE.read_bytes() + LAYOUT
    )
    with locked("python-" + digest.hexdigest()[:12]) as folder:
        drop_unused(folder)
        if folder.exists():
            return folder
        work = folder.with_suffix(".new")
        shutil.rmtree(work, ignore_errors=True)
        packages = work / "Lib/site-packages"
        copy_stdlib(work / "Lib")
        packages.mkdir()
        for wheel in download(cache() / "wheels"):
            unpack(wheel, work, packages)
        native.run(
            [
                *native.zig("cc"), *TARGET, "-municode", "-O2", str(PYTHON_SOURCE), str(work / "python311.dll"),
                "-o", str(work / "python.exe"),
            ]
        )  # fmt: skip
        build_missing_dlls(work)
        for leftover in [*work.glob("*.pdb"), *work.glob("*.lib"), *work.glob("*.obj"), *work.glob("*.def")]:
            leftover.unlink()
        work.rename(folder)
        return folder


def drop_unused(kept: Path) -> None:
    """Marks `kept` as used, and removes what earlier versions of this file made and nobody has used for two weeks."""
    if kept.exists():
        os.utime(kept)
    for old in kept.parent.glob("python-*"):
        if old.is_dir() and old != kept and time.time() - old.stat().st_mtime > UNUSED:
            shutil.rmtree(old, ignore_errors=True)


def build_missing_dlls(folder: Path) -> None:
    """What abi3 wheels want: python3.dll, which passes every name on to python311.dll, and bcryptprimitives.dll."""
    names = exported_names((folder / "python311.dll").read_bytes())
    forwards = "".join(f"{name}=python311.{name}\n" for name in names)
    (folder / "python3.def").write_text(f"LIBRARY python3.dll\nEXPORTS\n{forwards}")
    (folder / "bcryptprimitives.def").write_text("LIBRARY bcryptprimitives.dll\nEXPORTS\nProcessPrng\n")
    (folder / "advapi32.def").write_text("LIBRARY advapi32.dll\nEXPORTS\nSystemFunction036\n")
    compile_object = [*native.zig("cc"), "-c", *TARGET, *FREESTANDING, str(PRIMITIVES_SOURCE)]
    native.run([*compile_object, "-o", str(folder / "bcryptprimitives.obj")])
    native.run(
        [
            *native.zig("dlltool"), "-d", str(folder / "advapi32.def"), "-l", str(folder / "advapi32.lib"),
            "-m", "i386:x86-64",
        ]
    )  # fmt: skip
    objects = [str(folder / "bcryptprimitives.obj"), str(folder / "advapi32.lib")]
    for name in ("python3", "bcryptprimitives"):  # without any object lld-link writes no image, so both get one
        native.run(
            [
                *native.zig("lld-link"), "/dll", "/noentry", "/nodefaultlib", f"/def:{folder / (name + '.def')}",
                f"/out:{folder / (name + '.dll')}", *objects,
            ]
        )  # fmt: skip


def exported_names(image: bytes) -> list[str]:
    """Of a 64-bit PE file, by its export directory."""
    (header,) = struct.unpack_from("<I", image, 0x3C)
    sections, optional_size = struct.unpack_from("<6xH12xH", image, header)
    tables = header + 24 + optional_size
    headers = [struct.unpack_from("<8xIIII", image, tables + 40 * index) for index in range(sections)]

    def at(address: int) -> int:
        offset: int = next(raw + address - start for size, start, _, raw in headers if start <= address < start + size)
        return offset

    directory = at(*struct.unpack_from("<I", image, header + 24 + 112))
    count, _, names = struct.unpack_from("<24xIII", image, directory)
    starts = (at(*struct.unpack_from("<I", image, at(names) + 4 * index)) for index in range(count))
    return [image[start : image.index(b"\0", start)].decode() for start in starts]


def copy_stdlib(target: Path) -> None:
    source = sysconfig.get_path("stdlib")
    shutil.copytree(
        source, target, symlinks=False,
        ignore=lambda _, names: [name for name in names if name in UNUSED_STDLIB or name.startswith("config-")],
    )  # fmt: skip


def download(folder: Path) -> list[Path]:
    native.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
            "--only-binary=:all:", *PIP_TARGET, "--dest", str(folder), "--requirement", str(REQUIREMENTS),
        ]
    )  # fmt: skip
    pins = [line.split(" ")[0].replace("-", "_").split("==") for line in REQUIREMENTS.read_text().splitlines()]
    return [next(folder.glob(f"{pin[0]}-{pin[1]}-*.whl")) for pin in pins if len(pin) == 2]


def unpack(wheel: Path, python: Path, packages: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        if wheel.name.startswith("panda3d-"):
            members(archive, "deploy_libs/", python)
        elif wheel.name.startswith("msvc_runtime-"):
            members(archive, ".data/data/Scripts/vcruntime140", python)
        else:
            archive.extractall(packages)


def members(archive: zipfile.ZipFile, part: str, python: Path) -> None:
    """CPython's own files: the interpreter beside python.exe, everything it loads later in DLLs."""
    (python / "DLLs").mkdir(exist_ok=True)
    for name in archive.namelist():
        file = name.rsplit("/", 1)[-1]
        if part not in name or file.startswith(("api-ms-", "tcl", "tk", "_tkinter")):
            continue
        beside = file.lower().startswith(("python3", "vcruntime140"))
        (python / ("" if beside else "DLLs") / file.lower()).write_bytes(archive.read(name))


def build_prefix() -> Path:
    version = subprocess.run([str(wine()), "--version"], capture_output=True, text=True, check=True).stdout.split()[0]
    with locked("prefix-" + version) as folder:
        if not folder.exists():
            work = folder.with_suffix(".new")
            shutil.rmtree(work, ignore_errors=True)
            environment = prefix_environment(work)
            subprocess.run(
                [str(wine()), "wineboot.exe", "-i"], env=environment, check=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300,
            )  # fmt: skip
            subprocess.run(["wineserver", "-w"], env=environment, check=True, timeout=300)
            work.rename(folder)
        return folder


def prefix_environment(prefix: Path) -> dict[str, str]:
    return {
        **os.environ,
        "WINEPREFIX": str(prefix), "WINEARCH": "win64", "WINEDEBUG": os.environ.get("WINEDEBUG", "-all"),
        "WINEDLLOVERRIDES": "mscoree,mshtml,winemenubuilder.exe=", "DISPLAY": "",
    }  # fmt: skip


def main() -> None:
    reason = missing()
    if reason is not None:
        sys.stderr.write(reason + "\n")
        raise SystemExit(UNAVAILABLE)
    print(
        json.dumps(
            {"python": str(build_python()), "prefix": str(build_prefix()), "kernel": str(build_kernel())}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
