from __future__ import annotations

import ssl
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pointsman.authority.leaf_cache import SESSIONS_LIMIT, LeafCache
from pointsman.testing import authority


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def cache(clock: Clock | None = None, capacity: int = 10) -> LeafCache:
    return LeafCache(authority.root(), now=clock or Clock(), capacity=capacity)


def test_a_leaf_is_issued_once_for_the_same_names_and_alpn() -> None:
    leaves = cache()

    first = leaves.get(("a.example",), None)

    assert leaves.get(("a.example",), None) is first
    assert leaves.cached(("a.example",), None) is first
    assert leaves.get(("a.example",), "http/1.1") is not first
    assert leaves.get(("a.example", "b.example"), None) is not first
    assert leaves.issued == 3


def test_asking_what_is_there_never_issues() -> None:
    leaves = cache()

    assert leaves.cached(("a.example",), None) is None
    assert leaves.issued == 0


def test_threads_that_want_the_same_leaf_share_one() -> None:
    leaves = cache()

    with ThreadPoolExecutor(8) as threads:
        contexts = set(threads.map(lambda _: leaves.get(("a.example",), None), range(16)))

    assert len(contexts) == 1
    assert leaves.issued == 1


def test_the_least_recently_used_leaf_goes_when_the_cache_is_full() -> None:
    leaves = cache(capacity=2)
    first = leaves.get(("a.example",), None)
    leaves.get(("b.example",), None)
    leaves.get(("a.example",), None)

    leaves.get(("c.example",), None)

    assert len(leaves) == 2
    assert leaves.cached(("a.example",), None) is first
    assert leaves.cached(("b.example",), None) is None


def test_a_leaf_is_renewed_long_before_it_expires() -> None:
    clock = Clock()
    leaves = cache(clock)
    first = leaves.get(("a.example",), None)

    clock.now += timedelta(days=19)
    assert leaves.get(("a.example",), None) is first
    clock.now += timedelta(days=2)
    assert leaves.get(("a.example",), None) is not first


def test_no_key_stays_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    cache().get(("a.example",), None)

    assert list(tmp_path.iterdir()) == []


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    assert cache().get(("a.example",), None).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_client_without_tickets_finds_its_session_again_and_fills_no_table_for_ever() -> None:
    leaves = cache()
    context = leaves.get(("a.example",), None)
    client = authority.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.options |= ssl.OP_NO_TICKET
    first = visit(context, client)
    assert not first.session_reused
    assert visit(context, client, first.session).session_reused

    contexts = [context]
    for _ in range(2 * SESSIONS_LIMIT):
        context = leaves.cached(("a.example",), None) or leaves.get(("a.example",), None)
        visit(context, client)
        if context is not contexts[-1]:
            contexts.append(context)

    assert [one.session_stats()["number"] for one in contexts[:2]] == [SESSIONS_LIMIT] * 2
    assert len(contexts) == leaves.issued == 3
    assert len(leaves) == 1


def test_a_client_with_tickets_leaves_nothing_behind() -> None:
    context, client = cache().get(("a.example",), None), authority.client_context()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client.maximum_version = version
        visit(context, client)

    assert context.session_stats()["number"] == 0


def visit(server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
    """A handshake and close_notify from both, in memory; what the client has of it."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    app = client.wrap_bio(to_client, to_server, server_hostname="a.example", session=session)
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    for step in ("do_handshake", "unwrap"):
        for _ in range(3):
            for end in (app, ours):
                with suppress(ssl.SSLWantReadError):
                    getattr(end, step)()
    return app
