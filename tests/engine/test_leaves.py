"""Which names a leaf has, what it says of revocation, and what our root may not sign for."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from pointsman.authority.issue import issue_root, may_sign
from pointsman.authority.leaf_cache import LeafCache
from pointsman.engine.revocations import PATH, url_for
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd, pump

NAME = "www.example.com"
CONSTRAINED = issue_root(authority.key("constrained"), now=datetime.now(UTC), serial=9, permitted=("example.com",))


def join(rig: Rig, server: ssl.SSLContext, name: str = NAME, trusts: str = "proxy") -> TlsEnd:
    app = TlsEnd(rig, APP, authority.client_context(trusts=authority.root(trusts)), name)
    pump(app, TlsEnd(rig, ORIGIN, server))
    return app


def names_of(app: TlsEnd) -> list[tuple[str, str]]:
    certificate = app.tls.getpeercert() or {}
    return list(certificate["subjectAltName"])  # type: ignore[arg-type]  # typeshed: a union for all its entries


def test_a_thousand_names_are_mirrored() -> None:
    names = [NAME, *(f"*.h{number}.example" for number in range(999))]
    app = join(Rig(), authority.server_context(*names))

    assert names_of(app) == [("DNS", name) for name in names]


def test_names_beyond_a_thousand_never_cost_the_one_that_was_asked_for() -> None:
    rig = Rig()
    app = join(rig, authority.server_context(*(f"h{number}.example" for number in range(999)), "*.example.com"))

    assert names_of(app)[0] == ("DNS", NAME) and len(names_of(app)) == 1000


@pytest.mark.parametrize("name", ["xn--bcher-kva.example", "*.xn--bcher-kva.example"])
def test_international_names_are_mirrored_as_they_are(name: str) -> None:
    asked = name.replace("*", "xn--mller-kva")
    app = join(Rig(), authority.server_context(name), asked)

    assert app.established and names_of(app) == [("DNS", one) for one in dict.fromkeys((asked, name))]


def test_addresses_of_both_families_are_mirrored() -> None:
    rig = Rig(destination=("2001:db8::1", 443))
    app = join(rig, authority.server_context("2001:db8::1", "192.0.2.7"), "2001:db8::1")

    assert app.established
    assert [kind for kind, _ in names_of(app)] == ["IP Address"] * 2


def constrained_rig() -> Rig:
    rig = Rig(proxy_root=CONSTRAINED)
    settings = rig.connection._settings
    rig.connection._settings = replace(settings, may_sign=partial(may_sign, CONSTRAINED))
    return rig


def test_a_host_that_our_root_may_not_sign_for_is_relayed_with_a_note() -> None:
    rig = constrained_rig()
    app = join(rig, authority.server_context("other.example"), "other.example", trusts="origin")
    assert app.established and rig.minted == []
    for side in (APP, ORIGIN):
        rig.ends(side)

    assert rig.record.decision == "relay"
    assert rig.record.note == "not decrypted: other.example is not among the names that our root may sign for"


def test_names_that_our_root_may_not_sign_for_do_not_spoil_a_leaf() -> None:
    rig = constrained_rig()
    app = TlsEnd(rig, APP, authority.client_context(trusts=CONSTRAINED), NAME)
    pump(app, TlsEnd(rig, ORIGIN, authority.server_context(NAME, "other.example", "192.0.2.1")))

    assert app.established, app.error
    assert names_of(app) == [("DNS", NAME), ("IP Address", "192.0.2.1")]


@pytest.mark.parametrize("listed", [None, "http://crl.example/x.crl"])
def test_a_leaf_names_our_list_if_the_origins_certificate_names_one(listed: str | None) -> None:
    origins = LeafCache(authority.root(), now=lambda: datetime.now(UTC))
    app = join(Rig(), origins.get((NAME,), None, listed))

    certificate: dict[str, object] = dict(app.tls.getpeercert() or {})
    assert certificate.get("crlDistributionPoints") == ((url_for(NAME),) if listed else None)


def asking(policy: str, path: str = PATH, method: str = "GET") -> Rig:
    rig = Rig(policy, destination=("192.0.2.1", 80))
    rig.connection._settings = replace(rig.connection._settings, revocations=lambda: b"the list")
    rig.app_sends(f"{method} {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
    return rig


@pytest.mark.parametrize("policy", ['default = "inspect"', f'[[rule]]\nhost = "{NAME}"\naction = "relay"'])
def test_the_list_is_answered_by_the_proxy(policy: str) -> None:
    rig = asking(policy)

    assert rig.received[APP].startswith(b"HTTP/1.1 200 ") and rig.received[APP].endswith(b"\r\n\r\nthe list")
    assert not rig.received[ORIGIN] and rig.closed
    assert rig.record.note is not None and "revoked certificates" in rig.record.note


def test_a_block_has_no_exception_for_the_list() -> None:
    rig = asking(f'[[rule]]\nhost = "{NAME}"\naction = "block"')
    assert rig.received[APP].startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(("path", "method"), [(PATH + "x", "GET"), ("/", "GET"), (PATH, "POST")])
def test_everything_else_goes_to_the_origin(path: str, method: str) -> None:
    rig = asking('default = "inspect"', path, method)
    assert not rig.received[APP] and rig.received[ORIGIN]


def test_an_address_of_version_six_stands_in_brackets() -> None:
    assert url_for("2001:db8::1") == f"http://[2001:db8::1]{PATH}"
