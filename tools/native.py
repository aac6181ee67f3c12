"""Build the C side: the lab's library, the driver, the C tests.  The compiler is the one in the `ziglang` wheel.

    python tools/native.py lab                 src/pointsman/lab/_native/libpointsman_lab.so
    python tools/native.py driver              build/driver/{x64,arm64}/pointsman.sys and .pdb
    python tools/native.py tests [--sanitize]  build/tests/NAME; --sanitize: gcc or clang, for ASan
    python tools/native.py bench               how simwfp's classify and commit grow with the number of filters
    python tools/native.py fuzz SECONDS        libFuzzer with ASan and UBSan on the driver; needs clang with compiler-rt

Only what changed is built again: a stamp beside each product holds a digest of everything that went into it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAB_LIBRARY = ROOT / "src/pointsman/lab/_native/libpointsman_lab.so"
DRIVER_SOURCES = sorted((ROOT / "driver").glob("[dswn]*/*.c"))  # decide, state, wfp, nt
SIM_SOURCES = sorted((ROOT / "simwfp").glob("*.c"))
INCLUDES = [f"-I{ROOT / folder}" for folder in ("simwfp/include", "simwfp", "abi", "driver")]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror", "-Wno-multichar"]
COMMON = ["-std=c11", "-fshort-wchar", *WARNINGS, *INCLUDES]
GLIBC = "2.28"  # oldest one that manylinux_2_28 wheels promise
ARCHITECTURES = {"x64": ("x86_64", "i386:x86-64"), "arm64": ("aarch64", "arm64")}


def zig(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ziglang", *arguments]


def run(command: Sequence[str], cwd: Path = ROOT) -> None:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.stderr.write(" ".join(command) + "\n" + result.stdout + result.stderr)
        raise SystemExit(f"tools/native.py: {command[0]} ended with status {result.returncode}")


def headers() -> list[Path]:
    return sorted(path for folder in ("abi", "driver", "simwfp") for path in (ROOT / folder).rglob("*.h"))


def is_current(product: Path, inputs: Iterable[Path], options: Sequence[str]) -> bool:
    """True if `product` was built from just this; else notes what it is about to be built from."""
    digest = hashlib.sha256("\0".join(options).encode())
    for path in [*inputs, *headers(), Path(__file__)]:
        digest.update(path.read_bytes())
    stamp = product.with_name(product.name + ".stamp")
    if product.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest():
        return True
    product.parent.mkdir(parents=True, exist_ok=True)
    product.unlink(missing_ok=True)
    stamp.write_text(digest.hexdigest())
    return False


def build_lab() -> Path:
    """The driver on simwfp as a shared library for this machine's architecture."""
    machine = {"x86_64": "x86_64", "aarch64": "aarch64"}[platform.machine()]
    options = [*COMMON, "-O2", "-g", "-fPIC", "-shared", "-target", f"{machine}-linux-gnu.{GLIBC}"]
    sources = [*DRIVER_SOURCES, *SIM_SOURCES]
    if not is_current(LAB_LIBRARY, sources, options):
        run([*zig("cc"), *options, *map(str, sources), "-o", str(LAB_LIBRARY)])
    return LAB_LIBRARY


def build_driver(name: str) -> Path:
    """`pointsman.sys` and its PDB for Windows on x64 or ARM64."""
    machine, dlltool_machine = ARCHITECTURES[name]
    folder = ROOT / "build/driver" / name
    product = folder / "pointsman.sys"
    definitions = sorted((ROOT / "driver/package").glob("*.def"))
    version = ROOT / "driver/package/pointsman.rc"
    options = [
        *COMMON, "-O2", "-g", "-target", f"{machine}-windows-gnu", "-fno-sanitize=all", "-fno-stack-protector",
        "-mno-stack-arg-probe", "-fno-builtin", "-gcodeview", "-flto",
    ]  # fmt: skip
    if is_current(product, [*DRIVER_SOURCES, *definitions, version], options):
        return product
    objects = []
    for source in DRIVER_SOURCES:
        target = folder / (source.parent.name + "_" + source.stem + ".obj")
        run([*zig("cc"), "-c", *options, str(source), "-o", str(target)])
        objects.append(str(target))
    resource = folder / "pointsman.res"
    run([*zig("rc"), "/fo", str(resource), str(version)])
    objects.append(str(resource))
    libraries = []
    for definition in definitions:
        library = folder / (definition.stem + ".lib")
        run([*zig("dlltool"), "-d", str(definition), "-l", str(library), "-m", dlltool_machine])
        libraries.append(str(library))
    # FORCE_INTEGRITY (/integritycheck) is what the process notification needs; NX and 4 KiB sections, memory integrity.
    run(
        [
            *zig("lld-link"), "/driver", "/subsystem:native", "/entry:DriverEntry", "/nodefaultlib", "/integritycheck",
            "/dynamicbase", "/nxcompat", "/release", "/debug", f"/pdb:{folder / 'pointsman.pdb'}",
            "/pdbaltpath:pointsman.pdb", f"/out:{product}", *objects, *libraries,
        ]
    )  # fmt: skip
    return product


def build_tests(sanitize: bool) -> list[Path]:
    """One program for each driver/tests/*_test.c and simwfp/tests/*_test.c."""
    products = []
    compiler = zig("cc")
    options = [*COMMON, "-O1", "-g", f"-I{ROOT / 'simwfp/tests'}", "-pthread"]
    folder = ROOT / "build/tests"
    if sanitize:
        native = shutil.which("clang") or shutil.which("gcc")
        if native is None:
            raise SystemExit("tools/native.py: --sanitize needs gcc or clang (Debian: apt-get install gcc libc6-dev)")
        compiler = [native]
        options += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
        folder = ROOT / "build/tests-asan"
    else:
        options += ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    parts = [str(part) for part in build_parts(folder / "parts", compiler, options)]
    for source in sorted([*(ROOT / "driver/tests").glob("*_test.c"), *(ROOT / "simwfp/tests").glob("*_test.c")]):
        product = folder / source.stem
        if not is_current(product, [source, *DRIVER_SOURCES, *SIM_SOURCES], [*compiler, *options]):
            run([*compiler, *options, str(source), *parts, "-o", str(product)])
        products.append(product)
    return products


def build_parts(folder: Path, compiler: Sequence[str], options: Sequence[str]) -> list[Path]:
    """The objects that every C test is linked with, two compilers at a time."""
    parts = {folder / f"{source.parent.name}_{source.stem}.o": source for source in [*DRIVER_SOURCES, *SIM_SOURCES]}
    stale = [part for part in parts if not is_current(part, [parts[part]], [*compiler, *options])]
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda part: run([*compiler, "-c", *options, str(parts[part]), "-o", str(part)]), stale))
    return list(parts)


def bench_simwfp() -> None:
    product = ROOT / "build/bench/classify"
    sources = [*DRIVER_SOURCES, *SIM_SOURCES, ROOT / "simwfp/bench/classify.c"]
    options = [*COMMON, "-O2", "-g", "-fno-sanitize=all", "-pthread"]
    if not is_current(product, sources, options):
        run([*zig("cc"), *options, *map(str, sources), "-o", str(product)])
    subprocess.run([product], check=True)


def fuzz(seconds: int) -> None:
    """Run driver/fuzz for `seconds` from its corpus; new inputs go to build/fuzz, a crash to build/fuzz/crash-*."""
    clang = shutil.which("clang") or shutil.which("clang-14")
    if clang is None:
        raise SystemExit("tools/native.py: fuzz needs clang (Debian: apt-get install clang libclang-rt-dev)")
    folder = ROOT / "build/fuzz"
    product = folder / "device_fuzz"
    sources = [*DRIVER_SOURCES, *SIM_SOURCES, ROOT / "driver/fuzz/device_fuzz.c"]
    options = [*COMMON, "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-pthread"]
    if not is_current(product, sources, [clang, *options]):
        run([clang, *options, *map(str, sources), "-o", str(product)])
    found = folder / "found"
    found.mkdir(exist_ok=True)
    command = [str(product), f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-print_final_stats=1",
               f"-seed={os.environ.get('PM_FUZZ_SEED') or 0}",  # 0: another one each time
               f"-artifact_prefix={folder}/", str(found), str(ROOT / "driver/fuzz/corpus")]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("tools/native.py: the fuzzer found something; its input is in build/fuzz")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["lab"]:
            print(build_lab().relative_to(ROOT))
        case ["driver"]:
            for name in ARCHITECTURES:
                print(build_driver(name).relative_to(ROOT))
        case ["tests"] | ["tests", "--sanitize"]:
            for product in build_tests("--sanitize" in arguments):
                print(product.relative_to(ROOT))
        case ["bench"]:
            bench_simwfp()
        case ["fuzz", seconds]:
            fuzz(int(seconds))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
