from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.control.policy_file import MAX_SIZE, load_policy
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
