"""The proxy as a service of this machine: its entry, the small program that the service manager starts, its settings.

    %ProgramFiles%\\Pointsman\\service\\pointsman_service.py    what is started, by the base interpreter
    %ProgramFiles%\\Pointsman\\service\\settings.json           policy, certificate authority, flow file
    %ProgramData%\\Pointsman\\service.log                       what it says, since a service has no console

The base interpreter and not a virtual environment's `python.exe`: that one is a launcher, its child would be the
proxy, and the service manager talks to the process that it has started (CPython issue 83086).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.errors import Exit, PointsmanError
from pointsman.operate.driver_control import MUTEX
from pointsman.operate.driver_control import SERVICE as DRIVER_SERVICE
from pointsman.operate.elevation import require_elevation
from pointsman.operate.steps import Report
from pointsman.system.host import Host
from pointsman.system.services import ProgramService, ServiceError, ServiceStatus

SERVICE = "PointsmanProxy"
DISPLAY_NAME = "Pointsman proxy"
DESCRIPTION = "Handles the connections that the Pointsman driver redirects. Without it they go direct."
PROGRAM = """\
# Written by `pointsman service install`; starts the proxy when the service manager asks for it.
import sys

sys.path[:0] = {paths!r}

from pointsman.system.windows.service_host import serve


def body(control):
    from pointsman.cli.service_program import main  # here: Windows waits 30 s for `serve`, and longer for the rest

    return main({settings!r}, {log!r}, control)


if not serve({name!r}, body):
    sys.exit("this is started by Windows: pointsman service start")
"""
MARKED_FOR_DELETE = 1072


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What the service is to do; paths are absolute."""

    policy: str | None
    ca_dir: str
    flows: str | None = None
    upstream_ca: tuple[str, ...] = ()

    def encode(self) -> str:
        fields = {
            "policy": self.policy, "ca_dir": self.ca_dir, "flows": self.flows, "upstream_ca": list(self.upstream_ca),
        }  # fmt: skip
        return json.dumps(fields, indent=2) + "\n"


def decode_settings(text: str) -> ServiceSettings:
    """Raises ValueError for what `encode` did not write."""
    fields = json.loads(text)
    if not isinstance(fields, dict) or not isinstance(fields.get("ca_dir"), str):
        raise ValueError("no settings of the service")
    upstream = fields.get("upstream_ca") or []
    return ServiceSettings(fields.get("policy"), fields["ca_dir"], fields.get("flows"), tuple(map(str, upstream)))


def service_folder(host: Host) -> Path:
    return host.program_files / "Pointsman" / "service"


def log_path(host: Host) -> Path:
    return host.program_data / "Pointsman" / "service.log"


class ProxyService:
    def __init__(self, host: Host, *, interpreter: str | None = None, paths: Sequence[str] | None = None) -> None:
        """`interpreter` and `paths`: other than those of this process (tests)."""
        self._host = host
        self._interpreter = interpreter or str(getattr(sys, "_base_executable", sys.executable))
        self._paths = [path for path in (sys.path if paths is None else paths) if path and Path(path).is_dir()]

    def install(self, settings: ServiceSettings, *, force: bool = False) -> Report:
        """`force`: also from folders that others than administrators can write.

        Raises PointsmanError: PM210, PM217, PM219, PM205.
        """
        require_elevation(self._host, "install the service")
        report = Report()
        open_folders = self._open_folders()
        if open_folders and not force:
            raise _others_write(open_folders)
        report.notes += [f"{who} can change {folder}, and with it what runs as SYSTEM" for folder, who in open_folders]
        folder = service_folder(self._host)
        program = folder / "pointsman_service.py"
        settings_file = folder / "settings.json"
        text = PROGRAM.format(
            paths=self._paths, settings=str(settings_file), log=str(log_path(self._host)), name=SERVICE
        )
        command = f'"{self._interpreter}" "{program}"'
        with self._host.exclusively(MUTEX), self._host.services(create=True) as services:
            wrote = _write(program, text)
            report.add("program", wrote, str(program))
            wrote = _write(settings_file, settings.encode())
            report.add("settings", wrote, str(settings_file))
            before = services.query(SERVICE)
            created = services.install(
                ProgramService(SERVICE, command, DISPLAY_NAME, DESCRIPTION, dependencies=("BFE", DRIVER_SERVICE))
            )
            same = before is not None and before.image == command
            said = "created, starts with Windows" if created else "in order" if same else "starts another program now"
            report.add("service", created or not same, said)
        return report

    def _open_folders(self) -> list[tuple[Path, str]]:
        """What the service would run code from, and who besides administrators can put code there."""
        folders = dict.fromkeys((Path(__file__).parents[2], Path(self._interpreter).parent, *map(Path, self._paths)))
        found = []
        for folder in folders:
            if not folder.is_dir():
                continue
            others = self._host.others_who_write(folder)
            if others is None:
                found.append((folder, "somebody (its access list cannot be read)"))
            elif others:
                found.append((folder, ", ".join(others)))
        return found

    def start(self) -> Report:
        """The driver first, then the proxy.  Raises PointsmanError."""
        require_elevation(self._host, "start the service")
        report = Report()
        with self._host.services() as services:
            if services.query(DRIVER_SERVICE) is not None:
                started = services.start(DRIVER_SERVICE)
                report.add("driver", started, "runs" if started else "runs already")
            started = services.start(SERVICE)
            report.add("service", started, "runs" if started else "runs already")
        return report

    def stop(self) -> Report:
        """Connections go direct from then on.  Raises PointsmanError."""
        require_elevation(self._host, "stop the service")
        report = Report()
        with self._host.services() as services:
            stopped = services.stop(SERVICE)
        report.add("service", stopped, "stopped" if stopped else "does not run")
        return report

    def uninstall(self) -> Report:
        """Raises PointsmanError: PM210, PM205."""
        require_elevation(self._host, "remove the service")
        report = Report()
        with self._host.exclusively(MUTEX), self._host.services() as services:
            if services.query(SERVICE) is not None:
                stopped = services.stop(SERVICE)
                report.add("stop", stopped, "stopped" if stopped else "did not run")
            try:
                deleted = services.delete(SERVICE)
                report.add("service", deleted, "deleted" if deleted else "there is none")
            except ServiceError as error:
                if error.windows_code != MARKED_FOR_DELETE:
                    raise
                report.restart_needed = f"the entry goes once nobody looks at it ({error.do})"
        folder = service_folder(self._host)
        existed = folder.exists()
        shutil.rmtree(folder, ignore_errors=True)
        report.add("program", existed and not folder.exists(), f"{folder} removed" if existed else "there is none")
        return report

    def status(self) -> ServiceStatus | None:
        with self._host.services() as services:
            return services.query(SERVICE)


def _others_write(found: Sequence[tuple[Path, str]]) -> PointsmanError:
    folder, who = found[0]
    more = f", and {len(found) - 1} more folders" if len(found) > 1 else ""
    return PointsmanError(
        "the service would run code that others than administrators can change",
        code="PM219",
        seen=f"{folder} can be written by {who}{more}; whoever does becomes SYSTEM when the service starts",
        effect="nothing was changed",
        do="install Python and pointsman for all users (below Program Files) and repeat, or use --force on a machine "
        "that is yours alone",
        status=Exit.BAD_FILE,
    )


def _write(path: Path, text: str) -> bool:
    """Whole or not at all.  False if it was so already.  Raises PointsmanError (PM217)."""
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="new-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PointsmanError(
            "cannot write the service's files",
            code="PM217",
            seen=f"{path}: {error.strerror or error}",
            effect="the service is as it was before",
            do="make room on that disk and see that administrators may write there, then run the same command again",
            status=Exit.BAD_FILE,
        ) from error
    return True
