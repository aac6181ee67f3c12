"""Read a policy file and the lists that it names: the disk part of `policy.load`."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

from pointsman.control.client_certificate import check_client_certificate
from pointsman.errors import Exit, PointsmanError
from pointsman.policy.decision import Action
from pointsman.policy.load import parse_policy
from pointsman.policy.rules import Policy

MAX_SIZE = 4 * 1024 * 1024  # bytes; 10,000 rules with many values each fit
MAX_LIST_SIZE = 64 * 1024 * 1024  # bytes; two million names fit
DEFAULT_SOURCE = "built-in policy"


def load_policy(path: Path) -> Policy:
    """List files are looked for beside the policy.

    Raises:
        PointsmanError: PM301, not readable, or everything that is wrong inside, all at once.
    """
    try:
        data = _read(path, MAX_SIZE)
    except ValueError as error:
        raise _unreadable(path, str(error)) from error

    def read_list(name: str) -> bytes:
        return _read(path.parent / name, MAX_LIST_SIZE)

    policy = parse_policy(data, str(path), read_list)
    _check_certificates(policy, path)
    return policy


def _check_certificates(policy: Policy, path: Path) -> None:
    checked: dict[str, str | None] = {}
    wrong: list[str] = []
    for rule in policy.rules:
        name = rule.client_certificate
        if name is None:
            continue
        if name not in checked:
            try:
                check_client_certificate(path.parent / name)
                checked[name] = None
            except ValueError as error:
                checked[name] = str(error)
        if (problem := checked[name]) is not None:
            wrong.append(f"{path}:{rule.line}: client_certificate: cannot use {name}: {problem}")
    if wrong:
        raise PointsmanError(
            f"cannot use the policy {path}: {len(wrong)} error{'s' if len(wrong) > 1 else ''}",
            code="PM301",
            seen="\n".join(wrong),
            effect="no rule of this file is in force; what was in force before still is",
            do="mend the lines above and try again",
            status=Exit.POLICY,
        )


def default_policy_text() -> str:
    """The policy that is in force where nobody gives a file."""
    return resources.files("pointsman.policy").joinpath("default.toml").read_text(encoding="utf-8")


def default_policy(*, intercepts: bool = False) -> Policy:
    """`intercepts`: there are addons, so what it would inspect may be changed."""
    policy = parse_policy(default_policy_text().encode(), DEFAULT_SOURCE)
    return with_interception(policy) if intercepts else policy


def with_interception(policy: Policy) -> Policy:
    def changed(action: Action) -> Action:
        return Action.INTERCEPT if action is Action.INSPECT else action

    rules = tuple(replace(rule, action=changed(rule.action)) for rule in policy.rules)
    return replace(policy, rules=rules, default=changed(policy.default))


def load_policy_or_default(path: Path | None) -> Policy:
    """Raises PointsmanError PM301."""
    return load_policy(path) if path is not None else default_policy()


def read_cases(path: Path) -> bytes:
    """A table for `pointsman policy test`.  Raises PointsmanError PM302."""
    try:
        return _read(path, MAX_SIZE)
    except ValueError as error:
        raise PointsmanError(
            f"cannot read the cases {path}",
            code="PM302",
            seen=f"{path}:1: {error}",
            effect="no case was tried",
            do="name a file that can be read",
            status=Exit.POLICY,
        ) from error


def _read(path: Path, limit: int) -> bytes:
    """Raises ValueError that says why not."""
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            raise ValueError("not a plain file")  # a pipe might never end
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ValueError((error.strerror or str(error)).lower()) from error
    if len(data) > limit:
        raise ValueError(f"larger than {limit} bytes")
    return data


def _unreadable(path: Path, seen: str) -> PointsmanError:
    return PointsmanError(
        f"cannot read the policy {path}",
        code="PM301",
        seen=f"{path}:1: {seen}",
        effect="no rule of this file is in force; what was in force before still is",
        do="name a policy file that can be read, or none to use the built-in policy",
        status=Exit.POLICY,
    )
