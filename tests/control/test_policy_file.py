from __future__ import annotations

import errno
import os
import tracemalloc
from pathlib import Path

import pytest

from pointsman.control.policy_file import MAX_LIST_SIZE, MAX_SIZE, load_policy, read_cases
from pointsman.errors import Exit, PointsmanError
from pointsman.policy.decision import Action


def test_a_policy_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('default = "block"')

    policy = load_policy(tmp_path / "p.toml")

    assert policy.default is Action.BLOCK
    assert policy.source == str(tmp_path / "p.toml")


def test_what_cannot_be_read_is_a_policy_error(tmp_path: Path) -> None:
    (tmp_path / "huge.toml").write_bytes(b"#" * (MAX_SIZE + 1))
    for name, seen in (("none.toml", "no such file"), ("", "directory"), ("huge.toml", "larger than")):
        with pytest.raises(PointsmanError) as caught:
            load_policy(tmp_path / name)
        assert (caught.value.code, caught.value.status) == ("PM301", Exit.POLICY)
        assert seen in caught.value.seen


HUGE = 100 << 20  # bytes


def sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(HUGE)
    return path


def test_what_is_far_too_large_is_refused_without_being_read(tmp_path: Path) -> None:
    sparse(tmp_path / "list.txt")
    (tmp_path / "p.toml").write_text('[[rule]]\nhost = "file:list.txt"\naction = "block"')
    tracemalloc.start()
    try:
        with pytest.raises(PointsmanError) as caught:
            load_policy(sparse(tmp_path / "huge.toml"))
        assert "larger than 4194304 bytes" in caught.value.seen
        with pytest.raises(PointsmanError) as caught:
            read_cases(tmp_path / "huge.toml")
        assert (caught.value.code, caught.value.status) == ("PM302", Exit.POLICY)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_SIZE
        with pytest.raises(PointsmanError) as caught:
            load_policy(tmp_path / "p.toml")
        assert f'p.toml:2: host: cannot read the list "list.txt": larger than {MAX_LIST_SIZE}' in caught.value.seen
    finally:
        tracemalloc.stop()


def test_what_may_not_be_read_or_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PointsmanError, match="cannot read the policy") as caught:
        load_policy(tmp_path / "pipe")
    assert "not a plain file" in caught.value.seen

    def refuse(*_: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(PointsmanError) as caught:
        load_policy(tmp_path / "p.toml")
    assert "permission denied" in caught.value.seen
