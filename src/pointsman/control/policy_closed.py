"""Install, list and remove the filters of rules with `on_failure = "closed"`: never unasked, and gone when asked.

What they are is `policy.persistent`'s; here is who installs them and what a person is told.  An uninstaller calls
`remove`.
"""

from __future__ import annotations

from pointsman.errors import Exit, PointsmanError
from pointsman.policy.persistent import obstacles, persistent_filters
from pointsman.policy.rules import Policy
from pointsman.policy.sight import Sight
from pointsman.system.interface import DriverError, System
from pointsman.wire.filters import MAX_PERSISTENT, InstalledFilter


def install(system: System, policy: Policy, proxy: str) -> list[InstalledFilter]:
    """Take the place of whatever was installed before.  `proxy`: the full path of our own program.

    Raises:
        PointsmanError: PM304, the policy has no closed rule or one that no filter can stand for; PM208, the filter
            engine refused.  Nothing has changed then.
    """
    processes = system.processes
    sight = Sight(system.app_id, sid_of=processes.sid_of if processes.sees_tokens else None)
    wrong = [f"{policy.source}:{rule.line}: {rule.label}: {why}" for rule, why in obstacles(policy, sight)]
    filters = persistent_filters(policy, sight, proxy)
    if not filters and not wrong:
        wrong = [f'{policy.source}: no rule has on_failure = "closed"']
    if len(filters) > MAX_PERSISTENT:
        wrong.append(f"{policy.source}: {len(filters)} filters are needed; allowed: {MAX_PERSISTENT}")
    if wrong:
        raise PointsmanError(
            "cannot install filters that close on failure", code="PM304", seen="\n".join(wrong),
            effect="nothing was installed; what was installed before still is",
            do="mend the rules above; closed rules should stand at the top of the file", status=Exit.POLICY,
        )  # fmt: skip
    try:
        system.persistent_filters.replace(filters)
    except DriverError as error:
        raise _refused("install", error) from error
    return installed(system)


def remove(system: System) -> int:
    """How many there were; with none left, nothing of ours is in the filter engine when we do not run.

    Raises PointsmanError PM208.
    """
    before = len(installed(system))
    try:
        system.persistent_filters.replace([])
    except DriverError as error:
        raise _refused("remove", error) from error
    return before


def installed(system: System) -> list[InstalledFilter]:
    """Raises PointsmanError PM208."""
    try:
        return system.persistent_filters.installed()
    except DriverError as error:
        raise _refused("list", error) from error


def _refused(what: str, error: DriverError) -> PointsmanError:
    return PointsmanError(
        f"cannot {what} the filters that close on failure",
        code="PM208", seen=str(error), effect="what was installed before still is",
        do="run the same command as administrator; see `pointsman doctor` if that does not help",
        status=Exit.DRIVER_MISSING,
    )  # fmt: skip
