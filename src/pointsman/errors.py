"""What people read when something cannot be done, and the exit status that goes with it.

Three families of error exist (CONTRIBUTING.md): what a peer did is an event and a counter, what we did wrong fails a
test, and what a person can mend is a `PointsmanError`.  It always says the same four things.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of every `pointsman` command.  `lab` otherwise exits as its command did."""

    OK = 0
    FAILED = 1  # a check or a demo step did not hold
    USAGE = 2  # click's own
    POLICY = 3
    PORT_TAKEN = 4
    NO_USER_NOTIFICATION = 5  # the kernel cannot trap connect() for us
    DRIVER_VERSION = 6
    DRIVER_MISSING = 7
    BAD_FILE = 8  # a file other than a policy cannot be read or written
    TAKEOVER = 9  # a new instance did not prove itself; the old one serves on
    NO_PROXY = 10  # no running proxy answers
    NOT_ELEVATED = 11  # an administrator may do it, this console may not
    RESTART_NEEDED = 12  # done as far as it goes; Windows must be restarted for the rest
    INTERNAL = 70  # a bug of ours; EX_SOFTWARE of sysexits.h
    NOT_EXECUTABLE = 126  # as the shell has it
    NOT_FOUND = 127


class PointsmanError(Exception):
    """Something a person can mend.

    Args:
        what: one line, what could not be done and why.
        code: `PM` and three digits, stable, to search for.
        seen: what was found, concretely.
        effect: what that means for traffic.
        do: the next step to take.
        status: the exit status of a command that ends by this.
    """

    def __init__(self, what: str, *, code: str, seen: str, effect: str, do: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.seen = seen
        self.effect = effect
        self.do = do
        self.status = status

    def __str__(self) -> str:
        # A seen part may have several lines (all errors of a policy at once): keep them in its column.
        rows = (("seen", self.seen), ("effect", self.effect), ("do", self.do))
        body = "".join(f"\n  {name + ':':<8} {text.replace(chr(10), chr(10) + ' ' * 11)}" for name, text in rows)
        return f"pointsman: {self.what}  [{self.code}]{body}"
