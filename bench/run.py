#!/usr/bin/env python3
"""The shared benchmark harness with Pointsman among its peers.

  PTB_WORK=DIR PTB_HARNESS=DIR bench/run.py --peer direct,haproxy,pointsman --case c,d --reps 3

Every option is the harness's own (`--list` shows peers and cases).  PTB_HARNESS is the folder of the harness, by
default ../shared/bench beside this repository; PTB_POINTSMAN the command that starts the proxy under test.
"""

import importlib
import importlib.util
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
HARNESS = Path(os.environ.get("PTB_HARNESS") or HERE.parents[1] / "shared/bench")


def main() -> None:
    if not (HARNESS / "run.py").exists():
        sys.exit(f"no benchmark harness at {HARNESS}: set PTB_HARNESS to the folder that holds its run.py")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(HARNESS))
    harness: Any = importlib.import_module("lib.peer")
    load_theirs = harness.load

    def load() -> dict[str, type]:
        return {**load_theirs(), **dict(ours(harness.Peer))}

    harness.load = load
    sys.argv[0] = str(HARNESS / "run.py")
    runpy.run_path(sys.argv[0], run_name="__main__")


def ours(base: type) -> Iterator[tuple[str, type]]:
    """Name and class of every peer in the folder `peers` beside this file."""
    for file in sorted((HERE / "peers").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"pointsman_bench_{file.stem}", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module  # for those that come after it
        spec.loader.exec_module(module)
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__:
                yield str(vars(value)["name"]), value


if __name__ == "__main__":
    main()
