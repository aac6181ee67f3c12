"""How it stands with the driver: what is installed, what is loaded, and whether the two are the same.

Looks and changes nothing; every part may be missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pointsman.errors import PointsmanError
from pointsman.operate.image_path import driver_path
from pointsman.operate.placement import DriverFile, read_driver
from pointsman.operate.signing import BootState, Forecast, forecast
from pointsman.system.host import Host
from pointsman.system.interface import Driver, DriverError
from pointsman.system.services import ServiceState, ServiceStatus, StartType
from pointsman.system.windows.service_errors import ADVICE
from pointsman.wire import abi

STARTS = {
    StartType.DEMAND: "by `pointsman driver start`, or with the proxy's service",
    StartType.DISABLED: "never: it is disabled",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The driver as it answers through its device."""

    abi: int
    version: str
    proxies: tuple[int, ...] = ()
    """Process ids of live registrations, newest first; empty also for another ABI version."""


@dataclass(frozen=True, slots=True)
class DriverState:
    service: ServiceStatus | None
    path: Path | None
    file: DriverFile | None
    file_problem: str | None
    forecast: Forecast | None
    loaded: Loaded | str
    """Or why it does not answer."""

    @property
    def restart_needed(self) -> bool:
        """Another version is loaded than is installed."""
        return isinstance(self.loaded, Loaded) and self.file is not None and self.loaded.version != self.file.version

    def summary(self) -> str:
        if self.service is None:
            return "not installed" if not isinstance(self.loaded, Loaded) else "loaded, but there is no service for it"
        if self.file is None:
            return "installed, but its file is gone or unusable"
        if isinstance(self.loaded, Loaded):
            return "runs" + (", and another version becomes active at the next restart" if self.restart_needed else "")
        return {ServiceState.STOPPED: "installed, does not run", ServiceState.RUNNING: "runs, but does not answer"}.get(
            self.service.state, f"in between ({self.service.state.name.lower()})"
        )

    def lines(self) -> list[str]:
        rows = [f"driver: {self.summary()}; {self._traffic()}"]
        if self.service is not None:
            state = self.service.state.name.lower().replace("_", " ")
            rows.append(f"  service  {state}; starts {STARTS.get(self.service.start, 'with Windows')}")
            if self.service.exit_code:
                meaning, do = ADVICE.get(self.service.exit_code, ("see `net helpmsg` with that number", ""))
                rows.append(f"           its last start ended with error {self.service.exit_code}: {meaning}")
                rows += [f"           do: {do}"] if do else []
        if self.path is not None:
            what = f"{self.file.version} for {self.file.image.machine_name}" if self.file else self.file_problem
            rows.append(f"  file     {self.path}: {what}")
        if self.forecast is not None:
            rows += signing_lines(self.forecast)
        if isinstance(self.loaded, Loaded):
            rows.append(f"  loaded   {self.loaded.version}, ABI {self.loaded.abi}")
        else:
            rows.append(f"  loaded   no: {self.loaded}")
        return rows

    def _traffic(self) -> str:
        if not isinstance(self.loaded, Loaded):
            return "nothing is intercepted, connections go direct"
        if self.loaded.proxies:
            return f"process {self.loaded.proxies[0]} gets the connections that its policy names"
        return "no proxy is registered, so connections go direct"

    def as_json(self) -> dict[str, object]:
        service = self.service
        loaded = self.loaded if isinstance(self.loaded, Loaded) else None
        return {
            "summary": self.summary(),
            "service": None if service is None else {
                "state": service.state.name.lower(), "exit_code": service.exit_code, "image": service.image,
                "start": service.start.name.lower(),
            },
            "file": None if self.file is None else {
                "path": str(self.path), "version": self.file.version, "sha256": self.file.sha256,
                "machine": self.file.image.machine_name,
            },
            "file_problem": self.file_problem,
            "signing": None if self.forecast is None else signing_json(self.forecast),
            "loaded": None if loaded is None else {
                "abi": loaded.abi, "version": loaded.version, "proxies": list(loaded.proxies),
            },
            "restart_needed": self.restart_needed,
        }  # fmt: skip


def driver_state(
    host: Host, service: ServiceStatus | None, name: str, open_driver: Callable[[], Driver]
) -> DriverState:
    path = file = problem = outlook = None
    if service is not None:
        path = driver_path(service.image, name, host.system_root)
        try:
            file = read_driver(path)
        except PointsmanError as error:
            problem = error.seen
        else:
            boot = BootState(host.code_integrity(), host.secure_boot(), host.build().server)
            outlook = forecast(file.image, host.signature(path), boot)
    return DriverState(service, path, file, problem, outlook, loaded_driver(open_driver))


def loaded_driver(open_driver: Callable[[], Driver]) -> Loaded | str:
    """What answers, or why nothing does."""
    try:
        driver = open_driver()
    except PointsmanError as error:
        return error.seen
    try:
        version = abi.decode_version(driver.control(abi.Ioctl.QUERY_VERSION, b"", abi.VERSION_SIZE))
        if version.abi != abi.ABI_VERSION:
            return Loaded(version.abi, version.driver)
        status = abi.decode_status(driver.control(abi.Ioctl.STATUS, b"", abi.STATUS_SIZE))
        return Loaded(version.abi, version.driver, tuple(item.pid for item in status.registrations))
    except (DriverError, abi.AbiError) as error:
        return str(error)
    finally:
        driver.close()


def signing_lines(outlook: Forecast) -> list[str]:
    loads = {True: "will load", False: "will NOT load", None: "may or may not load"}[outlook.loads]
    rows = [f"  signing  {outlook.signature}: this Windows {loads} it"]
    rows += [f"           {note}" for note in outlook.notes]
    if outlook.do and outlook.loads is not True:
        rows.append(f"           do: {outlook.do}")
    return rows


def signing_json(outlook: Forecast) -> dict[str, object]:
    return {
        "signature": outlook.signature, "loads": outlook.loads, "notes": list(outlook.notes), "do": outlook.do,
        **outlook.facts,
    }  # fmt: skip
