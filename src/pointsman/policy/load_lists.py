"""List files: hosts, networks or apps, one a line, up to millions of them.

Pure: it gets bytes through the reader that the caller gave.  What it reads goes into tables, never into a list of
values, and the common line is taken by one regular expression: a million names in about a second.

    # a comment                          !include other.txt
    example.com                          *.example.com
    0.0.0.0 ads.example tracker.example  (a line of a hosts file)
    192.0.2.0/24                         (in a list of networks)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from pointsman.policy import load_values
from pointsman.policy.tables import add_prefix

ReadList = Callable[[str], bytes]
"""The bytes of a list file by the name that the policy gives it.  Raises ValueError that says why not."""
Complain = Callable[[str, int, str], None]
"""File, line, text."""
MAX_COMPLAINTS = 20  # of one list file
_HOST = re.compile(
    r"(\*\.)?((?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)", re.ASCII
)
_OCTETS = {str(number): number for number in range(256)}
_LENGTHS = {str(number): number for number in range(33)}
_SINKS = frozenset(["0.0.0.0", "127.0.0.1", "::", "::1"])  # noqa: S104 (hosts files point unwanted names there)
_LOCAL = frozenset({"localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost", "ip6-loopback"})


@dataclass(slots=True)
class Gathered:
    """What a value of a rule, with everything that it refers to, amounts to."""

    apps: list[str] = field(default_factory=list)
    exact: set[str] = field(default_factory=set)
    below: set[str] = field(default_factory=set)
    prefixes: dict[tuple[int, int], set[int]] = field(default_factory=dict)


def read_text(data: bytes) -> str:
    """Raises ValueError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"not UTF-8: byte 0x{data[error.start]:02x} in line {line}") from None


def gather_lines(
    text: str, take: Callable[[str, Gathered], bool], one: Callable[[str, Gathered], None], into: Gathered,
    complain: Callable[[int, str], None],
) -> list[tuple[int, str]]:  # fmt: skip
    """Take every line into `into`.  Returns the files that it includes, with their lines.

    `take` answers False for a line that is not of the plain kind; that one, without its comment, is given to `one`,
    which raises ValueError.
    """
    includes: list[tuple[int, str]] = []
    complaints = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        if take(raw, into):
            continue
        line = raw.partition("#")[0].strip()
        if not line or line.startswith(";"):
            continue
        if line.startswith("!include"):
            includes.append((number, line.removeprefix("!include").strip()))
            continue
        try:
            one(line, into)
        except ValueError as error:
            complaints += 1
            if complaints <= MAX_COMPLAINTS:
                complain(number, f"found {load_values.quote(line)}; allowed: {error}")
    if complaints > MAX_COMPLAINTS:
        complain(number, f"and {complaints - MAX_COMPLAINTS} more lines that are wrong")
    return includes


def take_host(line: str, into: Gathered) -> bool:
    found = _HOST.fullmatch(line)
    if found is None or len(line) > 253:
        return False
    (into.below if found[1] else into.exact).add(found[2])
    return True


def add_host(line: str, into: Gathered) -> None:
    first, *rest = line.split()
    names = [name for name in rest if name.lower() not in _LOCAL] if rest and first in _SINKS else [line]
    for name in names:
        pattern = load_values.host(name)
        (into.below if pattern.startswith("*.") else into.exact).add(pattern.removeprefix("*."))


def take_network(line: str, into: Gathered) -> bool:
    """Tables instead of a regular expression and int(): half the time, and leading zeros are refused on the way."""
    address, slash, length = line.partition("/")
    try:
        a, b, c, d = address.split(".")
        bits = _LENGTHS[length] if slash else 32
        number = _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
    except (KeyError, ValueError):
        return False  # the slow way says what is wrong, if anything is
    prefix = number >> 32 - bits
    if prefix << 32 - bits != number:
        return False
    found = into.prefixes.get((4, bits))
    if found is None:
        found = into.prefixes[4, bits] = set()
    found.add(prefix)
    return True


def add_network(line: str, into: Gathered) -> None:
    found = load_values.network(line)
    add_prefix(into.prefixes, found.version, int(found.network_address), found.prefixlen)


def take_app(line: str, into: Gathered) -> bool:
    del line, into  # paths may hold anything, so each is looked at
    return False


def add_app(line: str, into: Gathered) -> None:
    into.apps.append(load_values.app(line))
