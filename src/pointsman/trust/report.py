"""Which programs of this machine trust our root: each is started, to fetch a page that only our root vouches for.

What cannot be started for that is listed with what to do for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pointsman.authority.issue import Root
from pointsman.trust.probe_server import ProbeServer
from pointsman.trust.runtimes import RUNTIMES, Runtime

PROBE_TIMEOUT = 30.0  # seconds for one program; a browser's first start is slow


class Answer(Enum):
    TRUSTS = "trusts it"
    REFUSES = "does not trust it"
    UNKNOWN = "cannot be asked"
    MISSING = "not here"


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    program: str | None
    """Full path; None: not here."""
    answer: Answer
    detail: str
    """What it complained about."""
    fix: str


def report(root: Root, runtimes: Sequence[Runtime] = RUNTIMES) -> list[Finding]:
    """Ask every program that is here; each gets at most PROBE_TIMEOUT.

    Raises:
        OSError: no port on loopback, or no room for the leaf.
    """
    with ProbeServer(root) as server:
        return [_ask(runtime, server) for runtime in runtimes]


def _ask(runtime: Runtime, server: ProbeServer) -> Finding:
    if runtime.program is None:
        return Finding(runtime.name, None, Answer.UNKNOWN, "", runtime.fix)
    program = shutil.which(runtime.program)
    if program is None:
        return Finding(runtime.name, None, Answer.MISSING, "", runtime.fix)
    connections, requests = server.heard()
    said = _run(program, runtime, server.url)
    connections_now, requests_now = server.heard()
    if requests_now > requests:
        return Finding(runtime.name, program, Answer.TRUSTS, "", runtime.fix)
    # One that never came has another reason, such as a library that is not here.
    answer = Answer.REFUSES if connections_now > connections else Answer.UNKNOWN
    return Finding(runtime.name, program, answer, said, runtime.fix)


def _run(program: str, runtime: Runtime, url: str) -> str:
    """The last line of what it complained about."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with tempfile.TemporaryDirectory(prefix="pointsman-probe-", ignore_cleanup_errors=True) as directory:
        command = [program, *runtime.arguments(url, Path(directory))]
        try:
            ended = subprocess.run(
                command, env={**environment, "GIT_TERMINAL_PROMPT": "0"}, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PROBE_TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it did not end within {PROBE_TIMEOUT:g} s"
        except OSError as error:
            return str(error)
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:200] if lines else f"exit status {ended.returncode}"
