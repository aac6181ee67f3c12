"""Pointsman as a peer of the shared harness: `pointsman run --source netfilter` in the router's namespace."""

import os
import shlex

from lib.peer import Path, Peer, need, out_of

COMMAND = shlex.split(os.environ.get("PTB_POINTSMAN", "python3 -m pointsman"))
BEFORE = shlex.split(os.environ.get("PTB_POINTSMAN_BEFORE", ""))


class Pointsman(Peer):
    """As a user starts it: flow records on, to a file; upstream verification on."""

    name = "pointsman"
    modes = ("passthrough", "mitm")
    h2 = True
    program = COMMAND
    options: tuple[str, ...] = ()
    depth = "inspect"

    def available(self):
        return need(self.program[0])

    def version(self):
        return out_of(*self.program, "--version").strip()

    def command(self, mode):
        policy = Path(self.dir / "policy.toml")
        policy.write_text(f'default = "{"relay" if mode == "passthrough" else self.depth}"\n')
        return [
            *self.program, "run", "--source", "netfilter", "--port", self.listen_port, "--policy", policy,
            "--flows", self.dir / "flows.jsonl", "--quiet", "--ca", self.dir / "ca",
            "--upstream-ca", self.origin_ca, *self.options,
        ]  # fmt: skip

    def ca(self, mode):
        return self.origin_ca if mode == "passthrough" else self.dir / "ca/root.pem"


class PointsmanPlainLoop(Pointsman):
    """On asyncio's own loop, as without the extra `fast`."""

    name = "pointsman-asyncio"
    options = ("--no-fast",)


class PointsmanTwoWorkers(Pointsman):
    name = "pointsman-2-workers"
    options = ("--workers", "2")


if BEFORE:

    class PointsmanBefore(Pointsman):
        """Another version in the same run, such as the commit before a change."""

        name = "pointsman-before"
        program = BEFORE
