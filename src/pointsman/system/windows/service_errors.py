"""What the service manager's error codes mean for a kernel driver, as sentences.

DriverEntry's NTSTATUS reaches us as a Win32 code, so starting a driver has more causes than the service manager itself.
"""

from __future__ import annotations

from pointsman.system.services import STOP_PENDING, ServiceError
from pointsman.system.windows._library import code_text

_NOTHING_LOST = "nothing is intercepted; connections go direct (fail open)"
_CLOSE = "close services.msc, Task Manager and other tools that look at services; if it stays so, restart Windows"
_RESTART = "restart Windows"
_ADMINISTRATOR = "run the same command in a console that was started as administrator"
_BFE = "start the service BFE (sc start BFE), then try again"

ADVICE: dict[int, tuple[str, str]] = {
    1: ("the driver says that this is not implemented", "install driver and proxy of one release"),
    2: (
        "the driver file is not where the service looks for it",
        "see the quarantine of the security product, reinstall",
    ),
    3: ("the driver file's folder does not exist", "see the quarantine of the security product, reinstall"),
    5: ("access denied", _ADMINISTRATOR),
    31: ("the driver's start failed", "see the driver's messages: pointsman doctor"),
    32: ("the driver file is in use", "stop the program that holds it, then try again"),
    87: ("Windows refused a parameter", "report this as a bug"),
    123: ("the path of the driver file is malformed", "remove quotes and arguments from the service's image path"),
    126: ("a system module that the driver needs is missing", "Windows 10 version 1809 or newer is needed"),
    127: ("a system function that the driver needs is missing", "Windows 10 version 1809 or newer is needed"),
    183: ("another copy of the driver is loaded under another service name", "stop and delete that service"),
    193: ("the driver file is not for this machine's processor, or damaged", "install the release for this processor"),
    577: (
        "the driver's signature is missing, not trusted, or the file was changed",
        "install a signed release; for a test-signed build, test-signing must be on and Secure Boot off",
    ),
    654: ("an earlier copy of the driver has not unloaded", _RESTART),
    1051: ("other services that depend on it still run", "stop these services first"),
    1052: ("the service cannot take that request in its present state", _RESTART),
    1053: ("it did not answer in time", "see the System event log, events 7000, 7009 and 7011"),
    1055: ("the service database is locked", "try again in a minute"),
    1056: ("it runs already", "nothing is to be done"),
    1058: ("the service is disabled, or is about to be deleted", _CLOSE),
    1060: ("there is no such service", "install it: pointsman driver install, pointsman service install"),
    1062: ("it does not run", "nothing is to be done"),
    1066: ("the service stopped by itself", "see its log, %ProgramData%\\Pointsman\\service.log"),
    1067: ("its process ended unexpectedly", "see its log, %ProgramData%\\Pointsman\\service.log"),
    1068: ("a service that it depends on did not start: the Base Filtering Engine", _BFE),
    1072: ("the service is marked for deletion", _CLOSE),
    1073: ("a service of that name exists", "nothing is to be done"),
    1075: ("a service that it depends on does not exist", "repair Windows: the Base Filtering Engine (BFE) is missing"),
    1077: ("it has not been started since Windows started", "start the service"),
    1078: ("another service has this display name", "remove or rename the other product's service"),
    1114: ("the driver file cannot be loaded", "reinstall; see the quarantine of the security product"),
    1168: ("the driver found something missing", "see the driver's messages: pointsman doctor"),
    1275: (
        "Windows or a security product keeps the driver from loading",
        "see the event log Microsoft-Windows-CodeIntegrity/Operational",
    ),
    1306: ("the driver refuses this version of Windows", "update Windows, or install the matching release"),
    1450: ("the system is out of resources", "try again"),
    1753: ("the Base Filtering Engine is not running", _BFE),
    4551: ("a system integrity policy (App Control) forbids the driver", "ask the administrator for an exception"),
    0x800B_0101: ("the driver's signing certificate has expired", "install a release with a time-stamped signature"),
    0x800B_010C: (
        "the driver's certificate is revoked, or the driver is on Microsoft's blocklist",
        "install a newer release; never switch the blocklist off",
    ),
}
"""Code: what it means for a driver, what to do."""


def service_error(what: str, code: int, detail: str = "") -> ServiceError:
    """`what` as in "cannot start the service"; `detail` as in its name or path."""
    meaning, do = ADVICE.get(code, ("unknown to us", "see the System event log, source Service Control Manager"))
    prefix = f"{detail}: " if detail else ""
    return ServiceError(
        what, seen=f"{prefix}Windows error {code_text(code)}: {meaning}", effect=_NOTHING_LOST, do=do,
        windows_code=code,
    )  # fmt: skip


def still_pending(what: str, detail: str, seconds: float) -> ServiceError:
    """The service stays in a pending state: an open handle keeps a driver loaded."""
    return ServiceError(
        what, seen=f"{detail}: pending for {seconds:.0f} s; a program still has its device open",
        effect="the driver stays loaded; without a proxy it passes everything",
        do="find the program that holds \\Device\\Pointsman (Process Explorer, find handle), or restart Windows",
        windows_code=STOP_PENDING,
    )  # fmt: skip
