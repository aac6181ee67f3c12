from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.control.learned_file import LOOK_AGAIN, NAME, LearnedFile

HOST = "www.example.com"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_learned_outlives_the_process_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    LearnedFile(tmp_path / NAME).refused("/App", HOST, "unknown_ca", 1000.0)

    found = LearnedFile(tmp_path / NAME).find("/app", HOST, 2000.0)
    assert found is not None and found.reason == "unknown_ca"
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_line_that_somebody_removes_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    learned = LearnedFile(tmp_path / NAME, clock)
    learned.refused("/app", HOST, "unknown_ca", 1000.0)
    (tmp_path / NAME).unlink()

    assert learned.find("/app", HOST, 1001.0) is not None
    clock.now += LOOK_AGAIN
    assert learned.find("/app", HOST, 1001.0) is None


def test_a_file_that_cannot_be_read_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NAME).write_text("[{]")
    learned = LearnedFile(tmp_path / NAME)

    assert learned.find("/app", HOST, 0.0) is None
    assert (tmp_path / "learned.bad").read_text() == "[{]"
    learned.refused("/app", HOST, "unknown_ca", 0.0)
    assert LearnedFile(tmp_path / NAME).find("/app", HOST, 1.0) is not None
    assert "put aside" in caplog.text


def test_a_directory_that_cannot_be_written_costs_the_memory_of_it_alone(tmp_path: Path) -> None:
    learned = LearnedFile(tmp_path / "missing" / NAME)
    learned.refused("/app", HOST, "unknown_ca", 0.0)

    assert learned.find("/app", HOST, 0.0) is not None
