"""One value of a policy at a time: from what TOML gives to what a rule holds.

Pure.  Each function returns the value or raises ValueError whose text says what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_network
from unicodedata import normalize

from pointsman.policy.rules import DAY, Window
from pointsman.policy.security import is_sid
from pointsman.policy.tables import Network
from pointsman.wire.client_hello import host_name

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONGEST_QUOTE = 60  # characters of a found value that an error repeats
_USERINFO = re.compile(r"://.*@")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]|\\|\*\*[\\/]")
_NAME = re.compile(r"[^\\/:\"<>|\x00-\x1f]{1,255}")
_PATH = re.compile(r"[/*][^?#]*")
_KEPT = frozenset("ßς")
_DAYS = re.compile(r"([a-z]{3})(?:-([a-z]{3}))?")
_TIME = re.compile(r"(?:([a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*)\s*)?(?:(\d\d):(\d\d)-(\d\d):(\d\d))?")


def app(value: object) -> str:
    """A full path, a name, or a glob."""
    is_path = isinstance(value, str) and "\0" not in value and _ABSOLUTE.match(value) and len(value) <= 4096
    if isinstance(value, str) and (is_path or _NAME.fullmatch(value)):
        if set(value) <= set("*?\\/"):
            raise ValueError("a program; to match every program drop the key")
        return value
    raise ValueError(
        "a full path ('C:\\Program Files\\App\\app.exe', '/usr/bin/curl'), a name (\"app.exe\"), "
        "or a glob of either ('C:\\Program Files\\App-*\\app.exe')"
    )


def network(value: object) -> Network:
    allowed = 'an address or a network, such as "192.0.2.7", "10.0.0.0/8" or "2001:db8::/32"'
    if not isinstance(value, str):
        raise ValueError(allowed)
    try:
        return ip_network(value)
    except ValueError:
        try:
            whole = ip_network(value, strict=False)
        except ValueError:
            raise ValueError(allowed) from None
        raise ValueError(f'the network without host bits, "{whole}"') from None


def _a_labels(name: str) -> str:
    """Python's codec is IDNA 2003, which makes `ss` of `ß` and `σ` of a final `ς`; browsers keep both letters
    (UTS #46, nontransitional processing).  Raises UnicodeError."""
    labels = []
    for label in name.replace("\u3002", ".").split("."):
        plain = normalize("NFKC", label.replace("ẞ", "ß").lower())
        if set(plain) & _KEPT:
            # The codec judges the rest of the letters: it refuses what may not stand in a name.
            "".join("s" if letter in _KEPT else letter for letter in plain).encode("idna")
            labels.append("xn--" + plain.encode("punycode").decode("ascii"))
        else:
            labels.append(label.encode("idna").decode("ascii"))
    return ".".join(labels)


def ports(value: object) -> tuple[int, int]:
    first, last = 0, 0
    if isinstance(value, int) and not isinstance(value, bool):
        first = last = value
    elif isinstance(value, str) and (found := re.fullmatch(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?", value, re.ASCII)):
        first, last = int(found[1]), int(found[2] or found[1])
    if 1 <= first <= last <= 65535:
        return first, last
    raise ValueError('a port from 1 to 65535, or a range such as "8000-8099"')


def host(value: object) -> str:
    """An A-label name in lower case, perhaps after `*.`."""
    allowed = 'a host name, or every name below one: "example.com", "*.example.com" (an address goes into `net`)'
    if not isinstance(value, str):
        raise ValueError(allowed)
    star = "*." if value.startswith("*.") else ""
    plain = value.removeprefix("*.")
    try:
        name = host_name(plain if plain.isascii() else _a_labels(plain))
    except UnicodeError:
        name = None
    if name is None:
        raise ValueError(allowed)
    return star + name


def user(value: object) -> str:
    if isinstance(value, str) and (is_sid(value) or re.fullmatch(r"[^\x00-\x1f/\[\]:;|=,+*?<>\"@]{1,256}", value)):
        return value.lower()
    raise ValueError('a user: "alice", \'DOMAIN\\alice\', a SID such as "S-1-5-18", on Linux a name or a uid')


def service(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[^\x00-\x1f/\\]{1,256}", value):
        return value.lower()
    raise ValueError('the short name of a Windows service, such as "wuauserv"')


def method(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z-]{1,32}", value):
        return value.upper()
    raise ValueError('a method of HTTP, such as "POST"')


def path(value: object) -> str:
    if isinstance(value, str) and _PATH.fullmatch(value) and value.isprintable():
        return value
    raise ValueError('a path without query: "/a/b"; `*` stays within one segment ("/a/*"), `**` does not ("/a/**")')


def window(value: object) -> Window:
    allowed = 'days and a span of the day: "mon-fri 08:00-18:00", "sat,sun", "22:00-06:00"'
    found = _TIME.fullmatch(value.strip().lower()) if isinstance(value, str) and value.strip() else None
    if found is None:
        raise ValueError(allowed)
    days: set[int] = set()
    for part in (found[1] or "mon-sun").split(","):
        span = _DAYS.fullmatch(part)
        if span is None or span[1] not in DAYS or (span[2] or span[1]) not in DAYS:
            raise ValueError(allowed)
        first, last = DAYS.index(span[1]), DAYS.index(span[2] or span[1])
        days |= {day % 7 for day in range(first, last + 1 + (7 if last < first else 0))}
    if found[2] is None:
        return Window(frozenset(days), 0, DAY)
    start, end = int(found[2]) * 60 + int(found[3]), int(found[4]) * 60 + int(found[5])
    if int(found[3]) > 59 or int(found[5]) > 59 or start >= DAY or end > DAY or start == end:
        raise ValueError(allowed)
    return Window(frozenset(days), start, end)


def quote(value: object) -> str:
    """As an error repeats it; without credentials, should it be a URL that has some."""
    text = _USERINFO.sub("://…@", f'"{value}"' if isinstance(value, str) else repr(value))
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"


def listed(choices: Iterable[str]) -> str:
    return ", ".join(f'"{choice}"' for choice in choices)
