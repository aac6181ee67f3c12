from __future__ import annotations

import ssl
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pointsman.authority.leaf_cache import LeafCache
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
