"""The report for a bug: what helps is in it, what is nobody's business is not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.doctor.checks import CHECKS
from pointsman.doctor.examination import examine
from pointsman.doctor.redaction import LEFT_OUT, redact
from pointsman.doctor.report import write_report
from pointsman.errors import PointsmanError
from pointsman.operate.proxy_service import log_path

from .conftest import Patient

SECRET = "hunter2SECRETvalue"
PLANTED = [
    f"-----BEGIN PRIVATE KEY-----\n{SECRET}\nabc\n-----END PRIVATE KEY-----",
    f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"proxy-authorization: Basic {SECRET}",
    f"got header Cookie: session={SECRET}; other={SECRET}",
    f"set-cookie: a={SECRET}",
    f"upstream socks5://user:{SECRET}@proxy.example:1080 failed",
    f"GET https://shop.example/login?token={SECRET}&x=1",
    f"password = {SECRET}",
    f'{{"api_key": "{SECRET}"}}',
    f"client-secret={SECRET},next",
    f"token eyJhbGciOi.{SECRET}.{SECRET}",
    f"C:\\Users\\{SECRET}\\AppData\\Local\\Pointsman",
    f"/home/{SECRET}/.local/share/pointsman",
    f"key material {SECRET * 4}",
]


@pytest.mark.parametrize("line", PLANTED)
def test_a_planted_secret_is_left_out(line: str) -> None:
    text = redact(f"before\n{line}\nafter")

    assert SECRET not in text
    assert text.startswith("before")


@given(st.text(), st.sampled_from(PLANTED), st.text())
def test_a_secret_on_a_line_of_its_own_is_left_out_whatever_stands_around(before: str, line: str, after: str) -> None:
    assert SECRET not in redact(f"{before}\n{line}\n{after}")


@pytest.mark.parametrize(
    "line",
    [
        "ok      D10 driver answers: pointsman.sys 0.1.0, ABI 1",
        "registration 3: process 4242, lease 2500 of 3000 ms",
        r"C:\Program Files\Pointsman\driver\0.1.0-0123456789abcdef0123456789abcdef\pointsman.sys",
        "fail    D7  driver running: stopped, error 577: the driver's signature is missing",
    ],
)
def test_what_helps_is_kept(line: str) -> None:
    assert redact(line) == line


def test_the_report_holds_findings_counters_and_the_end_of_the_log(patient: Patient, tmp_path: Path) -> None:
    log = log_path(patient.host)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("2026-01-01 ready\n" + "\n\n".join(PLANTED) + "\n\nlast line\n")
    patient.driver.counters[1] = 41
    scene = patient.scene()
    file = tmp_path / "report.txt"

    write_report(file, examine(CHECKS, scene), scene)

    text = file.read_text()
    assert "D10 driver answers: pointsman.sys 0.1.0, ABI 1" in text
    assert "redirected to the proxy: 41" in text
    assert "last line" in text and LEFT_OUT in text
    assert SECRET not in text
    assert (patient.ca_dir / "root-key.pem").read_text().splitlines()[1] not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_report_never_replaces_a_file(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("mine")

    with pytest.raises(PointsmanError, match="cannot write the report") as caught:
        write_report(tmp_path / "report.txt", [], patient.scene())

    assert caught.value.code == "PM218"
    assert (tmp_path / "report.txt").read_text() == "mine"


def test_a_report_without_a_driver(patient: Patient, tmp_path: Path) -> None:
    patient.present = False
    scene = patient.scene()

    write_report(tmp_path / "report.txt", examine(CHECKS, scene), scene)

    assert "no such device" in (tmp_path / "report.txt").read_text()
