"""What the service manager starts: the proxy, with a log in place of a console.

Knows how a run of the proxy and the states of a service go together; what either is, others know.
"""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
from pathlib import Path

from pointsman.cli.run import choose_system
from pointsman.control.policy_file import default_policy, load_policy
from pointsman.control.proxy import Ready, run_proxy
from pointsman.control.settings import Settings
from pointsman.errors import Exit, PointsmanError
from pointsman.operate.proxy_service import ServiceSettings, decode_settings
from pointsman.server.limits import Limits
from pointsman.system.interface import System
from pointsman.system.windows.service_host import ServiceControl

LOG_SIZE = 4 << 20  # bytes, then it starts anew and one old one is kept
DRAIN = 3.0  # seconds: a service that stops has five in all
_log = logging.getLogger("pointsman.service")


def main(settings_file: str, log_file: str, control: ServiceControl) -> int:
    """Called by the program that `service install` has written, in the thread of its ServiceMain."""
    open_log(Path(log_file))
    return run(Path(settings_file), choose_system(), control)


def open_log(path: Path) -> None:
    """A service without a log still runs: a full disk must not cost anyone the proxy."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=LOG_SIZE, backupCount=1, encoding="utf-8"
        )
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.raiseExceptions = False  # nobody would see the complaint about a record that cannot be written
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def run(settings_file: Path, system: System, control: ServiceControl) -> int:
    """Until the service is stopped.  Returns its exit status; what went wrong is in the log."""
    try:
        settings = proxy_settings(decode_settings(settings_file.read_text(encoding="utf-8")))
        asyncio.run(_run(settings, system, control))
    except PointsmanError as error:
        _log.error("%s", error)
        return int(error.status)
    except Exception:
        # A bug of ours.  The service manager starts us anew, as configured; the driver lets all pass until then.
        _log.exception("the proxy ended by a bug")
        return int(Exit.INTERNAL)
    _log.info("stopped")
    return 0


def proxy_settings(settings: ServiceSettings) -> Settings:
    """Raises PointsmanError: the policy."""
    policy_file = Path(settings.policy) if settings.policy else None
    return Settings(
        policy=load_policy(policy_file) if policy_file else default_policy(),
        policy_file=policy_file,
        ca_dir=Path(settings.ca_dir),
        upstream_ca=tuple(map(Path, settings.upstream_ca)),
        flow_file=Path(settings.flows) if settings.flows else None,
        limits=Limits(drain_timeout=DRAIN),
    )


async def _run(settings: Settings, system: System, control: ServiceControl) -> None:
    loop = asyncio.get_running_loop()

    def on_ready(ready: Ready) -> None:
        _log.info("ready: registration %d, endpoints %s", ready.registration, ready.endpoints)

        def stop() -> None:
            loop.call_soon_threadsafe(ready.stop)

        control.running(stop)

    await run_proxy(settings, system, on_ready)
