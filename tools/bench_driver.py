"""Instructions that the driver itself takes for a decision, counted by callgrind: `make bench-driver`.

Counted are the driver's own functions (source files below driver/, inlined ones included) and the memcpy and memset
that they call, and nothing of simwfp: its share of each call would be Windows' on Windows.  Each scenario runs with two
counts of decisions; the difference divided by the difference of counts leaves loading and registering out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import native

SCENARIOS = {"no-proxy": 400, "private": 400, "redirect": 1500, "block": 400}
"""And the most instructions that each may take."""
FEW, MANY = 200, 1200  # decisions
COPIES = re.compile(r"mem(cpy|set|move)")


def build() -> Path:
    """The driver as for Windows (-O2, no builtins), on simwfp."""
    product = native.ROOT / "build/bench/decisions"
    source = native.ROOT / "driver/bench/decisions.c"
    sources = [*native.DRIVER_SOURCES, *native.SIM_SOURCES, source]
    options = [*native.COMMON, "-O2", "-g", "-fno-builtin", "-fno-sanitize=all", "-mcpu=x86_64", "-flto",
               f"-I{native.ROOT / 'simwfp/tests'}", "-pthread"]  # fmt: skip
    if not native.is_current(product, sources, options):
        native.run([*native.zig("cc"), *options, *map(str, sources), "-o", str(product)])
    return product


def own_instructions(report: str) -> int:
    """Of a callgrind output file: self cost of lines in driver/, and inclusive cost of the copies called there."""
    names: dict[str, str] = {}
    total, file, callee, called = 0, "", "", False

    def named(text: str, kind: str) -> str:
        number, _, name = text.partition(" ")
        if name:
            names[kind + number] = name
        return names[kind + number]

    for line in report.splitlines():
        if line.startswith(("fl=", "fi=", "fe=")):
            file = named(line[3:], "file")
        elif line.startswith("fn="):
            named(line[3:], "function")
        elif line.startswith("cfn="):
            callee = named(line[4:], "function")
        elif line.startswith(("cfi=", "cfl=")):
            named(line[4:], "file")
        elif line.startswith(("ob=", "cob=")):
            named(line.partition("=")[2], "object")
        elif line.startswith("calls="):
            called = True
        elif re.match(r"[+\-*\d]", line):
            inside = "/driver/" in file and "/driver/bench/" not in file and "/driver/tests/" not in file
            if inside and (not called or COPIES.search(callee)):
                total += int(line.split()[1])
            called = False
    return total


def count(program: Path, scenario: str, decisions: int, filters: int) -> int:
    output = program.with_suffix(f".{scenario}.{decisions}.{filters}")
    environment = {**os.environ, "SCENARIO": scenario, "COUNT": str(decisions), "FILTERS": str(filters)}
    subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", "--quiet", str(program)],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    return own_instructions(output.read_text())


def per_decision(program: Path, scenario: str, filters: int) -> float:
    return (count(program, scenario, MANY, filters) - count(program, scenario, FEW, filters)) / (MANY - FEW)


def main() -> None:
    program = build()
    missed = []
    print(f"{'decision':10} {'1 rule':>8} {'1,000 rules':>12} {'at most':>8}   instructions of the driver itself")
    for scenario, most in SCENARIOS.items():
        one, thousand = per_decision(program, scenario, 1), per_decision(program, scenario, 1000)
        print(f"{scenario:10} {one:8.0f} {thousand:12.0f} {most:8}")
        if max(one, thousand) >= most or abs(one - thousand) > 0.05 * one:
            missed.append(scenario)
    if missed:
        sys.exit(f"bench-driver: over the limit or dependent on the number of rules: {', '.join(missed)}")


if __name__ == "__main__":
    main()
