"""Roots in a Linux system's store: the distribution's own command, on directories of the test."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from pointsman.authority.root_store import finish_rotation, load_or_create_root, root_path, start_rotation
from pointsman.errors import PointsmanError
from pointsman.system.trust_store import Anchors, LinuxTrustStore, trust_store
from pointsman.trust.install import install_roots, remove_roots

UPDATE = "update-ca-certificates"
needs_debian = pytest.mark.skipif(
    shutil.which(UPDATE) is None or not Path("/etc/ca-certificates.conf").exists(), reason=f"Debian's {UPDATE}"
)


@pytest.fixture
def anchors(tmp_path: Path) -> Anchors:
    local, etc, hooks = tmp_path / "local", tmp_path / "etc", tmp_path / "hooks"
    for directory in (local, etc, hooks):
        directory.mkdir()
    command = (UPDATE, "--localcertsdir", str(local), "--etccertsdir", str(etc), "--hooksdir", str(hooks))
    return Anchors(local, ".crt", command)


def bundle(anchors: Anchors) -> str:
    return (anchors.directory.parent / "etc/ca-certificates.crt").read_text()


@needs_debian
def test_roots_come_into_the_bundle_of_the_system_and_go_again(anchors: Anchors, tmp_path: Path) -> None:
    ca_dir, store = tmp_path / "ca", LinuxTrustStore(anchors)
    load_or_create_root(ca_dir)
    _, coming = start_rotation(ca_dir)
    both = [ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pem)) for pem in certificates(root_path(ca_dir))]

    assert len(install_roots(ca_dir, store)) == 2
    install_roots(ca_dir, store)  # again, which is harmless
    assert [pem in bundle(anchors) for pem in both] == [True, True]

    finish_rotation(ca_dir)  # the old one is no longer published, and not forgotten
    assert [was_there for _, was_there in remove_roots(ca_dir, store)] == [True, True]
    assert [pem in bundle(anchors) for pem in both] == [False, False]
    assert [was_there for _, was_there in remove_roots(ca_dir, store)] == [False, False]
    assert list(anchors.directory.iterdir()) == []
    assert not store.has(coming.certificate.fingerprint(coming.certificate.signature_hash_algorithm).hex())  # type: ignore[arg-type]


def certificates(path: Path) -> list[str]:
    return [part + "-----END CERTIFICATE-----\n" for part in path.read_text().split("-----END CERTIFICATE-----\n")[:-1]]


def test_a_command_that_fails_is_an_error_for_people(tmp_path: Path) -> None:
    load_or_create_root(tmp_path / "ca")
    (tmp_path / "local").mkdir()
    store = LinuxTrustStore(Anchors(tmp_path / "local", ".crt", ("sh", "-c", "echo read-only >&2; exit 1")))

    with pytest.raises(PointsmanError, match="PM454") as caught:
        install_roots(tmp_path / "ca", store)
    assert "read-only" in caught.value.seen


def test_a_directory_that_cannot_be_written_is_an_error_for_people(tmp_path: Path) -> None:
    load_or_create_root(tmp_path / "ca")
    (tmp_path / "file").write_bytes(b"")
    store = LinuxTrustStore(Anchors(tmp_path / "file" / "local", ".crt", ("true",)))

    with pytest.raises(PointsmanError, match="PM454"):
        install_roots(tmp_path / "ca", store)


def test_a_system_without_a_store_that_we_know_has_none() -> None:
    assert trust_store(known=[Anchors(Path("/x"), ".crt", ("pointsman-no-such-command",))]) is None
