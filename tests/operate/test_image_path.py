"""Every form in which Windows writes down a driver's path."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.operate.image_path import driver_path, same_path

ROOT = Path("/windows")


@pytest.mark.parametrize(
    ("image", "path"),
    [
        ("", "/windows/System32/drivers/pointsman.sys"),
        (r"\SystemRoot\System32\drivers\p.sys", "/windows/System32/drivers/p.sys"),
        (r"%SystemRoot%\System32\drivers\p.sys", "/windows/System32/drivers/p.sys"),
        (r"System32\drivers\p.sys", "/windows/System32/drivers/p.sys"),
        (r"\??\C:\Program Files\p.sys", r"C:\Program Files\p.sys"),
        (r'"C:\Program Files\p.sys"', r"C:\Program Files\p.sys"),
        (r"C:\Program Files\p.sys", r"C:\Program Files\p.sys"),
    ],
)
def test_a_path_is_found(image: str, path: str) -> None:
    assert str(driver_path(image, "pointsman", ROOT)) == path


def test_two_forms_of_one_path_are_the_same() -> None:
    assert same_path(r"\??\C:\A\p.sys", r"c:\a\P.sys", "pointsman", ROOT)
    assert same_path("", r"\SystemRoot\system32\DRIVERS\pointsman.sys", "pointsman", ROOT)
    assert not same_path(r"C:\a\p.sys", r"C:\b\p.sys", "pointsman", ROOT)
