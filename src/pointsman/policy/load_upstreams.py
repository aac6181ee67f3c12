"""The table `[upstreams]`: from what TOML gives to checked `Upstream` values.

Pure.  An upstream is a URL, a list of URLs (a chain), or a table with `proxies`: a list of alternatives, each of them a
URL or a chain.  A proxy is a URL, or a table of `url` and `auth`.  Errors never repeat credentials.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from pointsman.policy.load_values import listed, quote
from pointsman.policy.upstreams import (
    MAX_ALTERNATIVES,
    MAX_HOPS,
    SCHEMES,
    Chain,
    Credentials,
    Hop,
    SecretReference,
    Upstream,
)
from pointsman.wire.client_hello import host_name

UPSTREAM_KEYS = ("proxies", "fallback", "dns")
PROXY_KEYS = ("url", "auth")
FALLBACKS = {"fail": False, "direct": True}
DNS = {"remote": True, "app": False}
MAX_CREDENTIAL = 255  # bytes of a user or a password: SOCKS has one byte for the length (RFC 1929)
_REFERENCE = re.compile(r"(env):([A-Za-z_][A-Za-z0-9_]{0,127})|(file):([^\x00]{1,1024})")
_ADDRESS_LIKE = re.compile(r"[0-9.]+|.*:.*")
Complain = Callable[[str], None]


def upstream(name: str, value: object, complain: Complain) -> Upstream:
    """Complains about everything; what comes back is of use only if nobody complained."""
    if not isinstance(value, dict):
        return Upstream(name, (_chain(value, complain),))
    for key in value:
        if key not in UPSTREAM_KEYS:
            complain(f"{key}: unknown key; allowed: {', '.join(UPSTREAM_KEYS)}")
    proxies = value.get("proxies", [])
    alternatives = proxies if isinstance(proxies, list) else [proxies]
    if not 1 <= len(alternatives) <= MAX_ALTERNATIVES:
        complain(f"proxies: found {len(alternatives)}; allowed: a list of 1 to {MAX_ALTERNATIVES} proxies or chains")
    return Upstream(
        name,
        tuple(_chain(one, complain) for one in alternatives[:MAX_ALTERNATIVES]),
        may_go_direct=_choice(value, "fallback", FALLBACKS, complain, default=False),
        asks_by_name=_choice(value, "dns", DNS, complain, default=True),
    )


def _choice(table: dict[str, object], key: str, choices: dict[str, bool], complain: Complain, *, default: bool) -> bool:
    value = table.get(key)
    if value is None:
        return default
    if isinstance(value, str) and value in choices:
        return choices[value]
    complain(f"{key}: found {quote(value)}; allowed: {listed(choices)}")
    return default


def _chain(value: object, complain: Complain) -> Chain:
    hops = value if isinstance(value, list) else [value]
    if not hops:
        complain("found an empty list; at least one URL is needed")
    if len(hops) > MAX_HOPS:
        complain(f"found a chain of {len(hops)} proxies; at most {MAX_HOPS} are allowed")
    found = []
    for one in hops[:MAX_HOPS]:
        try:
            found.append(hop(one))
        except ValueError as error:
            complain(f"found {_shown(one)}; allowed: {error}")
    return tuple(found)


def _shown(value: object) -> str:
    """Whatever may be credentials is left out, even of what is no URL."""
    if isinstance(value, dict):
        return _shown(value["url"]) if "url" in value else "a table without url"
    if isinstance(value, str) and "@" in value:
        value = "…@" + value.rpartition("@")[2]
    return quote(value) if isinstance(value, str) else f"a {type(value).__name__}"


def hop(value: object) -> Hop:
    """Raises ValueError that says what is allowed."""
    if not isinstance(value, dict):
        return proxy_url(value)
    if not set(value) <= set(PROXY_KEYS) or "url" not in value:
        raise ValueError('a URL, or { url = "http://192.0.2.1:3128", auth = "env:NAME" }')
    bare = proxy_url(value["url"])
    if "auth" not in value:
        return bare
    if bare.credentials is not None:
        raise ValueError("`auth`, or credentials in the URL, not both")
    return Hop(bare.scheme, bare.host, bare.port, _reference(value["auth"]))


def _reference(value: object) -> SecretReference:
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('auth = "env:NAME" (a variable) or "file:NAME" (beside the policy) that holds user:password')
    return SecretReference(found[1] or found[3], found[2] or found[4])


def proxy_url(value: object) -> Hop:
    """Raises ValueError that says what is allowed."""
    allowed = f'the URL of a proxy with its port, such as "socks5://192.0.2.1:1080"; schemes: {", ".join(SCHEMES)}'
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(allowed)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(allowed) from None
    if parts.scheme not in SCHEMES or not parts.hostname or not port:
        raise ValueError(allowed)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(allowed)
    return Hop(parts.scheme, _host(parts.hostname), port, _credentials(parts.username, parts.password))


def _host(text: str) -> str:
    candidate = Hop("http", text, 1)
    if candidate.address is not None:
        if "%" in text:
            raise ValueError("an address without a zone")
        return str(candidate.address)
    try:
        name = host_name(text if text.isascii() else text.encode("idna").decode("ascii"))
    except UnicodeError:
        name = None
    if name is None or _ADDRESS_LIKE.fullmatch(name):
        raise ValueError("a URL with a host name or an address")
    return name


def _credentials(user: str | None, password: str | None) -> Credentials | None:
    if not user and not password:
        return None
    return credentials(unquote(user or ""), unquote(password or ""))


def credentials(user: str, password: str) -> Credentials:
    """Raises ValueError that says what is allowed, and not what was found."""
    for text in (user, password):
        if len(text.encode("utf-8", "surrogatepass")) > MAX_CREDENTIAL or not (text.isprintable() or not text):
            raise ValueError(f"credentials of at most {MAX_CREDENTIAL} bytes each, printable")
    if not user or ":" in user:
        raise ValueError("credentials with a user that is not empty and has no colon")
    return Credentials(user, password)


def parse_secret(text: str) -> Credentials:
    """What an `auth` reference leads to: `user:password` on the first line.  Raises ValueError."""
    user, _, password = text.split("\n", 1)[0].rstrip("\r").partition(":")
    return credentials(user, password)
