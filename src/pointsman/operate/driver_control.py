"""The driver of this machine: put there, started, stopped, replaced and removed, each as often as one likes.

Every step asks first what is so already, so a run that was broken off is repaired by running it again.  A driver that
runs is never replaced in place: the new file is staged beside it and named in the service, and becomes active when
Windows starts (or when an operator stops and starts the driver with no proxy registered).
Source of the sequence: StartServiceW, DeleteService, Win32 docs; "Updating a non-PnP driver".
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pointsman.errors import Exit, PointsmanError
from pointsman.operate.driver_state import DriverState, Loaded, driver_state, loaded_driver
from pointsman.operate.elevation import require_elevation
from pointsman.operate.image_path import driver_path, same_path
from pointsman.operate.placement import DriverFile, drivers_folder, place, placed, read_driver, remove
from pointsman.operate.signing import BootState, Forecast, forecast
from pointsman.operate.steps import Report
from pointsman.system.host import Host
from pointsman.system.interface import Driver
from pointsman.system.services import STOP_PENDING, DriverService, ServiceError, Services, ServiceState
from pointsman.wire.abi import ABI_VERSION

SERVICE = "pointsman"
DISPLAY_NAME = "Pointsman driver"
MUTEX = "pointsman-driver"
MARKED_FOR_DELETE = 1072
SIGNATURE_CODES = {577, 1275, 4551, 0x800B_0101, 0x800B_010C}
"""Errors of a start that have to do with who signed the file, or with who may."""


class DriverControl:
    def __init__(self, host: Host, open_driver: Callable[[], Driver]) -> None:
        """`open_driver` as in `interface.System`; it raises PointsmanError where there is no device."""
        self._host = host
        self._open_driver = open_driver

    def install(self, file: DriverFile) -> Report:
        """Raises PointsmanError: PM210 to PM215, and PM205 of the service manager."""
        return self._put(file, replace=False)

    def upgrade(self, file: DriverFile) -> Report:
        """Like `install`, and over another version."""
        return self._put(file, replace=True)

    def start(self) -> Report:
        """Raises PointsmanError: PM205 with what the state of this machine has to do with it, PM203."""
        require_elevation(self._host, "start the driver")
        report = Report()
        with self._host.services() as services:
            try:
                started = services.start(SERVICE)
            except ServiceError as error:
                raise self._with_forecast(error) from error
        loaded = loaded_driver(self._open_driver)
        report.add("start", started, "the driver runs" if started else "the driver runs already")
        if isinstance(loaded, Loaded):
            if loaded.abi != ABI_VERSION:
                raise _other_version(loaded)
            report.add("device", False, f"{loaded.version} answers, ABI {loaded.abi}")
        else:
            report.notes.append(f"the device does not answer: {loaded}")
        return report

    def stop(self, *, force: bool = False) -> Report:
        """Raises PointsmanError: PM216 while a proxy is registered (unless forced), PM205."""
        require_elevation(self._host, "stop the driver")
        report = Report()
        with self._host.exclusively(MUTEX), self._host.services() as services:
            self._stop(services, report, force=force)
        return report

    def uninstall(self, *, force: bool = False) -> Report:
        """Stop it, delete its service, remove its files.  What is gone already is no error.

        Raises:
            PointsmanError: PM210, PM216, PM205.
        """
        require_elevation(self._host, "remove the driver")
        report = Report()
        with self._host.exclusively(MUTEX), self._host.services() as services:
            status = services.query(SERVICE)
            files = set(placed(drivers_folder(self._host.program_files)))
            if status is not None:
                try:
                    self._stop(services, report, force=force)
                except ServiceError as error:
                    if error.windows_code != STOP_PENDING:
                        raise
                    report.restart_needed = f"the driver stays loaded until then ({error.seen})"
            self._delete(services, report)
        self._remove(files, report)
        return report

    def state(self) -> DriverState:
        """Raises PointsmanError (PM205)."""
        with self._host.services() as services:
            return driver_state(self._host, services.query(SERVICE), SERVICE, self._open_driver)

    def forecast(self, file: DriverFile) -> Forecast:
        """What Windows will say of this file, as far as that can be known."""
        host = self._host
        boot = BootState(host.code_integrity(), host.secure_boot(), host.build().server)
        return forecast(file.image, host.signature(file.path), boot)

    def _put(self, file: DriverFile, *, replace: bool) -> Report:
        require_elevation(self._host, "install the driver")
        self._check_machine(file)
        report = Report()
        with self._host.exclusively(MUTEX), self._host.services(create=True) as services:
            status = services.query(SERVICE)
            if status is not None and not replace:
                self._refuse_other(driver_path(status.image, SERVICE, self._host.system_root), file)
            target, written = place(drivers_folder(self._host.program_files), file)
            report.add("file", written, f"{target} ({file.version})")
            already = status is not None and same_path(status.image, str(target), SERVICE, self._host.system_root)
            created = services.install(DriverService(SERVICE, str(target), DISPLAY_NAME))
            said = "created, started on demand" if created else "in order" if already else "points to the new file now"
            report.add("service", created or not already, said)
            runs = status is not None and status.state != ServiceState.STOPPED
            if runs and not already:
                report.restart_needed = (
                    "the version before is loaded, and a loaded driver is not replaced under running connections; "
                    "the new one becomes active when Windows starts"
                )
            elif not runs:
                self._prune(target, report)
        return report

    def _prune(self, keep: Path, report: Report) -> None:
        """Versions that nothing refers to any more."""
        for path in placed(drivers_folder(self._host.program_files)):
            if path != keep and remove(path):
                report.add("old file", True, f"{path} removed")

    def _check_machine(self, file: DriverFile) -> None:
        machine = self._host.machine()
        if machine in (0, file.image.machine):
            return
        raise PointsmanError(
            "cannot install this driver: it is for another processor",
            code="PM211",
            seen=f"{file.path} is for {file.image.machine_name}; this machine is 0x{machine:04X}",
            effect="nothing was changed",
            do="install the release for this processor",
            status=Exit.BAD_FILE,
        )

    def _refuse_other(self, installed: Path, file: DriverFile) -> None:
        """Another version stays where it is; a file that is gone or broken is replaced."""
        try:
            if installed.read_bytes() == file.data:
                return
            other = read_driver(installed)
        except (OSError, PointsmanError):
            return
        raise PointsmanError(
            "another version of the driver is installed",
            code="PM215",
            seen=f"{installed}: {_named(other)}; {file.path}: {_named(file)}",
            effect="nothing was changed; the installed driver is as it was",
            do="pointsman driver upgrade",
            status=Exit.DRIVER_VERSION,
        )

    def _stop(self, services: Services, report: Report, *, force: bool) -> None:
        loaded = loaded_driver(self._open_driver)
        if isinstance(loaded, Loaded) and loaded.proxies and not force:
            pids = ", ".join(map(str, loaded.proxies))
            raise PointsmanError(
                "cannot stop the driver: a proxy uses it",
                code="PM216",
                seen=f"registered: process {pids}",
                effect="nothing was changed; the driver runs and the proxy handles connections",
                do="stop the proxy first (pointsman service stop, or Ctrl-C), or add --force",
                status=Exit.FAILED,
            )
        stopped = services.stop(SERVICE)
        report.add("stop", stopped, "the driver is unloaded" if stopped else "the driver does not run")

    def _delete(self, services: Services, report: Report) -> None:
        try:
            deleted = services.delete(SERVICE)
        except ServiceError as error:
            if error.windows_code != MARKED_FOR_DELETE:
                raise
            report.add("service", False, "marked for deletion already")
            report.restart_needed = report.restart_needed or f"the entry goes once nobody looks at it ({error.do})"
            return
        report.add("service", deleted, "deleted" if deleted else "there is none")

    def _remove(self, files: set[Path], report: Report) -> None:
        for path in sorted(files):
            if remove(path):
                report.add("file", True, f"{path} removed")
                continue
            try:
                self._host.delete_at_restart(path)
            except OSError as error:
                report.notes.append(f"{path} is in use and could not be marked for removal: {error.strerror}")
            report.restart_needed = report.restart_needed or f"{path} is in use and goes then"
        if not files:
            report.add("file", False, "there is none of ours")

    def _with_forecast(self, error: ServiceError) -> PointsmanError:
        """What the state of this machine has to do with a start that failed."""
        if error.windows_code not in SIGNATURE_CODES:
            return error
        state = self.state()
        if state.forecast is None:
            return error
        seen = "\n".join([error.seen, f"the file is {state.forecast.signature}", *state.forecast.notes])
        do = state.forecast.do or error.do
        return ServiceError(error.what, seen=seen, effect=error.effect, do=do, windows_code=error.windows_code)


def _named(file: DriverFile) -> str:
    return f"{file.version} ({file.sha256[:12]})"


def _other_version(loaded: Loaded) -> PointsmanError:
    return PointsmanError(
        "the driver that runs is of another version",
        code="PM203",
        seen=f"it speaks ABI {loaded.abi} ({loaded.version}); this pointsman needs ABI {ABI_VERSION}",
        effect="no proxy of this version can register; connections go direct (fail open)",
        do="pointsman driver upgrade, then restart Windows",
        status=Exit.DRIVER_VERSION,
    )
