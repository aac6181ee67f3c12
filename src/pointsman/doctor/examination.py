"""Run the checks in their order, cause before effect, and say what came of each.

Decides what a check may expect (Windows, an administrator, a driver that answers) and what a check that breaks means: a
bug of ours, which must not keep the others from being run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import Flag, auto

from pointsman.doctor.finding import Finding, Outcome, fail, skipped
from pointsman.doctor.scene import Scene
from pointsman.errors import PointsmanError

NO_WINDOWS = "there is no Windows to look at here"


class Need(Flag):
    NOTHING = 0
    WINDOWS = auto()
    DRIVER = auto()
    """It answers, with our ABI version."""


@dataclass(frozen=True, slots=True)
class Check:
    id: str
    """P platform, S boot state, D driver, W filter engine, R registration, T trust, N network, L logs."""
    title: str
    needs: Need
    look: Callable[[Scene], Finding]


@dataclass(frozen=True, slots=True)
class Result:
    check: Check
    finding: Finding

    def as_json(self) -> dict[str, object]:
        finding = {name: str(value) for name, value in asdict(self.finding).items() if value}
        return {"id": self.check.id, "title": self.check.title, **finding}

    def lines(self) -> list[str]:
        head = f"{self.finding.outcome:<8}{self.check.id:<4}{self.check.title}: {self.finding.seen}"
        if self.finding.outcome not in (Outcome.WARN, Outcome.FAIL):
            return [head]
        return [head, f"{'':12}effect: {self.finding.effect}", f"{'':12}do:     {self.finding.do}"]


def examine(checks: Iterable[Check], scene: Scene) -> list[Result]:
    return [Result(check, _look(check, scene)) for check in checks]


def _look(check: Check, scene: Scene) -> Finding:
    if Need.WINDOWS in check.needs and scene.maybe_host is None:
        return skipped(NO_WINDOWS)
    if Need.DRIVER in check.needs and isinstance(scene.status, str):
        return skipped(f"the driver does not answer ({scene.status})")
    try:
        return check.look(scene)
    except PointsmanError as error:
        if scene.maybe_host is not None and not scene.maybe_host.is_elevated():
            return skipped(f"needs an administrator ({error.seen})")
        return fail(error.seen, error.effect, error.do)
    except Exception as error:
        # A check that breaks is our bug; the operator still wants the rest.
        return fail(
            f"the check itself broke: {type(error).__name__}: {error}", "unknown", "report this with `doctor --report`"
        )
