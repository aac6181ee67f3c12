"""What a service manager does, as cases that are run against the double and, under Wine, against a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
"""Method and arguments; the result, or `error <Windows error>`."""


def driver_service_cases(call: Call, service: Any, state_of: Callable[[str], str | None]) -> list[tuple[str, object]]:
    """Every step with what came of it.  `state_of` gives a state's name, None for no service."""
    name = service.name
    told: list[tuple[str, object]] = []

    def step(method: str, *arguments: object) -> None:
        told.append((method, call(method, *arguments)))
        told.append(("state", state_of(name)))

    for method in ("delete", "start", "stop"):
        step(method, name)
    for method, argument in (
        ("install", service), ("install", service), ("stop", name), ("start", name), ("start", name),
        ("stop", name), ("stop", name), ("start", name), ("delete", name), ("delete", name), ("install", service),
        ("start", name), ("stop", name), ("delete", name),
    ):  # fmt: skip
        step(method, argument)
    return told


EXPECTED: list[tuple[str, object]] = [
    ("delete", False), ("state", None),
    ("start", "error 1060"), ("state", None),
    ("stop", "error 1060"), ("state", None),
    ("install", True), ("state", "STOPPED"),
    ("install", False), ("state", "STOPPED"),
    ("stop", False), ("state", "STOPPED"),
    ("start", True), ("state", "RUNNING"),
    ("start", False), ("state", "RUNNING"),
    ("stop", True), ("state", "STOPPED"),
    ("stop", False), ("state", "STOPPED"),
    ("start", True), ("state", "RUNNING"),
    ("delete", True), ("state", "RUNNING"),
    ("delete", "error 1072"), ("state", "RUNNING"),
    ("install", "error 1072"), ("state", "RUNNING"),
    ("start", False), ("state", "RUNNING"),
    ("stop", True), ("state", None),
    ("delete", False), ("state", None),
]  # fmt: skip
