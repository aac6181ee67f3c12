"""Everything of ours away from this machine, with proof: what was there before, what is there afterwards.

Every part may be missing, broken or half removed already.  One that cannot be removed does not keep the others: it is
named, and the same command run again (after a restart, if it says so) finishes the work.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pointsman.errors import PointsmanError
from pointsman.operate.driver_control import SERVICE as DRIVER_SERVICE
from pointsman.operate.driver_control import DriverControl
from pointsman.operate.elevation import require_elevation
from pointsman.operate.placement import drivers_folder, placed
from pointsman.operate.proxy_service import SERVICE as PROXY_SERVICE
from pointsman.operate.proxy_service import ProxyService, service_folder
from pointsman.operate.steps import Report
from pointsman.system.host import Host
from pointsman.system.interface import Driver
from pointsman.wire import guids


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing of ours, and whether it is there."""

    name: str
    there: bool | None
    """None: it could not be looked at."""

    def line(self) -> str:
        return f"{ {True: 'there', False: 'gone', None: 'unknown'}[self.there]:<8}{self.name}"


@dataclass(frozen=True, slots=True)
class Part:
    """Something of ours that other packages know how to find and to remove."""

    name: str
    belongs_to_ca: bool
    """`--keep-ca` keeps it."""
    is_there: Callable[[], bool]
    """Raises PointsmanError: it cannot be looked at."""
    remove: Callable[[], list[str]]
    """Returns a line for each thing that was there.  Raises PointsmanError."""


@dataclass(slots=True)
class Removal:
    before: list[Trace]
    after: list[Trace]
    report: Report
    problems: list[PointsmanError]

    @property
    def complete(self) -> bool:
        return not any(trace.there for trace in self.after)


class Remover:
    def __init__(
        self, host: Host, open_driver: Callable[[], Driver], ca_dirs: tuple[Path, ...], parts: tuple[Part, ...]
    ) -> None:
        """`ca_dirs`: where certificate authorities of ours may be kept.  `parts` go first, in their order."""
        self._host = host
        self._open_driver = open_driver
        self._ca_dirs = ca_dirs
        self._parts = parts

    def remove(self, *, keep_ca: bool = False) -> Removal:
        """Raises PointsmanError (PM210): not an administrator."""
        require_elevation(self._host, "remove Pointsman")
        removal = Removal(self.traces(keep_ca=keep_ca), [], Report(), [])
        steps: list[tuple[str, Callable[[], Report]]] = [
            *((part.name, lambda part=part: _removed(part)) for part in self._parts_to_go(keep_ca)),
            ("service", ProxyService(self._host).uninstall),  # first: its end withdraws the registration
            ("driver", lambda: DriverControl(self._host, self._open_driver).uninstall(force=True)),
        ]
        for name, step in steps:
            try:
                self._take(removal.report, name, step())
            except PointsmanError as error:
                removal.problems.append(error)
        self._folders(removal.report, keep_ca=keep_ca)
        removal.after = self.traces(keep_ca=keep_ca)
        return removal

    def traces(self, *, keep_ca: bool) -> list[Trace]:
        folders = {"program files": self._host.program_files / "Pointsman"}
        if not keep_ca:
            folders["data"] = self._host.program_data / "Pointsman"
            folders |= {f"certificate authority {path}": path for path in self._ca_dirs}
        return [
            Trace(f"service {PROXY_SERVICE}", self._service(PROXY_SERVICE)),
            Trace(f"service {DRIVER_SERVICE} (driver)", self._service(DRIVER_SERVICE)),
            Trace("driver's files", bool(placed(drivers_folder(self._host.program_files)))),
            Trace("driver's device", self._host.device_target("Pointsman") is not None),
            Trace("provider in the filter engine", self._provider()),
            *(Trace(part.name, _look(part)) for part in self._parts_to_go(keep_ca)),
            *(Trace(name, path.exists()) for name, path in folders.items()),
        ]

    def _service(self, name: str) -> bool | None:
        try:
            with self._host.services() as services:
                return services.query(name) is not None
        except PointsmanError:
            return None

    def _provider(self) -> bool | None:
        try:
            objects = self._host.wfp_objects()
            try:
                return objects.has_provider(guids.PROVIDER)
            finally:
                objects.close()
        except OSError:
            return None

    def _parts_to_go(self, keep_ca: bool) -> list[Part]:
        return [part for part in self._parts if not (keep_ca and part.belongs_to_ca)]

    def _folders(self, report: Report, *, keep_ca: bool) -> None:
        """What the parts have left: empty folders, logs, the certificate authority."""
        folders = [service_folder(self._host)]
        if not placed(drivers_folder(self._host.program_files)):
            folders.append(self._host.program_files / "Pointsman")
        if not keep_ca:
            folders += [self._host.program_data / "Pointsman", *self._ca_dirs]
        for folder in folders:
            if not folder.exists():
                continue
            shutil.rmtree(folder, ignore_errors=True)
            report.add("folder", not folder.exists(), str(folder))

    @staticmethod
    def _take(report: Report, name: str, part: Report) -> None:
        for step in part.steps:
            report.add(f"{name}: {step.name}", step.changed, step.text)
        report.notes += part.notes
        report.restart_needed = report.restart_needed or part.restart_needed


def _look(part: Part) -> bool | None:
    try:
        return part.is_there()
    except PointsmanError:
        return None


def _removed(part: Part) -> Report:
    report = Report()
    removed = part.remove()
    report.add("removed", bool(removed), "; ".join(removed) or "nothing was there")
    return report
