"""Fuzz what reads bytes of strangers in Python, for a while:  python tools/fuzz_python.py [SECONDS] [TARGET ...]

Each target says in `tests/conformance/fuzz_targets.py` what must hold beside "no crash".  With atheris (in the group
`fuzz`, coverage-guided) if it is installed, else with the mutations below.  PM_FUZZ_SEED=N (and PYTHONHASHSEED=0)
repeats a run, as CI does; without it each run goes its own way.  An input that breaks something is written to
build/fuzz-python/TARGET-*; it belongs into tests/conformance/corpus/TARGET, where a test runs it for ever after.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOUND = ROOT / "build/fuzz-python"
CORPUS = ROOT / "tests/conformance/corpus"
LARGEST = 4096  # bytes of an input
MEMORY = 1 << 30  # bytes that a target may take
SEED = int(os.environ.get("PM_FUZZ_SEED") or time.time_ns() % 1_000_000 + 1)
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        return run_one(arguments[1], float(arguments[2]))
    seconds = float(arguments[0]) if arguments else 60.0
    targets = arguments[1:] or list(load_targets())
    at_once = min(os.cpu_count() or 1, len(targets), 4)
    share = max(2.0, seconds * at_once / len(targets))
    print(f"{len(targets)} targets, {share:.0f} s each, {'atheris' if HAS_ATHERIS else 'own mutations'}", flush=True)
    with ThreadPoolExecutor(at_once) as pool:
        results = list(pool.map(lambda name: child(name, share), targets))
    return 1 if any(results) else 0


def child(name: str, seconds: float) -> int:
    """A process for each: a target that hangs or eats memory says so, and the others go on."""
    command = [sys.executable, __file__, "--one", name, str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, errors="replace")
    except subprocess.TimeoutExpired:
        print(f"{name}: hangs", flush=True)
        return 1
    lines = (done.stderr + done.stdout).splitlines()
    told = [line for line in lines if line.startswith(("DONE", "Done"))] or ["no summary"]
    print(f"{name}: {'ok, ' + told[-1] if done.returncode == 0 else 'FOUND SOMETHING'}", flush=True)
    if done.returncode:
        print("\n".join(lines[-40:]), flush=True)
    return done.returncode


def load_targets() -> dict[str, tuple[object, list[bytes]]]:
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    if HAS_ATHERIS:
        import atheris

        with atheris.instrument_imports(include=["pointsman"]):
            from tests.conformance.fuzz_targets import TARGETS
    else:
        from tests.conformance.fuzz_targets import TARGETS
    return dict(TARGETS)


def run_one(name: str, seconds: float) -> int:
    target, seeds = load_targets()[name]
    assert callable(target)
    seeds = [*seeds, *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))]
    FOUND.mkdir(parents=True, exist_ok=True)
    if HAS_ATHERIS:
        return with_atheris(name, target, seeds, seconds)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    return with_mutations(name, target, seeds, seconds)


def with_atheris(name: str, target: object, seeds: list[bytes], seconds: float) -> int:
    import atheris

    folder = FOUND / "seeds" / name
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier run has learned would make this one another
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = [
        f"-seed={SEED}", f"-max_total_time={int(seconds)}", f"-max_len={LARGEST}", "-timeout=20",
        f"-rss_limit_mb={MEMORY >> 20}",
        f"-artifact_prefix={FOUND / name}-", str(folder),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()  # does not return
    return 0


def with_mutations(name: str, target: object, seeds: list[bytes], seconds: float) -> int:
    assert callable(target)
    source, until, runs = random.Random(SEED), time.monotonic() + seconds, 0
    inputs = list(seeds)
    while time.monotonic() < until:
        data = inputs[runs] if runs < len(inputs) else mutated(source, inputs)
        runs += 1
        try:
            target(data)
        except BaseException:
            path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            traceback.print_exc()
            print(f"PM_FUZZ_SEED={SEED}, run {runs}: {path}", file=sys.stderr)
            return 1
    print(f"DONE {runs} runs")
    return 0


def mutated(source: random.Random, inputs: list[bytes]) -> bytes:
    data = bytearray(source.choice(inputs))
    for _ in range(source.choice((1, 1, 2, 3, 5, 8))):
        at = source.randrange(len(data) + 1)
        size = source.choice((1, 1, 2, 4, 9, 30))
        match source.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << source.randrange(8)
            case 1 if data:
                data[at % len(data)] = source.choice((0, 1, 10, 13, 32, 44, 58, 59, 127, 128, 254, 255))
            case 2:
                data[at:at] = source.randbytes(size)
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size] * source.choice((1, 2, 8))
            case 5:
                other = source.choice(inputs)
                begin = source.randrange(len(other) + 1)
                data[at:at] = other[begin : begin + source.choice((size, 100, 1000))]
            case _:
                del data[at:]
    return bytes(data[:LARGEST])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
