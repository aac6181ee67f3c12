"""`--addon` and `--set` on the command line: a real program in the lab, and what people read when a file is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.errors import Exit
from pointsman.lab.check import examine
from tests.fetch import FETCH

from .conftest import NAME, Origin

FINDINGS = {finding.name: finding.allowed for finding in examine()}
needs_trap = pytest.mark.skipif(not FINDINGS["user notification"], reason="this kernel cannot trap connect()")
SCRIPT = """
from mitmproxy import ctx, http

print("printed while it is loaded")

def load(loader):
    loader.add_option("word", str, "nothing", "what pages say")

def response(flow: http.HTTPFlow) -> None:
    program = flow.app.rpartition("/")[2]
    flow.response.text = flow.response.text.replace("served", f"{ctx.options.word} {program} {flow.pid > 1}")
"""


def lab(origin: Origin, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "pointsman", "lab", *origin.options, *options, "--", *FETCH, origin.url],
        capture_output=True, text=True, check=False, timeout=100, env=os.environ,
    )  # fmt: skip


@needs_trap
def test_a_script_written_for_mitmproxy_changes_what_a_program_sees(origin: Origin, tmp_path: Path) -> None:
    script, flows = tmp_path / "script.py", tmp_path / "flows"
    script.write_text(SCRIPT)
    result = lab(origin, "--addon", str(script), "--set", "word=changed for", "--flows", str(flows))
    assert result.returncode == 0, result.stderr
    assert "<p>changed for " in result.stdout and " True</p>" in result.stdout
    assert "printed while it is loaded" in result.stderr and "printed" not in result.stdout
    (record,) = [json.loads(line) for line in flows.read_text().splitlines()]
    assert (record["decision"], record["rule"], record["status"], record["host"]) == ("intercept", "default", 200, NAME)


@needs_trap
def test_a_built_in_addon_works_beside_it(origin: Origin) -> None:
    result = lab(origin, "--addon", "builtin:modify_body", "--set", "modify_body=/~s/served/body modified")
    assert "<p>body modified</p>" in result.stdout, result.stderr


@needs_trap
@pytest.mark.parametrize(
    ("text", "options", "code", "seen"),
    [
        ("1 / 0\n", [], "PM461", "script.py:1: ZeroDivisionError"),
        ("", ["--set", "no=1"], "PM462", "no addon declares an option 'no'"),
    ],
)
def test_what_cannot_be_used_ends_in_four_lines(
    origin: Origin, tmp_path: Path, text: str, options: list[str], code: str, seen: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(text)
    result = lab(origin, "--addon", str(script), *options)
    assert result.returncode == Exit.BAD_FILE
    assert f"[{code}]" in result.stderr and seen in result.stderr and "Traceback" not in result.stderr
