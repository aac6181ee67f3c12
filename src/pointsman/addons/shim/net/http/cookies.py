"""`mitmproxy.net.http.cookies`: cookies as pairs, and when they expire."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from email.utils import mktime_tz, parsedate_tz

from pointsman.engine.fields import FieldsView, pairs_of
from pointsman.engine.forms import read_cookies, read_set_cookie, write_cookies, write_set_cookie

Attributes = Mapping[str, str | None]
_ATTRIBUTES = frozenset(("expires", "path", "comment", "max-age", "secure", "httponly", "version", "domain"))


def parse_cookie_header(line: str) -> list[tuple[str, str]]:
    return read_cookies([line])


def format_cookie_header(pairs: Iterable[tuple[str, str]]) -> str:
    return write_cookies(pairs)


def parse_set_cookie_header(line: str) -> list[tuple[str, str, list[tuple[str, str | None]]]]:
    """One cookie: name, value, attributes."""
    name, value, attributes = read_set_cookie(line)
    return [(name, value, attributes)]


def format_set_cookie_header(cookies: Iterable[tuple[str, str, Iterable[tuple[str, str | None]]]]) -> str:
    return ", ".join(write_set_cookie(name, value, list(attributes)) for name, value, attributes in cookies)


def group_cookies(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str, dict[str, str | None]]]:
    """Of a Cookie header: what looks like an attribute belongs to the cookie before it (RFC 2109)."""
    grouped: list[tuple[str, str, dict[str, str | None]]] = []
    for name, value in pairs:
        if grouped and name.lower().lstrip("$") in _ATTRIBUTES:
            grouped[-1][2][name] = value
        else:
            grouped.append((name, value, {}))
    return grouped


def get_expiration_ts(cookie_attrs: Attributes | FieldsView[str, str | None]) -> float | None:
    """Seconds since 1970, UTC; None if it lasts as long as the session, or the date is none."""
    known = {name.lower(): value for name, value in pairs_of(cookie_attrs)}
    age, date = known.get("max-age"), known.get("expires")
    if age is not None:
        try:
            return time.time() + int(age)
        except ValueError:
            return None
    parsed = parsedate_tz(date) if date else None
    return float(mktime_tz(parsed)) if parsed is not None else None


def is_expired(cookie_attrs: Attributes | FieldsView[str, str | None]) -> bool:
    ends = get_expiration_ts(cookie_attrs)
    return ends is not None and ends < time.time()


__all__ = [
    "format_cookie_header", "format_set_cookie_header", "get_expiration_ts", "group_cookies", "is_expired",
    "parse_cookie_header", "parse_set_cookie_header",
]  # fmt: skip
