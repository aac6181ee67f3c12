"""A child of the lab trusts its root and the system's, in every client, whatever was set before."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.errors import PointsmanError
from pointsman.trust.environment import BUNDLE_VARIABLES, trust_environment

ROOT = b"-----BEGIN CERTIFICATE-----\nbGFi\n-----END CERTIFICATE-----\n"


def test_every_variable_names_one_bundle_that_holds_our_root(tmp_path: Path) -> None:
    variables = trust_environment(tmp_path, [ROOT], environment={"SSL_CERT_FILE": "/elsewhere", "HOME": str(tmp_path)})

    assert {variables[name] for name in BUNDLE_VARIABLES} == {str(tmp_path / "bundle.pem")}
    assert (tmp_path / "bundle.pem").read_bytes().endswith(ROOT)


def test_variables_that_are_set_do_not_choose_the_system_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(b"-----BEGIN CERTIFICATE-----\nb3RoZXI=\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    trust_environment(tmp_path, [ROOT])

    assert b"b3RoZXI=" not in (tmp_path / "bundle.pem").read_bytes()


@pytest.mark.parametrize("given", ["home", "variable"])
def test_wget_keeps_the_settings_of_its_user(tmp_path: Path, given: str) -> None:
    settings = tmp_path / (".wgetrc" if given == "home" else "mine")
    settings.write_text("tries = 3")
    environment = {"HOME": str(tmp_path)} | ({"WGETRC": str(settings)} if given == "variable" else {})
    variables = trust_environment(tmp_path, [ROOT], environment=environment)

    bundle = tmp_path / "bundle.pem"
    assert Path(variables["WGETRC"]).read_text() == f"tries = 3\nca_certificate = {bundle}\n"


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(PointsmanError, match="PM508"):
        trust_environment(tmp_path / "missing", [ROOT])
