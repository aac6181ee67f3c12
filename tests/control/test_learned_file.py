from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.control.learned_file import load_learned, save_learned
from pointsman.errors import PointsmanError
from pointsman.policy.learned import Entry, Kind, Learned

LEARNED = Learned(
    (
        Entry(Kind.PASS_THROUGH, "refused our leaf", 1.5, 86400.0, "C:\\App\\app.exe", "a.example"),
        Entry(Kind.PAUSE, "asked for", 2.0, None),
    )
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "learned.json"
    assert load_learned(file) == Learned()
    save_learned(file, LEARNED)
    save_learned(file, LEARNED)

    assert load_learned(file) == LEARNED
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["learned.json"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"version":2,"entries":[]}', b"\xff", b"[]",
     b'{"version":1,"entries":[{"kind":"pause","reason":"","made":1,"expires":null}]}',
     b'{"version":1,"entries":[{"kind":"other","reason":"x","made":1,"expires":null}]}'],
)  # fmt: skip
def test_a_file_that_is_not_ours_is_an_error_for_people(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "learned.json"
    file.write_bytes(data)

    with pytest.raises(PointsmanError) as caught:
        load_learned(file)

    assert caught.value.code == "PM304"


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "learned.json"
    save_learned(file, LEARNED)
    (tmp_path / "learned.json.new").mkdir()

    with pytest.raises(PointsmanError):
        save_learned(file, Learned())

    assert load_learned(file) == LEARNED
