from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from pointsman.authority.root_store import (
    create_root,
    describe,
    finish_rotation,
    issued_roots,
    key_path,
    load_or_create_root,
    load_root,
    next_path,
    root_path,
    start_rotation,
)
from pointsman.errors import Exit, PointsmanError


def test_the_first_run_makes_a_root_and_later_runs_find_it(tmp_path: Path) -> None:
    first = load_or_create_root(tmp_path / "ca")
    second = load_or_create_root(tmp_path / "ca")

    assert second.certificate == first.certificate
    assert x509.load_pem_x509_certificate(root_path(tmp_path / "ca").read_bytes()) == first.certificate


def test_nobody_else_can_read_the_key_and_everybody_the_certificate(tmp_path: Path) -> None:
    load_or_create_root(tmp_path / "ca")

    assert key_path(tmp_path / "ca").stat().st_mode & 0o777 == 0o600
    assert root_path(tmp_path / "ca").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    assert b"PRIVATE" not in root_path(tmp_path / "ca").read_bytes()


def test_proxies_that_start_at_the_same_moment_get_the_same_root(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        roots = list(threads.map(lambda _: load_or_create_root(tmp_path), range(8)))

    assert len({root.certificate.serial_number for root in roots}) == 1
    assert sorted(os.listdir(tmp_path)) == ["issued.json", "root-key.pem", "root.pem"]
    assert describe(roots[0].certificate) in issued_roots(tmp_path)


def test_a_public_certificate_that_was_lost_or_altered_comes_back(tmp_path: Path) -> None:
    load_or_create_root(tmp_path)
    public = root_path(tmp_path).read_bytes()
    root_path(tmp_path).write_bytes(b"altered")

    load_or_create_root(tmp_path)

    assert root_path(tmp_path).read_bytes() == public


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_a_damaged_key_file_is_an_error_and_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    key_path(tmp_path).write_bytes(content)
    key_path(tmp_path).chmod(0o600)

    with pytest.raises(PointsmanError) as caught:
        load_or_create_root(tmp_path)

    assert caught.value.status is Exit.BAD_FILE
    assert key_path(tmp_path).read_bytes() == content


def test_a_key_with_another_certificate_is_refused(tmp_path: Path) -> None:
    load_or_create_root(tmp_path / "a")
    load_or_create_root(tmp_path / "b")
    key = key_path(tmp_path / "a").read_bytes().partition(b"-----BEGIN CERTIFICATE")[0]
    key_path(tmp_path / "a").write_bytes(key + root_path(tmp_path / "b").read_bytes())

    with pytest.raises(PointsmanError, match="certificate authority") as caught:
        load_or_create_root(tmp_path / "a")
    assert "do not belong together" in caught.value.seen
    assert "PRIVATE" not in str(caught.value)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_or_create_root(tmp_path)
    key_path(tmp_path).chmod(0o640)

    with pytest.raises(PointsmanError) as caught:
        load_or_create_root(tmp_path)
    assert "mode 0640, not 0600" in caught.value.seen


def test_a_directory_that_cannot_be_made_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(PointsmanError) as caught:
        load_or_create_root(tmp_path / "file" / "ca")
    assert caught.value.code == "PM451"


def test_a_rotation_publishes_both_roots_and_changes_the_signing_one_when_it_is_finished(tmp_path: Path) -> None:
    first = load_or_create_root(tmp_path)

    current, coming = start_rotation(tmp_path)
    assert start_rotation(tmp_path)[1].certificate == coming.certificate  # it can be said again
    assert current.certificate == first.certificate == load_or_create_root(tmp_path).certificate
    published = x509.load_pem_x509_certificates(root_path(tmp_path).read_bytes())
    assert published == [first.certificate, coming.certificate]

    assert finish_rotation(tmp_path).certificate == coming.certificate
    assert load_or_create_root(tmp_path).certificate == coming.certificate
    assert x509.load_pem_x509_certificates(root_path(tmp_path).read_bytes()) == [coming.certificate]
    assert issued_roots(tmp_path) == [describe(first.certificate), describe(coming.certificate)]
    assert not next_path(tmp_path).exists()
    with pytest.raises(PointsmanError, match="PM451"):
        finish_rotation(tmp_path)


def test_a_root_is_made_on_request_once(tmp_path: Path) -> None:
    with pytest.raises(PointsmanError, match="PM451"):
        load_root(tmp_path / "ca")
    root = create_root(tmp_path / "ca", permitted=("corp.example",))

    assert load_root(tmp_path / "ca").certificate == root.certificate
    with pytest.raises(PointsmanError) as caught:
        create_root(tmp_path / "ca")
    assert "is there already" in caught.value.seen
    with pytest.raises(PointsmanError):
        create_root(tmp_path / "other", permitted=("b\u00fccher.example",))
    assert not key_path(tmp_path / "other").exists()


class Reversed:
    """A protection that shows: what is on disk is not what is in memory."""

    def __init__(self) -> None:
        self.directories: list[Path] = []

    def protect_directory(self, directory: Path) -> None:
        self.directories.append(directory)

    def wrap(self, secret: bytes) -> bytes:
        return secret[::-1]

    def unwrap(self, stored: bytes) -> bytes:
        return stored[::-1]


def test_what_the_system_has_to_protect_a_key_is_used(tmp_path: Path) -> None:
    keys = Reversed()
    root = load_or_create_root(tmp_path / "ca", keys)

    assert keys.directories == [tmp_path / "ca"]
    assert b"PRIVATE" not in key_path(tmp_path / "ca").read_bytes()
    assert load_root(tmp_path / "ca", keys).certificate == root.certificate
    start_rotation(tmp_path / "ca", keys)
    assert b"PRIVATE" not in next_path(tmp_path / "ca").read_bytes()


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PointsmanError) as caught:
        load_or_create_root(tmp_path)

    assert "No space left" in caught.value.seen
    assert list(tmp_path.iterdir()) == []
