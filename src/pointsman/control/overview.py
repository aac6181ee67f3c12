"""What there is on this machine now: the driver, its registrations, the proxies and what each says of itself.

It decides what `pointsman status` means by intercepting.  It must work with any part missing: no proxy, no driver, a
proxy that hangs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pointsman.control.commands import CommandError, ask
from pointsman.errors import PointsmanError
from pointsman.system.interface import DriverError, System
from pointsman.wire.abi import (
    STATUS_SIZE,
    VERSION_SIZE,
    AbiError,
    Counter,
    Ioctl,
    Reason,
    RegistrationStatus,
    State,
    Status,
    decode_status,
    decode_version,
)


@dataclass(frozen=True, slots=True)
class Overview:
    driver: dict[str, Any] | None
    driver_error: str | None
    """Why there is no `driver`."""
    proxies: list[dict[str, Any]]
    """What each says of itself; one that does not answer is its `pid` and an `error`."""

    @property
    def active(self) -> dict[str, Any] | None:
        """The proxy to which the driver sends connections."""
        if self.driver is None:  # a gateway: whoever answers has them
            return next((one for one in self.proxies if "error" not in one), None)
        number = self.driver["active_registration"]
        return next((one for one in self.proxies if number and one.get("registration") == number), None)

    @property
    def intercepts(self) -> bool:
        active = self.active
        return active is not None and active["phase"] == "full"

    def as_json(self) -> dict[str, Any]:
        active = self.active
        return {
            "intercepting": self.intercepts,
            "active_pid": active["pid"] if active else None,
            "driver": self.driver,
            "driver_error": self.driver_error,
            "proxies": self.proxies,
        }


def look(system: System, *, has_driver: bool = True) -> Overview:
    """Blocks; a proxy that hangs takes its time-out."""
    status: Status | None = None
    error: str | None = None
    driver: dict[str, Any] | None = None
    if has_driver:
        try:
            driver, status = _ask_driver(system)
        except PointsmanError as refused:
            error = f"{refused.what}: {refused.seen}"
        except (DriverError, AbiError) as refused:
            error = str(refused)
    registered = {one.pid for one in status.registrations} if status else set()
    found = (_ask_proxy(system, pid) for pid in sorted(registered | set(system.control.peers())))
    return Overview(driver, error, [one for one in found if "error" not in one or one["pid"] in registered])


def active_pid(system: System, *, has_driver: bool = True) -> int | None:
    """Whom to tell something; None if no proxy is active."""
    active = look(system, has_driver=has_driver).active
    return int(active["pid"]) if active is not None else None


def _ask_driver(system: System) -> tuple[dict[str, Any], Status]:
    driver = system.open_driver()
    try:
        version = decode_version(driver.control(Ioctl.QUERY_VERSION, b"", VERSION_SIZE))
        status = decode_status(driver.control(Ioctl.STATUS, b"", STATUS_SIZE))
    finally:
        driver.close()
    told = {
        "version": version.driver,
        "abi": version.abi,
        "active_registration": status.active_registration,
        "generation": status.generation,
        "events_written": status.events_written,
        "state": [one.name.lower() for one in State if one in status.state and one.name],
        "registrations": [_registration(one, status.active_registration) for one in status.registrations],
        "counters": _counters(status),
    }
    return told, status


def _registration(one: RegistrationStatus, active: int) -> dict[str, Any]:
    ends = (one.endpoints.v4, one.endpoints.v6)
    return {
        "registration": one.registration,
        "pid": one.pid,
        "is_active": one.registration == active,
        "lease_ms": one.lease_ms,
        "lease_left_ms": one.lease_left_ms,
        "endpoints": [f"{end[0]}:{end[1]}" for end in ends if end],
    }


def _counters(status: Status) -> dict[str, int]:
    """By name; those that are 0 too, so that a reader need not guess."""
    names: list[Reason | Counter] = [*Reason, *Counter]
    return {name.name.lower(): status.counters[name] for name in names}


def _ask_proxy(system: System, pid: int) -> dict[str, Any]:
    try:
        return ask(system, pid, "status")
    except TimeoutError:
        return {"pid": pid, "error": "it does not answer: hung or suspended"}
    except (OSError, CommandError) as error:
        return {"pid": pid, "error": str(error)}
