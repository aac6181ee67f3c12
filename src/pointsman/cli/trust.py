"""`pointsman trust`: have one program trust our root, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from pointsman.authority.root_store import load_root, root_path
from pointsman.cli import options
from pointsman.errors import Exit, PointsmanError
from pointsman.system.key_protection import key_protection
from pointsman.trust.environment import trust_environment


@click.group(short_help="have one program trust our root")
def trust() -> None:
    """Have one program trust our root, without a change to the system."""


@trust.command("run", context_settings={"ignore_unknown_options": True})
@options.ca_dir
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(ca_dir: Path, command: tuple[str, ...]) -> None:
    """Run COMMAND with the variables that its TLS library, whichever it is, takes roots from.

    Exit status: that of COMMAND; 8 there is no root; 126 and 127 as a shell has them.
    """
    load_root(ca_dir, key_protection())
    directory = ca_dir / "trust"
    directory.mkdir(exist_ok=True)
    environment = {**os.environ, **trust_environment(directory, [root_path(ca_dir).read_bytes()])}
    try:
        if sys.platform == "win32":  # exec does not wait there
            sys.exit(subprocess.run(command, env=environment, check=False).returncode)
        os.execvpe(command[0], command, environment)
    except OSError as error:
        is_there = not isinstance(error, FileNotFoundError)
        raise PointsmanError(
            f"cannot run {command[0]}",
            code="PM455", seen=(error.strerror or str(error)).lower(), effect="nothing was started",
            do="name a program that is in PATH, or its full path",
            status=Exit.NOT_EXECUTABLE if is_there else Exit.NOT_FOUND,
        ) from error  # fmt: skip
