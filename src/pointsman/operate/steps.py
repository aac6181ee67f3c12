"""What an operation did, step by step, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    """A stable word for programs: `file`, `service`, `stop`, ..."""
    changed: bool
    text: str


@dataclass(slots=True)
class Report:
    """An operation that has run to its end."""

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    restart_needed: str | None = None
    """Why Windows must be restarted; None if it need not."""

    def add(self, name: str, changed: bool, text: str) -> None:
        self.steps.append(Step(name, changed, text))

    @property
    def changed(self) -> bool:
        return any(step.changed for step in self.steps)

    def lines(self) -> list[str]:
        rows = [f"{'+' if step.changed else '='} {step.name}: {step.text}" for step in self.steps]
        rows += [f"  note: {note}" for note in self.notes]
        if self.restart_needed:
            rows.append(f"! restart Windows: {self.restart_needed}")
        return rows

    def as_json(self) -> dict[str, object]:
        return {
            "changed": self.changed,
            "steps": [{"name": step.name, "changed": step.changed, "text": step.text} for step in self.steps],
            "notes": self.notes,
            "restart_needed": self.restart_needed,
        }
