"""Who may change the machine, and what to say to who may not."""

from __future__ import annotations

from pointsman.errors import Exit, PointsmanError
from pointsman.system.host import Host


def require_elevation(host: Host, what: str) -> None:
    """`what` as in "install the driver".  Raises PointsmanError (PM210).

    Nothing starts itself anew with more rights: its output would be lost in another console.
    """
    if host.is_elevated():
        return
    raise PointsmanError(
        f"cannot {what}: that needs an administrator",
        code="PM210",
        seen="this console is not elevated",
        effect="nothing was changed; connections go on as before",
        do="run the same command in a console that was started with `Run as administrator`",
        status=Exit.NOT_ELEVATED,
    )
