"""Every C test program of driver and simwfp: with UBSan by zig, and with ASan and UBSan where gcc or clang is.

The driver's run under every knob of simwfp as well.  And no case of the references is missing among the names."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path.stem for folder in ("driver", "simwfp") for path in (ROOT / folder / "tests").glob("*_test.c"))
HAS_SANITIZERS = shutil.which("gcc") is not None or shutil.which("clang") is not None


def build(*options: str) -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools/native.py"), "tests", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="session")
def plain() -> Path:
    build()
    return ROOT / "build/tests"


@pytest.fixture(scope="session")
def sanitized() -> Path:
    build("--sanitize")
    return ROOT / "build/tests-asan"


KNOBS = {
    "native_block_vetoes": 2, "acquire_sets_block": 2, "block_at_redirect": 2, "local_address_writable": 2,
    "v4mapped_v6_only": 2, "auth_twice": 3, "auto_weight": 3, "tie_order": 3, "tie_seed": 1000,
    "entry_action_so_far": 3, "empty_matches_not_equal": 2, "unregistered_block_soft": 2, "reauth_block_drops": 2,
    "peer_is_redirected": 2, "classify_irql": 3,
}  # fmt: skip
"""Each knob of simwfp/include/simwfp.h that is about what Windows leaves open, and how many values it has."""
DRIVER_PROGRAMS = sorted(path.stem for path in (ROOT / "driver/tests").glob("*_test.c"))
KNOBLESS = {"address_test", "registry_test", "vectors_test"}
"""They do not touch the simulator, or compare bytes that count its classifications."""
CASES = {"A": 13, "B": 21, "C": 18, "D": 17, "E": 16, "F": 7, "G": 13, "H": 7}
"""wfp-engine.md, section 6: 112 of them."""
CHECKS = {"A": 26, "B": 10, "C": 8, "D": 10, "E": 13, "F": 16, "G": 8, "H": 4}
"""wfp-kernel.md, section 9.2, without I, which is the proxy's."""
CANNOT_FAIL = {
    "DbgPrintEx": "nobody looks at its result",
    "ExFreePoolWithTag": "void", "IoDeleteDevice": "void", "IofCompleteRequest": "void",
    "IoDeleteSymbolicLink": "at unload, where nothing is left to do about it",
    "KeAcquireSpinLockRaiseToDpc": "waits", "KeReleaseSpinLock": "void", "KeDelayExecutionThread": "waits",
    "ObfDereferenceObject": "a count", "ObfReferenceObject": "a count",
    "PsGetCurrentProcess": "always there", "PsGetCurrentProcessId": "always there",
    "PsGetProcessCreateTimeQuadPart": "a value of the object",
    "ZwClose": "of a handle that is open", "memcpy": "void", "memset": "void",
    "FwpmBfeStateGet0": "a value", "FwpmBfeStateUnsubscribeChanges0": "of a subscription that is there",
    "FwpmEngineClose0": "of a handle that is open",
    "FwpsApplyModifiedLayerData0": "void", "FwpsReleaseClassifyHandle0": "void", "FwpsRedirectHandleDestroy0": "void",
    "FwpsQueryConnectionRedirectState0": "a value",
}  # fmt: skip
"""Imports of the driver that have no failure to answer to, and why."""
ELSEWHERE = {"H2": "threads_test", "H3": "test_driver_image.py"}
"""Checks whose test has another name, and where it is."""


def run(program: Path, knobs: str = "") -> str:
    environment = {**os.environ, "PM_ROOT": str(ROOT), "UBSAN_OPTIONS": "halt_on_error=1"}
    if knobs:
        environment["SIMWFP_KNOBS"] = knobs
    result = subprocess.run([program], capture_output=True, text=True, check=False, env=environment, timeout=100)
    failures = [line for line in result.stdout.splitlines() if not line.startswith("ok ")]
    assert result.returncode == 0, "\n".join([knobs, *failures, result.stderr])
    assert "ok " in result.stdout
    return result.stdout


def test_there_are_programs_to_run() -> None:
    assert {"registry_test", "connect_redirect_test", "arbitration_test", "misuse_test"} <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.timeout(600)
def test_program_passes(name: str, plain: Path) -> None:
    run(plain / name)


@pytest.mark.skipif(not HAS_SANITIZERS, reason="ASan needs gcc or clang: zig has no runtime for it")
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.timeout(600)
def test_program_passes_under_asan_and_ubsan(name: str, sanitized: Path) -> None:
    run(sanitized / name)


def settings() -> list[str]:
    """Every knob alone at each of its values, then 200 combinations by chance."""
    chance = random.Random(17763)
    single = [f"{name}={value}" for name, count in KNOBS.items() for value in range(min(count, 4))]
    return single + [",".join(f"{name}={chance.randrange(count)}" for name, count in KNOBS.items()) for _ in range(200)]


def test_every_open_question_is_a_knob() -> None:
    header = (ROOT / "simwfp/include/simwfp.h").read_text()
    table = header[header.index("typedef struct sim_knobs {") : header.index("} sim_knobs;")]
    declared = set(re.findall(r"uint32_t (\w+);", table))
    assert declared - {"real_clock", "bfe_stopped"} == set(KNOBS)


@pytest.mark.timeout(600)
def test_the_driver_behaves_under_every_knob_and_many_combinations(plain: Path) -> None:
    heavy = {"threads_test", "device_model_test", "checks_g_test"}
    for at, knobs in enumerate(settings()):
        for name in DRIVER_PROGRAMS:
            if name not in KNOBLESS and (name not in heavy or at % 10 == 0):
                run(plain / name, knobs)


def numbers(output: str) -> set[str]:
    """The case numbers that passed tests name: `b2_and_b3_...`, `d1_to_d4_...`, or a line `# case B2: ...`."""
    found = set(re.findall(r"^# case ([A-H]\d+)(?!.*FAILED)", output, re.M))
    for first, word, last in re.findall(r"^ok ([a-h]\d+)(?:_(to|and)_([a-h]\d+))?_", output, re.M):
        found.add(first.upper())
        if word == "and":
            found.add(last.upper())
        elif word == "to":
            found |= {f"{first[0].upper()}{n}" for n in range(int(first[1:]), int(last[1:]) + 1)}
    return found


def expected(counts: dict[str, int]) -> set[str]:
    return {f"{letter}{n}" for letter, count in counts.items() for n in range(1, count + 1)}


@pytest.mark.timeout(600)
def test_all_112_cases_of_the_engine_reference_are_tests(plain: Path) -> None:
    programs = [path.stem for path in (ROOT / "simwfp/tests").glob("*_test.c")]
    assert sum(CASES.values()) == 112
    assert expected(CASES) - set().union(*(numbers(run(plain / name)) for name in programs)) == set()


@pytest.mark.timeout(600)
def test_all_checks_of_the_kernel_reference_are_tests(plain: Path) -> None:
    programs = [name for name in DRIVER_PROGRAMS if name.startswith("checks_")]
    assert expected(CHECKS) - set().union(*(numbers(run(plain / name)) for name in programs)) == set(ELSEWHERE)


def test_every_import_of_the_driver_has_been_made_to_fail(plain: Path) -> None:
    """A new import is in neither set until simwfp can fail it and an entry point of faults_test.c calls it."""
    definitions = (ROOT / "driver/package").glob("*.def")
    lines = {line for path in definitions for line in path.read_text().splitlines()}
    imports = {line for line in lines if re.fullmatch(r"\w+", line) and line != "EXPORTS"}
    failed = set(re.findall(r"^# failed (\w+)", run(plain / "faults_test"), re.M))
    assert len(imports) > 45
    assert failed & set(CANNOT_FAIL) == set()
    assert imports - set(CANNOT_FAIL) == failed & imports
    assert set(CANNOT_FAIL) <= imports
